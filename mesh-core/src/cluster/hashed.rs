//! What picks by hash read: one table for each priority (Envoy `ThreadAwareLoadBalancerBase`).

use std::sync::Arc;

use super::{
    endpoint::Endpoint,
    endpoint_set::Priority,
    lb::{ConsistentHosts, WeightedHosts},
    load::{Balancing, Kind, Picked},
    priority::Share,
};
use crate::model::LbPolicy;

/// The tables of all priorities, and which hash goes to which.
#[derive(Debug)]
pub(super) struct HashedLoad {
    /// By place of the priority.
    tables: Vec<Table>,
    /// A hash modulo 100, plus 1, up to this number goes to this table, if no number before was as large.
    bounds: Vec<(u32, usize)>,
}

#[derive(Debug)]
struct Table {
    hosts: ConsistentHosts,
    panic: bool,
}

impl HashedLoad {
    /// None: the policy does not hash.
    pub(super) fn build(
        priorities: &[Priority],
        shares: &[Share],
        rules: &Balancing,
    ) -> Option<Self> {
        if !is_hashing(&rules.policy) {
            return None;
        }
        let tables = priorities
            .iter()
            .zip(shares)
            .filter_map(|(priority, share)| {
                let kind = match share.panic {
                    true => Kind::All,
                    false => Kind::Healthy,
                };
                let hosts = match rules.locality_weighted {
                    false => WeightedHosts::flat(kind.of(&priority.endpoints)),
                    true => WeightedHosts::by_locality(
                        priority
                            .localities
                            .iter()
                            .map(|group| (group.weight.unwrap_or(0), kind.of(&group.endpoints)))
                            .collect(),
                    ),
                };
                Some(Table {
                    hosts: ConsistentHosts::new(&rules.policy, hosts)?,
                    panic: share.panic,
                })
            });
        let tables = tables.collect();
        // Degraded endpoints have a part of the load, but it goes to the priority's healthy ones.
        let loads = shares.iter().map(|share| share.load).enumerate();
        let degraded = shares.iter().map(|share| share.degraded_load).enumerate();
        let mut bound = 0;
        let bounds = loads.chain(degraded).filter(|(_, load)| *load > 0);
        let bounds = bounds
            .map(|(at, load)| {
                bound += load;
                (bound, at)
            })
            .collect();
        Some(Self { tables, bounds })
    }

    /// The endpoint of a hash; None: there is none, or none of its priority is healthy. `attempt`, `active`: see
    /// [`ConsistentHosts::pick`].
    pub(super) fn pick(
        &self,
        hash: u64,
        attempt: u32,
        active: impl Fn() -> u32,
    ) -> Option<Picked<'_>> {
        let number = (hash % 100 + 1) as u32;
        let (_, at) = self.bounds.iter().find(|(bound, _)| number <= *bound)?;
        let table = self.tables.get(*at)?;
        let endpoint: &Arc<Endpoint> = table.hosts.pick(hash, attempt, active)?;
        Some(Picked {
            endpoint,
            panic: table.panic,
        })
    }
}

/// Whether the policy chooses by hash.
pub(super) fn is_hashing(policy: &LbPolicy) -> bool {
    matches!(policy, LbPolicy::RingHash(_) | LbPolicy::Maglev(_))
}
