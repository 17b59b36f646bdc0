//! Metadata of a stream by filter (`envoy.config.core.v3.Metadata`), and the matchers that read it
//! (`envoy.type.matcher.v3.MetadataMatcher`, `ValueMatcher`).

use std::collections::BTreeMap;

use crate::{matcher::StringMatcher, regex::Scratch};

/// A value (`google.protobuf.Value`).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum MetadataValue {
    /// Nothing.
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    String(Box<str>),
    /// A list.
    List(Vec<MetadataValue>),
    /// Values by name.
    Struct(MetadataStruct),
}

/// Values by name (`google.protobuf.Struct`).
pub type MetadataStruct = BTreeMap<Box<str>, MetadataValue>;

/// What filters said about a stream: one struct for each filter's name. Empty costs nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DynamicMetadata {
    namespaces: MetadataStruct,
}

impl DynamicMetadata {
    /// The value below a filter's name; None: some part of the path is not there.
    pub fn find(&self, filter: &str, path: &[Box<str>]) -> Option<&MetadataValue> {
        let mut value = self.namespaces.get(filter)?;
        for key in path {
            let MetadataValue::Struct(fields) = value else {
                return None;
            };
            value = fields.get(key)?;
        }
        Some(value)
    }

    /// Whether a filter has said anything.
    pub fn contains(&self, filter: &str) -> bool {
        self.namespaces.contains_key(filter)
    }

    /// Adds to what a filter has said: structs are merged, lists joined, anything else is replaced
    /// (Envoy `StructUtil::update`).
    pub fn merge(&mut self, filter: &str, fields: MetadataStruct) {
        let value = self
            .namespaces
            .entry(filter.into())
            .or_insert_with(|| MetadataValue::Struct(MetadataStruct::new()));
        update(value, MetadataValue::Struct(fields));
    }
}

fn update(into: &mut MetadataValue, from: MetadataValue) {
    match (into, from) {
        (MetadataValue::Struct(into), MetadataValue::Struct(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(old) => update(old, value),
                    None => {
                        into.insert(key, value);
                    }
                }
            }
        }
        (MetadataValue::List(into), MetadataValue::List(from)) => into.extend(from),
        (into, from) => *into = from,
    }
}

/// `MetadataMatcher`.
#[derive(Clone, Debug)]
pub struct MetadataMatcher {
    /// `filter`.
    pub filter: Box<str>,
    /// `path`, as keys.
    pub path: Vec<Box<str>>,
    /// `value`.
    pub value: ValueMatcher,
    /// `invert`.
    pub invert: bool,
}

impl MetadataMatcher {
    /// Whether the metadata match; what is missing matches nothing, so an inverted matcher holds for it.
    pub fn matches(&self, metadata: Option<&DynamicMetadata>, scratch: &mut Scratch) -> bool {
        let value = metadata.and_then(|metadata| metadata.find(&self.filter, &self.path));
        value.is_some_and(|value| self.value.matches(value, scratch)) != self.invert
    }
}

/// `ValueMatcher`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ValueMatcher {
    /// `null_match`.
    Null,
    /// `double_match.exact`.
    Number(f64),
    /// `double_match.range`: from the first, included, to the second, excluded.
    Range(f64, f64),
    /// `string_match`.
    String(StringMatcher),
    /// `bool_match`.
    Bool(bool),
    /// `present_match`; false matches nothing, as in Envoy.
    Present(bool),
    /// `list_match.one_of`: any element.
    OneOf(Box<ValueMatcher>),
    /// `or_match`.
    Or(Vec<ValueMatcher>),
}

impl ValueMatcher {
    /// Whether a value that is there matches.
    pub fn matches(&self, value: &MetadataValue, scratch: &mut Scratch) -> bool {
        match (self, value) {
            (Self::Null, value) => *value == MetadataValue::Null,
            (Self::Present(present), _) => *present,
            (Self::Or(matchers), value) => matchers.iter().any(|m| m.matches(value, scratch)),
            (Self::Number(expected), MetadataValue::Number(n)) => n == expected,
            (Self::Range(start, end), MetadataValue::Number(n)) => (*start..*end).contains(n),
            (Self::String(matcher), MetadataValue::String(text)) => {
                matcher.matches(text.as_bytes(), scratch)
            }
            (Self::Bool(expected), MetadataValue::Bool(value)) => value == expected,
            (Self::OneOf(matcher), MetadataValue::List(list)) => {
                list.iter().any(|value| matcher.matches(value, scratch))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> MetadataValue {
        MetadataValue::String(value.into())
    }

    fn fields(entries: &[(&str, MetadataValue)]) -> MetadataStruct {
        let entry = |(key, value): &(&str, MetadataValue)| ((*key).into(), value.clone());
        entries.iter().map(entry).collect()
    }

    fn metadata() -> DynamicMetadata {
        let mut metadata = DynamicMetadata::default();
        let below = MetadataValue::Struct(fields(&[("b", text("x"))]));
        let list = MetadataValue::List(vec![MetadataValue::Number(1.0), text("y")]);
        metadata.merge("f", fields(&[("a", below), ("l", list)]));
        metadata
    }

    fn matches(path: &[&str], value: ValueMatcher, invert: bool) -> bool {
        let matcher = MetadataMatcher {
            filter: "f".into(),
            path: path.iter().map(|key| (*key).into()).collect(),
            value,
            invert,
        };
        matcher.matches(Some(&metadata()), &mut Scratch::default())
    }

    #[test]
    fn values_are_found_by_path() {
        let is = |value: &str| {
            ValueMatcher::String(StringMatcher::Exact {
                value: value.into(),
                ignore_case: false,
            })
        };
        assert!(matches(&["a", "b"], is("x"), false));
        assert!(!matches(&["a", "b"], is("x"), true));
        assert!(!matches(&["a", "c"], is("x"), false));
        assert!(matches(&["a", "c"], is("x"), true), "missing, inverted");
        assert!(matches(
            &["l"],
            ValueMatcher::OneOf(Box::new(is("y"))),
            false
        ));
        assert!(matches(
            &["l"],
            ValueMatcher::OneOf(Box::new(ValueMatcher::Range(0.5, 1.5))),
            false
        ));
        assert!(!matches(
            &["l"],
            ValueMatcher::OneOf(Box::new(ValueMatcher::Range(0.5, 1.0))),
            false
        ));
        assert!(matches(&["a"], ValueMatcher::Present(true), false));
        assert!(!matches(&["a"], ValueMatcher::Present(false), false));
        assert!(!matches(&["z"], ValueMatcher::Present(false), false));
        assert!(matches(
            &["a", "b"],
            ValueMatcher::Or(vec![ValueMatcher::Null, is("x")]),
            false
        ));
        assert!(!matches(&["a"], ValueMatcher::Null, false));
    }

    #[test]
    fn merging_keeps_what_is_not_named() {
        let mut merged = metadata();
        let below = MetadataValue::Struct(fields(&[("c", text("z"))]));
        merged.merge(
            "f",
            fields(&[("a", below), ("l", MetadataValue::List(vec![text("w")]))]),
        );
        let path = |keys: &[&str]| {
            keys.iter()
                .map(|key| Box::from(*key))
                .collect::<Vec<Box<str>>>()
        };
        assert_eq!(merged.find("f", &path(&["a", "b"])), Some(&text("x")));
        assert_eq!(merged.find("f", &path(&["a", "c"])), Some(&text("z")));
        let Some(MetadataValue::List(list)) = merged.find("f", &path(&["l"])) else {
            panic!("no list");
        };
        assert_eq!(list.len(), 3);
        assert!(!merged.contains("g"));
    }
}
