//! `RetryPolicy` of routes and virtual hosts.

use std::time::Duration;

use mesh_core::{
    model::{Criteria, RateLimitedBackOff, RetryPolicy},
    retry::RetryOn,
};
use mesh_proto::envoy::{
    config::route::v3::{
        self as proto,
        retry_policy::{
            ResetHeaderFormat, RetryHostPredicate, RetryPriority, retry_host_predicate,
            retry_priority,
        },
    },
    extensions::retry::{
        host::omit_host_metadata::v3::OmitHostMetadataConfig,
        priority::previous_priorities::v3::PreviousPrioritiesConfig,
    },
};

use super::{
    any, matcher,
    scalar::{duration, duration_or, enumeration, header_name, positive_duration},
    subset::metadata_match,
};
use crate::problems::Problems;

/// The policy in field `retry_policy`.
pub(super) fn retry_policy(
    p: &mut Problems,
    value: Option<&proto::RetryPolicy>,
) -> Option<RetryPolicy> {
    let value = value?;
    p.field("retry_policy", |p| decode(p, value))
}

/// What the policy in field `hedge_policy` says; Envoy implements nothing else of it.
pub(super) fn hedge_on_per_try_timeout(
    p: &mut Problems,
    value: Option<&proto::HedgePolicy>,
) -> Option<bool> {
    let value = value?;
    if value.initial_requests == Some(0) {
        p.field("hedge_policy", |p| {
            p.error_at("initial_requests", "must be at least 1");
        });
    }
    Some(value.hedge_on_per_try_timeout)
}

fn decode(p: &mut Problems, value: &proto::RetryPolicy) -> Option<RetryPolicy> {
    let mut policy = RetryPolicy::default();
    let (retry_on, unknown) = RetryOn::parse(&value.retry_on);
    policy.retry_on = retry_on;
    for token in unknown {
        p.field("retry_on", |p| {
            p.warn(format!("{token:?} is not a retry condition; ignored"))
        });
    }
    policy.num_retries = value.num_retries.unwrap_or(1);
    policy.per_try_timeout = duration_or(
        p,
        "per_try_timeout",
        value.per_try_timeout.as_ref(),
        Duration::ZERO,
    );
    policy.per_try_idle_timeout = duration_or(
        p,
        "per_try_idle_timeout",
        value.per_try_idle_timeout.as_ref(),
        Duration::ZERO,
    );
    policy.retriable_status_codes = p.each(
        "retriable_status_codes",
        &value.retriable_status_codes,
        |p, code| p.check(u16::try_from(*code).map_err(|_| format!("{code} is not a status"))),
    );
    policy.retriable_headers = matcher::headers(p, "retriable_headers", &value.retriable_headers);
    policy.retriable_request_headers = matcher::headers(
        p,
        "retriable_request_headers",
        &value.retriable_request_headers,
    );
    if let Some(back_off) = &value.retry_back_off {
        (policy.base_interval, policy.max_interval) =
            p.field("retry_back_off", |p| intervals(p, back_off))?;
    }
    if let Some(limited) = &value.rate_limited_retry_back_off {
        policy.rate_limited_back_off =
            p.field("rate_limited_retry_back_off", |p| rate_limited(p, limited));
    }
    let predicates = p.each(
        "retry_host_predicate",
        &value.retry_host_predicate,
        host_predicate,
    );
    for predicate in predicates {
        match predicate {
            HostPredicate::PreviousHosts => policy.previous_hosts = true,
            HostPredicate::OmitCanaryHosts => policy.omit_canary_hosts = true,
            HostPredicate::OmitHostMetadata(labels) => policy.omit_host_metadata.push(labels),
        }
    }
    policy.host_selection_retry_max_attempts =
        u32::try_from(value.host_selection_retry_max_attempts.max(1)).unwrap_or(u32::MAX);
    if let Some(priority) = &value.retry_priority {
        policy.previous_priorities =
            p.field("retry_priority", |p| previous_priorities(p, priority));
    }
    Some(policy)
}

fn intervals(
    p: &mut Problems,
    value: &proto::retry_policy::RetryBackOff,
) -> Option<(Duration, Duration)> {
    p.require("base_interval", value.base_interval.as_ref())?;
    let base = positive_duration(p, "base_interval", value.base_interval.as_ref())?;
    // as Envoy: shorter ones would spin
    let base = base.max(Duration::from_millis(1));
    let max = duration(p, "max_interval", value.max_interval.as_ref());
    if max.is_some_and(|max| max < base) {
        p.error_at("max_interval", "must not be less than base_interval");
    }
    Some((base, max.unwrap_or(base.saturating_mul(10))))
}

fn rate_limited(
    p: &mut Problems,
    value: &proto::retry_policy::RateLimitedRetryBackOff,
) -> Option<RateLimitedBackOff> {
    if value.reset_headers.is_empty() {
        p.error_at("reset_headers", "must not be empty");
    }
    let reset_headers = p.each("reset_headers", &value.reset_headers, |p, header| {
        let name = p.field("name", |p| header_name(p, &header.name));
        let format = enumeration::<ResetHeaderFormat>(p, "format", header.format)?;
        Some((name?, format == ResetHeaderFormat::UnixTimestamp))
    });
    let max_interval = duration_or(
        p,
        "max_interval",
        value.max_interval.as_ref(),
        Duration::from_secs(300),
    );
    Some(RateLimitedBackOff {
        reset_headers,
        max_interval,
    })
}

enum HostPredicate {
    PreviousHosts,
    OmitCanaryHosts,
    OmitHostMetadata(Criteria),
}

fn host_predicate(p: &mut Problems, value: &RetryHostPredicate) -> Option<HostPredicate> {
    let config = value.config_type.as_ref().map(|config| {
        let retry_host_predicate::ConfigType::TypedConfig(config) = config;
        config
    });
    match config.map_or(&*value.name, |config| any::short_name(&config.type_url)) {
        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
        | "envoy.retry_host_predicates.previous_hosts" => Some(HostPredicate::PreviousHosts),
        "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate"
        | "envoy.retry_host_predicates.omit_canary_hosts" => Some(HostPredicate::OmitCanaryHosts),
        "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig" => {
            p.field("typed_config", |p| {
                let config: OmitHostMetadataConfig = any::unpack(p, config?)?;
                let labels = metadata_match(config.metadata_match.as_ref());
                Some(HostPredicate::OmitHostMetadata(labels))
            })
        }
        other => {
            p.error(format!("{other} is no predicate that is known"));
            None
        }
    }
}

fn previous_priorities(p: &mut Problems, value: &RetryPriority) -> Option<u32> {
    let Some(retry_priority::ConfigType::TypedConfig(config)) = &value.config_type else {
        p.require("typed_config", None::<()>);
        return None;
    };
    p.field("typed_config", |p| {
        let config: PreviousPrioritiesConfig = any::unpack(p, config)?;
        if config.update_frequency < 1 {
            p.error_at("update_frequency", "must be at least 1");
        }
        u32::try_from(config.update_frequency).ok()
    })
}
