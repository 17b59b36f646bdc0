//! Outlier detection (Envoy `outlier_detection_impl.cc`).
//!
//! Three parts: what an attempt's outcome counts as ([`Signal`]), the counters of one host ([`HostMonitor`]), and the
//! arithmetic of ejection and return ([`Ejection`]). What rates over an interval say is in [`super::success_rate`]; who
//! is ejected is decided under the cluster's lock in [`super::live`].

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::success_rate::{Rate, Tally};
use crate::{
    Entropy, grpc,
    model::{OutlierDetection, UpstreamHttpOptions},
    outcome::{Outcome, ResetReason},
    stats::OutlierStats,
};

/// What an attempt's outcome is to outlier detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// A response of this status, or what counts as one.
    Status(u16),
    /// The connection could not be made (only told apart with `split_external_local_origin_errors`).
    ConnectFailure,
    /// A timeout or reset after the connection had been made (likewise).
    LocalFailure,
    /// The same after the response's headers, which have told of the connection already (likewise).
    LateLocalFailure,
    /// The connection was made, and nothing else is said of the host (likewise).
    Connected,
}

impl Signal {
    /// None: outlier detection does not hear of it. `late`: the attempt's response headers came before.
    pub(super) fn of(
        outcome: Outcome,
        late: bool,
        config: &OutlierDetection,
        http: &UpstreamHttpOptions,
    ) -> Option<Self> {
        let split = config.split_external_local_origin_errors;
        let failure = match late {
            true => Self::LateLocalFailure,
            false => Self::LocalFailure,
        };
        let local = |as_status, failure| match split {
            true => failure,
            false => Self::Status(as_status),
        };
        Some(match outcome {
            Outcome::Response {
                status,
                grpc_status,
                grpc,
                degraded: _,
            } => {
                let code = match (&http.outlier_error_statuses, grpc_status) {
                    // The matcher is only for what is no gRPC call.
                    (Some(errors), _) if !grpc && errors.contains(&status.as_u16()) => {
                        status.as_u16().max(500)
                    }
                    (Some(_), _) if !grpc => 200,
                    (_, Some(grpc_status)) => grpc::http_of_status(grpc_status),
                    (_, None) => status.as_u16(),
                };
                Self::Status(code)
            }
            // A full breaker says nothing of the host.
            Outcome::Reset(ResetReason::Overflow) => return None,
            Outcome::MaxDuration => return split.then_some(Self::Connected),
            Outcome::Reset(reason) if reason.is_connect_failure() => {
                local(503, Self::ConnectFailure)
            }
            Outcome::Reset(_) => local(503, failure),
            Outcome::PerTryTimeout | Outcome::RouteTimeout => local(504, failure),
            Outcome::AlternativeTimeout => local(204, failure),
        })
    }

    /// Whether it is a response without error.
    pub(super) fn is_success(self) -> bool {
        matches!(self, Self::Status(status) if !is_5xx(status))
    }
}

/// What counts as an error (Envoy `CodeUtility::is5xx`): not all that is 500 or more.
pub(super) const fn is_5xx(status: u16) -> bool {
    matches!(status, 500..600)
}

/// Why a host is to be ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    GatewayFailure,
    Consecutive5xx,
    LocalOriginFailure,
    SuccessRate,
    LocalOriginSuccessRate,
    FailurePercentage,
    LocalOriginFailurePercentage,
}

impl Cause {
    const CONSECUTIVE: [Self; 3] = [
        Self::GatewayFailure,
        Self::Consecutive5xx,
        Self::LocalOriginFailure,
    ];

    /// Percent of the detected ejections that are made.
    pub(super) fn enforcing(self, config: &OutlierDetection) -> u32 {
        match self {
            Self::GatewayFailure => config.enforcing_consecutive_gateway_failure,
            Self::Consecutive5xx => config.enforcing_consecutive_5xx,
            Self::LocalOriginFailure => config.enforcing_consecutive_local_origin_failure,
            Self::SuccessRate => config.enforcing_success_rate,
            Self::LocalOriginSuccessRate => config.enforcing_local_origin_success_rate,
            Self::FailurePercentage => config.enforcing_failure_percentage,
            Self::LocalOriginFailurePercentage => config.enforcing_failure_percentage_local_origin,
        }
    }

