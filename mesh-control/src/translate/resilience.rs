use mesh_proto::envoy::config::core::v3::RuntimeFractionalPercent;
use mesh_proto::envoy::config::route::v3 as rt;
use mesh_proto::envoy::extensions::filters::common::fault::v3 as common;
use mesh_proto::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use mesh_proto::envoy::extensions::filters::http::fault::v3 as xds;
use mesh_proto::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use mesh_proto::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use mesh_proto::envoy::r#type::matcher::v3 as matcher;
use mesh_proto::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use rt::retry_policy::{
    RetryBackOff, RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority,
};
use rt::route_action::RequestMirrorPolicy;

use super::address::{any, duration};
use super::route_match;
use crate::model::{Abort, AbortStatus, Cors, Fault, MirrorAmount, Percent, Retries, StringMatch};

const DEFAULT_RETRY_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const RETRIABLE_STATUS_CODES: &str = "retriable-status-codes";

/// A retry policy; the default if nothing is said, none if it is turned off. Where a hash chooses the host, the
/// same one may be tried again.
pub(super) fn retry_policy(retries: Option<&Retries>, hashes: bool) -> Option<rt::RetryPolicy> {
    let mut policy = rt::RetryPolicy {
        retry_on: DEFAULT_RETRY_ON.to_owned(),
        num_retries: Some(2),
        host_selection_retry_max_attempts: 5,
        retry_host_predicate: if hashes {
            Vec::new()
        } else {
            vec![previous_hosts()]
        },
        ..Default::default()
    };
    let Some(retries) = retries else {
        return Some(policy);
    };
    if retries.attempts == 0 {
        return None;
    }
    policy.num_retries = Some(retries.attempts);
    if !retries.retry_on.is_empty() {
        (policy.retry_on, policy.retriable_status_codes) = split_retry_on(&retries.retry_on);
    }
    policy.per_try_timeout = retries.per_try_timeout.map(duration);
    match retries.ignore_previous_hosts {
        Some(true) => policy.retry_host_predicate = vec![previous_hosts()],
        Some(false) => policy.retry_host_predicate.clear(),
        None => {}
    }
    if retries.retry_remote_localities {
        policy.retry_priority = Some(RetryPriority {
            name: "envoy.retry_priorities.previous_priorities".to_owned(),
            config_type: Some(retry_priority::ConfigType::TypedConfig(any(
                &PreviousPrioritiesConfig {
                    update_frequency: 2,
                },
            ))),
        });
    }
    policy.retry_back_off = retries.backoff.map(|base| RetryBackOff {
        base_interval: Some(duration(base)),
        max_interval: None,
    });
    Some(policy)
}

/// What never reached the application is retried.
pub(super) fn inbound_retry_policy() -> rt::RetryPolicy {
    rt::RetryPolicy {
        retry_on: "reset-before-request".to_owned(),
        num_retries: Some(2),
        ..Default::default()
    }
}

fn previous_hosts() -> RetryHostPredicate {
    RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(any(
            &PreviousHostsPredicate {},
        ))),
    }
}

/// Numbers become status codes.
fn split_retry_on(text: &str) -> (String, Vec<u32>) {
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let (mut policies, mut codes) = (Vec::new(), Vec::new());
    for word in words {
        match word.parse() {
            Ok(code) => codes.push(code),
            Err(_) => policies.push(word),
        }
    }
    if !codes.is_empty() && !policies.contains(&RETRIABLE_STATUS_CODES) {
        policies.push(RETRIABLE_STATUS_CODES);
    }
    (policies.join(","), codes)
}

pub(super) fn fault(fault: &Fault) -> prost_types::Any {
    let delay = fault.delay.as_ref().map(|delay| common::FaultDelay {
        // without any percentage Istio emits its deprecated field, which is 0
        percentage: Some(fractional(delay.percent.unwrap_or(Percent::Whole(0)))),
        fault_delay_secifier: Some(common::fault_delay::FaultDelaySecifier::FixedDelay(
            duration(delay.fixed),
        )),
    });
    any(&xds::HttpFault {
        delay,
        abort: fault.abort.as_ref().map(abort),
        ..Default::default()
    })
}

fn abort(abort: &Abort) -> xds::FaultAbort {
    xds::FaultAbort {
        percentage: abort.percent.map(fractional),
        error_type: Some(match abort.status {
            AbortStatus::Http(status) => xds::fault_abort::ErrorType::HttpStatus(status),
            AbortStatus::Grpc(status) => xds::fault_abort::ErrorType::GrpcStatus(status),
        }),
        ..Default::default()
    }
}

fn fractional(percent: Percent) -> FractionalPercent {
    match percent {
        Percent::Whole(percent) => FractionalPercent {
            numerator: percent,
            denominator: DenominatorType::Hundred.into(),
        },
        // the cast cuts off, as Istio's does
        Percent::Fraction(percent) => FractionalPercent {
            numerator: (percent * 10_000.0) as u32,
            denominator: DenominatorType::Million.into(),
        },
    }
}

pub(super) fn mirror(cluster: String, amount: MirrorAmount) -> Option<RequestMirrorPolicy> {
    let percent = match amount {
        MirrorAmount::All => Percent::Whole(100),
        MirrorAmount::Whole(percent) => Percent::Whole(percent),
        MirrorAmount::Fraction(percent) => Percent::Fraction(percent),
    };
    if matches!(percent, Percent::Whole(0)) || matches!(percent, Percent::Fraction(p) if p <= 0.0) {
        return None;
    }
    Some(RequestMirrorPolicy {
        cluster,
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(fractional(percent)),
            ..Default::default()
        }),
        trace_sampled: Some(false),
        disable_shadow_host_suffix_append: true,
        ..Default::default()
    })
}

pub(super) fn cors(cors: &Cors) -> prost_types::Any {
    let origin = |origin: &StringMatch| {
        // presence means nothing for an origin; an empty prefix is what matches all of them
        route_match::string_match(origin).unwrap_or_else(|| matcher::StringMatcher {
            match_pattern: Some(matcher::string_matcher::MatchPattern::Prefix(String::new())),
            ..Default::default()
        })
    };
    any(&CorsPolicy {
        allow_origin_string_match: cors.allow_origins.iter().map(origin).collect(),
        allow_methods: cors.allow_methods.join(","),
        allow_headers: cors.allow_headers.join(","),
        expose_headers: cors.expose_headers.join(","),
        max_age: cors
            .max_age
            .map(|age| age.as_secs().to_string())
            .unwrap_or_default(),
        allow_credentials: cors.allow_credentials,
        filter_enabled: Some(RuntimeFractionalPercent {
            default_value: Some(fractional(Percent::Whole(100))),
            ..Default::default()
        }),
        forward_not_matching_preflights: Some(cors.forward_unmatched_preflights),
        ..Default::default()
    })
}
