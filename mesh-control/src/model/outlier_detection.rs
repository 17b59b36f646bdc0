use std::time::Duration;

use crate::yaml::At;

/// What ejects an endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct OutlierDetection {
    pub(crate) consecutive_5xx: Option<u32>,
    pub(crate) consecutive_gateway: Option<u32>,
    pub(crate) consecutive_local_origin: Option<u32>,
    pub(crate) split_local_origin: bool,
    pub(crate) interval: Option<Duration>,
    pub(crate) base_ejection_time: Option<Duration>,
    pub(crate) max_ejection_percent: u32,
    pub(crate) min_health_percent: u32,
    /// `consecutiveErrors` of Istio 1.1 to 1.6, which counted gateway errors and nothing else.
    pub(crate) old_consecutive_errors: bool,
}

impl OutlierDetection {
    pub(super) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let number = |name| fields.get(name).map(|at: At<'_>| at.number(u32::MAX));
        let percent = |name| fields.get(name).map_or(0, |at: At<'_>| at.number(100));
        if let Some(at) = fields.get("outlierDetectionHttpErrorCodes") {
            at.without_effect(
                "has no effect in this version of Istio",
                "use consecutive5xxErrors",
            );
        }
        let mut outlier = OutlierDetection {
            consecutive_5xx: number("consecutive5xxErrors"),
            consecutive_gateway: number("consecutiveGatewayErrors"),
            consecutive_local_origin: number("consecutiveLocalOriginFailures"),
            split_local_origin: fields
                .get("splitExternalLocalOriginErrors")
                .is_some_and(|at| at.bool()),
            interval: fields.get("interval").map(|at| at.duration_from_1ms()),
            base_ejection_time: fields
                .get("baseEjectionTime")
                .map(|at| at.duration_from_1ms()),
            max_ejection_percent: percent("maxEjectionPercent"),
            min_health_percent: percent("minHealthPercent"),
            old_consecutive_errors: false,
        };
        if outlier.consecutive_local_origin.is_some_and(|n| n > 0) && !outlier.split_local_origin {
            at.refuse(
                "outlier detection consecutive local origin failures is specified, but split external local origin \
                 errors is set to false",
                "write splitExternalLocalOriginErrors: true",
            );
        }
        if let Some(at) = fields.get("consecutiveErrors") {
            let errors = at.number(u32::MAX);
            at.warn(
                "was removed from Istio; it is read as gateway errors only, as Istio 1.1 to 1.6 did",
                "write consecutive5xxErrors or consecutiveGatewayErrors",
            );
            if outlier.consecutive_gateway.is_none() && outlier.consecutive_5xx.is_none() {
                outlier.consecutive_gateway = Some(errors);
                outlier.old_consecutive_errors = true;
            }
        }
        fields.finish_with(&[
            ("consecutive5xx", "consecutive5xxErrors"),
            ("consecutiveGatewayFailure", "consecutiveGatewayErrors"),
            ("sleepWindow", "baseEjectionTime"),
        ]);
        outlier
    }
}
