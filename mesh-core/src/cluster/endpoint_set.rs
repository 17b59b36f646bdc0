//! The endpoints of a cluster, flattened for picking: priorities, and localities in them.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use super::{
    active_health::HealthFlags,
    endpoint::{Endpoint, Live},
    labels::Labels,
    zone::LocalCluster,
};
use crate::model::{
    ClusterConfig, ClusterDiscovery, ClusterLoadAssignment, EndpointConfig, EndpointHealth,
    Fraction, Locality,
};

/// `policy.overprovisioning_factor` where the assignment has none.
const DEFAULT_OVERPROVISIONING: u32 = 140;

/// What discovery and active health checks mean to endpoints that come and go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Checking {
    /// The flags of one that is new.
    unchecked: HealthFlags,
    /// One that its assignment forgets stays while it passes its checks.
    keeps_passing: bool,
    /// An address that occurs twice is two endpoints, as in Envoy's STATIC clusters; elsewhere the first one counts.
    allows_twice: bool,
}

impl Checking {
    pub(super) fn of(config: &ClusterConfig) -> Self {
        let is_static = matches!(config.discovery, ClusterDiscovery::Static(_));
        if config.health_check.is_none() {
            return Self {
                allows_twice: is_static,
                ..Self::default()
            };
        }
        Self {
            unchecked: match config.ignore_new_hosts_until_first_hc && !is_static {
                true => HealthFlags::FAILED.with(HealthFlags::PENDING),
                false => HealthFlags::FAILED,
            },
            keeps_passing: !config.ignore_health_on_host_removal && !is_static,
            allows_twice: is_static,
        }
    }

    /// Whether an endpoint stays that its assignment has forgotten (Envoy `updateDynamicHostList`).
    fn keeps(self, endpoint: &Endpoint) -> bool {
        self.keeps_passing
            && !endpoint.config().is_never_checked()
            && !endpoint.active_health().any(HealthFlags::FAILED)
            && endpoint.health() != EndpointHealth::Unhealthy
    }
}

/// All endpoints of one assignment.
#[derive(Debug)]
pub(super) struct EndpointSet {
    endpoints: Vec<Arc<Endpoint>>,
    priorities: Vec<Priority>,
    overprovisioning: u32,
    pub(super) drop_overload: Option<Fraction>,
    /// The callers, for zone-aware routing.
    pub(super) local: Option<Arc<LocalCluster>>,
}

/// The endpoints of one priority.
#[derive(Debug, Default)]
pub(super) struct Priority {
    /// Its number; 0 is the highest.
    pub(super) number: u32,
    /// All its endpoints, in the order of the assignment.
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    /// The same by locality, in the order of region, zone and sub-zone.
    pub(super) localities: Vec<LocalityGroup>,
}

/// The endpoints of one locality within a priority.
#[derive(Debug, Default)]
pub(super) struct LocalityGroup {
    pub(super) weight: Option<u32>,
    pub(super) endpoints: Vec<Arc<Endpoint>>,
}

impl EndpointSet {
    pub(super) fn empty() -> Self {
        Self {
            endpoints: Vec::new(),
            priorities: Vec::new(),
            overprovisioning: DEFAULT_OVERPROVISIONING,
            drop_overload: None,
            local: None,
        }
    }

