//! What pickers read: eligible endpoints by priority and how much of the load each priority takes
//! (Envoy `load_balancer_impl.cc`: overprovisioning, degraded endpoints, panic).

use std::{collections::HashMap, sync::Arc};

use super::{
    endpoint::Endpoint,
    endpoint_set::{EndpointSet, LocalityGroup, Priority},
    lb::{Cursors, Edf, Hosts, Seeds, Sharded},
};
use crate::{
    Entropy,
    model::{EndpointHealth, LbPolicy},
};

/// What of a cluster's configuration load balancing reads.
#[derive(Debug)]
pub(super) struct Balancing {
    pub(super) policy: LbPolicy,
    /// In percent, rounded.
    pub(super) panic_threshold: u32,
    pub(super) locality_weighted: bool,
    pub(super) seeds: Seeds,
}

/// The load state of one set of endpoints at one moment: immutable but for the pickers' own state, replaced when
/// health changes.
#[derive(Debug)]
pub(super) struct LoadState {
    /// Healthy sources by priority, then degraded ones; only those with a share of the load.
    sources: Vec<Source>,
    /// Round-robin indices of all sources that there ever were.
    cursors: HashMap<SourceKey, Arc<Cursors>>,
    pub(super) membership: Membership,
    /// Whether an endpoint is kept out by outlier detection.
    pub(super) is_reduced: bool,
}

/// Counts of endpoints over all priorities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) total: usize,
    pub(super) healthy: usize,
    pub(super) degraded: usize,
    pub(super) excluded: usize,
}

/// An endpoint, and whether its priority is in panic.
#[derive(Debug)]
pub(super) struct Picked<'a> {
    pub(super) endpoint: &'a Arc<Endpoint>,
    pub(super) panic: bool,
}

#[derive(Debug)]
struct Source {
    /// It takes the numbers 1..=100 up to this one that no source before took.
    bound: u32,
    panic: bool,
    hosts: Candidates,
}

#[derive(Debug)]
enum Candidates {
    All(Hosts),
    ByLocality(Localities),
}

/// A locality by its weight, then an endpoint in it.
#[derive(Debug)]
struct Localities {
    schedule: Sharded<Edf>,
    weights: Vec<f64>,
    hosts: Vec<Hosts>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
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
    /// The state for what is healthy now. `previous`: whose round-robin indices go on.
    pub(super) fn build(set: &EndpointSet, rules: &Balancing, previous: Option<&Self>) -> Self {
        let priorities: Vec<_> = set.priorities().iter().map(Availability::of).collect();
        let shares = Shares::of(&priorities, set.overprovisioning(), rules.panic_threshold);
        let mut state = Self {
            sources: Vec::new(),
            cursors: previous.map(|p| p.cursors.clone()).unwrap_or_default(),
            membership: Membership::of(&priorities),
            is_reduced: set.endpoints().iter().any(|e| e.live().is_withheld()),
        };
        let mut bound = 0;
        for (kind, loads) in [
            (Kind::Healthy, &shares.healthy),
            (Kind::Degraded, &shares.degraded),
        ] {
            for (at, priority) in set.priorities().iter().enumerate() {
                let load = loads.get(at).copied().unwrap_or_default();
                if load == 0 {
                    continue;
                }
                bound += load;
                let panic = shares.panic.get(at).copied().unwrap_or_default();
                let kind = if panic { Kind::All } else { kind };
                let hosts = state.candidates(priority, kind, set.overprovisioning(), rules);
                state.sources.push(Source {
                    bound,
                    panic,
                    hosts,
                });
            }
        }
        state
    }

    /// One pick; None: nothing is eligible.
    #[inline]
    pub(super) fn pick(&self, shard: usize, entropy: &mut dyn Entropy) -> Option<Picked<'_>> {
        let (source, random) = match self.sources.as_slice() {
            [only] => (only, None),
            sources => {
                let random = entropy.next_u64();
                let number = (random % 100 + 1) as u32;
                let source = sources.iter().find(|source| number <= source.bound)?;
                (source, Some(random))
            }
        };
        let endpoint = source.hosts.pick(shard, random, entropy)?;
        Some(Picked {
            endpoint,
            panic: source.panic,
        })
    }

    fn candidates(
        &mut self,
        priority: &Priority,
        kind: Kind,
        overprovisioning: u32,
        rules: &Balancing,
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
                localities.push(self.hosts(eligible, key(Some(at)), rules));
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
        Candidates::All(self.hosts(kind.of(&priority.endpoints), key(None), rules))
    }

    fn hosts(&mut self, endpoints: Vec<Arc<Endpoint>>, key: SourceKey, rules: &Balancing) -> Hosts {
        let cursors = || {
            let cursors = self.cursors.entry(key);
            Arc::clone(cursors.or_insert_with(|| Arc::new(Cursors::new(&rules.seeds))))
        };
        Hosts::new(endpoints, rules.policy, cursors, &rules.seeds)
    }
}

impl Candidates {
    #[inline]
    fn pick(
        &self,
        shard: usize,
        random: Option<u64>,
        entropy: &mut dyn Entropy,
    ) -> Option<&Arc<Endpoint>> {
        match self {
            Self::All(hosts) => hosts.pick(shard, random, entropy),
            Self::ByLocality(localities) => localities.pick(shard, random, entropy),
        }
    }
}

