//! Matchers: `envoy.type.matcher.v3` and the header and query matchers of routes.

use mesh_core::{
    matcher::{
        CookieMatcher, HeaderCondition, HeaderMatcher, MatchedHeader, QueryCondition,
        QueryParameterMatcher, StringMatcher,
    },
    regex::Regex,
};
use mesh_proto::envoy::{
    config::route::v3::{
        self as proto, header_matcher::HeaderMatchSpecifier as Header,
        query_parameter_matcher::QueryParameterMatchSpecifier as Query,
    },
    r#type::matcher::v3::{self as matcher, path_matcher, string_matcher::MatchPattern},
};

use super::scalar::header_name;
use crate::problems::Problems;

/// `RegexMatcher`.
pub(super) fn regex(p: &mut Problems, value: &matcher::RegexMatcher) -> Option<Regex> {
    p.field("regex", |p| {
        if value.regex.is_empty() {
            p.error("must not be empty");
            return None;
        }
        p.check(Regex::new(&value.regex))
    })
}

/// `StringMatcher`.
pub(super) fn string(p: &mut Problems, value: &matcher::StringMatcher) -> Option<StringMatcher> {
    let ignore_case = value.ignore_case;
    match &value.match_pattern {
        Some(MatchPattern::Exact(text)) => Some(StringMatcher::Exact {
            value: text.as_str().into(),
            ignore_case,
        }),
        Some(MatchPattern::Prefix(text)) => {
            let value = p.require_text("prefix", text)?.into();
            Some(StringMatcher::Prefix { value, ignore_case })
        }
        Some(MatchPattern::Suffix(text)) => {
            let value = p.require_text("suffix", text)?.into();
            Some(StringMatcher::Suffix { value, ignore_case })
        }
        Some(MatchPattern::Contains(text)) => {
            let text = p.require_text("contains", text)?;
            let value = if ignore_case {
                text.to_ascii_lowercase().into()
            } else {
                text.into()
            };
            Some(StringMatcher::Contains { value, ignore_case })
        }
        Some(MatchPattern::SafeRegex(pattern)) => {
            if ignore_case {
                p.error_at(
                    "ignore_case",
                    "has no effect on safe_regex; write (?i) into the pattern",
                );
            }
            p.field("safe_regex", |p| regex(p, pattern))
                .map(StringMatcher::Regex)
        }
        // found by the field table
        Some(MatchPattern::Custom(_)) => None,
        None => {
            p.error("must hold a match_pattern");
            None
        }
    }
}

/// A list of header matchers.
pub(super) fn headers(
    p: &mut Problems,
    name: &'static str,
    list: &[proto::HeaderMatcher],
) -> Vec<HeaderMatcher> {
    p.each(name, list, header)
}

/// `HeaderMatcher`.
pub(super) fn header(p: &mut Problems, value: &proto::HeaderMatcher) -> Option<HeaderMatcher> {
    let name = p.field("name", |p| matched_header(p, &value.name));
    let exact = |text: &str| StringMatcher::Exact {
        value: text.into(),
        ignore_case: false,
    };
    let condition = match &value.header_match_specifier {
        None => HeaderCondition::Any,
        Some(Header::PresentMatch(present)) => HeaderCondition::Present(*present),
        Some(Header::StringMatch(matcher)) => {
            HeaderCondition::String(p.field("string_match", |p| string(p, matcher))?)
        }
        // Any value, but a value: an inverted one does not hold for a header that is not there.
        Some(Header::ExactMatch(text)) if text.is_empty() => {
            HeaderCondition::String(StringMatcher::Prefix {
                value: "".into(),
                ignore_case: false,
            })
        }
        Some(Header::ExactMatch(text)) => HeaderCondition::String(exact(text)),
        Some(Header::SafeRegexMatch(pattern)) => HeaderCondition::String(StringMatcher::Regex(
            p.field("safe_regex_match", |p| regex(p, pattern))?,
        )),
        Some(Header::PrefixMatch(text)) => HeaderCondition::String(StringMatcher::Prefix {
            value: p.require_text("prefix_match", text)?.into(),
            ignore_case: false,
        }),
        Some(Header::SuffixMatch(text)) => HeaderCondition::String(StringMatcher::Suffix {
            value: p.require_text("suffix_match", text)?.into(),
            ignore_case: false,
        }),
        Some(Header::ContainsMatch(text)) => HeaderCondition::String(StringMatcher::Contains {
            value: p.require_text("contains_match", text)?.into(),
            ignore_case: false,
        }),
        // a range that ends before it starts matches nothing, as in Envoy
        Some(Header::RangeMatch(range)) => HeaderCondition::Range {
            start: range.start,
            end: range.end,
        },
    };
    let mut matcher = HeaderMatcher::new(name?, condition);
    matcher.invert = value.invert_match;
    matcher.treat_missing_as_empty = value.treat_missing_header_as_empty;
    Some(matcher)
}

pub(super) fn matched_header(p: &mut Problems, name: &str) -> Option<MatchedHeader> {
    match name.to_ascii_lowercase().as_str() {
        ":method" => Some(MatchedHeader::Method),
        ":scheme" => Some(MatchedHeader::Scheme),
        ":authority" | "host" => Some(MatchedHeader::Authority),
        ":path" => Some(MatchedHeader::Path),
        other => match other.strip_prefix(':') {
            Some(rest) => header_name(p, rest).map(|_| MatchedHeader::Absent(other.into())),
            None => header_name(p, other).map(MatchedHeader::Name),
        },
    }
}

/// `PathMatcher`.
pub(super) fn path(p: &mut Problems, value: &matcher::PathMatcher) -> Option<StringMatcher> {
    match &value.rule {
        Some(path_matcher::Rule::Path(path)) => p.field("path", |p| string(p, path)),
        None => {
            p.error("must hold a rule");
            None
        }
    }
}

/// `CookieMatcher`.
pub(super) fn cookie(p: &mut Problems, value: &proto::CookieMatcher) -> Option<CookieMatcher> {
    let name = p.require_text("name", &value.name);
    let matcher = p.require("string_match", value.string_match.as_ref());
    let matcher = matcher.and_then(|matcher| p.field("string_match", |p| string(p, matcher)));
    Some(CookieMatcher {
        name: name?.into(),
        value: matcher?,
        invert: value.invert_match,
    })
}

/// `QueryParameterMatcher`.
pub(super) fn query_parameter(
    p: &mut Problems,
    value: &proto::QueryParameterMatcher,
) -> Option<QueryParameterMatcher> {
    let name = p.require_text("name", &value.name);
    let condition = match &value.query_parameter_match_specifier {
        None => None,
        Some(Query::PresentMatch(present)) => Some(QueryCondition::Present(*present)),
        Some(Query::StringMatch(matcher)) => Some(QueryCondition::String(
            p.field("string_match", |p| string(p, matcher))?,
        )),
    };
    Some(QueryParameterMatcher::new(name?, condition))
}
