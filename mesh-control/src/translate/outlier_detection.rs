use mesh_proto::envoy::config::cluster::v3 as xds;

use super::address::duration;
use crate::model::OutlierDetection;

/// What ejects endpoints of a cluster.
pub(super) fn apply(cluster: &mut xds::Cluster, outlier: &OutlierDetection) {
    // a threshold of 0 turns a detector off
    let enforcing = |threshold: u32| Some(if threshold > 0 { 100 } else { 0 });
    let mut out = xds::OutlierDetection {
        enforcing_success_rate: Some(0),
        consecutive_5xx: outlier.consecutive_5xx,
        enforcing_consecutive_5xx: outlier.consecutive_5xx.and_then(enforcing),
        consecutive_gateway_failure: outlier.consecutive_gateway,
        enforcing_consecutive_gateway_failure: outlier.consecutive_gateway.and_then(enforcing),
        interval: outlier.interval.map(duration),
        base_ejection_time: outlier.base_ejection_time.map(duration),
        max_ejection_percent: (outlier.max_ejection_percent > 0)
            .then_some(outlier.max_ejection_percent),
        ..Default::default()
    };
    if outlier.old_consecutive_errors {
        out.enforcing_consecutive_5xx = Some(0);
    }
    if outlier.split_local_origin {
        out.split_external_local_origin_errors = true;
        if let Some(failures) = outlier.consecutive_local_origin.filter(|n| *n > 0) {
            out.consecutive_local_origin_failure = Some(failures);
            out.enforcing_consecutive_local_origin_failure = Some(100);
        }
        out.enforcing_local_origin_success_rate = Some(0);
    }
    cluster.outlier_detection = Some(out);
}
