//! Values of policies to matchers: `*`, `suffix` after a star, `prefix` before one, else the whole.

use matcher::string_matcher::MatchPattern;
use matcher::value_matcher;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::route::v3 as route;
use mesh_proto::envoy::r#type::matcher::v3 as matcher;
use route::header_matcher::HeaderMatchSpecifier;

use crate::model::quoted;

pub(in crate::translate) const JWT_FILTER: &str = "envoy.filters.http.jwt_authn";
/// Where the filter above puts the claims of a token.
pub(in crate::translate) const JWT_PAYLOAD: &str = "payload";

pub(super) fn regex(regex: impl Into<String>) -> matcher::StringMatcher {
    pattern(MatchPattern::SafeRegex(matcher::RegexMatcher {
        regex: regex.into(),
        ..Default::default()
    }))
}

pub(super) fn exact(text: impl Into<String>) -> matcher::StringMatcher {
    pattern(MatchPattern::Exact(text.into()))
}

pub(super) fn prefix(text: impl Into<String>) -> matcher::StringMatcher {
    pattern(MatchPattern::Prefix(text.into()))
}

pub(super) fn suffix(text: impl Into<String>) -> matcher::StringMatcher {
    pattern(MatchPattern::Suffix(text.into()))
}

fn pattern(pattern: MatchPattern) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(pattern),
        ignore_case: false,
    }
}

/// Any text but none.
pub(super) fn something() -> matcher::StringMatcher {
    regex(".+")
}

pub(super) fn string(value: &str) -> matcher::StringMatcher {
    match (value.strip_prefix('*'), value.strip_suffix('*')) {
        (Some(""), _) => something(),
        (Some(end), _) => suffix(end),
        (None, Some(start)) => prefix(start),
        (None, None) => exact(value),
    }
}

/// A principal, which policies write without `spiffe://`.
pub(super) fn principal(value: &str) -> matcher::StringMatcher {
    const SPIFFE: &str = "spiffe://";
    match (value.strip_prefix('*'), value.strip_suffix('*')) {
        (Some(""), _) => something(),
        (Some(end), _) => regex(format!("{SPIFFE}.*{}", quoted(end))),
        (None, Some(start)) => prefix(format!("{SPIFFE}{start}")),
        (None, None) => exact(format!("{SPIFFE}{value}")),
    }
}

pub(super) fn header(name: &str, value: &str, ignore_case: bool) -> route::HeaderMatcher {
    let specifier = match value {
        "*" => HeaderMatchSpecifier::PresentMatch(true),
        value => HeaderMatchSpecifier::StringMatch(matcher::StringMatcher {
            ignore_case,
            ..string(value)
        }),
    };
    route::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..Default::default()
    }
}

pub(super) fn text_value(text: matcher::StringMatcher) -> matcher::ValueMatcher {
    value(value_matcher::MatchPattern::StringMatch(text))
}

/// A list with such an item.
pub(super) fn list_value(item: matcher::ValueMatcher) -> matcher::ValueMatcher {
    let list = matcher::ListMatcher {
        match_pattern: Some(matcher::list_matcher::MatchPattern::OneOf(Box::new(item))),
    };
    value(value_matcher::MatchPattern::ListMatch(Box::new(list)))
}

pub(super) fn one_of(mut values: Vec<matcher::ValueMatcher>) -> matcher::ValueMatcher {
    match values.len() {
        1 => values.remove(0),
        _ => value(value_matcher::MatchPattern::OrMatch(matcher::OrMatcher {
            value_matchers: values,
        })),
    }
}

fn value(pattern: value_matcher::MatchPattern) -> matcher::ValueMatcher {
    matcher::ValueMatcher {
        match_pattern: Some(pattern),
    }
}

pub(super) fn metadata<'a>(
    filter: &str,
    path: impl IntoIterator<Item = &'a str>,
    value: matcher::ValueMatcher,
) -> matcher::MetadataMatcher {
    use matcher::metadata_matcher::{PathSegment, path_segment::Segment};
    let segment = |key: &str| PathSegment {
        segment: Some(Segment::Key(key.to_owned())),
    };
    matcher::MetadataMatcher {
        filter: filter.to_owned(),
        path: path.into_iter().map(segment).collect(),
        value: Some(value),
        invert: false,
    }
}

/// A claim of the request's token: text, or a list with it.
pub(super) fn claim(path: &[&str], values: &[String]) -> matcher::MetadataMatcher {
    claim_value(
        path,
        one_of(values.iter().map(|v| text_value(string(v))).collect()),
    )
}

/// The same for a text of routes.
pub(in crate::translate) fn claim_of(
    path: &[&str],
    text: matcher::StringMatcher,
) -> matcher::MetadataMatcher {
    claim_value(path, text_value(text))
}

fn claim_value(path: &[&str], value: matcher::ValueMatcher) -> matcher::MetadataMatcher {
    let path = [JWT_PAYLOAD].into_iter().chain(path.iter().copied());
    metadata(
        JWT_FILTER,
        path,
        one_of(vec![list_value(value.clone()), value]),
    )
}

/// An address, or a range of them; `None`: neither.
pub(super) fn cidr(text: &str) -> Option<core::CidrRange> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let address: std::net::IpAddr = address.parse().ok()?;
    let all = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(all);
    (bits <= all).then(|| core::CidrRange {
        address_prefix: address.to_string(),
        prefix_len: Some(bits),
    })
}
