use mesh_proto::envoy::config::route::v3 as rt;
use mesh_proto::envoy::r#type::matcher::v3 as matcher;
use rt::header_matcher::HeaderMatchSpecifier;
use rt::query_parameter_matcher::QueryParameterMatchSpecifier;
use rt::route_match::PathSpecifier;

use super::authorization::claim_of;
use crate::model::{HttpMatch, StringMatch, claim};

/// The match of a route; without conditions it is the prefix `/`.
pub(super) fn route_match(matched: Option<&HttpMatch>) -> rt::RouteMatch {
    let mut out = rt::RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
        ..Default::default()
    };
    let Some(matched) = matched else { return out };
    for (inverted, headers) in [(false, &matched.headers), (true, &matched.without_headers)] {
        for (name, m) in headers {
            match claim(name) {
                Some(claim) => out.dynamic_metadata.push(matcher::MetadataMatcher {
                    invert: inverted,
                    ..claim_of(&claim, claim_text(m))
                }),
                None if inverted => out.headers.push(without_header(name, m)),
                None => out.headers.push(header(name, m)),
            }
        }
    }
    out.headers.sort_by(|a, b| a.name.cmp(&b.name));
    match &matched.uri {
        Some(StringMatch::Exact(path)) => {
            out.path_specifier = Some(PathSpecifier::Path(path.clone()))
        }
        Some(StringMatch::Prefix(prefix)) => {
            out.path_specifier = Some(PathSpecifier::Prefix(prefix.clone()))
        }
        Some(StringMatch::PathPrefix(prefix, _)) => {
            out.path_specifier = Some(PathSpecifier::PathSeparatedPrefix(prefix.clone()))
        }
        Some(StringMatch::Regex(regex)) => {
            out.path_specifier = Some(PathSpecifier::SafeRegex(self::regex(regex)))
        }
        Some(StringMatch::Present) | None => {}
    }
    out.case_sensitive = Some(!matched.ignore_uri_case);
    for (name, condition) in [
        (":method", &matched.method),
        (":authority", &matched.authority),
        (":scheme", &matched.scheme),
    ] {
        out.headers
            .extend(condition.as_ref().map(|m| header(name, m)));
    }
    out.query_parameters = matched
        .query_params
        .iter()
        .map(|(name, m)| query_parameter(name, m))
        .collect();
    out
}

/// Whether a match lets every request through, so that later routes are never reached.
pub(super) fn is_catch_all(matched: &rt::RouteMatch) -> bool {
    let any_path = match &matched.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => prefix == "/",
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex == ".*",
        _ => false,
    };
    any_path
        && matched.headers.is_empty()
        && matched.query_parameters.is_empty()
        && matched.dynamic_metadata.is_empty()
}

/// Text that a claim must be; its presence cannot be asked for, which is refused before.
fn claim_text(matched: &StringMatch) -> matcher::StringMatcher {
    match matched {
        StringMatch::Regex(regex) => matcher::StringMatcher {
            match_pattern: Some(matcher::string_matcher::MatchPattern::SafeRegex(
                self::regex(regex),
            )),
            ..Default::default()
        },
        matched => string_match(matched).unwrap_or_default(),
    }
}

fn header(name: &str, matched: &StringMatch) -> rt::HeaderMatcher {
    rt::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(match string_match(matched) {
            None => HeaderMatchSpecifier::PresentMatch(true),
            Some(matcher) => HeaderMatchSpecifier::StringMatch(matcher),
        }),
        ..Default::default()
    }
}

fn without_header(name: &str, matched: &StringMatch) -> rt::HeaderMatcher {
    rt::HeaderMatcher {
        invert_match: true,
        treat_missing_header_as_empty: string_match(matched).is_some(),
        ..header(name, matched)
    }
}

fn query_parameter(name: &str, matched: &StringMatch) -> rt::QueryParameterMatcher {
    rt::QueryParameterMatcher {
        name: name.to_owned(),
        query_parameter_match_specifier: Some(match string_match(matched) {
            None => QueryParameterMatchSpecifier::PresentMatch(true),
            Some(matcher) => QueryParameterMatchSpecifier::StringMatch(matcher),
        }),
    }
}

/// `None` if presence is enough: nothing given, or the regex `*`, which Istio reads so.
pub(super) fn string_match(matched: &StringMatch) -> Option<matcher::StringMatcher> {
    use matcher::string_matcher::MatchPattern;
    let pattern = match matched {
        StringMatch::Present => return None,
        StringMatch::Regex(regex) if regex == "*" => return None,
        StringMatch::Regex(regex) => MatchPattern::SafeRegex(self::regex(regex)),
        StringMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        StringMatch::Prefix(text) | StringMatch::PathPrefix(text, _) => {
            MatchPattern::Prefix(text.clone())
        }
    };
    Some(matcher::StringMatcher {
        match_pattern: Some(pattern),
        ..Default::default()
    })
}

pub(super) fn regex(regex: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher {
        regex: regex.to_owned(),
        ..Default::default()
    }
}