    /// Counts a detection.
    pub(super) fn count_detected(self, stats: &OutlierStats) {
        let counter = match self {
            Self::GatewayFailure => &stats.ejections_detected_consecutive_gateway_failure,
            Self::Consecutive5xx => &stats.ejections_detected_consecutive_5xx,
            Self::LocalOriginFailure => &stats.ejections_detected_consecutive_local_origin_failure,
            Self::SuccessRate => &stats.ejections_detected_success_rate,
            Self::LocalOriginSuccessRate => &stats.ejections_detected_local_origin_success_rate,
            Self::FailurePercentage => &stats.ejections_detected_failure_percentage,
            Self::LocalOriginFailurePercentage => {
                &stats.ejections_detected_local_origin_failure_percentage
            }
        };
        counter.inc();
        match self {
            Self::Consecutive5xx => stats.ejections_consecutive_5xx.inc(),
            Self::SuccessRate | Self::LocalOriginSuccessRate => stats.ejections_success_rate.inc(),
            _ => {}
        }
    }

    /// Counts what `max_ejection_percent` let pass, enforced or not.
    pub(super) fn count_allowed(self, stats: &OutlierStats) {
        if matches!(self, Self::Consecutive5xx | Self::SuccessRate) {
            stats.ejections_total.inc();
        }
    }

    /// Counts an ejection.
    pub(super) fn count_enforced(self, stats: &OutlierStats) {
        stats.ejections_enforced_total.inc();
        let counter = match self {
            Self::GatewayFailure => &stats.ejections_enforced_consecutive_gateway_failure,
            Self::Consecutive5xx => &stats.ejections_enforced_consecutive_5xx,
            Self::LocalOriginFailure => &stats.ejections_enforced_consecutive_local_origin_failure,
            Self::SuccessRate => &stats.ejections_enforced_success_rate,
            Self::LocalOriginSuccessRate => &stats.ejections_enforced_local_origin_success_rate,
            Self::FailurePercentage => &stats.ejections_enforced_failure_percentage,
            Self::LocalOriginFailurePercentage => {
                &stats.ejections_enforced_local_origin_failure_percentage
            }
        };
        counter.inc();
    }
}

/// The causes that one signal brought to their threshold, in Envoy's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fired([bool; 3]);

impl Fired {
    pub(super) fn iter(self) -> impl Iterator<Item = Cause> {
        std::iter::zip(Cause::CONSECUTIVE, self.0)
            .filter_map(|(cause, fired)| fired.then_some(cause))
    }
}

/// The counters of one host, written by all threads, and its history of ejections, written under the cluster's lock.
#[derive(Debug, Default)]
pub(super) struct HostMonitor {
    consecutive_5xx: AtomicU32,
    consecutive_gateway_failure: AtomicU32,
    consecutive_local_origin_failure: AtomicU32,
    /// Responses of this interval, and what counts as one.
    external: Tally,
    /// Connections of this interval and what came of them, if local errors are told apart.
    local: Tally,
    history: Mutex<History>,
}

impl HostMonitor {
    /// Whether no run of errors is under way.
    pub(super) fn is_clean(&self) -> bool {
        let counters = [
            &self.consecutive_5xx,
            &self.consecutive_gateway_failure,
            &self.consecutive_local_origin_failure,
        ];
        counters.iter().all(|counter| counter.load(Relaxed) == 0)
    }

    /// Counts a success that ends no run of errors.
    pub(super) fn record_success(&self, config: &OutlierDetection) {
        self.external.add(1, 1);
        if config.split_external_local_origin_errors {
            self.local.add(1, 1);
        }
    }

    /// Counts a signal.
    pub(super) fn record(&self, signal: Signal, config: &OutlierDetection) -> Fired {
        let mut fired = Fired::default();
        let [gateway_fired, fired_5xx, local_fired] = &mut fired.0;
        let split = config.split_external_local_origin_errors;
        match signal {
            Signal::Status(status) if !is_5xx(status) => {
                self.record_success(config);
                clear(&self.consecutive_gateway_failure);
                clear(&self.consecutive_5xx);
                clear(&self.consecutive_local_origin_failure);
            }
            Signal::Status(status) => {
                self.external.add(0, 1);
                if split {
                    self.local.add(1, 1);
                }
                clear(&self.consecutive_local_origin_failure);
                if matches!(status, 502..=504) {
                    *gateway_fired = count(
                        &self.consecutive_gateway_failure,
                        config.consecutive_gateway_failure,
                    );
                } else {
                    clear(&self.consecutive_gateway_failure);
                }
                *fired_5xx = count(&self.consecutive_5xx, config.consecutive_5xx);
            }
            Signal::Connected => {
                self.local.add(1, 1);
                clear(&self.consecutive_local_origin_failure);
            }
            Signal::ConnectFailure | Signal::LocalFailure | Signal::LateLocalFailure => {
                self.local.add(0, 1);
                if signal == Signal::LocalFailure {
                    // The connection that was made before has ended the run of failures.
                    self.local.add(1, 1);
                    clear(&self.consecutive_local_origin_failure);
                }
                *local_fired = count(
                    &self.consecutive_local_origin_failure,
                    config.consecutive_local_origin_failure,
                );
            }
        }
        fired
    }

