//! Consistent hashing: the same hash goes to the same endpoint while it is there
//! (Envoy `thread_aware_lb_impl.cc`).

use std::{borrow::Cow, sync::Arc};

use super::{maglev::Maglev, ring::Ring};
use crate::{
    cluster::endpoint::Endpoint,
    model::{ConsistentHashing, LbPolicy},
};

/// Endpoints with their parts of the whole.
#[derive(Debug)]
pub(in crate::cluster) struct WeightedHosts {
    /// Weights add up to 1, or to less where localities with a weight have no endpoint.
    pub(super) hosts: Vec<(Arc<Endpoint>, f64)>,
    /// At most 1.
    pub(super) lightest: f64,
    /// At least 0.
    pub(super) heaviest: f64,
}

impl WeightedHosts {
    /// By their own weights.
    pub(in crate::cluster) fn flat(endpoints: Vec<Arc<Endpoint>>) -> Self {
        let mut hosts = Self::empty();
        hosts.add(endpoints, 1.0);
        hosts
    }

    /// By their localities' weights, then their own. A locality without weight is left out. Unlike other policies',
    /// localities' weights are not lowered by endpoints that are not eligible.
    pub(in crate::cluster) fn by_locality(localities: Vec<(u32, Vec<Arc<Endpoint>>)>) -> Self {
        let sum: u64 = localities
            .iter()
            .map(|(weight, _)| u64::from(*weight))
            .sum();
        let mut hosts = Self::empty();
        for (weight, endpoints) in localities {
            if weight > 0 {
                hosts.add(endpoints, f64::from(weight) / sum as f64);
            }
        }
        hosts
    }

    fn empty() -> Self {
        Self {
            hosts: Vec::new(),
            lightest: 1.0,
            heaviest: 0.0,
        }
    }

    fn add(&mut self, endpoints: Vec<Arc<Endpoint>>, share: f64) {
        let sum: u64 = endpoints.iter().map(|e| u64::from(e.weight())).sum();
        for endpoint in endpoints {
            let weight = f64::from(endpoint.weight()) * share / sum as f64;
            self.lightest = self.lightest.min(weight);
            self.heaviest = self.heaviest.max(weight);
            self.hosts.push((endpoint, weight));
        }
    }
}

impl ConsistentHashing {
    /// What an endpoint is known by.
    pub(super) fn key<'e>(&self, endpoint: &'e Endpoint) -> Cow<'e, str> {
        match &endpoint.config().hash_key {
            Some(key) if !key.is_empty() => Cow::Borrowed(key),
            _ if self.use_hostname => Cow::Borrowed(endpoint.hostname()),
            _ => Cow::Owned(endpoint.address().to_string()),
        }
    }
}

/// Ring hash or maglev over the endpoints of one priority.
#[derive(Debug)]
pub(in crate::cluster) struct ConsistentHosts {
    hosts: Box<[(Arc<Endpoint>, f64)]>,
    table: Table,
    /// `hash_balance_factor`; 0: none.
    balance_factor: u32,
}

#[derive(Debug)]
enum Table {
    Ring(Ring),
    Maglev(Maglev),
}

impl ConsistentHosts {
    /// None: the policy does not hash.
    pub(in crate::cluster) fn new(policy: &LbPolicy, hosts: WeightedHosts) -> Option<Self> {
        let (table, hashing) = match policy {
            LbPolicy::RingHash(config) => (Table::Ring(Ring::new(config, &hosts)), config.hashing),
            LbPolicy::Maglev(config) => {
                let table = Table::Maglev(Maglev::new(config, &hosts));
                (table, config.hashing)
            }
            _ => return None,
        };
        Some(Self {
            hosts: hosts.hosts.into(),
            table,
            balance_factor: hashing.balance_factor,
        })
    }

    /// The endpoint of a hash. `attempt` counts the picks that the retry policy did not take. `active` is asked for the
    /// cluster's requests in flight if load is bounded; a pick that meets an endpoint with too many then looks at the
    /// others one by one, and allocates.
    pub(in crate::cluster) fn pick(
        &self,
        hash: u64,
        attempt: u32,
        active: impl Fn() -> u32,
    ) -> Option<&Arc<Endpoint>> {
        let chosen = match &self.table {
            Table::Ring(ring) => ring.choose(hash, attempt),
            Table::Maglev(maglev) => maglev.choose(hash, attempt),
        }? as usize;
        let chosen = match self.balance_factor {
            0 => chosen,
            factor => super::bounded::choose(&self.hosts, chosen, hash, factor, active()),
        };
        self.hosts.get(chosen).map(|(endpoint, _)| endpoint)
    }
}
