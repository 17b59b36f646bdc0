//! What active health checks say of an endpoint (Envoy `health_checker_base_impl.cc`).
//!
//! [`ActiveHealth`] is the state of one endpoint: flags as decided and as load balancing sees them, and the run of
//! results. Who asks and waits is the control thread; here is what an answer means and when to ask again.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    Entropy,
    model::HealthCheck,
    stats::{ClusterStats, HealthCheckStats},
};

/// What one check of one endpoint came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckResult {
    /// The answer is the expected one.
    Success {
        /// It has `x-envoy-degraded`.
        degraded: bool,
    },
    /// The answer is another one.
    Unexpected {
        /// Its status is one of `retriable_statuses`.
        retriable: bool,
        /// It has `x-envoy-immediate-health-check-fail`.
        excluded: bool,
    },
    /// No connection, or no whole answer.
    Network,
    /// No answer within `timeout`.
    Timeout,
}

/// Flags of Envoy's `Host::HealthFlag` that active health checks set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthFlags(u8);

impl HealthFlags {
    /// `FAILED_ACTIVE_HC`.
    pub const FAILED: Self = Self(1);
    /// `ACTIVE_HC_TIMEOUT`: failed, the last time for want of an answer.
    pub const TIMEOUT: Self = Self(1 << 1);
    /// `DEGRADED_ACTIVE_HC`.
    pub const DEGRADED: Self = Self(1 << 2);
    /// `PENDING_ACTIVE_HC`: not checked yet, and not counted until then.
    pub const PENDING: Self = Self(1 << 3);
    /// `EXCLUDED_VIA_IMMEDIATE_HC_FAIL`.
    pub const EXCLUDED: Self = Self(1 << 4);
    /// `PENDING_DYNAMIC_REMOVAL`: its assignment has forgotten it; it goes with its next failed check.
    pub const PENDING_REMOVAL: Self = Self(1 << 5);

    /// Whether any of these is set.
    pub const fn any(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// Whether none is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These and those.
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }

    /// Whether the endpoint is one that its assignment has forgotten and that fails its checks.
    pub(super) const fn is_gone(self) -> bool {
        self.any(Self::PENDING_REMOVAL) && self.any(Self::FAILED)
    }
}

/// What active health checks say of one endpoint; outlives snapshots.
#[derive(Debug, Default)]
pub(super) struct ActiveHealth {
    flags: AtomicU8,
    /// As load balancing sees them (they may lag by the update merge window).
    in_force: AtomicU8,
    run: Mutex<Run>,
}

/// The results so far.
#[derive(Debug, Default)]
struct Run {
    is_checked: bool,
    successes: u32,
    failures: u32,
}

/// What a result changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    Unchanged,
    /// The endpoint's flags are others now.
    Changed,
    /// More results like this one will change them.
    Pending,
}

/// What is counted as a failure's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Active,
    Network,
    Timeout,
    Passive,
}

impl ActiveHealth {
    /// Of an endpoint that is new: unhealthy until its first check.
    pub(super) fn unchecked(flags: HealthFlags) -> Self {
        Self {
            flags: AtomicU8::new(flags.0),
            in_force: AtomicU8::new(flags.0),
            run: Mutex::default(),
        }
    }

    pub(super) fn flags(&self) -> HealthFlags {
        HealthFlags(self.flags.load(Relaxed))
    }

    /// As load balancing sees them.
    pub(super) fn in_force(&self) -> HealthFlags {
        HealthFlags(self.in_force.load(Relaxed))
    }

    /// Makes load balancing see what was decided.
    pub(super) fn publish(&self) {
        self.in_force.store(self.flags().0, Relaxed);
    }

    /// Sets or clears flags from outside of the checks.
    pub(super) fn set(&self, flags: HealthFlags, on: bool) {
        let _run = self.run();
        let before = self.flags();
        let after = if on {
            before.with(flags)
        } else {
            before.without(flags)
        };
        self.flags.store(after.0, Relaxed);
    }

    /// Whether it has had a result.
    pub(super) fn is_checked(&self) -> bool {
        self.run().is_checked
    }

    /// Counts a result.
    pub(super) fn record(
        &self,
        check: &HealthCheck,
        result: CheckResult,
        stats: &HealthCheckStats,
    ) -> Transition {
        match result {
            CheckResult::Success { degraded } => self.succeeded(check, degraded, stats),
            CheckResult::Unexpected {
                retriable,
                excluded,
            } => {
                if excluded {
                    self.set(HealthFlags::EXCLUDED, true);
                }
                self.failed(check, Failure::Active, retriable, stats)
            }
            CheckResult::Network => self.failed(check, Failure::Network, false, stats),
            CheckResult::Timeout => self.failed(check, Failure::Timeout, false, stats),
        }
    }

    /// An answer to a request had `x-envoy-immediate-health-check-fail`.
    pub(super) fn fail_now(&self, check: &HealthCheck, stats: &HealthCheckStats) -> Transition {
        self.set(HealthFlags::EXCLUDED, true);
        self.failed(check, Failure::Passive, false, stats)
    }