    /// Ends an interval: what it says of responses, then of connections. None: there were none.
    pub(super) fn take_rates(&self) -> [Option<Rate>; 2] {
        [self.external.take(), self.local.take()]
    }

    /// Starts the count of this cause anew.
    pub(super) fn reset(&self, cause: Cause) {
        match cause {
            Cause::GatewayFailure => clear(&self.consecutive_gateway_failure),
            Cause::Consecutive5xx => clear(&self.consecutive_5xx),
            Cause::LocalOriginFailure => clear(&self.consecutive_local_origin_failure),
            _ => {}
        }
    }

    /// Starts all counts anew, as when the host returns.
    pub(super) fn reset_all(&self) {
        Cause::CONSECUTIVE
            .into_iter()
            .for_each(|cause| self.reset(cause));
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks before it writes: a host without errors has its cache line shared by all threads.
fn clear(counter: &AtomicU32) {
    if counter.load(Relaxed) != 0 {
        counter.store(0, Relaxed);
    }
}

/// Counts up; whether exactly the threshold was reached.
fn count(counter: &AtomicU32, threshold: u32) -> bool {
    counter.fetch_add(1, Relaxed).wrapping_add(1) == threshold
}

/// Whether one more of `hosts` may be ejected when `ejected` are.
pub(super) fn may_eject(config: &OutlierDetection, ejected: usize, hosts: usize) -> bool {
    let percent = 100.0 * (ejected as f64 + 1.0) / hosts as f64;
    percent <= f64::from(config.max_ejection_percent.min(100))
        || (config.always_eject_one_host && ejected == 0)
}

/// Whether a detected ejection is made.
pub(super) fn is_enforced(percent: u32, entropy: &mut dyn Entropy) -> bool {
    match percent {
        0 => false,
        100.. => true,
        percent => entropy.next_u64() % 100 < u64::from(percent),
    }
}

/// The history of one host: of its ejections, and apart from that of the times it was degraded.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) ejection: Ejection,
    pub(super) degradation: Ejection,
    /// The success rates of the last interval, in percent, where enough was asked.
    pub(super) success_rates: [Option<f64>; 2],
}

/// How often and since when a host was taken out, or made degraded, which follows the same arithmetic.
#[derive(Debug, Default)]
pub(super) struct Ejection {
    ejected: Option<Instant>,
    returned: Option<Instant>,
    /// How many times the base time the next ejection lasts.
    multiplier: u32,
    jitter: Duration,
}

impl Ejection {
    pub(super) fn eject(
        &mut self,
        config: &OutlierDetection,
        now: Instant,
        entropy: &mut dyn Entropy,
    ) {
        self.ejected = Some(now);
        let jitter = config.max_ejection_time_jitter.as_millis() as u64;
        self.jitter = match jitter {
            0 => Duration::ZERO,
            most => Duration::from_millis(entropy.next_u64() % (most + 1)),
        };
        let base = config.base_ejection_time;
        if base.saturating_mul(self.multiplier) < config.max_ejection_time.saturating_add(base) {
            self.multiplier += 1;
        }
    }

    /// Whether an ejected host's time is up.
    pub(super) fn is_over(&self, config: &OutlierDetection, now: Instant) -> bool {
        let Some(ejected) = self.ejected else {
            return true;
        };
        let time = config
            .base_ejection_time
            .saturating_mul(self.multiplier)
            .min(config.max_ejection_time)
            .saturating_add(self.jitter);
        now.saturating_duration_since(ejected) >= time
    }

    pub(super) fn uneject(&mut self, now: Instant) {
        self.returned = Some(now);
    }

    /// Forgives a host that has been back for an interval: its next ejection is shorter by one base time.
    pub(super) fn forgive(&mut self, config: &OutlierDetection, now: Instant) {
        if let Some(returned) = self.returned
            && now.saturating_duration_since(returned) >= config.interval
        {
            self.multiplier = self.multiplier.saturating_sub(1);
        }
    }
}
