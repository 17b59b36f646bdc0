//! The CSRF filter's policy.

use mesh_core::filter::CsrfPolicy;
use mesh_proto::envoy::extensions::filters::http::csrf::v3 as csrf;

use crate::{
    decode::{matcher, scalar::runtime_fraction},
    problems::Problems,
};

/// `CsrfPolicy`.
pub(super) fn csrf_policy(p: &mut Problems, value: &csrf::CsrfPolicy) -> Option<CsrfPolicy> {
    let mut policy = CsrfPolicy::default();
    let enabled = p.require("filter_enabled", value.filter_enabled.as_ref())?;
    policy.filter_enabled = p.field("filter_enabled", |p| runtime_fraction(p, enabled));
    policy.shadow_enabled = value
        .shadow_enabled
        .as_ref()
        .and_then(|f| p.field("shadow_enabled", |p| runtime_fraction(p, f)));
    policy.additional_origins = p.each(
        "additional_origins",
        &value.additional_origins,
        matcher::string,
    );
    Some(policy)
}