    fn succeeded(
        &self,
        check: &HealthCheck,
        degraded: bool,
        stats: &HealthCheckStats,
    ) -> Transition {
        let mut run = self.run();
        run.failures = 0;
        let mut flags = self.flags();
        let mut transition = Transition::Unchanged;
        if flags.any(HealthFlags::FAILED) {
            if run.is_checked {
                run.successes += 1;
            }
            // The first result of all counts at once.
            if !run.is_checked || run.successes == check.healthy_threshold {
                flags = flags
                    .without(HealthFlags::TIMEOUT)
                    .without(HealthFlags::EXCLUDED)
                    .without(HealthFlags::FAILED);
                transition = Transition::Changed;
            } else {
                transition = Transition::Pending;
            }
        }
        if flags.any(HealthFlags::PENDING) {
            flags = flags.without(HealthFlags::PENDING);
            transition = Transition::Changed;
        }
        if degraded != flags.any(HealthFlags::DEGRADED) {
            flags = match degraded {
                true => {
                    // Envoy counts it down again only when the endpoint goes.
                    stats.degraded.inc();
                    flags.with(HealthFlags::DEGRADED)
                }
                false => flags.without(HealthFlags::DEGRADED),
            };
            if transition == Transition::Unchanged {
                transition = Transition::Changed;
            }
        }
        self.flags.store(flags.0, Relaxed);
        run.is_checked = true;
        stats.success.inc();
        transition
    }

