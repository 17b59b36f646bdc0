//! Subsets of a cluster by endpoint metadata (`LbSubsetConfig`).

use std::sync::Arc;

/// `LbSubsetConfig`, or the typed `Subset`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubsetConfig {
    /// `fallback_policy`: where a request goes whose metadata matches no subset.
    pub fallback: SubsetFallback,
    /// `default_subset`, sorted by key.
    pub default_subset: Criteria,
    /// `subset_selectors`.
    pub selectors: Vec<SubsetSelector>,
    /// `locality_weight_aware`: localities are weighted inside subsets too.
    pub locality_weight_aware: bool,
    /// `scale_locality_weight`: by the part of a locality's endpoints that is in the subset.
    pub scale_locality_weight: bool,
    /// `panic_mode_any`: all endpoints, where the fallback has none.
    pub panic_mode_any: bool,
    /// `list_as_any`: an endpoint whose value is a list is in the subset of each of its elements.
    pub list_as_any: bool,
    /// `allow_redundant_keys`: of a request's keys those of the largest selector count that it has all of.
    pub allow_redundant_keys: bool,
    /// `metadata_fallback_policy` FALLBACK_LIST: the request's key `fallback_list` holds what to put over the others,
    /// one after the other, until an endpoint is found.
    pub fallback_list: bool,
}

/// `LbSubsetFallbackPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubsetFallback {
    /// `NO_FALLBACK`: no endpoint.
    #[default]
    None,
    /// `ANY_ENDPOINT`.
    Any,
    /// `DEFAULT_SUBSET`.
    Default,
}

/// `LbSubsetSelector`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubsetSelector {
    /// `keys`, sorted.
    pub keys: Vec<Arc<str>>,
    /// `fallback_policy`; None: the cluster's.
    pub fallback: Option<SelectorFallback>,
    /// `single_host_per_subset`: of the endpoints of a subset the first is picked, whatever its health.
    pub single_host: bool,
}

impl SubsetSelector {
    /// A selector of these keys.
    pub fn new(mut keys: Vec<Arc<str>>, fallback: Option<SelectorFallback>) -> Self {
        keys.sort();
        keys.dedup();
        Self {
            keys,
            fallback,
            single_host: false,
        }
    }
}

/// `LbSubsetSelectorFallbackPolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SelectorFallback {
    /// One of the cluster's kinds.
    Cluster(SubsetFallback),
    /// `KEYS_SUBSET`: the request's metadata is matched again with only `fallback_keys_subset`, sorted.
    Keys(Vec<Arc<str>>),
}

/// Metadata to match: keys and values, sorted by key.
pub type Criteria = Vec<(Arc<str>, MetadataValue)>;

/// A value of metadata in a form in which equal values are equal texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetadataValue(Arc<str>);

impl MetadataValue {
    /// By its canonical text.
    pub fn new(canonical: impl Into<Arc<str>>) -> Self {
        Self(canonical.into())
    }

    /// The structures that a list holds, as criteria: canonical texts are `[{"key":value,},]`. Empty for what is no
    /// list.
    pub fn structures(&self) -> Vec<Criteria> {
        let inside = |text: &str, open, close| -> Option<String> {
            Some(text.strip_prefix(open)?.strip_suffix(close)?.to_owned())
        };
        let Some(items) = inside(&self.0, '[', ']') else {
            return Vec::new();
        };
        let items = parts(&items).into_iter();
        let structures = items.filter_map(|item| inside(item, '{', '}'));
        structures
            .map(|fields| {
                let mut criteria: Criteria = parts(&fields)
                    .into_iter()
                    .filter_map(|field| {
                        let at = end_of_text(field)?;
                        let (key, value) = field.split_at_checked(at)?;
                        let key = key.strip_prefix('"')?.strip_suffix('"')?;
                        Some((key.into(), Self::new(value.strip_prefix(':')?)))
                    })
                    .collect();
                criteria.sort();
                criteria
            })
            .collect()
    }
}

/// What commas end that are neither in a text nor in something nested.
fn parts(text: &str) -> Vec<&str> {
    let (mut from, mut depth) = (0, 0_i32);
    let (mut quoted, mut escaped) = (false, false);
    let mut parts = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// Where the text ends that begins here.
fn end_of_text(text: &str) -> Option<usize> {
    let mut escaped = false;
    let after = text.bytes().enumerate().skip(1).find(|(_, byte)| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    after.map(|(at, _)| at + 1)
}

/// A value that an endpoint has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointValue {
    /// As a whole.
    pub whole: MetadataValue,
    /// The elements of a list.
    pub elements: Option<Box<[MetadataValue]>>,
}

/// Merges criteria, as of a weighted cluster over those of its route: `over` wins.
pub fn merged_criteria(under: &Criteria, over: &Criteria) -> Criteria {
    let is_over = |key: &Arc<str>| over.iter().any(|(other, _)| other == key);
    let kept = under.iter().filter(|(key, _)| !is_over(key));
    let mut merged: Criteria = kept.chain(over).cloned().collect();
    merged.sort();
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_structures_is_read_back_from_its_canonical_text() {
        let list = r#"[{"a":"1","b":["x","y",],},{"c":"q\"},{",},{},]"#;
        let criteria = MetadataValue::new(list).structures();
        let value = |text: &str| MetadataValue::new(text);
        let expected: Vec<Criteria> = vec![
            vec![
                ("a".into(), value(r#""1""#)),
                ("b".into(), value(r#"["x","y",]"#)),
            ],
            vec![("c".into(), value(r#""q\"},{""#))],
            vec![],
        ];
        assert_eq!(criteria, expected);
        assert!(value("\"x\"").structures().is_empty());
    }
}
