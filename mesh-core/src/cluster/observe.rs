//! What outlier detection hears of a cluster's endpoints.

use std::{sync::Arc, time::Instant};

use super::{
    Cluster, Endpoint,
    outlier::{Fired, Signal, is_5xx},
};
use crate::{Entropy, model::OutlierDetection, outcome::Outcome};

impl Cluster {
    /// Tells outlier detection how an attempt ended. An ejection is in force when this returns: the very next pick
    /// does not see the endpoint, unless another change of health came less than `update_merge_window` before (then
    /// it is in force one window later, as in Envoy), or the cluster has more than 1,000 endpoints (then picks pass
    /// over the endpoint until the next [`Self::sweep`]). `now` is read from the caller's clock only when the outcome
    /// is an error or the cluster has an outlier detector.
    ///
    /// A timeout is told only if the attempt's connection had been made, as in Envoy. A success costs a few relaxed
    /// loads; only an ejection takes a lock.
    pub fn observe(
        &self,
        endpoint: &Arc<Endpoint>,
        outcome: Outcome,
        now: Instant,
        entropy: &mut dyn Entropy,
    ) {
        let Some(config) = &self.config.outlier_detection else {
            return;
        };
        let monitor = &endpoint.live().monitor;
        let ends_no_run = is_plain_success(outcome)
            && self.config.http.outlier_error_statuses.is_none()
            && monitor.is_clean();
        match ends_no_run {
            true => monitor.record_success(config),
            false => self.count(config, endpoint, outcome, false, now, entropy),
        }
        self.live.apply_waiting(&self.balancer, now);
    }

    /// The same for what happened to an attempt after its response headers, of which outlier detection has heard.
    pub fn observe_late(
        &self,
        endpoint: &Arc<Endpoint>,
        outcome: Outcome,
        now: Instant,
        entropy: &mut dyn Entropy,
    ) {
        if let Some(config) = &self.config.outlier_detection {
            self.count(config, endpoint, outcome, true, now, entropy);
            self.live.apply_waiting(&self.balancer, now);
        }
    }

    #[cold]
    fn count(
        &self,
        config: &OutlierDetection,
        endpoint: &Endpoint,
        outcome: Outcome,
        late: bool,
        now: Instant,
        entropy: &mut dyn Entropy,
    ) {
        let Some(signal) = Signal::of(outcome, late, config, &self.config.http) else {
            return;
        };
        let live = endpoint.live();
        let fired = live.monitor.record(signal, config);
        if fired != Fired::default() {
            self.live
                .eject(&self.balancer, endpoint, fired, config, now, entropy);
        }
        let says_degraded = matches!(outcome, Outcome::Response { degraded: true, .. });
        if says_degraded
            && config.detect_degraded_hosts
            && signal.is_success()
            && !live.is_degraded()
        {
            self.live
                .degrade(&self.balancer, endpoint, config, now, entropy);
        }
    }

    /// The interval work of outlier detection: returns hosts whose time is up, ejects those whose rates are bad,
    /// applies merged health updates. Returns when to come back; None: never (neither outlier detection nor health
    /// checks).
    pub fn sweep(&self, now: Instant, entropy: &mut dyn Entropy) -> Option<Instant> {
        let config = self.config.outlier_detection.as_ref();
        if config.is_none() && self.config.health_check.is_none() {
            return None;
        }
        Some(self.live.sweep(&self.balancer, config, now, entropy))
    }
}

/// A success whatever the configuration, unless there is an error matcher.
fn is_plain_success(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Response { status, grpc_status: None | Some(0), degraded: false, .. }
            if !is_5xx(status.as_u16())
    )
}
