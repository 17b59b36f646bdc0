//! The local rate limit filter.

use http::StatusCode;
use mesh_core::{
    filter::{LocalRateLimit, VirtualHostRateLimits},
    rate_limit::{DescriptorConfig, Limiter, LimiterConfig},
};
use mesh_proto::envoy::{
    extensions::{
        common::ratelimit::v3::{
            LocalRateLimitDescriptor, VhRateLimitsOptions, XRateLimitHeadersRfcVersion,
        },
        filters::http::local_ratelimit::v3 as proto,
    },
    r#type::v3::HttpStatus,
};

use crate::{
    decode::{
        header_operations::additions,
        rate_limit::{of_filter, token_bucket},
        scalar::{enumeration, runtime_fraction},
    },
    problems::Problems,
};

/// `LocalRateLimit`, of the chain or of a route.
pub(super) fn local_rate_limit(
    p: &mut Problems,
    value: &proto::LocalRateLimit,
    per_route: bool,
) -> Option<LocalRateLimit> {
    let stat_prefix = p.require_text("stat_prefix", &value.stat_prefix);
    if per_route && value.token_bucket.is_none() {
        p.error_at(
            "token_bucket",
            "local rate limit token bucket must be set for per filter configs",
        );
    }
    let limiter = Limiter::new(limiter(p, value));
    let mut limit = LocalRateLimit::new(stat_prefix.unwrap_or_default(), limiter);
    let mut fraction = |name, value: Option<_>| {
        let value = value?;
        p.field(name, |p| runtime_fraction(p, value))
    };
    limit.enabled = fraction("filter_enabled", value.filter_enabled.as_ref());
    limit.enforced = fraction("filter_enforced", value.filter_enforced.as_ref());
    limit.status = value
        .status
        .as_ref()
        .and_then(|status| p.field("status", |p| error_status(p, status)))
        .unwrap_or(limit.status);
    for (name, list) in [
        ("response_headers_to_add", &value.response_headers_to_add),
        (
            "request_headers_to_add_when_not_enforced",
            &value.request_headers_to_add_when_not_enforced,
        ),
    ] {
        if list.len() > 10 {
            p.error_at(name, "must hold at most 10");
        }
    }
    limit.response_headers =
        additions(p, "response_headers_to_add", &value.response_headers_to_add);
    limit.request_headers = additions(
        p,
        "request_headers_to_add_when_not_enforced",
        &value.request_headers_to_add_when_not_enforced,
    );
    limit.stage = value.stage;
    if value.stage > 10 {
        p.error_at("stage", format!("{} is greater than 10", value.stage));
    }
    limit.rate_limits = p.each("rate_limits", &value.rate_limits, of_filter);
    limit.virtual_host = match enumeration(p, "vh_rate_limits", value.vh_rate_limits)? {
        VhRateLimitsOptions::Override => VirtualHostRateLimits::Override,
        VhRateLimitsOptions::Include => VirtualHostRateLimits::Include,
        VhRateLimitsOptions::Ignore => VirtualHostRateLimits::Ignore,
    };
    limit.per_connection = value.local_rate_limit_per_downstream_connection;
    let headers = enumeration::<XRateLimitHeadersRfcVersion>(
        p,
        "enable_x_ratelimit_headers",
        value.enable_x_ratelimit_headers,
    )?;
    limit.answers_headers = headers == XRateLimitHeadersRfcVersion::DraftVersion03;
    limit.answers_retry_after = value.enable_retry_after_header;
    limit.resource_exhausted = value.rate_limited_as_resource_exhausted;
    stat_prefix.map(|_| limit)
}

/// What is below 400 counts as 429.
fn error_status(p: &mut Problems, value: &HttpStatus) -> Option<StatusCode> {
    use mesh_proto::envoy::r#type::v3::StatusCode as Known;
    if Known::try_from(value.code).is_err() || value.code == 0 {
        p.error_at("code", format!("{} is not a known status", value.code));
        return None;
    }
    let status = u16::try_from(value.code).ok()?;
    StatusCode::from_u16(status)
        .ok()
        .filter(|status| *status >= StatusCode::BAD_REQUEST)
}

fn limiter(p: &mut Problems, value: &proto::LocalRateLimit) -> LimiterConfig {
    let mut config = LimiterConfig::default();
    config.bucket = value
        .token_bucket
        .as_ref()
        .and_then(|bucket| p.field("token_bucket", |p| token_bucket(p, bucket)));
    config.descriptors = p.each("descriptors", &value.descriptors, descriptor);
    for (at, descriptor) in config.descriptors.iter().enumerate() {
        let mut others = config.descriptors.iter().take(at);
        if others.any(|other| other.entries == descriptor.entries) {
            p.field("descriptors", |p| {
                p.error("duplicate descriptor in the local rate descriptor");
            });
        }
    }
    config.always_consumes_default = value.always_consume_default_token_bucket.unwrap_or(true);
    config.max_dynamic = value.max_dynamic_descriptors.unwrap_or(config.max_dynamic);
    if config.max_dynamic == 0 {
        p.error_at("max_dynamic_descriptors", "must be greater than 0");
    }
    config
}

fn descriptor(p: &mut Problems, value: &LocalRateLimitDescriptor) -> Option<DescriptorConfig> {
    if value.entries.is_empty() {
        p.error_at("entries", "must not be empty");
    }
    let entries = p.each("entries", &value.entries, |p, entry| {
        let key = p.require_text("key", &entry.key)?;
        Some((key.into(), entry.value.as_str().into()))
    });
    let bucket = p.require("token_bucket", value.token_bucket.as_ref())?;
    let bucket = p.field("token_bucket", |p| token_bucket(p, bucket))?;
    Some(DescriptorConfig {
        entries,
        bucket,
        shadow: value.shadow_mode,
    })
}
