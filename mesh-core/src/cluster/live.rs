//! The live state of a cluster that outlives snapshots: breakers, outlier detection, and which load states to renew
//! when health changes.

mod ejections;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;

use super::{
    Breaker,
    endpoint::Endpoint,
    endpoint_set::EndpointSet,
    lb::Seeds,
    load::{Balancing, LoadState},
    original_dst::OriginalDestinations,
    priority::Membership,
};
use crate::{
    Entropy,
    model::{ClusterConfig, OutlierDetection},
    stats::ClusterStats,
};

/// Up to this many endpoints the thread that ejects one rebuilds the load state itself; above, the next sweep does,
/// and picks pass over the ejected endpoint meanwhile.
const REBUILD_INLINE: usize = 1_000;

/// How long after an ejection from a larger cluster the sweep is due.
const REBUILD_POLL: Duration = Duration::from_millis(100);

/// The endpoints of one snapshot and the load state that pickers read.
///
/// While no endpoint is ejected, which is nearly always, that is the state that was built with the snapshot, read
/// without any swap.
#[derive(Debug)]
pub(super) struct Balancer {
    pub(super) set: EndpointSet,
    initial: LoadState,
    /// Whether `changed` counts.
    is_changed: AtomicBool,
    changed: ArcSwapOption<LoadState>,
}

impl Balancer {
    fn new(set: EndpointSet, initial: LoadState) -> Self {
        Self {
            set,
            initial,
            is_changed: AtomicBool::new(false),
            changed: ArcSwapOption::empty(),
        }
    }

    /// The load state of now, if it is the one that the snapshot was built with: one load.
    #[inline]
    pub(super) fn steady(&self) -> Option<&LoadState> {
        (!self.is_changed.load(Acquire)).then_some(&self.initial)
    }

    /// Reads the load state of now, by a swap's guard while an endpoint is ejected.
    pub(super) fn read<R>(&self, read: impl FnOnce(&LoadState) -> R) -> R {
        let changed = match self.steady() {
            Some(_) => None,
            None => Some(self.changed.load()),
        };
        let changed = changed.as_ref().and_then(|changed| changed.as_deref());
        read(changed.unwrap_or(&self.initial))
    }

    /// Renews the load state after a change of health.
    fn renew(&self, balancing: &Balancing, now: Instant) {
        let load = self.read(|load| LoadState::build(&self.set, balancing, Some(load), Some(now)));
        // The same endpoints are eligible as at the start only if none is and none was ejected.
        let as_at_start = !self.initial.is_reduced && !load.is_reduced;
        self.changed.store((!as_at_start).then(|| Arc::new(load)));
        self.is_changed.store(!as_at_start, Release);
    }

    /// Whether all endpoints have had the first check that they are to have.
    pub(super) fn is_checked(&self) -> bool {
        let mut endpoints = self.set.endpoints().iter();
        endpoints.all(|e| e.config().is_never_checked() || e.live().active_health.is_checked())
    }

    /// Whether rebuilding the load state is too much for a request.
    pub(super) fn is_large(&self) -> bool {
        self.set.endpoints().len() > REBUILD_INLINE
    }
}

/// What one configuration of a cluster keeps from snapshot to snapshot.
#[derive(Debug)]
pub(super) struct ClusterLive {
    pub(super) breakers: [Arc<Breaker>; 2],
    pub(super) original_destinations: OriginalDestinations,
    balancing: Balancing,
    merge_window: Duration,
    stats: Arc<ClusterStats>,
    /// Whether some change of health waits in `control`: read without the lock.
    waiting: AtomicBool,
    control: Mutex<Control>,
}

