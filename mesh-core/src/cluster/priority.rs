//! What is available of each priority and which part of the load it takes
//! (Envoy `load_balancer_impl.cc`: overprovisioning, degraded endpoints, panic).

use std::sync::Arc;

use super::{active_health::HealthFlags, endpoint::Endpoint, endpoint_set::Priority};
use crate::model::EndpointHealth;

/// Envoy's `coarseHealth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Healthy,
    Degraded,
    Unhealthy,
}

impl Health {
    /// `ejected`, `degraded`: by outlier detection. `active`: by active health checks.
    fn of(endpoint: &Endpoint, ejected: bool, degraded: bool, active: HealthFlags) -> Self {
        let by_assignment = match endpoint.health() {
            EndpointHealth::Healthy => Self::Healthy,
            EndpointHealth::Degraded => Self::Degraded,
            EndpointHealth::Unhealthy | EndpointHealth::Draining => Self::Unhealthy,
        };
        match by_assignment {
            _ if ejected || active.any(HealthFlags::FAILED) => Self::Unhealthy,
            Self::Healthy if degraded || active.any(HealthFlags::DEGRADED) => Self::Degraded,
            health => health,
        }
    }

    /// As load balancing sees it: what waits is not in force.
    fn in_force(endpoint: &Endpoint) -> Self {
        let live = endpoint.live();
        let active = live.active_health.in_force();
        Self::of(endpoint, live.is_withheld(), live.is_lowered(), active)
    }

    /// As statistics see it: what is decided counts.
    fn decided(endpoint: &Endpoint) -> Self {
        let live = endpoint.live();
        let active = live.active_health.flags();
        Self::of(endpoint, live.is_ejected(), live.is_degraded(), active)
    }
}

pub(super) fn is_healthy(endpoint: &Endpoint) -> bool {
    Health::in_force(endpoint) == Health::Healthy
}

pub(super) fn is_degraded(endpoint: &Endpoint) -> bool {
    Health::in_force(endpoint) == Health::Degraded
}

/// An endpoint that is draining, not checked yet or excluded by its own word does not count in the totals.
pub(super) fn is_excluded(endpoint: &Endpoint) -> bool {
    is_excluded_by(endpoint, endpoint.live().active_health.in_force())
}

fn is_excluded_by(endpoint: &Endpoint, active: HealthFlags) -> bool {
    let excluded = HealthFlags::PENDING.with(HealthFlags::EXCLUDED);
    endpoint.health() == EndpointHealth::Draining || active.any(excluded)
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

/// Counts of endpoints over all priorities. As in Envoy they do not wait for the update merge window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) total: usize,
    pub(super) healthy: usize,
    pub(super) degraded: usize,
    pub(super) excluded: usize,
}

impl Membership {
    pub(super) fn of(endpoints: &[Arc<Endpoint>]) -> Self {
        let mut membership = Self::default();
        let is_gone = |e: &&Arc<Endpoint>| e.live().active_health.flags().is_gone();
        for endpoint in endpoints.iter().filter(|e| !is_gone(e)) {
            membership.total += 1;
            match Health::decided(endpoint) {
                Health::Healthy => membership.healthy += 1,
                Health::Degraded => membership.degraded += 1,
                Health::Unhealthy => {}
            }
            let active = endpoint.live().active_health.flags();
            membership.excluded += usize::from(is_excluded_by(endpoint, active));
        }
        membership
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
