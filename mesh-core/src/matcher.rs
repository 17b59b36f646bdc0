//! Matchers shared by routes and filters (`envoy.type.matcher.v3`, `envoy.config.route.v3.HeaderMatcher`).

use http::{HeaderMap, HeaderName, StatusCode};

use crate::{
    head::RequestHead,
    regex::{Regex, Scratch},
};

/// `StringMatcher`.
#[derive(Clone, Debug, PartialEq)]
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
        match self {
            Self::Exact {
                value: expected,
                ignore_case,
            } => equals(value, expected.as_bytes(), *ignore_case),
            Self::Prefix {
                value: prefix,
                ignore_case,
            } => value
                .get(..prefix.len())
                .is_some_and(|start| equals(start, prefix.as_bytes(), *ignore_case)),
            Self::Suffix {
                value: suffix,
                ignore_case,
            } => value
                .len()
                .checked_sub(suffix.len())
                .is_some_and(|at| equals(&value[at..], suffix.as_bytes(), *ignore_case)),
            Self::Contains {
                value: part,
                ignore_case,
            } => {
                part.is_empty()
                    || value
                        .windows(part.len())
                        .any(|window| equals(window, part.as_bytes(), *ignore_case))
            }
            Self::Regex(regex) => regex.is_full_match(value, scratch),
        }
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
    /// A pseudo header that no request has (`:status`).
    Absent(Box<str>),
}

impl MatchedHeader {
    /// The header's name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Method => ":method",
            Self::Scheme => ":scheme",
            Self::Authority => ":authority",
            Self::Path => ":path",
            Self::Name(name) => name.as_str(),
            Self::Absent(name) => name,
        }
    }
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
        match &self.name {
            MatchedHeader::Method => self.matches_line(Some(head.method.as_str()), scratch),
            MatchedHeader::Scheme => self.matches_line(Some(head.scheme), scratch),
            MatchedHeader::Authority => self.matches_line(not_empty(head.authority), scratch),
            MatchedHeader::Path => self.matches_line(not_empty(head.path), scratch),
            MatchedHeader::Name(name) => self.matches_map(name, head.headers, scratch),
            MatchedHeader::Absent(_) => self.matches_line(None, scratch),
        }
    }

    /// Whether a response's head matches (`retriable_headers`). Pseudo headers of requests are taken as missing.
    pub fn matches_response_head(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        scratch: &mut Scratch,
    ) -> bool {
        match &self.name {
            MatchedHeader::Absent(name) if &**name == ":status" => {
                self.matches_line(Some(status.as_str()), scratch)
            }
            MatchedHeader::Name(name) => self.matches_map(name, headers, scratch),
            _ => self.matches_line(None, scratch),
        }
    }

    /// The same for headers without a head. Pseudo headers are taken as missing.
    pub fn matches_response(&self, headers: &HeaderMap, scratch: &mut Scratch) -> bool {
        match &self.name {
            MatchedHeader::Name(name) => self.matches_map(name, headers, scratch),
            _ => self.matches_line(None, scratch),
        }
    }

    fn matches_map(&self, name: &HeaderName, headers: &HeaderMap, scratch: &mut Scratch) -> bool {
        self.matches_values(
            headers
                .get_all(name)
                .iter()
                .map(http::HeaderValue::as_bytes),
            scratch,
        )
    }

    fn matches_line(&self, line: Option<&str>, scratch: &mut Scratch) -> bool {
        self.matches_values(line.into_iter().map(str::as_bytes), scratch)
    }

    fn matches_values<'v>(
        &self,
        values: impl Iterator<Item = &'v [u8]>,
        scratch: &mut Scratch,
    ) -> bool {
        let mut values = values.peekable();
        let missing = values.peek().is_none();
        let present = match &self.condition {
            HeaderCondition::Any => true,
            HeaderCondition::Present(present) => *present,
            condition => {
                return match (missing, self.treat_missing_as_empty) {
                    (true, false) => false,
                    (true, true) => condition.holds(b"", scratch) != self.invert,
                    (false, _) => {
                        values.any(|value| condition.holds(value, scratch)) != self.invert
                    }
                };
            }
        };
        if missing && !self.treat_missing_as_empty {
            present == self.invert
        } else {
            present != self.invert
        }
    }
}

impl HeaderCondition {
    /// Whether one value fulfils a condition other than presence.
    fn holds(&self, value: &[u8], scratch: &mut Scratch) -> bool {
        match self {
            Self::Any | Self::Present(_) => true,
            Self::String(matcher) => matcher.matches(value, scratch),
            Self::Range { start, end } => std::str::from_utf8(value)
                .ok()
                .and_then(|v| v.trim_ascii().parse::<i64>().ok())
                .is_some_and(|v| (*start..*end).contains(&v)),
        }
    }
}

fn not_empty(value: &str) -> Option<&str> {
    (!value.is_empty()).then_some(value)
}

fn equals(a: &[u8], b: &[u8], ignore_case: bool) -> bool {
    if ignore_case {
        a.eq_ignore_ascii_case(b)
    } else {
        a == b
    }
}

/// `CookieMatcher`.
#[derive(Clone, Debug)]
pub struct CookieMatcher {
    /// `name`.
    pub name: Box<str>,
    /// `string_match`.
    pub value: StringMatcher,
    /// `invert_match`.
    pub invert: bool,
}

impl CookieMatcher {
    /// Whether the request's cookies match: the first of that name decides; none is no match unless inverted.
    pub fn matches(&self, headers: &HeaderMap, scratch: &mut Scratch) -> bool {
        let value = headers
            .get_all(http::header::COOKIE)
            .iter()
            .flat_map(|line| line.as_bytes().split(|b| *b == b';'))
            .find_map(|pair| {
                let at = pair.iter().position(|b| *b == b'=')?;
                let name = pair[..at].trim_ascii();
                (name == self.name.as_bytes()).then(|| unquoted(&pair[at + 1..]))
            });
        value.is_some_and(|value| self.value.matches(value, scratch)) != self.invert
    }
}

/// A cookie's value without the quotes around it (RFC 6265, 4.1.1).
fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inside @ .., b'"'] => inside,
        _ => value,
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
        let value = query.split('&').find_map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (name == &*self.name && !parameter.is_empty()).then_some(value)
        });
        self.matches_value(value.map(str::as_bytes), scratch)
    }

    /// Whether the first value of the parameter matches; None: there is none.
    pub fn matches_value(&self, value: Option<&[u8]>, scratch: &mut Scratch) -> bool {
        match &self.condition {
            None => value.is_some(),
            Some(QueryCondition::Present(present)) => value.is_some() == *present,
            Some(QueryCondition::String(matcher)) => {
                value.is_some_and(|v| matcher.matches(v, scratch))
            }
        }
    }
}
