//! Zone-aware routing (Envoy `ZoneAwareLoadBalancerBase`): requests stay in the own locality as far as its part of the
//! upstream endpoints is as large as its part of the callers, which the local cluster tells.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use super::{
    PickContext,
    endpoint::Endpoint,
    endpoint_set::Priority,
    lb::Hosts,
    load::{Balancing, Kind},
    priority::is_healthy,
};
use crate::{
    Entropy,
    model::{ClusterLoadAssignment, EndpointHealth, Locality, ZoneAware},
    stats::ClusterStats,
};

/// The callers of a cluster, this process among them: the endpoints of `local_cluster_name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalCluster {
    own: Locality,
    /// All and healthy endpoints of each locality, own or not.
    localities: BTreeMap<[Box<str>; 3], [usize; 2]>,
    /// Healthy and degraded ones of all that count.
    available: [usize; 2],
}

fn key(locality: &Locality) -> [Box<str>; 3] {
    [&locality.region, &locality.zone, &locality.sub_zone].map(Clone::clone)
}

impl LocalCluster {
    /// Its endpoints of the highest priority, as their assignment says; `own`: the node's locality.
    pub fn new(own: &Locality, assignment: &ClusterLoadAssignment) -> Self {
        let mut local = Self {
            own: own.clone(),
            ..Self::default()
        };
        for group in assignment.localities.iter().filter(|l| l.priority == 0) {
            for endpoint in &group.endpoints {
                let healthy = endpoint.health == EndpointHealth::Healthy;
                let [all, fit] = local.localities.entry(key(&group.locality)).or_default();
                *all += 1;
                *fit += usize::from(healthy);
                if endpoint.health != EndpointHealth::Draining {
                    let available = healthy || endpoint.health == EndpointHealth::Degraded;
                    local.available[0] += usize::from(available);
                    local.available[1] += 1;
                }
            }
        }
        local
    }

    fn is_in_panic(&self, threshold: u32) -> bool {
        let [available, counted] = self.available;
        let percent = match counted {
            0 => 0.0,
            counted => 100.0 * available as f64 / counted as f64,
        };
        percent < f64::from(threshold)
    }

    /// In hundredths of a percent.
    fn part(&self, locality: &Locality) -> usize {
        let total: usize = self.localities.values().map(|[_, healthy]| healthy).sum();
        let healthy = self.localities.get(&key(locality)).map_or(0, |[_, h]| *h);
        (10_000 * healthy).checked_div(total).unwrap_or(0)
    }
}

/// The endpoints of one kind of the highest priority, by locality.
#[derive(Debug)]
pub(super) struct Zones {
    /// The own locality first, if it has endpoints.
    zones: Vec<Hosts>,
    /// For requests that zones do not bind.
    all: Hosts,
    config: ZoneAware,
    routing: Routing,
    local_in_panic: bool,
    stats: Arc<ClusterStats>,
}

#[derive(Debug)]
enum Routing {
    Direct,
    Residual {
        /// Of 10,000.
        local: usize,
        /// The room of each locality with all before it.
        capacity: Vec<usize>,
    },
}

impl Zones {
    /// None: zones do not count here. `hosts` makes the endpoints of a locality (None: of all) ready for picking.
    pub(super) fn build(
        priority: &Priority,
        kind: Kind,
        local: &LocalCluster,
        rules: &Balancing,
        now: Option<Instant>,
        hosts: &mut dyn FnMut(Vec<Arc<Endpoint>>, Option<usize>, Option<Instant>) -> Hosts,
    ) -> Option<Self> {
        let stats = &rules.stats;
        stats.lb_recalculate_zone_structures.inc();
        let config = rules.zone_aware;
        let mut groups: Vec<(&Locality, &[Arc<Endpoint>])> = priority
            .localities
            .iter()
            .filter_map(|group| Some((&**group.endpoints.first()?.locality(), &*group.endpoints)))
            .collect();
        let own = groups
            .iter()
            .position(|(locality, _)| **locality == local.own);
        if let Some(own) = own {
            groups[..=own].rotate_right(1);
        }
        let too_few = local.localities.len() < 2 && !config.force_locality_direct_routing;
        if groups.len() < 2 || too_few {
            return None;
        }
        if !local.localities.contains_key(&key(&local.own)) {
            stats.lb_local_cluster_not_ok.inc();
            return None;
        }
        let healthy = priority.endpoints.iter().filter(|e| is_healthy(e)).count();
        if (healthy as u64) < config.min_cluster_size {
            stats.lb_zone_cluster_too_small.inc();
            return None;
        }
        let of_group = |endpoints: &[Arc<Endpoint>]| {
            endpoints
                .iter()
                .filter(|endpoint| is_healthy(endpoint))
                .count()
        };
        // The callers' part and the upstream's, both in hundredths of a percent.
        let parts: Vec<[usize; 2]> = groups
            .iter()
            .map(|(locality, endpoints)| match of_group(endpoints) {
                0 => [0, 0],
                here => [
                    local.part(locality),
                    (10_000 * here).checked_div(healthy).unwrap_or(0),
                ],
            })
            .collect();
        let routing = routing(own.is_some(), &parts, config.force_locality_direct_routing);
        let zones = groups.iter().enumerate();
        let zones = zones
            .map(|(at, (_, endpoints))| hosts(kind.of(endpoints), Some(at), now))
            .collect();
        Some(Self {
            zones,
            all: hosts(kind.of(&priority.endpoints), None, now),
            config,
            routing,
            local_in_panic: local.is_in_panic(rules.panic_threshold),
            stats: Arc::clone(stats),
        })
    }

