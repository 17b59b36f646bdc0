//! `RouteMatch`.

use mesh_core::model::{PathMatcher, RouteMatch};
use mesh_proto::envoy::config::route::v3::{self as proto, route_match::PathSpecifier};

use super::{matcher, metadata_matcher::metadata, scalar::runtime_fraction};
use crate::problems::Problems;

/// `RouteMatch`.
pub(super) fn route_match(p: &mut Problems, value: &proto::RouteMatch) -> Option<RouteMatch> {
    let path = path(p, value.path_specifier.as_ref());
    let mut matched = RouteMatch::default();
    matched.case_insensitive = value.case_sensitive == Some(false);
    matched.headers = matcher::headers(p, "headers", &value.headers);
    matched.query_parameters = p.each(
        "query_parameters",
        &value.query_parameters,
        matcher::query_parameter,
    );
    matched.grpc = value.grpc.is_some();
    if let Some(fraction) = &value.runtime_fraction {
        matched.runtime_fraction = p.field("runtime_fraction", |p| runtime_fraction(p, fraction));
    }
    matched.dynamic_metadata = p.each("dynamic_metadata", &value.dynamic_metadata, metadata);
    matched.path = path?;
    Some(matched)
}

fn path(p: &mut Problems, value: Option<&PathSpecifier>) -> Option<PathMatcher> {
    match value {
        Some(PathSpecifier::Prefix(prefix)) => Some(PathMatcher::Prefix(prefix.as_str().into())),
        Some(PathSpecifier::Path(path)) => Some(PathMatcher::Path(path.as_str().into())),
        Some(PathSpecifier::SafeRegex(pattern)) => p
            .field("safe_regex", |p| matcher::regex(p, pattern))
            .map(PathMatcher::Regex),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => p.field("path_separated_prefix", |p| {
            let valid =
                prefix.starts_with('/') && !prefix.ends_with('/') && !prefix.contains(['?', '#']);
            if !valid {
                p.error(format!(
                    "{prefix:?} must begin with /, not end with / and hold no ? or #"
                ));
                return None;
            }
            Some(PathMatcher::PathSeparatedPrefix(prefix.as_str().into()))
        }),
        Some(PathSpecifier::ConnectMatcher(_)) => Some(PathMatcher::Connect),
        // found by the field table
        Some(PathSpecifier::PathMatchPolicy(_)) => None,
        None => {
            p.error("must hold prefix, path, safe_regex, path_separated_prefix or connect_matcher");
            None
        }
    }
}
