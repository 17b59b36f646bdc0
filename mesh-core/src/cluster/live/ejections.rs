//! Who is ejected, made degraded, and returned (Envoy `DetectorImpl`).

use std::{sync::Arc, time::Instant};

use super::{Balancer, ClusterLive, Control};
use crate::{
    Entropy,
    cluster::{
        endpoint::Endpoint,
        outlier::{self, Cause, Fired, History},
        success_rate::{self, Origin, Rate},
    },
    model::OutlierDetection,
};

impl ClusterLive {
    /// Ejects a host for the causes that fired, if the rules allow.
    pub(in crate::cluster) fn eject(
        &self,
        balancer: &Balancer,
        endpoint: &Endpoint,
        fired: Fired,
        config: &OutlierDetection,
        now: Instant,
        entropy: &mut dyn Entropy,
    ) {
        let mut control = self.control();
        for cause in fired.iter() {
            // One that another thread ejected since keeps its counts until it returns.
            if endpoint.is_ejected() {
                break;
            }
            self.decide(
                &mut control,
                balancer,
                endpoint,
                cause,
                config,
                now,
                entropy,
            );
            endpoint.live().monitor.reset(cause);
        }
    }

    /// Ejects a host for one cause, if the rules allow (Envoy `DetectorImpl::ejectHost`).
    #[allow(clippy::too_many_arguments)]
    fn decide(
        &self,
        control: &mut Control,
        balancer: &Balancer,
        endpoint: &Endpoint,
        cause: Cause,
        config: &OutlierDetection,
        now: Instant,
        entropy: &mut dyn Entropy,
    ) {
        let stats = &self.stats.outlier_detection;
        cause.count_detected(stats);
        let (hosts, ejected) = self.hosts_and_ejected(control, balancer);
        if !outlier::may_eject(config, ejected, hosts) {
            stats.ejections_overflow.inc();
            return;
        }
        cause.count_allowed(stats);
        if !outlier::is_enforced(cause.enforcing(config), entropy) {
            return;
        }
        let live = endpoint.live();
        control.repeated += u64::from(live.is_ejected());
        let mut history = live.monitor.history();
        history.ejection.eject(config, now, entropy);
        drop(history);
        live.set_ejected(true);
        cause.count_enforced(stats);
        stats.ejections_active.set(ejected as u64 + 1);
        self.health_changed(control, balancer, now);
    }

    /// Makes a host degraded that says it is.
    pub(in crate::cluster) fn degrade(
        &self,
        balancer: &Balancer,
        endpoint: &Endpoint,
        config: &OutlierDetection,
        now: Instant,
        entropy: &mut dyn Entropy,
    ) {
        let mut control = self.control();
        let live = endpoint.live();
        if live.is_degraded() {
            return;
        }
        let mut history = live.monitor.history();
        history.degradation.eject(config, now, entropy);
        drop(history);
        live.set_degraded(true);
        self.stats
            .outlier_detection
            .ejections_detected_degradation
            .inc();
        self.health_changed(&mut control, balancer, now);
    }

    /// Returns a host before its time.
    pub(super) fn uneject(
        &self,
        control: &Control,
        balancer: &Balancer,
        endpoint: &Endpoint,
        now: Instant,
    ) {
        return_host(endpoint, &mut endpoint.live().monitor.history(), now);
        self.show_ejections(control, balancer);
    }

    /// Envoy's order: hosts return, rates eject, and who is still in is forgiven.
    pub(super) fn end_interval(
        &self,
        control: &mut Control,
        balancer: &Balancer,
        config: &OutlierDetection,
        now: Instant,
        entropy: &mut dyn Entropy,
    ) {
        let mut hosts = 0;
        let mut returned = 0;
        let mut measured: [Vec<(Arc<Endpoint>, Rate)>; 2] = Default::default();
        self.for_each_host(balancer, |host| {
            hosts += 1;
            let live = host.live();
            let mut history = live.monitor.history();
            if live.is_ejected() && history.ejection.is_over(config, now) {
                return_host(host, &mut history, now);
                returned += 1;
            }
            if live.is_degraded() && history.degradation.is_over(config, now) {
                live.set_degraded(false);
                history.degradation.uneject(now);
                returned += 1;
            }
            history.success_rates = [None; 2];
            for (rate, measured) in std::iter::zip(live.monitor.take_rates(), &mut measured) {
                if let Some(rate) = rate.filter(|rate| rate.counts(config)) {
                    measured.push((Arc::clone(host), rate));
                }
            }
        });
        self.show_ejections(control, balancer);
        // Each return is a change of its own: of several at once the first is in force, the others wait for the window.
        for _ in 0..returned {
            self.health_changed(control, balancer, now);
        }
        if success_rate::is_large_enough(config, hosts) {
            for (origin, mut measured) in std::iter::zip(Origin::ALL, measured) {
                measured.retain(|(host, _)| !host.is_ejected());
                let rates: Vec<Rate> = measured.iter().map(|(_, rate)| *rate).collect();
                for (host, rate) in &measured {
                    let mut history = host.live().monitor.history();
                    history.success_rates[origin as usize] = Some(rate.success);
                }
                for (at, cause) in success_rate::outliers(config, origin, &rates) {
                    let (host, _) = &measured[at];
                    self.decide(control, balancer, host, cause, config, now, entropy);
                }
            }
        }
        self.for_each_host(balancer, |host| {
            let live = host.live();
            let mut history = live.monitor.history();
            if !live.is_ejected() {
                history.ejection.forgive(config, now);
            }
            if !live.is_degraded() {
                history.degradation.forgive(config, now);
            }
        });
        self.original_destinations.retire_unused();
    }

    /// How many hosts there are, and how many ejections Envoy would count as active.
    fn hosts_and_ejected(&self, control: &Control, balancer: &Balancer) -> (usize, usize) {
        let (mut hosts, mut ejected) = (0, control.repeated as usize);
        self.for_each_host(balancer, |host| {
            hosts += 1;
            ejected += usize::from(host.is_ejected());
        });
        (hosts, ejected)
    }

    pub(super) fn show_ejections(&self, control: &Control, balancer: &Balancer) {
        let (_, ejected) = self.hosts_and_ejected(control, balancer);
        let active = &self.stats.outlier_detection.ejections_active;
        active.set(ejected as u64);
    }
}

fn return_host(host: &Endpoint, history: &mut History, now: Instant) {
    host.live().set_ejected(false);
    host.live().monitor.reset_all();
    history.ejection.uneject(now);
}
