//! `OutlierDetection` of a cluster.

use mesh_core::model::OutlierDetection;
use mesh_proto::envoy::config::cluster::v3 as proto;

use super::scalar::{duration_or, positive_duration, whole_percent};
use crate::problems::Problems;

/// `OutlierDetection` with Envoy's defaults filled in.
pub(super) fn outlier_detection(
    p: &mut Problems,
    value: &proto::OutlierDetection,
) -> OutlierDetection {
    let mut detection = OutlierDetection::default();
    detection.consecutive_5xx = value.consecutive_5xx.unwrap_or(detection.consecutive_5xx);
    detection.enforcing_consecutive_5xx = whole_percent(
        p,
        "enforcing_consecutive_5xx",
        value.enforcing_consecutive_5xx,
        100,
    );
    detection.consecutive_gateway_failure = value
        .consecutive_gateway_failure
        .unwrap_or(detection.consecutive_gateway_failure);
    detection.enforcing_consecutive_gateway_failure = whole_percent(
        p,
        "enforcing_consecutive_gateway_failure",
        value.enforcing_consecutive_gateway_failure,
        0,
    );
    detection.split_external_local_origin_errors = value.split_external_local_origin_errors;
    detection.consecutive_local_origin_failure = value
        .consecutive_local_origin_failure
        .unwrap_or(detection.consecutive_local_origin_failure);
    detection.enforcing_consecutive_local_origin_failure = whole_percent(
        p,
        "enforcing_consecutive_local_origin_failure",
        value.enforcing_consecutive_local_origin_failure,
        100,
    );
    detection.interval =
        positive_duration(p, "interval", value.interval.as_ref()).unwrap_or(detection.interval);
    detection.base_ejection_time =
        positive_duration(p, "base_ejection_time", value.base_ejection_time.as_ref())
            .unwrap_or(detection.base_ejection_time);
    let longest = detection
        .max_ejection_time
        .max(detection.base_ejection_time);
    detection.max_ejection_time =
        positive_duration(p, "max_ejection_time", value.max_ejection_time.as_ref())
            .unwrap_or(longest);
    if detection.max_ejection_time < detection.base_ejection_time {
        p.error_at(
            "max_ejection_time",
            "must not be less than base_ejection_time",
        );
    }
    detection.max_ejection_time_jitter = duration_or(
        p,
        "max_ejection_time_jitter",
        value.max_ejection_time_jitter.as_ref(),
        detection.max_ejection_time_jitter,
    );
    detection.max_ejection_percent =
        whole_percent(p, "max_ejection_percent", value.max_ejection_percent, 10);
    detection.always_eject_one_host = value.always_eject_one_host.unwrap_or(false);
    detection.successful_active_health_check_uneject_host = value
        .successful_active_health_check_uneject_host
        .unwrap_or(true);
    detection.detect_degraded_hosts = value.detect_degraded_hosts.unwrap_or(false);
    rates(p, value, &mut detection);
    detection
}

/// Success rate and failure percentage.
fn rates(p: &mut Problems, value: &proto::OutlierDetection, detection: &mut OutlierDetection) {
    let number = |field: Option<u32>, into: &mut u32| *into = field.unwrap_or(*into);
    number(
        value.success_rate_minimum_hosts,
        &mut detection.success_rate_minimum_hosts,
    );
    number(
        value.success_rate_request_volume,
        &mut detection.success_rate_request_volume,
    );
    number(
        value.success_rate_stdev_factor,
        &mut detection.success_rate_stdev_factor,
    );
    number(
        value.failure_percentage_minimum_hosts,
        &mut detection.failure_percentage_minimum_hosts,
    );
    number(
        value.failure_percentage_request_volume,
        &mut detection.failure_percentage_request_volume,
    );
    let mut percent = |name: &'static str, field: Option<u32>, into: &mut u32| {
        *into = whole_percent(p, name, field, *into);
    };
    percent(
        "enforcing_success_rate",
        value.enforcing_success_rate,
        &mut detection.enforcing_success_rate,
    );
    percent(
        "enforcing_local_origin_success_rate",
        value.enforcing_local_origin_success_rate,
        &mut detection.enforcing_local_origin_success_rate,
    );
    percent(
        "failure_percentage_threshold",
        value.failure_percentage_threshold,
        &mut detection.failure_percentage_threshold,
    );
    percent(
        "enforcing_failure_percentage",
        value.enforcing_failure_percentage,
        &mut detection.enforcing_failure_percentage,
    );
    percent(
        "enforcing_failure_percentage_local_origin",
        value.enforcing_failure_percentage_local_origin,
        &mut detection.enforcing_failure_percentage_local_origin,
    );
}
