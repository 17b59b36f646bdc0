use std::collections::BTreeMap;

use cluster::cluster::common_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use mesh_proto::envoy::config::cluster::v3 as cluster;
use mesh_proto::envoy::config::endpoint::v3::LocalityLbEndpoints;
use mesh_proto::envoy::r#type::v3::Percent;

use super::endpoints::Group;
use super::scope::Scope;
use crate::model::{Distribute, LocalityLb, TrafficDistribution, TrafficPolicy, ZoneAwareLb};
use crate::registry::{Service, split_locality};

const NETWORK: &str = "topology.istio.io/network";

/// How endpoints far away are preferred less: by the rule, else the service, else the mesh.
pub(super) enum Balance {
    Locality {
        setting: LocalityLb,
        /// Also without outlier detection.
        always: bool,
    },
    ZoneAware(ZoneAwareLb),
}

impl Balance {
    /// `None` if it is turned off.
    pub(super) fn of(scope: &Scope, service: &Service, policy: &TrafficPolicy) -> Option<Self> {
        let mesh = &scope.config.mesh;
        let rule = policy.load_balancer.as_ref();
        if let Some(zone_aware) = rule.and_then(|lb| lb.zone_aware.clone()) {
            return Some(Balance::ZoneAware(zone_aware));
        }
        if let Some(setting) = rule.and_then(|lb| lb.locality.clone()) {
            return (!setting.is_off).then_some(Balance::Locality {
                setting,
                always: false,
            });
        }
        if let Some(distribution) = service.traffic_distribution {
            let near: &[&str] = match distribution {
                TrafficDistribution::SameZone => &[
                    NETWORK,
                    "topology.kubernetes.io/region",
                    "topology.kubernetes.io/zone",
                ],
                TrafficDistribution::SameNode => &[
                    NETWORK,
                    "topology.kubernetes.io/region",
                    "topology.kubernetes.io/zone",
                    "topology.istio.io/subzone",
                    "kubernetes.io/hostname",
                ],
            };
            let setting = LocalityLb {
                failover_priority: near.iter().map(|label| (*label).to_owned()).collect(),
                ..LocalityLb::default()
            };
            return Some(Balance::Locality {
                setting,
                always: true,
            });
        }
        if let Some(zone_aware) = &mesh.zone_aware {
            return Some(Balance::ZoneAware(zone_aware.clone()));
        }
        (!mesh.locality.is_off).then(|| Balance::Locality {
            setting: mesh.locality.clone(),
            always: false,
        })
    }

    /// What a cluster says of localities.
    pub(super) fn specifier(&self, has_outlier_detection: bool) -> Option<LocalityConfigSpecifier> {
        match self {
            Balance::Locality { setting, always } => {
                let fails_over = (*always || has_outlier_detection)
                    && !(setting.failover.is_empty() && setting.failover_priority.is_empty());
                (fails_over || !setting.distribute.is_empty()).then(|| {
                    LocalityConfigSpecifier::LocalityWeightedLbConfig(
                        LocalityWeightedLbConfig::default(),
                    )
                })
            }
            Balance::ZoneAware(setting) => Some(LocalityConfigSpecifier::ZoneAwareLbConfig(
                ZoneAwareLbConfig {
                    routing_enabled: setting.is_off.then_some(Percent { value: 0.0 }),
                    min_cluster_size: setting.min_cluster_size.map(u64::from),
                    ..Default::default()
                },
            )),
        }
    }

    /// Gives localities their weights or priorities.
    pub(super) fn apply(
        &self,
        scope: &Scope,
        groups: Vec<Group>,
        has_outlier_detection: bool,
    ) -> Vec<LocalityLbEndpoints> {
        let plain = |groups: Vec<Group>| groups.into_iter().map(|g| g.xds).collect::<Vec<_>>();
        match self {
            Balance::Locality { setting, .. } if !setting.distribute.is_empty() => {
                let mut localities = plain(groups);
                distribute(scope, &mut localities, &setting.distribute);
                localities
            }
            Balance::Locality { setting, always } if *always || has_outlier_detection => {
                if setting.failover_priority.is_empty() {
                    let mut localities = plain(groups);
                    by_distance(scope, &mut localities, &setting.failover);
                    localities
                } else {
                    let mut localities = by_labels(scope, groups, &setting.failover_priority);
                    if !setting.failover.is_empty() {
                        by_distance(scope, &mut localities, &setting.failover);
                    }
                    localities
                }
            }
            Balance::ZoneAware(setting) if !setting.is_off => {
                let mut localities = match setting.failover_priority.as_slice() {
                    [] => plain(groups),
                    priority => by_labels(scope, groups, priority),
                };
                by_region(scope, &mut localities, &setting.failover);
                localities
            }
            _ => plain(groups),
        }
    }
}

/// Whether a locality is one that `region/zone/subzone` means; `*` and what is missing mean any.
fn matches(locality: (&str, &str, &str), pattern: &str) -> bool {
    let (region, zone, subzone) = split_locality(pattern);
    (region == "*" || locality.0 == region)
        && (matches!(zone, "*" | "") || locality.1 == zone)
        && (matches!(subzone, "*" | "") || locality.2 == subzone)
}