/// Written by who ejects, returns hosts or builds a snapshot: never by a request that succeeds.
#[derive(Debug, Default)]
struct Control {
    /// The balancers of all snapshots still in use, oldest first.
    balancers: Vec<Weak<Balancer>>,
    /// Changes of health, merged. Each counts for all priorities: Envoy renews them all
    /// (`ClusterImplBase::reloadHealthyHosts`).
    merge: Merge,
    /// When outlier detection's interval ends.
    next_interval: Option<Instant>,
    /// All endpoints have been checked once: before, no change of health waits, as in a cluster that Envoy warms.
    is_warm: bool,
    /// Ejections of hosts that were ejected already: `ejections_active` counts them for ever, as Envoy's does.
    repeated: u64,
}

/// Envoy's merging of health changes (`ClusterManagerImpl::scheduleUpdate`): a change more than a window after the
/// one before it is in force at once; any other starts a wait of one window, at whose end all changes are in force.
#[derive(Clone, Copy, Debug, Default)]
struct Merge {
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Merge {
    /// Whether a change at `now` is in force at once.
    fn admit(&mut self, now: Instant, window: Duration) -> bool {
        let since = self.last.map(|last| now.saturating_duration_since(last));
        if window.is_zero() || since.is_none_or(|since| since > window) {
            *self = Self {
                last: Some(now),
                due: None,
            };
            return true;
        }
        self.due.get_or_insert(now + window);
        false
    }

    /// Whether the wait is over at `now`; it is then taken as done.
    fn release(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        *self = Self {
            last: Some(now),
            due: None,
        };
        true
    }
}

impl ClusterLive {
    pub(super) fn new(
        config: &ClusterConfig,
        stats: Arc<ClusterStats>,
        entropy: &mut dyn Entropy,
    ) -> Self {
        let seeds: Seeds = std::array::from_fn(|_| entropy.next_u64() as u32);
        let breakers = [config.breaker_default, config.breaker_high];
        Self {
            breakers: breakers.map(|thresholds| Arc::new(Breaker::new(thresholds))),
            original_destinations: OriginalDestinations::default(),
            balancing: Balancing {
                policy: config.lb_policy,
                panic_threshold: config.healthy_panic_threshold.clamp(0.0, 100.0).round() as u32,
                // Subsets, and all endpoints as one of them, have localities' weights only if they ask for them.
                locality_weighted: config.locality_weighted
                    && (config.subset.as_ref()).is_none_or(|subset| subset.locality_weight_aware),
                zone_aware: config.zone_aware,
                stats: Arc::clone(&stats),
                slow_start: config.slow_start,
                subset: config.subset.clone(),
                seeds,
            },
            merge_window: config.update_merge_window,
            stats,
            waiting: AtomicBool::new(false),
            control: Mutex::default(),
        }
    }

    /// A balancer over the endpoints. `previous`: the one before it; its round-robin indices go on.
    pub(super) fn balancer(
        &self,
        set: EndpointSet,
        previous: Option<&Balancer>,
        now: Option<Instant>,
    ) -> Arc<Balancer> {
        let mut control = self.control();
        // New endpoints end the merging of what waits: all of it is in force with them.
        for endpoint in set.endpoints() {
            endpoint.live().publish_health();
        }
        let build =
            |previous: Option<&LoadState>| LoadState::build(&set, &self.balancing, previous, now);
        let load = match previous {
            Some(previous) => previous.read(|previous| build(Some(previous))),
            None => build(None),
        };
        let balancer = Arc::new(Balancer::new(set, load));
        self.show_membership(&balancer);
        control.balancers.retain(|old| old.strong_count() > 0);
        control.balancers.push(Arc::downgrade(&balancer));
        self.show_ejections(&control, &balancer);
        balancer
    }

    /// The work of an interval's end, if it has ended, and merged changes. When to come back.
    pub(super) fn sweep(
        &self,
        balancer: &Balancer,
        config: Option<&OutlierDetection>,
        now: Instant,
        entropy: &mut dyn Entropy,
    ) -> Instant {
        let mut control = self.control();
        if let Some(config) = config {
            let next = *control.next_interval.get_or_insert(now + config.interval);
            if now >= next {
                control.next_interval = Some(now + config.interval);
                self.end_interval(&mut control, balancer, config, now, entropy);
            }
        }
        self.apply_due(&mut control, balancer, now);
        self.next_sweep(&control, balancer, now)
    }

