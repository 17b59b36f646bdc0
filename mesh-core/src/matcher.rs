//! Matchers shared by routes and filters (`envoy.type.matcher.v3`, `envoy.config.route.v3.HeaderMatcher`).

use http::HeaderName;

use crate::{
    head::RequestHead,
    regex::{Regex, Scratch},
};

/// `StringMatcher`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StringMatcher {
    /// `exact`.
    Exact {
        /// The value.
        value: Box<str>,
        /// `ignore_case` (ASCII).
        ignore_case: bool,
    },
    /// `prefix`.
    Prefix {
        /// The value.
        value: Box<str>,
        /// `ignore_case` (ASCII).
        ignore_case: bool,
    },
    /// `suffix`.
    Suffix {
        /// The value.
        value: Box<str>,
        /// `ignore_case` (ASCII).
        ignore_case: bool,
    },
    /// `contains`.
    Contains {
        /// The value; lower case if `ignore_case`.
        value: Box<str>,
        /// `ignore_case` (ASCII).
        ignore_case: bool,
    },
    /// `safe_regex`: the whole value.
    Regex(Regex),
}

impl StringMatcher {
    /// Whether the value matches.
    pub fn matches(&self, value: &[u8], scratch: &mut Scratch) -> bool {
        let _ = (value, scratch);
        todo!()
    }
}

/// Which header a [`HeaderMatcher`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MatchedHeader {
    /// `:method`.
    Method,
    /// `:scheme`.
    Scheme,
    /// `:authority` or `host`.
    Authority,
    /// `:path`.
    Path,
    /// Any other.
    Name(HeaderName),
}

/// `HeaderMatcher`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HeaderMatcher {
    /// `name`.
    pub name: MatchedHeader,
    /// The specifier.
    pub condition: HeaderCondition,
    /// `invert_match`.
    pub invert: bool,
    /// `treat_missing_header_as_empty`.
    pub treat_missing_as_empty: bool,
}

/// The specifier of a [`HeaderMatcher`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HeaderCondition {
    /// No specifier: the header is there.
    Any,
    /// `present_match`.
    Present(bool),
    /// `string_match` and its deprecated forms.
    String(StringMatcher),
    /// `range_match`: a signed integer in `start..end`.
    Range {
        /// `start`, included.
        start: i64,
        /// `end`, excluded.
        end: i64,
    },
}

impl HeaderMatcher {
    /// A matcher that is not inverted.
    pub fn new(name: MatchedHeader, condition: HeaderCondition) -> Self {
        Self {
            name,
            condition,
            invert: false,
            treat_missing_as_empty: false,
        }
    }

    /// Whether the head matches: each line of a repeated header is matched by itself (Envoy ≥ 1.39).
    pub fn matches(&self, head: &RequestHead<'_>, scratch: &mut Scratch) -> bool {
        let _ = (head, scratch);
        todo!()
    }
}

/// `QueryParameterMatcher`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueryParameterMatcher {
    /// `name`.
    pub name: Box<str>,
    /// The specifier; None: the parameter is there.
    pub condition: Option<QueryCondition>,
}

/// The specifier of a [`QueryParameterMatcher`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum QueryCondition {
    /// `present_match`.
    Present(bool),
    /// `string_match`, on the raw value of the first occurrence.
    String(StringMatcher),
}

impl QueryParameterMatcher {
    /// Name and specifier.
    pub fn new(name: impl Into<Box<str>>, condition: Option<QueryCondition>) -> Self {
        Self {
            name: name.into(),
            condition,
        }
    }

    /// Whether the query (without `?`) matches.
    pub fn matches(&self, query: &str, scratch: &mut Scratch) -> bool {
        let _ = (query, scratch);
        todo!()
    }
}
