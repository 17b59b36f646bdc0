//! The CORS filter's policy.

use mesh_core::filter::CorsPolicy;
use mesh_proto::envoy::extensions::filters::http::cors::v3 as cors;

use crate::{
    decode::{
        matcher,
        scalar::{header_value, runtime_fraction},
    },
    problems::Problems,
};

/// `CorsPolicy`.
pub(super) fn cors_policy(p: &mut Problems, value: &cors::CorsPolicy) -> Option<CorsPolicy> {
    let mut policy = CorsPolicy::default();
    policy.allow_origins = p.each(
        "allow_origin_string_match",
        &value.allow_origin_string_match,
        matcher::string,
    );
    policy.allow_methods = header_value(p, "allow_methods", &value.allow_methods);
    policy.allow_headers = header_value(p, "allow_headers", &value.allow_headers);
    policy.expose_headers = header_value(p, "expose_headers", &value.expose_headers);
    policy.max_age = header_value(p, "max_age", &value.max_age);
    policy.allow_credentials = value.allow_credentials;
    policy.filter_enabled = value
        .filter_enabled
        .as_ref()
        .and_then(|f| p.field("filter_enabled", |p| runtime_fraction(p, f)));
    policy.shadow_enabled = value
        .shadow_enabled
        .as_ref()
        .and_then(|f| p.field("shadow_enabled", |p| runtime_fraction(p, f)));
    policy.allow_private_network_access = value.allow_private_network_access;
    policy.forward_not_matching_preflights = value.forward_not_matching_preflights;
    Some(policy)
}
