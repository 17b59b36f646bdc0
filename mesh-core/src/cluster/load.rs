//! What pickers read: eligible endpoints by priority, each with its part of the load.

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::{
    PickContext,
    endpoint::Endpoint,
    endpoint_set::{EndpointSet, LocalityGroup, Priority},
    hashed::HashedLoad,
    lb::{Cursors, Edf, Hosts, Seeds, Sharded},
    priority::{Availability, Share, is_degraded, is_excluded, is_healthy},
    subset::Subsets,
    zone::{LocalCluster, Zones},
};
use crate::{
    Entropy,
    model::{LbPolicy, SlowStart, SubsetConfig, ZoneAware},
    stats::ClusterStats,
};

/// What of a cluster's configuration load balancing reads.
#[derive(Debug)]
pub(super) struct Balancing {
    pub(super) policy: LbPolicy,
    /// In percent, rounded.
    pub(super) panic_threshold: u32,
    pub(super) locality_weighted: bool,
    pub(super) zone_aware: ZoneAware,
    pub(super) stats: Arc<ClusterStats>,
    pub(super) slow_start: Option<SlowStart>,
    pub(super) subset: Option<Arc<SubsetConfig>>,
    pub(super) seeds: Seeds,
}

/// The load state of one set of endpoints at one moment: immutable but for the pickers' own state, replaced when
/// health changes.
#[derive(Debug)]
pub(super) struct LoadState {
    /// Healthy sources by priority, then degraded ones.
    sources: Vec<Source>,
    /// Which source takes all of the load; none if there are several or none.
    sole: Option<usize>,
    /// Instead of sources where the policy hashes.
    hashed: Option<HashedLoad>,
    subsets: Option<Box<Subsets>>,
    /// Round-robin indices of all sources that there ever were.
    cursors: HashMap<SourceKey, Arc<Cursors>>,
    /// Whether an endpoint is kept out, or made degraded, by outlier detection.
    pub(super) is_reduced: bool,
}

/// An endpoint, and whether its priority is in panic.
#[derive(Debug)]
pub(super) struct Picked<'a> {
    pub(super) endpoint: &'a Arc<Endpoint>,
    pub(super) panic: bool,
}

#[derive(Debug)]
struct Source {
    priority: u32,
    /// Its priority's health of this kind, in percent.
    health: u32,
    /// It takes the numbers 1..=100 up to this one that no source before took.
    bound: u32,
    panic: bool,
    hosts: Candidates,
}

#[derive(Debug)]
enum Candidates {
    All(Hosts),
    ByLocality(Localities),
    ByZone(Box<Zones>),
    /// `fail_traffic_on_panic`.
    Failing(Arc<ClusterStats>),
}

/// A locality by its weight, then an endpoint in it.
#[derive(Debug)]
struct Localities {
    schedule: Sharded<Edf>,
    weights: Vec<f64>,
    hosts: Vec<Hosts>,
}

/// Which endpoints of a priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    All,
    Healthy,
    Degraded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SourceKey {
    priority: u32,
    kind: Kind,
    locality: Option<usize>,
}

impl LoadState {
    /// The state for what is healthy now. `previous`: whose round-robin indices go on. `now`: when slow start begins for
    /// endpoints that are healthy for the first time.
    pub(super) fn build(
        set: &EndpointSet,
        rules: &Balancing,
        previous: Option<&Self>,
        now: Option<Instant>,
    ) -> Self {
        // One that its assignment has forgotten and that fails its checks is no longer there.
        let is_gone = |endpoint: &Endpoint| endpoint.live().active_health.in_force().is_gone();
        let left = set.endpoints().iter().any(|endpoint| is_gone(endpoint));
        let left = left.then(|| set.filtered(&|endpoint| !is_gone(endpoint), false));
        let set = left.as_ref().unwrap_or(set);
        let mut state = Self::build_whole(set, rules, previous, now);
        if let Some(config) = &rules.subset {
            let previous = previous.and_then(Self::subsets);
            let subsets = Subsets::build(set, config, rules, previous, now);
            state.subsets = Some(Box::new(subsets));
        }
        state
    }

