use std::fmt::Display;
use std::ops::Deref;

use super::scalar;
use super::schema::Type;
use crate::problem::Severity;
use crate::yaml::{At, Value};

/// A message of a document whose shape is right, read as protobuf would hold it: what is missing or `null` has the
/// type's default.
#[derive(Clone, Debug)]
pub(crate) struct Part<'a>(At<'a>);

impl<'a> Deref for Part<'a> {
    type Target = At<'a>;

    fn deref(&self) -> &At<'a> {
        &self.0
    }
}

impl<'a> Part<'a> {
    pub(crate) fn new(at: At<'a>) -> Self {
        Part(at)
    }

    /// A field that is set.
    pub(crate) fn get(&self, name: &str) -> Option<Part<'a>> {
        self.0.find(name).map(Part)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.find(name).is_some()
    }

    /// Where to report about a field: itself, or what lacks it.
    pub(crate) fn about(&self, name: &str) -> Part<'a> {
        self.get(name).unwrap_or_else(|| self.clone())
    }

    /// The last of fields that exclude each other: as in Go, it wins.
    pub(crate) fn one_of<'n>(&self, names: &[&'n str]) -> Option<(&'n str, Part<'a>)> {
        names
            .iter()
            .rev()
            .find_map(|name| Some((*name, self.get(name)?)))
    }

    /// The items of a list.
    pub(crate) fn list(&self, name: &str) -> Vec<Part<'a>> {
        match self.get(name) {
            Some(list) => list.items().into_iter().map(Part).collect(),
            None => Vec::new(),
        }
    }

    /// The entries of a map.
    pub(crate) fn map(&self, name: &str) -> Vec<(&'a str, Part<'a>)> {
        match self.get(name) {
            Some(map) => map
                .entries()
                .into_iter()
                .map(|(key, at)| (key, Part(at)))
                .collect(),
            None => Vec::new(),
        }
    }

    /// This as a text.
    pub(crate) fn as_text(&self) -> &'a str {
        self.node().as_str().unwrap_or_default()
    }

    /// A field as a text.
    pub(crate) fn text(&self, name: &str) -> &'a str {
        self.get(name)
            .map(|part| part.as_text())
            .unwrap_or_default()
    }

    /// This as a whole number.
    pub(crate) fn as_number(&self) -> i128 {
        scalar::integer(&self.node().value, Type::I64)
            .or_else(|| scalar::integer(&self.node().value, Type::U64))
            .unwrap_or_default()
    }

    /// A field as a whole number.
    pub(crate) fn number(&self, name: &str) -> i128 {
        self.get(name)
            .map(|part| part.as_number())
            .unwrap_or_default()
    }

    /// A field as a number.
    pub(crate) fn float(&self, name: &str) -> f64 {
        self.get(name)
            .and_then(|part| scalar::float(&part.node().value))
            .unwrap_or_default()
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|part| part.node().value == Value::Bool(true))
    }

    /// A field of an enum: its word, `default` if it is not set. Numbers are named by `values`.
    pub(crate) fn word<'v>(&self, name: &str, values: &[&'v str]) -> &'v str {
        let default = values.first().copied().unwrap_or_default();
        match self.get(name) {
            None => default,
            Some(part) => match part.node().as_str() {
                Some(text) => values.iter().find(|v| **v == text).copied().unwrap_or("?"),
                None => usize::try_from(part.as_number())
                    .ok()
                    .and_then(|n| values.get(n).copied())
                    .unwrap_or("?"),
            },
        }
    }

    /// This as a duration, in nanoseconds.
    pub(crate) fn nanos(&self) -> i64 {
        self.node()
            .as_str()
            .and_then(scalar::duration)
            .unwrap_or_default()
    }

    /// Refuses the object.
    pub(crate) fn refuse(&self, message: impl Display, suggestion: impl Display) {
        self.report(Severity::Refused, "invalid", message, suggestion);
    }

    /// Refuses the object at a field, or here if that is missing.
    pub(crate) fn refuse_at(&self, name: &str, message: impl Display, suggestion: impl Display) {
        self.about(name).refuse(message, suggestion);
    }

    /// Istio accepts it and warns.
    pub(crate) fn warn_at(&self, name: &str, message: impl Display, suggestion: impl Display) {
        self.about(name)
            .report(Severity::Warning, "warning", message, suggestion);
    }
}