impl Localities {
    #[inline(never)]
    fn pick(
        &self,
        shard: usize,
        random: Option<u64>,
        entropy: &mut dyn Entropy,
    ) -> Option<&Arc<Endpoint>> {
        let weight = |at: u32| self.weights.get(at as usize).copied().unwrap_or_default();
        let chosen = match self.schedule.with(shard, |edf| edf.pick(weight)) {
            Some(chosen) => chosen? as usize,
            None => by_weight(&self.weights, entropy)?,
        };
        self.hosts.get(chosen)?.pick(shard, random, entropy)
    }
}

impl Kind {
    fn of(self, endpoints: &[Arc<Endpoint>]) -> Vec<Arc<Endpoint>> {
        let fits = |endpoint: &&Arc<Endpoint>| match self {
            Self::All => true,
            Self::Healthy => is_healthy(endpoint),
            Self::Degraded => is_degraded(endpoint),
        };
        endpoints.iter().filter(fits).map(Arc::clone).collect()
    }
}

fn is_healthy(endpoint: &Endpoint) -> bool {
    endpoint.health() == EndpointHealth::Healthy && !endpoint.live().is_withheld()
}

fn is_degraded(endpoint: &Endpoint) -> bool {
    endpoint.health() == EndpointHealth::Degraded && !endpoint.live().is_withheld()
}

/// An endpoint that is draining does not count in the totals.
fn is_excluded(endpoint: &Endpoint) -> bool {
    endpoint.health() == EndpointHealth::Draining
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

/// What is available of one priority.
#[derive(Clone, Copy, Debug, Default)]
struct Availability {
    hosts: usize,
    healthy: usize,
    degraded: usize,
    excluded: usize,
}

impl Availability {
    fn of(priority: &Priority) -> Self {
        let count = |fits: fn(&Endpoint) -> bool| {
            let endpoints = priority.endpoints.iter();
            endpoints.filter(|endpoint| fits(endpoint)).count()
        };
        Self {
            hosts: priority.endpoints.len(),
            healthy: count(is_healthy),
            degraded: count(is_degraded),
            excluded: count(is_excluded),
        }
    }

    fn counted(&self) -> usize {
        self.hosts - self.excluded
    }

    /// In percent, with overprovisioning, at most 100.
    fn health(&self, eligible: usize, overprovisioning: u32) -> u32 {
        (overprovisioning as usize * eligible)
            .checked_div(self.counted())
            .map_or(0, |percent| percent.min(100) as u32)
    }

    fn is_in_panic(&self, threshold: u32) -> bool {
        let available = match self.counted() {
            0 => 0.0,
            counted => 100.0 * (self.healthy + self.degraded) as f64 / counted as f64,
        };
        available < f64::from(threshold)
    }
}

impl Membership {
    fn of(priorities: &[Availability]) -> Self {
        let sum = |count: fn(&Availability) -> usize| priorities.iter().map(count).sum();
        Self {
            total: sum(|p| p.hosts),
            healthy: sum(|p| p.healthy),
            degraded: sum(|p| p.degraded),
            excluded: sum(|p| p.excluded),
        }
    }
}

/// The load of each priority in percent, 100 in all, and which are in panic.
#[derive(Debug, PartialEq, Eq)]
struct Shares {
    healthy: Vec<u32>,
    degraded: Vec<u32>,
    panic: Vec<bool>,
}

impl Shares {
    fn of(priorities: &[Availability], overprovisioning: u32, panic_threshold: u32) -> Self {
        let percent = |eligible: fn(&Availability) -> usize| -> Vec<u32> {
            let priorities = priorities.iter();
            priorities
                .map(|p| p.health(eligible(p), overprovisioning))
                .collect()
        };
        let health = percent(|p| p.healthy);
        let degraded_health = percent(|p| p.degraded);
        let sum: u32 = health.iter().chain(&degraded_health).sum();
        let available = sum.min(100);
        let mut shares = Self {
            healthy: vec![0; priorities.len()],
            degraded: vec![0; priorities.len()],
            panic: vec![false; priorities.len()],
        };
        if available > 0 {
            let left = distribute(&mut shares.healthy, &health, 100, available);
            let left = distribute(&mut shares.degraded, &degraded_health, left, available);
            // What is left are rounding errors.
            if let Some(first) = health.iter().position(|h| *h > 0) {
                shares.healthy[first] += left;
            } else if let Some(first) = degraded_health.iter().position(|h| *h > 0) {
                shares.degraded[first] += left;
            }
        }
        if panic_threshold > 0 && available < 100 {
            for (panic, priority) in shares.panic.iter_mut().zip(priorities) {
                *panic = priority.is_in_panic(panic_threshold);
            }
            if shares.panic.iter().all(|panic| *panic) {
                shares.distribute_in_total_panic(priorities);
            }
        }
        shares
    }

    /// By the number of endpoints, whatever their health.
    fn distribute_in_total_panic(&mut self, priorities: &[Availability]) {
        let total: usize = priorities.iter().map(|p| p.hosts).sum();
        let mut left = 100;
        for (load, priority) in self.healthy.iter_mut().zip(priorities) {
            *load = (100 * priority.hosts).checked_div(total).unwrap_or(0) as u32;
            left -= *load;
        }
        self.degraded.fill(0);
        if let Some(first) = priorities.iter().position(|p| p.hosts > 0) {
            self.healthy[first] += left;
        }
    }
}

/// Gives each priority its part of `load`, highest first; returns what is left.
fn distribute(shares: &mut [u32], health: &[u32], load: u32, available: u32) -> u32 {
    let mut left = load;
    for (share, health) in shares.iter_mut().zip(health) {
        *share = left.min(health * 100 / available);
        left -= *share;
    }
    left
}