    /// Without subsets.
    pub(super) fn build_whole(
        set: &EndpointSet,
        rules: &Balancing,
        previous: Option<&Self>,
        now: Option<Instant>,
    ) -> Self {
        if let (Some(_), Some(now)) = (rules.slow_start, now) {
            let endpoints = set.endpoints().iter();
            let healthy = endpoints.filter(|endpoint| is_healthy(endpoint));
            healthy.for_each(|endpoint| endpoint.live().is_healthy_at(now));
        }
        let priorities: Vec<_> = set.priorities().iter().map(Availability::of).collect();
        let shares = Share::of(&priorities, set.overprovisioning(), rules.panic_threshold);
        let mut state = Self {
            sources: Vec::new(),
            sole: None,
            subsets: None,
            hashed: HashedLoad::build(set.priorities(), &shares, rules),
            cursors: previous.map(|p| p.cursors.clone()).unwrap_or_default(),
            is_reduced: set.endpoints().iter().any(|e| e.live().is_changed()),
        };
        if state.hashed.is_some() {
            return state;
        }
        let mut bound = 0;
        for kind in [Kind::Healthy, Kind::Degraded] {
            for (priority, share) in set.priorities().iter().zip(&shares) {
                let (health, load) = match kind {
                    Kind::Degraded => (share.degraded_health, share.degraded_load),
                    _ => (share.health, share.load),
                };
                // One without load is there for retries that exclude the others.
                if load == 0 && health == 0 {
                    continue;
                }
                bound += load;
                if load == 100 {
                    state.sole = Some(state.sources.len());
                }
                let kind = if share.panic { Kind::All } else { kind };
                let local = set.local.as_deref().filter(|_| priority.number == 0);
                let hosts = match share.panic && rules.zone_aware.fail_traffic_on_panic {
                    true => Candidates::Failing(Arc::clone(&rules.stats)),
                    false => {
                        let overprovisioning = set.overprovisioning();
                        state.candidates(priority, kind, (overprovisioning, local), rules, now)
                    }
                };
                state.sources.push(Source {
                    priority: priority.number,
                    health,
                    bound,
                    panic: share.panic,
                    hosts,
                });
            }
        }
        state
    }

    /// The subsets, if the cluster has any.
    pub(super) fn subsets(&self) -> Option<&Subsets> {
        self.subsets.as_deref()
    }

    /// The tables of a policy that hashes.
    pub(super) fn hashed(&self) -> Option<&HashedLoad> {
        self.hashed.as_ref()
    }

    /// One pick; None: nothing is eligible.
    #[inline(always)]
    pub(super) fn pick(
        &self,
        cx: &PickContext<'_>,
        entropy: &mut dyn Entropy,
    ) -> Option<Picked<'_>> {
        let (source, random) = match self.sole {
            Some(sole) => (self.sources.get(sole)?, None),
            None => {
                let random = entropy.next_u64();
                let number = (random % 100 + 1) as u32;
                let source = self.sources.iter().find(|source| number <= source.bound)?;
                (source, Some(random))
            }
        };
        source.pick(cx, random, entropy)
    }

    /// One pick without these priorities: their load goes to the others by health.
    #[cold]
    pub(super) fn pick_without(
        &self,
        excluded: Priorities,
        cx: &PickContext<'_>,
        entropy: &mut dyn Entropy,
    ) -> Option<Picked<'_>> {
        let health = |source: &Source| match excluded.contains(source.priority) {
            true => 0,
            false => source.health,
        };
        let available = self.available_without(excluded);
        if excluded == Priorities::default() || available == 0 {
            return self.pick(cx, entropy);
        }
        let mut loads = vec![0; self.sources.len()];
        let mut left = 100;
        // Rounding leaves a little, which goes round again.
        while left > 0 {
            for (load, source) in loads.iter_mut().zip(&self.sources) {
                let more = left.min(health(source) * 100 / available);
                *load += more;
                left -= more;
            }
        }
        let random = entropy.next_u64();
        let mut number = random % 100 + 1;
        let (source, _) = self.sources.iter().zip(loads).find(|(_, load)| {
            let load = u64::from(*load);
            let found = number <= load;
            number = number.saturating_sub(load);
            found
        })?;
        source.pick(cx, Some(random), entropy)
    }

    /// The priorities that `previous_priorities` excludes after these attempts: every `frequency` attempts, those of
    /// all endpoints tried; none again, and the attempts forgotten, once nothing else is available.
    pub(super) fn tried_priorities(
        &self,
        previous: &[Arc<Endpoint>],
        frequency: usize,
    ) -> Priorities {
        let mut excluded = Priorities::default();
        let mut attempts = 0;
        let mut tried = Priorities::default();
        for endpoint in previous {
            attempts += 1;
            tried.insert(endpoint.priority());
            if attempts % frequency == 0 {
                excluded = tried;
                if self.available_without(excluded) == 0 {
                    (excluded, tried, attempts) = Default::default();
                }
            }
        }
        excluded
    }

    /// In percent, at most 100.
    fn available_without(&self, excluded: Priorities) -> u32 {
        let sources = self.sources.iter();
        let left = sources.filter(|source| !excluded.contains(source.priority));
        left.map(|source| source.health).sum::<u32>().min(100)
    }

    fn candidates(
        &mut self,
        priority: &Priority,
        kind: Kind,
        (overprovisioning, local): (u32, Option<&LocalCluster>),
        rules: &Balancing,
        now: Option<Instant>,
    ) -> Candidates {
        let key = |locality| SourceKey {
            priority: priority.number,
            kind,
            locality,
        };
        if rules.locality_weighted && kind != Kind::All {
            let mut weights = Vec::new();
            let mut localities = Vec::new();
            for (at, group) in priority.localities.iter().enumerate() {
                let eligible = kind.of(&group.endpoints);
                weights.push(locality_weight(group, eligible.len(), overprovisioning));
                localities.push(self.hosts(eligible, key(Some(at)), rules, now));
            }
            // Without any weighted locality Envoy picks among all of the priority.
            if weights.iter().any(|weight| *weight > 0.0) {
                let count = u32::try_from(weights.len()).unwrap_or(u32::MAX);
                let weight = |at: u32| weights.get(at as usize).copied().unwrap_or_default();
                return Candidates::ByLocality(Localities {
                    schedule: Sharded::new(&rules.seeds, |seed| {
                        Edf::with_picks(count, weight, seed)
                    }),
                    weights,
                    hosts: localities,
                });
            }
        }
        if let (Some(local), true) = (local, kind != Kind::All) {
            let mut hosts = |endpoints: Vec<_>, locality: Option<usize>, now| {
                self.hosts(endpoints, key(locality), rules, now)
            };
            if let Some(zones) = Zones::build(priority, kind, local, rules, now, &mut hosts) {
                return Candidates::ByZone(Box::new(zones));
            }
        }
        Candidates::All(self.hosts(kind.of(&priority.endpoints), key(None), rules, now))
    }

    fn hosts(
        &mut self,
        endpoints: Vec<Arc<Endpoint>>,
        key: SourceKey,
        rules: &Balancing,
        now: Option<Instant>,
    ) -> Hosts {
        let cursors = || {
            let cursors = self.cursors.entry(key);
            Arc::clone(cursors.or_insert_with(|| Arc::new(Cursors::new(&rules.seeds))))
        };
        Hosts::new(endpoints, rules, now, cursors)
    }
}

