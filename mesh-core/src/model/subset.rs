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
}

impl SubsetSelector {
    /// A selector of these keys.
    pub fn new(mut keys: Vec<Arc<str>>, fallback: Option<SelectorFallback>) -> Self {
        keys.sort();
        keys.dedup();
        Self { keys, fallback }
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
