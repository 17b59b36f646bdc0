//! Clusters at run time: endpoints, load balancing, circuit breakers, outlier detection.
//!
//! A [`Cluster`] is immutable but for its live state: counters of [`Endpoint`]s, the [`Breaker`]s, the outlier
//! detector, and the load state that pickers read, which is rebuilt and swapped when health changes.

mod active_health;
mod breaker;
mod checks;
mod drop_overload;
mod endpoint;
mod endpoint_set;
mod hashed;
mod labels;
mod lb;
mod live;
mod load;
mod observe;
mod original_dst;
mod outlier;
mod pick;
mod priority;
mod retry_hosts;
mod subset;
mod success_rate;
mod zone;

pub use active_health::{CheckResult, HealthFlags};
pub use breaker::{Breaker, Permit};
pub use endpoint::{Endpoint, InFlight};
pub use pick::{PickContext, PickError};

use std::{collections::HashMap, sync::Arc, time::Instant};

use crate::{
    Entropy,
    model::{
        ClusterConfig, ClusterDiscovery, ClusterLoadAssignment, Criteria, HashPolicy,
        RoutingPriority, SubsetConfig, merged_criteria,
    },
    stats::{BreakerStats, ClusterStats, RequestMetrics, Stats},
    tls::TransportSockets,
};
use endpoint::Metrics;
use endpoint_set::{Checking, EndpointSet};
use hashed::{HashedLoad, is_hashing};
use labels::Labels;
use live::{Balancer, ClusterLive};
use load::{LoadState, Picked, Priorities};
use subset::{By, Chosen, Subsets};
pub use zone::LocalCluster;

/// The key of a request's metadata that holds alternatives.
const FALLBACK_LIST: &str = "fallback_list";

/// How often a pick from a large cluster is repeated while its load state lags behind an ejection.
const PASS_OVER: usize = 8;

/// A cluster of one snapshot.
#[derive(Debug)]
pub struct Cluster {
    config: Arc<ClusterConfig>,
    balancer: Arc<Balancer>,
    /// Neither subsets nor hashes.
    is_plain: bool,
    live: Arc<ClusterLive>,
    stats: Arc<ClusterStats>,
    metrics: Metrics,
    sockets: TransportSockets,
}

impl Cluster {
    /// Builds a cluster. `previous`: the same name in the snapshot before: endpoint state is carried over by address
    /// and hostname if `config` is the same value (but for its provenance), everything starts anew otherwise; an
    /// unchanged pair of inputs is not rebuilt but shared by the caller. `assignment` is that of
    /// [`ClusterDiscovery::Eds`], or what names resolved to; without one the cluster has no endpoint.
    pub fn build(
        config: Arc<ClusterConfig>,
        assignment: Option<Arc<ClusterLoadAssignment>>,
        previous: Option<&Cluster>,
        stats: &Stats,
        entropy: &mut dyn Entropy,
    ) -> Self {
        Self::build_at(config, assignment, previous, stats, entropy, None)
    }

    /// [`Self::build`] at a time that is known: slow start begins then for endpoints that are new.
    pub fn build_at(
        config: Arc<ClusterConfig>,
        assignment: Option<Arc<ClusterLoadAssignment>>,
        previous: Option<&Cluster>,
        stats: &Stats,
        entropy: &mut dyn Entropy,
        now: Option<Instant>,
    ) -> Self {
        Self::build_beside(config, assignment, previous, stats, entropy, (now, None))
    }

