//! `RouteMatch`.

use mesh_core::{
    model::{PathMatcher, RouteMatch, TlsContextMatch},
    route::PathTemplate,
};
use mesh_proto::envoy::{
    config::route::v3::{self as proto, route_match::PathSpecifier},
    extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig,
};

use super::{any::unpack_checked, matcher, metadata_matcher::metadata, scalar::runtime_fraction};
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
    matched.cookies = p.each("cookies", &value.cookies, matcher::cookie);
    matched.tls_context = value.tls_context.as_ref().map(|tls| TlsContextMatch {
        presented: tls.presented,
        validated: tls.validated,
    });
    matched.filter_state = !value.filter_state.is_empty();
    if matched.filter_state {
        let never = "nothing here sets filter state: the route never matches";
        p.field("filter_state", |p| p.warn(never));
    }
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
        Some(PathSpecifier::PathMatchPolicy(policy)) => p.field("path_match_policy", |p| {
            let any = p.require("typed_config", policy.typed_config.as_ref())?;
            let config: UriTemplateMatchConfig =
                p.field("typed_config", |p| unpack_checked(p, any))?;
            p.check(PathTemplate::new(&config.path_template))
                .map(PathMatcher::Template)
        }),
        None => {
            p.error("must hold prefix, path, safe_regex, path_separated_prefix, path_match_policy or connect_matcher");
            None
        }
    }
}
