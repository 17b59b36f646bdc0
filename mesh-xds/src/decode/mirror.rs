//! Request mirroring, and redirects that are followed here.

use http::StatusCode;
use mesh_core::model::{InternalRedirectPolicy, MirrorCluster, MirrorPolicy, RedirectPredicate};
use mesh_proto::envoy::{
    config::{
        core::v3::TypedExtensionConfig,
        route::v3::{self as proto, route_action::RequestMirrorPolicy},
    },
    extensions::internal_redirect::{
        allow_listed_routes::v3::AllowListedRoutesConfig,
        previous_routes::v3::PreviousRoutesConfig, safe_cross_scheme::v3::SafeCrossSchemeConfig,
    },
};

use super::{
    any::{extension_name, unpack_checked},
    header_operations::modifiable,
    http_filter::header_mutation,
    matcher,
    scalar::{header_value, runtime_fraction},
};
use crate::problems::Problems;

/// `request_mirror_policies`, of any level.
pub(super) fn mirror_policies(
    p: &mut Problems,
    policies: &[RequestMirrorPolicy],
) -> Vec<MirrorPolicy> {
    p.each("request_mirror_policies", policies, mirror_policy)
}

fn mirror_policy(p: &mut Problems, value: &RequestMirrorPolicy) -> Option<MirrorPolicy> {
    let cluster = match (value.cluster.as_str(), value.cluster_header.as_str()) {
        ("", "") => {
            p.error("must hold cluster or cluster_header");
            None
        }
        (name, "") => Some(MirrorCluster::Name(name.into())),
        ("", header) => p
            .field("cluster_header", |p| matcher::matched_header(p, header))
            .map(MirrorCluster::Header),
        _ => {
            p.error("must not hold both cluster and cluster_header");
            None
        }
    };
    let mut fraction = None;
    if let Some(value) = &value.runtime_fraction {
        fraction = Some(p.field("runtime_fraction", |p| runtime_fraction(p, value))?);
    }
    let mutations = p.each(
        "request_headers_mutations",
        &value.request_headers_mutations,
        header_mutation::mutation,
    );
    let host = header_value(p, "host_rewrite_literal", &value.host_rewrite_literal);
    let mut policy = MirrorPolicy::to(cluster?);
    policy.fraction = fraction;
    policy.appends_suffix = !value.disable_shadow_host_suffix_append;
    policy.mutations = mutations;
    policy.host_rewrite_literal = host;
    Some(policy)
}

/// `InternalRedirectPolicy`.
pub(super) fn internal_redirect_policy(
    p: &mut Problems,
    value: &proto::InternalRedirectPolicy,
) -> InternalRedirectPolicy {
    /// Others are left out, as Envoy leaves them out.
    const CODES: [u16; 5] = [301, 302, 303, 307, 308];
    let mut policy = InternalRedirectPolicy::default();
    if let Some(max) = value.max_internal_redirects {
        policy.max_internal_redirects = max;
    }
    if value.redirect_response_codes.len() > CODES.len() {
        p.error_at("redirect_response_codes", "must not hold more than 5 codes");
    }
    if !value.redirect_response_codes.is_empty() {
        let codes = value.redirect_response_codes.iter();
        let codes = codes.filter_map(|code| u16::try_from(*code).ok());
        let codes = codes.filter(|code| CODES.contains(code));
        policy.redirect_response_codes = codes
            .filter_map(|code| StatusCode::from_u16(code).ok())
            .collect();
    }
    policy.predicates = p.each("predicates", &value.predicates, predicate);
    policy.allow_cross_scheme_redirect = value.allow_cross_scheme_redirect;
    policy.response_headers_to_copy = p.each(
        "response_headers_to_copy",
        &value.response_headers_to_copy,
        |p, name| modifiable(p, name),
    );
    policy
}

fn predicate(p: &mut Problems, value: &TypedExtensionConfig) -> Option<RedirectPredicate> {
    const PACKAGE: &str = "envoy.extensions.internal_redirect.";
    let any = p.require("typed_config", value.typed_config.as_ref())?;
    p.field("typed_config", |p| {
        let name = extension_name(any);
        match name.strip_prefix(PACKAGE) {
            Some("previous_routes.v3.PreviousRoutesConfig") => {
                unpack_checked::<PreviousRoutesConfig>(p, any)
                    .map(|_| RedirectPredicate::PreviousRoutes)
            }
            Some("safe_cross_scheme.v3.SafeCrossSchemeConfig") => {
                unpack_checked::<SafeCrossSchemeConfig>(p, any)
                    .map(|_| RedirectPredicate::SafeCrossScheme)
            }
            Some("allow_listed_routes.v3.AllowListedRoutesConfig") => {
                let config: AllowListedRoutesConfig = unpack_checked(p, any)?;
                let names = p.each(
                    "allowed_route_names",
                    &config.allowed_route_names,
                    |p, name| {
                        if name.is_empty() {
                            p.error("must not be empty");
                        }
                        Some(Box::from(name.as_str()))
                    },
                );
                Some(RedirectPredicate::AllowListedRoutes(names))
            }
            _ => {
                p.error(format!("{name} is not supported"));
                None
            }
        }
    })
}