    fn failed(
        &self,
        check: &HealthCheck,
        failure: Failure,
        retriable: bool,
        stats: &HealthCheckStats,
    ) -> Transition {
        let mut run = self.run();
        run.successes = 0;
        let mut flags = self.flags();
        let mut transition = Transition::Unchanged;
        let network = matches!(failure, Failure::Network | Failure::Timeout);
        if !flags.any(HealthFlags::FAILED) {
            let counts = network || retriable;
            if counts {
                run.failures += 1;
            }
            if !counts || run.failures == check.unhealthy_threshold {
                flags = flags.with(HealthFlags::FAILED);
                transition = Transition::Changed;
            } else {
                transition = Transition::Pending;
            }
        }
        flags = match failure == Failure::Timeout && flags.any(HealthFlags::FAILED) {
            true => flags.with(HealthFlags::TIMEOUT),
            false => flags.without(HealthFlags::TIMEOUT),
        };
        if flags.any(HealthFlags::PENDING) {
            flags = flags.without(HealthFlags::PENDING);
            transition = Transition::Changed;
        }
        self.flags.store(flags.0, Relaxed);
        run.is_checked = true;
        stats.failure.inc();
        if network {
            stats.network_failure.inc();
        } else if failure == Failure::Passive {
            stats.passive_failure.inc();
        }
        transition
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When to ask again (Envoy `HealthCheckerImplBase::interval`); at least a millisecond.
pub(super) fn next_check(
    check: &HealthCheck,
    result: CheckResult,
    transition: Transition,
    stats: &ClusterStats,
    entropy: &mut dyn Entropy,
) -> Duration {
    let success = matches!(result, CheckResult::Success { .. });
    let pending = transition == Transition::Pending;
    let base = match (stats.upstream_cx_total.value() > 0, success, pending) {
        (true, true, false) => check.interval,
        (true, true, true) => check.healthy_edge_interval,
        (true, false, false) => check.unhealthy_interval,
        (true, false, true) => check.unhealthy_edge_interval,
        (false, true, false) => check.no_traffic_healthy_interval,
        (false, ..) => check.no_traffic_interval,
    };
    with_jitter(check, base, check.interval_jitter, entropy)
}

/// How long the first check waits.
pub(super) fn first_check(check: &HealthCheck, entropy: &mut dyn Entropy) -> Duration {
    match check.initial_jitter.is_zero() {
        true => Duration::ZERO,
        false => with_jitter(check, Duration::ZERO, check.initial_jitter, entropy),
    }
}

fn with_jitter(
    check: &HealthCheck,
    base: Duration,
    jitter: Duration,
    entropy: &mut dyn Entropy,
) -> Duration {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut interval = millis(base);
    let percent = u64::from(check.interval_jitter_percent).saturating_mul(interval) / 100;
    for most in [percent, millis(jitter)] {
        if most > 0 {
            interval = interval.saturating_add(entropy.next_u64() % most);
        }
    }
    Duration::from_millis(interval.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HealthChecker, TcpHealthCheck};

    fn check(healthy: u32, unhealthy: u32) -> HealthCheck {
        let second = Duration::from_secs(1);
        let tcp = HealthChecker::Tcp(TcpHealthCheck::default());
        let mut check = HealthCheck::new(second, second, tcp);
        check.healthy_threshold = healthy;
        check.unhealthy_threshold = unhealthy;
        check
    }

    const GOOD: CheckResult = CheckResult::Success { degraded: false };
    const DEGRADED: CheckResult = CheckResult::Success { degraded: true };
    const BAD: CheckResult = CheckResult::Unexpected {
        retriable: false,
        excluded: false,
    };
    const RETRIABLE: CheckResult = CheckResult::Unexpected {
        retriable: true,
        excluded: false,
    };
    const EXCLUDED: CheckResult = CheckResult::Unexpected {
        retriable: false,
        excluded: true,
    };

    fn flags(list: &[HealthFlags]) -> HealthFlags {
        list.iter()
            .fold(HealthFlags::default(), |all, one| all.with(*one))
    }

    /// The flags after each result.
    fn follow(check: &HealthCheck, results: &[CheckResult]) -> Vec<HealthFlags> {
        let health = ActiveHealth::unchecked(HealthFlags::FAILED);
        let stats = HealthCheckStats::default();
        let after = results.iter().map(|result| {
            health.record(check, *result, &stats);
            health.flags()
        });
        after.collect()
    }

    #[test]
    fn the_first_result_counts_at_once_and_later_ones_by_their_thresholds() {
        let good = HealthFlags::default();
        let failed = HealthFlags::FAILED;
        let check = check(2, 2);
        assert_eq!(
            follow(&check, &[GOOD, BAD, GOOD, GOOD]),
            [good, failed, failed, good]
        );
        assert_eq!(
            follow(
                &check,
                &[GOOD, CheckResult::Network, GOOD, CheckResult::Network]
            ),
            [good; 4],
            "a success between ends the run"
        );
        assert_eq!(
            follow(&check, &[GOOD, RETRIABLE, RETRIABLE]),
            [good, good, failed]
        );
        assert_eq!(
            follow(&check, &[BAD, GOOD, BAD, GOOD, GOOD]),
            [failed, failed, failed, failed, good]
        );
    }

    #[test]
    fn timeouts_degraded_and_excluded_have_flags_of_their_own() {
        let check = check(1, 1);
        let timed_out = flags(&[HealthFlags::FAILED, HealthFlags::TIMEOUT]);
        let excluded = flags(&[HealthFlags::FAILED, HealthFlags::EXCLUDED]);
        assert_eq!(
            follow(&check, &[CheckResult::Timeout, CheckResult::Network, GOOD]),
            [timed_out, HealthFlags::FAILED, HealthFlags::default()]
        );
        assert_eq!(
            follow(&check, &[DEGRADED, BAD, GOOD]),
            [
                HealthFlags::DEGRADED,
                flags(&[HealthFlags::FAILED, HealthFlags::DEGRADED]),
                HealthFlags::default()
            ]
        );
        assert_eq!(
            follow(&check, &[EXCLUDED, BAD, GOOD]),
            [excluded, excluded, HealthFlags::default()]
        );
    }

    #[test]
    fn a_passive_failure_excludes_and_is_counted_apart() {
        let check = check(1, 5);
        let health = ActiveHealth::default();
        let stats = HealthCheckStats::default();
        assert_eq!(health.fail_now(&check, &stats), Transition::Changed);
        let expected = flags(&[HealthFlags::FAILED, HealthFlags::EXCLUDED]);
        assert_eq!(health.flags(), expected);
        assert_eq!(health.in_force(), HealthFlags::default());
        health.publish();
        assert_eq!(health.in_force(), expected);
        assert_eq!(
            (stats.failure.value(), stats.passive_failure.value()),
            (1, 1)
        );
    }

    #[test]
    fn the_pause_depends_on_traffic_result_and_edge() {
        struct Most;
        impl Entropy for Most {
            fn next_u64(&mut self) -> u64 {
                u64::MAX
            }
        }
        let seconds = Duration::from_secs;
        let mut check = check(1, 1);
        check.interval = seconds(1);
        check.healthy_edge_interval = seconds(2);
        check.unhealthy_interval = seconds(3);
        check.unhealthy_edge_interval = seconds(4);
        check.no_traffic_interval = seconds(5);
        check.no_traffic_healthy_interval = seconds(6);
        let stats = ClusterStats::default();
        let pauses = |stats: &ClusterStats| {
            let (unchanged, pending) = (Transition::Unchanged, Transition::Pending);
            [
                (GOOD, unchanged),
                (GOOD, pending),
                (BAD, unchanged),
                (BAD, pending),
            ]
            .map(|(result, transition)| {
                next_check(&check, result, transition, stats, &mut Most).as_secs()
            })
        };
        assert_eq!(pauses(&stats), [6, 5, 5, 5]);
        stats.upstream_cx_total.inc();
        assert_eq!(pauses(&stats), [1, 2, 3, 4]);
        check.interval_jitter = Duration::from_millis(100);
        check.interval_jitter_percent = 10;
        let pause = next_check(&check, GOOD, Transition::Changed, &stats, &mut Most);
        // u64::MAX % 100 is 15, twice.
        assert_eq!(pause, Duration::from_millis(1_030));
        assert_eq!(first_check(&check, &mut Most), Duration::ZERO);
        check.initial_jitter = Duration::from_millis(16);
        assert_eq!(first_check(&check, &mut Most), Duration::from_millis(15));
    }
}