    /// Applies merged changes whose window has ended. One load if there are none. Waits for no lock.
    pub(super) fn apply_waiting(&self, balancer: &Balancer, now: Instant) {
        if self.waiting.load(Relaxed) && !balancer.is_large() {
            self.try_apply_due(balancer, now);
        }
    }

    #[cold]
    fn try_apply_due(&self, balancer: &Balancer, now: Instant) {
        let mut control = match self.control.try_lock() {
            Ok(control) => control,
            Err(TryLockError::Poisoned(control)) => control.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.apply_due(&mut control, balancer, now);
    }

    fn apply_due(&self, control: &mut Control, balancer: &Balancer, now: Instant) {
        if control.merge.release(now) {
            self.publish(control, balancer, now);
        }
        self.waiting.store(control.merge.due.is_some(), Relaxed);
    }

    fn health_changed(&self, control: &mut Control, balancer: &Balancer, now: Instant) {
        self.show_membership(balancer);
        let at_once = control.merge.admit(now, self.merge_window);
        if at_once && balancer.is_large() {
            control.merge.due = Some(now);
        } else if at_once {
            self.publish(control, balancer, now);
            return;
        }
        self.waiting.store(true, Relaxed);
    }

    /// Makes ejections, returns and the results of health checks visible to the pickers of all snapshots in use.
    fn publish(&self, control: &mut Control, balancer: &Balancer, now: Instant) {
        self.for_each_host(balancer, |host| host.live().publish_health());
        control.balancers.retain(|balancer| {
            let Some(balancer) = balancer.upgrade() else {
                return false;
            };
            balancer.renew(&self.balancing, now);
            true
        });
    }

    fn next_sweep(&self, control: &Control, balancer: &Balancer, now: Instant) -> Instant {
        // An ejection may start a wait before the next sweep; nobody is told of it, so it is looked for.
        let poll = match balancer.is_large() {
            true => Some(now + REBUILD_POLL),
            false if self.merge_window.is_zero() => None,
            false => Some(now + self.merge_window),
        };
        let due = control.merge.due.into_iter();
        due.chain(poll)
            .chain(control.next_interval)
            .min()
            .unwrap_or(now + REBUILD_POLL)
    }

    /// An active health check has changed an endpoint's flags, or found one healthy that is ejected.
    pub(super) fn health_checked(
        &self,
        balancer: &Balancer,
        endpoint: &Endpoint,
        is_changed: bool,
        returns: bool,
        now: Instant,
    ) {
        let mut control = self.control();
        if returns {
            self.uneject(&control, balancer, endpoint, now);
        }
        if control.is_warm {
            for _ in 0..usize::from(is_changed) + usize::from(returns) {
                self.health_changed(&mut control, balancer, now);
            }
            return;
        }
        control.is_warm = balancer.is_checked();
        // At the end of the warm-up all is taken in, also what changed nobody's health.
        if is_changed || control.is_warm {
            self.show_membership(balancer);
            self.publish(&mut control, balancer, now);
        }
    }

    fn for_each_host(&self, balancer: &Balancer, mut visit: impl FnMut(&Arc<Endpoint>)) {
        balancer.set.endpoints().iter().for_each(&mut visit);
        self.original_destinations.for_each(visit);
    }

    fn show_membership(&self, balancer: &Balancer) {
        let membership = Membership::of(balancer.set.endpoints());
        self.stats.membership_total.set(membership.total as u64);
        self.stats.membership_healthy.set(membership.healthy as u64);
        self.stats
            .membership_degraded
            .set(membership.degraded as u64);
        self.stats
            .membership_excluded
            .set(membership.excluded as u64);
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