    #[inline(never)]
    pub(super) fn pick(
        &self,
        cx: &PickContext<'_>,
        random: Option<u64>,
        entropy: &mut dyn Entropy,
    ) -> Option<&Arc<Endpoint>> {
        let enabled = u64::from(self.config.routing_enabled);
        if enabled < 100 && entropy.next_u64() % 100 >= enabled {
            return self.all.pick(cx, random, entropy);
        }
        if self.local_in_panic {
            self.stats.lb_local_cluster_not_ok.inc();
            return match self.config.fail_traffic_on_panic {
                true => None,
                false => self.all.pick(cx, random, entropy),
            };
        }
        let at = self.zone(entropy);
        self.zones.get(at)?.pick(cx, random, entropy)
    }

    fn zone(&self, entropy: &mut dyn Entropy) -> usize {
        let stats = &self.stats;
        let (local, capacity) = match &self.routing {
            Routing::Direct => {
                stats.lb_zone_routing_all_directly.inc();
                return 0;
            }
            Routing::Residual { local, capacity } => (*local as u64, capacity),
        };
        if entropy.next_u64() % 10_000 < local {
            stats.lb_zone_routing_sampled.inc();
            return 0;
        }
        stats.lb_zone_routing_cross_zone.inc();
        let room = capacity.last().copied().unwrap_or(0) as u64;
        if room == 0 {
            stats.lb_zone_no_capacity_left.inc();
            return (entropy.next_u64() % self.zones.len().max(1) as u64) as usize;
        }
        let sample = (entropy.next_u64() % room) as usize;
        capacity.partition_point(|capacity| *capacity <= sample)
    }
}

/// What of the requests stays, and where the rest finds room. `parts`: of callers and upstream.
fn routing(has_own: bool, parts: &[[usize; 2]], direct: bool) -> Routing {
    let own = parts.first().filter(|_| has_own);
    let local = match own {
        Some([callers, upstream]) if (*upstream > 0 && upstream >= callers) || direct => {
            return Routing::Direct;
        }
        Some([callers, upstream]) => (upstream * 10_000).checked_div(*callers).unwrap_or(0),
        None => 0,
    };
    let mut room = 0;
    let capacity = parts.iter().enumerate().map(|(at, [callers, upstream])| {
        if at > 0 || !has_own {
            room += upstream.saturating_sub(*callers);
        }
        room
    });
    Routing::Residual {
        local,
        capacity: capacity.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_zone_takes_what_it_can_and_the_rest_goes_where_there_is_room() {
        assert!(matches!(
            routing(true, &[[3_000, 3_000], [7_000, 7_000]], false),
            Routing::Direct
        ));
        assert!(matches!(
            routing(true, &[[9_000, 10], [1_000, 9_990]], true),
            Routing::Direct
        ));
        type Case = (bool, &'static [[usize; 2]], usize, &'static [usize]);
        let cases: [Case; 3] = [
            // Envoy's own example.
            (
                true,
                &[[4_000, 2_500], [4_000, 5_000], [2_000, 2_500]],
                6_250,
                &[0, 1_000, 1_500],
            ),
            (false, &[[5_000, 6_000], [0, 4_000]], 0, &[1_000, 5_000]),
            (true, &[[0, 0], [10_000, 10_000]], 0, &[0, 0]),
        ];
        for (has_own, parts, expected, room) in cases {
            let Routing::Residual { local, capacity } = routing(has_own, parts, false) else {
                panic!("{parts:?}")
            };
            assert_eq!((local, &capacity[..]), (expected, room), "{parts:?}");
        }
    }
}