    /// The endpoints of an assignment. Live state of `previous` is carried over by address and hostname, of those that
    /// occur twice in their order; an endpoint of which nothing changed is shared.
    pub(super) fn of(
        assignment: &ClusterLoadAssignment,
        previous: Option<&Self>,
        checking: Checking,
        labels: &mut Labels<'_>,
    ) -> Self {
        let mut before = HashMap::<(SocketAddr, &str), VecDeque<&Arc<Endpoint>>>::new();
        for endpoint in previous.into_iter().flat_map(|set| &set.endpoints) {
            let key = (endpoint.address(), &**endpoint.hostname());
            before.entry(key).or_default().push_back(endpoint);
        }
        let mut seen = HashSet::new();
        let mut endpoints = Vec::new();
        let mut by_priority = BTreeMap::<u32, (Vec<Arc<Endpoint>>, Groups)>::new();
        for group in &assignment.localities {
            let (hosts, groups) = by_priority.entry(group.priority).or_default();
            let locality = Arc::new(group.locality.clone());
            let slot = groups.slot(&group.locality);
            slot.weight = group.weight.or(slot.weight);
            for config in &group.endpoints {
                if !seen.insert(config.address) && !checking.allows_twice {
                    continue;
                }
                let old = before
                    .get_mut(&(config.address, &*config.hostname))
                    .and_then(VecDeque::pop_front);
                let endpoint = endpoint(config, &locality, group.priority, old, checking, labels);
                endpoints.push(Arc::clone(&endpoint));
                hosts.push(Arc::clone(&endpoint));
                slot.endpoints.push(endpoint);
            }
        }
        let forgotten = previous.into_iter().flat_map(|set| &set.endpoints);
        for endpoint in forgotten.filter(|e| !seen.contains(&e.address()) && checking.keeps(e)) {
            let health = &endpoint.live().active_health;
            health.set(HealthFlags::PENDING_REMOVAL, true);
            let (hosts, groups) = by_priority.entry(endpoint.priority()).or_default();
            endpoints.push(Arc::clone(endpoint));
            hosts.push(Arc::clone(endpoint));
            groups
                .slot(endpoint.locality())
                .endpoints
                .push(Arc::clone(endpoint));
        }
        let priorities = by_priority
            .into_iter()
            .map(|(number, (endpoints, groups))| Priority {
                number,
                endpoints,
                localities: groups.0.into_values().collect(),
            })
            .collect();
        Self {
            endpoints,
            priorities,
            overprovisioning: assignment
                .overprovisioning_factor
                .unwrap_or(DEFAULT_OVERPROVISIONING),
            drop_overload: assignment.drop_overload,
            local: None,
        }
    }

    /// Those of the endpoints that are kept; all priorities and localities stay. `scaled`: the weights of localities are
    /// those of the part that is kept.
    pub(super) fn filtered(&self, keep: &dyn Fn(&Endpoint) -> bool, scaled: bool) -> Self {
        let kept = |endpoints: &[Arc<Endpoint>]| -> Vec<Arc<Endpoint>> {
            let kept = endpoints.iter().filter(|endpoint| keep(endpoint));
            kept.cloned().collect()
        };
        let locality = |group: &LocalityGroup| {
            let endpoints = kept(&group.endpoints);
            let part = endpoints.len() as f64 / group.endpoints.len().max(1) as f64;
            let scale = |weight: u32| (f64::from(weight) * part).round().max(1.0) as u32;
            LocalityGroup {
                weight: if scaled {
                    group.weight.map(scale)
                } else {
                    group.weight
                },
                endpoints,
            }
        };
        let priority = |priority: &Priority| Priority {
            number: priority.number,
            endpoints: kept(&priority.endpoints),
            localities: priority.localities.iter().map(locality).collect(),
        };
        Self {
            endpoints: kept(&self.endpoints),
            priorities: self.priorities.iter().map(priority).collect(),
            overprovisioning: self.overprovisioning,
            drop_overload: self.drop_overload,
            local: self.local.clone(),
        }
    }

    pub(super) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// The priorities in use, highest first.
    pub(super) fn priorities(&self) -> &[Priority] {
        &self.priorities
    }

    /// In percent.
    pub(super) fn overprovisioning(&self) -> u32 {
        self.overprovisioning
    }
}

/// Localities of a priority in Envoy's order; entries of the same locality are one.
#[derive(Default)]
struct Groups(BTreeMap<[Box<str>; 3], LocalityGroup>);

impl Groups {
    fn slot(&mut self, locality: &Locality) -> &mut LocalityGroup {
        let key = [&locality.region, &locality.zone, &locality.sub_zone].map(Clone::clone);
        self.0.entry(key).or_default()
    }
}

fn endpoint(
    config: &EndpointConfig,
    locality: &Arc<Locality>,
    priority: u32,
    old: Option<&Arc<Endpoint>>,
    checking: Checking,
    labels: &mut Labels<'_>,
) -> Arc<Endpoint> {
    // Where its checks go elsewhere it is another endpoint.
    let old = old.filter(|old| old.config().health_check == config.health_check);
    if let Some(old) = old
        && old.active_health().any(HealthFlags::PENDING_REMOVAL)
    {
        let health = &old.live().active_health;
        health.set(HealthFlags::PENDING_REMOVAL, false);
    }
    if let Some(old) = old
        && old.config() == config
        && old.priority() == priority
        && old.locality() == locality
    {
        return Arc::clone(old);
    }
    let live = match old {
        Some(old) => Arc::clone(old.live()),
        None if config.is_never_checked() => Arc::default(),
        None => Arc::new(Live::unchecked(checking.unchecked)),
    };
    let metrics = labels.endpoint(config.workload.as_ref());
    Arc::new(Endpoint::new(
        live,
        config.clone(),
        Arc::clone(locality),
        priority,
        Some(metrics),
    ))
}
