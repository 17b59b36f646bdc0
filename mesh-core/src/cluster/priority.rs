//! What is available of each priority and which part of the load it takes
//! (Envoy `load_balancer_impl.cc`: overprovisioning, degraded endpoints, panic).

use super::{active_health::HealthFlags, endpoint::Endpoint, endpoint_set::Priority};
use crate::model::EndpointHealth;

/// Envoy's `coarseHealth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Healthy,
    Degraded,
    Unhealthy,
}

fn health_of(endpoint: &Endpoint) -> Health {
    let live = endpoint.live();
    let active = live.active_health.in_force();
    let by_assignment = match endpoint.health() {
        EndpointHealth::Healthy => Health::Healthy,
        EndpointHealth::Degraded => Health::Degraded,
        EndpointHealth::Unhealthy | EndpointHealth::Draining => Health::Unhealthy,
    };
    match by_assignment {
        _ if live.is_withheld() || active.any(HealthFlags::FAILED) => Health::Unhealthy,
        Health::Healthy if active.any(HealthFlags::DEGRADED) => Health::Degraded,
        health => health,
    }
}

pub(super) fn is_healthy(endpoint: &Endpoint) -> bool {
    health_of(endpoint) == Health::Healthy
}

pub(super) fn is_degraded(endpoint: &Endpoint) -> bool {
    health_of(endpoint) == Health::Degraded
}

/// An endpoint that is draining, not checked yet or excluded by its own word does not count in the totals.
pub(super) fn is_excluded(endpoint: &Endpoint) -> bool {
    let excluded = HealthFlags::PENDING.with(HealthFlags::EXCLUDED);
    endpoint.health() == EndpointHealth::Draining
        || endpoint.live().active_health.in_force().any(excluded)
}

/// What is available of one priority.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Availability {
    hosts: usize,
    healthy: usize,
    degraded: usize,
    excluded: usize,
}

impl Availability {
    pub(super) fn of(priority: &Priority) -> Self {
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

/// Counts of endpoints over all priorities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) total: usize,
    pub(super) healthy: usize,
    pub(super) degraded: usize,
    pub(super) excluded: usize,
}

impl Membership {
    pub(super) fn of(priorities: &[Availability]) -> Self {
        let sum = |count: fn(&Availability) -> usize| priorities.iter().map(count).sum();
        Self {
            total: sum(|p| p.hosts),
            healthy: sum(|p| p.healthy),
            degraded: sum(|p| p.degraded),
            excluded: sum(|p| p.excluded),
        }
    }
}

/// The load of one priority, and what it follows from; in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Healthy endpoints of all that count, with overprovisioning, at most 100.
    pub(super) health: u32,
    /// Likewise degraded endpoints.
    pub(super) degraded_health: u32,
    /// The part of the load that healthy endpoints take; in panic, all endpoints.
    pub(super) load: u32,
    /// The part of the load that degraded endpoints take.
    pub(super) degraded_load: u32,
    pub(super) panic: bool,
}

impl Share {
    /// The shares of all priorities: their loads are 100 in all, or 0 where nothing is available.
    pub(super) fn of(
        priorities: &[Availability],
        overprovisioning: u32,
        panic_threshold: u32,
    ) -> Vec<Self> {
        let mut shares: Vec<_> = priorities
            .iter()
            .map(|priority| Self {
                health: priority.health(priority.healthy, overprovisioning),
                degraded_health: priority.health(priority.degraded, overprovisioning),
                ..Self::default()
            })
            .collect();
        let sum: u32 = shares.iter().map(|s| s.health + s.degraded_health).sum();
        let available = sum.min(100);
        if available > 0 {
            distribute(&mut shares, available);
        }
        if panic_threshold > 0 && available < 100 {
            for (share, priority) in shares.iter_mut().zip(priorities) {
                share.panic = priority.is_in_panic(panic_threshold);
            }
            if shares.iter().all(|share| share.panic) {
                distribute_in_total_panic(&mut shares, priorities);
            }
        }
        shares
    }
}

/// To healthy endpoints first, highest priority first, then to degraded ones.
fn distribute(shares: &mut [Share], available: u32) {
    let mut left = 100;
    for share in &mut *shares {
        share.load = left.min(share.health * 100 / available);
        left -= share.load;
    }
    for share in &mut *shares {
        share.degraded_load = left.min(share.degraded_health * 100 / available);
        left -= share.degraded_load;
    }
    // What is left are rounding errors.
    if let Some(first) = shares.iter_mut().find(|share| share.health > 0) {
        first.load += left;
    } else if let Some(first) = shares.iter_mut().find(|share| share.degraded_health > 0) {
        first.degraded_load += left;
    }
}

/// By the number of endpoints, whatever their health.
fn distribute_in_total_panic(shares: &mut [Share], priorities: &[Availability]) {
    let total: usize = priorities.iter().map(|p| p.hosts).sum();
    let mut left = 100;
    for (share, priority) in shares.iter_mut().zip(priorities) {
        share.load = (100 * priority.hosts).checked_div(total).unwrap_or(0) as u32;
        share.degraded_load = 0;
        left -= share.load;
    }
    let mut both = shares.iter_mut().zip(priorities);
    if let Some((first, _)) = both.find(|(_, priority)| priority.hosts > 0) {
        first.load += left;
    }
}