/// A set of priorities; those from 128 on, which Envoy refuses, are never in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Priorities(u128);

impl Priorities {
    fn insert(&mut self, priority: u32) {
        self.0 |= 1_u128.checked_shl(priority).unwrap_or(0);
    }

    fn contains(self, priority: u32) -> bool {
        self.0 & 1_u128.checked_shl(priority).unwrap_or(0) != 0
    }
}

impl Source {
    #[inline(always)]
    fn pick(
        &self,
        cx: &PickContext<'_>,
        random: Option<u64>,
        entropy: &mut dyn Entropy,
    ) -> Option<Picked<'_>> {
        Some(Picked {
            endpoint: self.hosts.pick(cx, random, entropy)?,
            panic: self.panic,
        })
    }
}

impl Candidates {
    #[inline(always)]
    fn pick(
        &self,
        cx: &PickContext<'_>,
        random: Option<u64>,
        entropy: &mut dyn Entropy,
    ) -> Option<&Arc<Endpoint>> {
        match self {
            Self::All(hosts) => hosts.pick(cx, random, entropy),
            Self::ByLocality(localities) => localities.pick(cx, random, entropy),
            Self::ByZone(zones) => zones.pick(cx, random, entropy),
            Self::Failing(stats) => {
                stats.lb_healthy_panic.inc();
                None
            }
        }
    }
}

impl Localities {
    #[inline(never)]
    fn pick(
        &self,
        cx: &PickContext<'_>,
        random: Option<u64>,
        entropy: &mut dyn Entropy,
    ) -> Option<&Arc<Endpoint>> {
        let weight = |at: u32| self.weights.get(at as usize).copied().unwrap_or_default();
        let chosen = match self.schedule.with(cx.shard, |edf| edf.pick(weight)) {
            Some(chosen) => chosen? as usize,
            None => by_weight(&self.weights, entropy)?,
        };
        self.hosts.get(chosen)?.pick(cx, random, entropy)
    }
}

impl Kind {
    pub(super) fn of(self, endpoints: &[Arc<Endpoint>]) -> Vec<Arc<Endpoint>> {
        let fits = |endpoint: &&Arc<Endpoint>| match self {
            Self::All => true,
            Self::Healthy => is_healthy(endpoint),
            Self::Degraded => is_degraded(endpoint),
        };
        endpoints.iter().filter(fits).map(Arc::clone).collect()
    }
}

/// A locality's weight, lowered by what of it is not eligible beyond overprovisioning.
fn locality_weight(group: &LocalityGroup, eligible: usize, overprovisioning: u32) -> f64 {
    let counted = group.endpoints.iter().filter(|e| !is_excluded(e)).count();
    if counted == 0 {
        return 0.0;
    }
    let available = eligible as f64 / counted as f64 * (f64::from(overprovisioning) / 100.0);
    f64::from(group.weight.unwrap_or(0)) * available.min(1.0)
}

/// A random index by weight: for when all shards of the schedule are busy.
fn by_weight(weights: &[f64], entropy: &mut dyn Entropy) -> Option<usize> {
    let total: f64 = weights.iter().sum();
    // 53 bits make a uniform number in 0..1.
    let mut left = (entropy.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
    weights.iter().position(|weight| {
        left -= weight;
        left < 0.0
    })
}