    /// [`Self::build_at`] beside the local cluster, if the bootstrap names one.
    pub fn build_beside(
        config: Arc<ClusterConfig>,
        assignment: Option<Arc<ClusterLoadAssignment>>,
        previous: Option<&Cluster>,
        stats: &Stats,
        entropy: &mut dyn Entropy,
        (now, local): (Option<Instant>, Option<Arc<LocalCluster>>),
    ) -> Self {
        let previous = previous
            .filter(|previous| Arc::ptr_eq(&previous.config, &config) || previous.config == config);
        let counters = stats.cluster(&config.stat_name);
        let live = match previous {
            Some(previous) => Arc::clone(&previous.live),
            None => Arc::new(ClusterLive::new(&config, Arc::clone(&counters), entropy)),
        };
        let assignment = match &config.discovery {
            ClusterDiscovery::Eds(_) | ClusterDiscovery::Dns(_) => assignment,
            ClusterDiscovery::Static(assignment) => Some(Arc::clone(assignment)),
            ClusterDiscovery::OriginalDst => None,
        };
        let mut labels = Labels::of(&config, stats);
        let before = previous.map(|previous| &*previous.balancer);
        let mut set = assignment.map_or_else(EndpointSet::empty, |assignment| {
            let checking = Checking::of(&config);
            EndpointSet::of(
                &assignment,
                before.map(|before| &before.set),
                checking,
                &mut labels,
            )
        });
        set.local = local;
        Self {
            balancer: live.balancer(set, before, now),
            is_plain: config.subset.is_none() && !is_hashing(&config.lb_policy),
            metrics: labels.cluster(),
            live,
            stats: counters,
            sockets: TransportSockets::of(&config, &HashMap::new(), None),
            config,
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<ClusterConfig> {
        &self.config
    }

    /// How connections to its endpoints are made.
    pub fn transport_sockets(&self) -> &TransportSockets {
        &self.sockets
    }

    /// The same cluster with the secrets of its transport sockets.
    pub(crate) fn with_transport_sockets(mut self, sockets: TransportSockets) -> Self {
        self.sockets = sockets;
        self
    }

    /// All endpoints of all priorities; those of an original-destination cluster are in
    /// [`Self::original_destinations`].
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        self.balancer.set.endpoints()
    }

    /// The endpoints that an original-destination cluster has made for addresses lately wanted.
    pub fn original_destinations(&self) -> Vec<Arc<Endpoint>> {
        self.live.original_destinations.endpoints()
    }

    /// Picks an endpoint: priority, then the policy inside it; again, up to `host_selection_retry_max_attempts`
    /// times, while a predicate of the retry passes over it. No lock that waits, no allocation but for an original destination not seen lately.
    ///
    /// # Errors
    /// Nothing is eligible.
    pub fn pick(
        &self,
        cx: &PickContext<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<Arc<Endpoint>, PickError> {
        if matches!(self.config.discovery, ClusterDiscovery::OriginalDst) {
            return self.pick_original_destination(cx);
        }
        let picked = if self.is_plain {
            match self.balancer.steady() {
                Some(load) => self.pick_from(load, cx, entropy),
                None => self.pick_from_changed(cx, entropy),
            }
        } else {
            self.pick_from_subset(cx, entropy)
        };
        picked.ok_or_else(|| self.none_healthy())
    }

    #[cold]
    fn none_healthy(&self) -> PickError {
        self.stats.upstream_cx_none_healthy.inc();
        PickError::NoHealthyUpstream
    }

    /// What is neither plain nor quick: subsets, and policies that hash.
    #[inline(never)]
    fn pick_from_subset(
        &self,
        cx: &PickContext<'_>,
        entropy: &mut dyn Entropy,
    ) -> Option<Arc<Endpoint>> {
        static NONE: Criteria = Vec::new();
        let criteria = cx.criteria.unwrap_or(&NONE);
        self.balancer.read(|all| {
            let (Some(config), Some(subsets)) = (&self.config.subset, all.subsets()) else {
                return self.pick_in(all, cx, entropy);
            };
            let list = criteria
                .iter()
                .find(|(key, _)| config.fallback_list && **key == *FALLBACK_LIST);
            let Some((_, list)) = list else {
                return self.pick_by_criteria(all, (config, subsets), criteria, cx, entropy);
            };
            // Rare enough to be put together for each request.
            let others = criteria.iter().filter(|(key, _)| **key != *FALLBACK_LIST);
            let others: Criteria = others.cloned().collect();
            let overlays = list.structures();
            if overlays.is_empty() {
                return self.pick_by_criteria(all, (config, subsets), &others, cx, entropy);
            }
            overlays.iter().find_map(|over| {
                let criteria = merged_criteria(&others, over);
                self.pick_by_criteria(all, (config, subsets), &criteria, cx, entropy)
            })
        })
    }

    fn pick_by_criteria(
        &self,
        all: &LoadState,
        (config, subsets): (&SubsetConfig, &Subsets),
        criteria: &Criteria,
        cx: &PickContext<'_>,
        entropy: &mut dyn Entropy,
    ) -> Option<Arc<Endpoint>> {
        let (chosen, by) = subsets.choose(config, criteria);
        if by == By::Criteria {
            self.stats.lb_subsets_selected.inc();
        }
        let picked = match chosen {
            Chosen::Subset(subset) => self.pick_in(subset, cx, entropy),
            Chosen::Single(endpoint) => Some(Arc::clone(endpoint)),
            Chosen::All => self.pick_in(all, cx, entropy),
            Chosen::None => return None,
        };
        match (by, &picked) {
            (By::Cluster, Some(_)) => self.stats.lb_subsets_fallback.inc(),
            (By::Cluster, None) if config.panic_mode_any => {
                let picked = self.pick_in(all, cx, entropy)?;
                self.stats.lb_subsets_fallback_panic.inc();
                return Some(picked);
            }
            _ => {}
        }
        picked
    }

    fn pick_in(
        &self,
        load: &LoadState,
        cx: &PickContext<'_>,
        entropy: &mut dyn Entropy,
    ) -> Option<Arc<Endpoint>> {
        match load.hashed() {
            Some(hashed) => self.pick_by_hash(hashed, cx, entropy),
            None => self.pick_from(load, cx, entropy),
        }
    }

    // Out of line, as all that is rare: the usual pick is then a few registers and no call but for chance.
    #[inline(never)]
    fn pick_original_destination(&self, cx: &PickContext<'_>) -> Result<Arc<Endpoint>, PickError> {
        let destination = cx.original_destination;
        destination
            .map(|address| self.live.original_destinations.endpoint(address))
            .ok_or(PickError::NoOriginalDestination)
    }

    /// Whether [`PickContext::hash`] counts: ring hash and maglev.
    pub fn picks_by_hash(&self) -> bool {
        is_hashing(&self.config.lb_policy)
    }

    /// Whether [`PickContext::now`] counts: slow start.
    pub fn picks_by_time(&self) -> bool {
        self.config.slow_start.is_some()
    }

    /// The policies that make the hash of a request to this cluster: its own, else those of the route.
    pub fn hash_policies<'p>(&'p self, of_route: &'p [HashPolicy]) -> &'p [HashPolicy] {
        self.config.hash_policies.as_deref().unwrap_or(of_route)
    }

    fn pick_by_hash(
        &self,
        hashed: &HashedLoad,
        cx: &PickContext<'_>,
        entropy: &mut dyn Entropy,
    ) -> Option<Arc<Endpoint>> {
        let hash = cx.hash.unwrap_or_else(|| entropy.next_u64());
        let [default, high] = &self.live.breakers;
        let active = || default.active_requests() + high.active_requests();
        let is_large = self.balancer.is_large();
        let by_policy = cx.retry.map_or(0, |p| p.host_selection_retry_max_attempts);
        let reselect = match is_large {
            true => by_policy.max(PASS_OVER as u32),
            false => by_policy,
        };
        let mut attempt = 0;
        loop {
            let Picked { endpoint, panic } = hashed.pick(hash, attempt, active)?;
            if panic && attempt == 0 {
                self.stats.lb_healthy_panic.inc();
            }
            let lags = !panic && is_large && endpoint.is_ejected();
            let rejected =
                attempt < by_policy && cx.retry.is_some_and(|p| p.rejects(endpoint, cx.previous));
            if attempt >= reselect || !(lags || rejected) {
                return Some(Arc::clone(endpoint));
            }
            attempt += 1;
        }
    }

    #[inline(never)]
    fn pick_from_changed(
        &self,
        cx: &PickContext<'_>,
        entropy: &mut dyn Entropy,
    ) -> Option<Arc<Endpoint>> {
        self.balancer.read(|load| self.pick_from(load, cx, entropy))
    }

    #[inline(always)]
    fn pick_from(
        &self,
        load: &LoadState,
        cx: &PickContext<'_>,
        entropy: &mut dyn Entropy,
    ) -> Option<Arc<Endpoint>> {
        match load.pick(cx, entropy) {
            Some(picked)
                if cx.previous.is_empty()
                    && cx.retry.is_none()
                    && !picked.panic
                    && !self.balancer.is_large() =>
            {
                Some(Arc::clone(picked.endpoint))
            }
            picked => self.settle(load, picked, cx, entropy),
        }
    }

    /// What is rare about a pick: there is none, panic, earlier attempts, a load state that lags.
    #[cold]
    fn settle<'a>(
        &self,
        load: &'a LoadState,
        mut picked: Option<Picked<'a>>,
        cx: &PickContext<'_>,
        entropy: &mut dyn Entropy,
    ) -> Option<Arc<Endpoint>> {
        let frequency = cx.previous_priorities.unwrap_or(0) as usize;
        let excluded = match frequency {
            0 => Priorities::default(),
            frequency => load.tried_priorities(cx.previous, frequency),
        };
        if excluded != Priorities::default() {
            picked = load.pick_without(excluded, cx, entropy);
        }
        let mut reselect = cx.retry.map_or(0, |p| p.host_selection_retry_max_attempts);
        let mut pass_over = match self.balancer.is_large() {
            true => PASS_OVER,
            false => 0,
        };
        loop {
            let Picked { endpoint, panic } = picked?;
            if panic {
                self.stats.lb_healthy_panic.inc();
            }
            if !panic && pass_over > 0 && endpoint.is_ejected() {
                pass_over -= 1;
            } else if reselect > 0 && cx.retry.is_some_and(|p| p.rejects(endpoint, cx.previous)) {
                reselect -= 1;
            } else {
                return Some(Arc::clone(endpoint));
            }
            picked = load.pick_without(excluded, cx, entropy);
        }
    }

    /// The circuit breaker of a priority.
    pub fn breaker(&self, priority: RoutingPriority) -> &Arc<Breaker> {
        let [default, high] = &self.live.breakers;
        match priority {
            RoutingPriority::Default => default,
            RoutingPriority::High => high,
        }
    }

    /// Envoy's counters of this cluster.
    pub fn stats(&self) -> &Arc<ClusterStats> {
        &self.stats
    }

    /// Brings the gauges that are read off the breakers up to date: before statistics are shown.
    pub fn refresh_gauges(&self) {
        let [default, high] = &self.live.breakers;
        show_breaker(default, &self.stats.circuit_breakers_default);
        show_breaker(high, &self.stats.circuit_breakers_high);
        let both = |used: fn(&Breaker) -> u32| u64::from(used(default)) + u64::from(used(high));
        let stats = &self.stats;
        stats.upstream_rq_active.set(both(Breaker::active_requests));
        stats
            .upstream_rq_pending_active
            .set(both(Breaker::pending_requests));
        self.refresh_check_gauges();
    }

    /// Istio's request metrics for calls that reached no endpoint; by protocol (`grpc`).
    pub fn request_metrics(&self, grpc: bool) -> &Arc<RequestMetrics> {
        match grpc {
            true => &self.metrics.grpc,
            false => &self.metrics.http,
        }
    }
}

fn show_breaker(breaker: &Breaker, stats: &BreakerStats) {
    let resources = [
        (
            breaker.remaining_connections(),
            &stats.cx_open,
            &stats.remaining_cx,
        ),
        (
            breaker.remaining_pending(),
            &stats.rq_pending_open,
            &stats.remaining_pending,
        ),
        (
            breaker.remaining_requests(),
            &stats.rq_open,
            &stats.remaining_rq,
        ),
        (
            breaker.remaining_retries(),
            &stats.rq_retry_open,
            &stats.remaining_retries,
        ),
    ];
    for (left, open, remaining) in resources {
        open.set(u64::from(left == 0));
        if breaker.thresholds().track_remaining {
            remaining.set(u64::from(left));
        }
    }
}