fn parts(locality: &LocalityLbEndpoints) -> (&str, &str, &str) {
    match &locality.locality {
        Some(l) => (&l.region, &l.zone, &l.sub_zone),
        None => ("", "", ""),
    }
}

/// Shares by the first entry whose origin is the node's; localities that no target means lose their endpoints.
fn distribute(scope: &Scope, localities: &mut [LocalityLbEndpoints], all: &[Distribute]) {
    let own = split_locality(&scope.locality);
    let Some(entry) = all.iter().find(|d| matches(own, &d.from)) else {
        return;
    };
    let mut left: Vec<usize> = (0..localities.len()).collect();
    for (target, share) in &entry.to {
        let (taken, rest): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|i| matches(parts(&localities[*i]), target));
        left = rest;
        let weight_of =
            |locality: &LocalityLbEndpoints| locality.load_balancing_weight.unwrap_or(1);
        let total: u32 = taken.iter().map(|i| weight_of(&localities[*i])).sum();
        for i in taken {
            let weight = weight_of(&localities[i]).wrapping_mul(*share);
            let weight = f64::from(weight) / f64::from(total);
            if weight > 0.0 {
                localities[i].load_balancing_weight = Some(weight.ceil() as u32);
            }
        }
    }
    for i in left {
        localities[i].lb_endpoints.clear();
    }
}

/// Priorities 0 to 4: the same subzone, zone, region, the failover region or any other, other than that.
fn by_distance(
    scope: &Scope,
    localities: &mut [LocalityLbEndpoints],
    failover: &[(String, String)],
) {
    let own = split_locality(&scope.locality);
    let to = failover
        .iter()
        .find(|(from, _)| from == own.0)
        .map(|f| &f.1);
    for locality in localities.iter_mut() {
        let its = parts(locality);
        let distance = if own.0 != its.0 {
            if to.is_some_and(|to| to != its.0) {
                4
            } else {
                3
            }
        } else if own.1 != its.1 {
            2
        } else if own.2 != its.2 {
            1
        } else {
            0
        };
        locality.priority = locality.priority * 5 + distance;
    }
    without_gaps(localities);
}

/// Priorities 0 to 2: the own region, the failover region, others.
fn by_region(scope: &Scope, localities: &mut [LocalityLbEndpoints], failover: &[(String, String)]) {
    let own = split_locality(&scope.locality).0;
    let to = failover.iter().find(|(from, _)| from == own).map(|f| &f.1);
    for locality in localities.iter_mut() {
        let region = parts(locality).0;
        let distance = if region == own {
            0
        } else if to.is_some_and(|to| to == region) {
            1
        } else {
            2
        };
        locality.priority = locality.priority * 3 + distance;
    }
    without_gaps(localities);
}

/// Splits localities by how many labels, from the first, are those of the node.
fn by_labels(scope: &Scope, groups: Vec<Group>, labels: &[String]) -> Vec<LocalityLbEndpoints> {
    let wanted: Vec<(&str, &str)> = labels
        .iter()
        .map(|text| match text.split('=').collect::<Vec<_>>()[..] {
            [label, value] => (label, value),
            _ => {
                let label = text.split('=').next().unwrap_or(text);
                let value = scope.labels.get(label).map_or("", String::as_str);
                (label, value)
            }
        })
        .collect();
    let lowest = u32::try_from(labels.len()).unwrap_or(u32::MAX);
    let by_network = labels.first().is_some_and(|first| first == NETWORK);
    let mut split = Vec::new();
    for group in groups {
        let mut priorities: BTreeMap<u32, LocalityLbEndpoints> = BTreeMap::new();
        for (endpoint, lb_endpoint) in group.endpoints.iter().zip(&group.xds.lb_endpoints) {
            let (mut priority, mut other_network) = (0, 0);
            for (i, (label, value)) in wanted.iter().enumerate() {
                let its = endpoint.labels.get(*label).map_or("", String::as_str);
                if its != *value {
                    if i == 0 && by_network {
                        other_network = lowest;
                        continue;
                    }
                    priority = lowest - u32::try_from(i).unwrap_or(lowest);
                    break;
                }
            }
            let priority = priority + other_network;
            let locality = priorities
                .entry(priority)
                .or_insert_with(|| LocalityLbEndpoints {
                    lb_endpoints: Vec::new(),
                    load_balancing_weight: Some(0),
                    priority,
                    ..group.xds.clone()
                });
            locality.lb_endpoints.push(lb_endpoint.clone());
            let weight = locality.load_balancing_weight.unwrap_or(0);
            locality.load_balancing_weight = Some(weight.wrapping_add(endpoint.weight));
        }
        split.extend(priorities.into_values());
    }
    without_gaps(&mut split);
    split
}

/// Envoy wants priorities from 0 without gaps.
fn without_gaps(localities: &mut [LocalityLbEndpoints]) {
    let used: std::collections::BTreeSet<u32> = localities.iter().map(|l| l.priority).collect();
    let places: BTreeMap<u32, u32> = used.into_iter().zip(0..).collect();
    for locality in localities {
        locality.priority = places.get(&locality.priority).copied().unwrap_or(0);
    }
}
