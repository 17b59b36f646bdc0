//! `OutlierDetection` of a cluster: consecutive errors.

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
    warn_of_statistics(p, value);
    detection
}

/// Ejection by success rate (on by default) and failure percentage only moves load; it does not exist yet.
fn warn_of_statistics(p: &mut Problems, value: &proto::OutlierDetection) {
    if value.enforcing_success_rate != Some(0) {
        p.field("enforcing_success_rate", |p| {
            p.warn(
                "ejection by success rate is not supported yet; ignored (set it to 0 to say so)",
            );
        });
    }
    if value.enforcing_failure_percentage.unwrap_or(0) != 0 {
        p.field("enforcing_failure_percentage", |p| {
            p.warn("ejection by failure percentage is not supported yet; ignored");
        });
    }
}
