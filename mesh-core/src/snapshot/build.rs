//! Builds a snapshot from resources and the snapshot before.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use rustc_hash::FxHashMap;

use super::{
    ChainIndex, ClusterIndex, ConfigSet, NodeIdentity, Snapshot, inbound::InboundIndex,
    outbound::OutboundIndex, slots::Allocation,
};
use crate::{
    Entropy,
    cluster::{Cluster, LocalCluster},
    filter::{FilterChain, FilterSurroundings},
    listener::{HttpChain, Listener, Terminal},
    model::{
        ClusterConfig, ClusterDiscovery, ClusterLoadAssignment, ClusterSpecifier, ConnectionFilter,
        ConnectionManagerConfig, IstioService, ListenerConfig, NetworkFilter, RouteAction,
        RouteConfiguration, RouteSource, TrafficDirection,
    },
    route::{ClusterSlots, RouteTable},
    stats::{RequestLabels, RequestMetrics, Stats},
    tls::{DownstreamSocket, TransportSockets},
};

pub(super) fn build(config: ConfigSet, previous: &Snapshot, entropy: &mut dyn Entropy) -> Snapshot {
    let stats = Arc::clone(&previous.stats);
    let slots = Allocation::after(&previous.slots, previous.clusters.len());
    let mut chains = Chains::new(&config, previous, &slots);
    let listeners: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| chains.listener(listener))
        .collect();
    let chains = chains.compiled;

    let local = Beside {
        now: local_cluster(&config),
        before: local_cluster(&previous.config),
    };
    let placed: Vec<_> = config
        .clusters
        .iter()
        .map(|(name, cluster)| {
            let built = cluster_of(name, cluster, (&config, &local), previous, entropy);
            (slots.slot(name), built)
        })
        .collect();
    let (slots, places) = slots.finish();
    let mut clusters = vec![None; places];
    for (slot, cluster) in placed {
        if let Some(place) = clusters.get_mut(slot.0 as usize) {
            *place = Some(cluster);
        }
    }

    let unchanged = config.node == previous.config.node
        && all_same(&listeners, &previous.listeners)
        && all_same(&chains, &previous.chains);
    let outbound = if unchanged {
        Arc::clone(&previous.outbound)
    } else {
        Arc::new(OutboundIndex::new(&listeners, &chains, &config.node))
    };
    let listeners_by_name = listeners
        .iter()
        .enumerate()
        .map(|(at, listener)| (Arc::clone(&listener.config().name), at))
        .collect();
    Snapshot {
        version: previous.version + 1,
        outbound,
        inbound: InboundIndex::new(&listeners, &config.node),
        config,
        stats,
        listeners,
        listeners_by_name,
        chains,
        slots: Arc::new(slots),
        clusters,
    }
}

/// The cluster of the snapshot before if nothing about it changed, a new one with its live state otherwise.
fn cluster_of(
    name: &Arc<str>,
    cluster: &Arc<ClusterConfig>,
    (config, local): (&ConfigSet, &Beside),
    previous: &Snapshot,
    entropy: &mut dyn Entropy,
) -> Arc<Cluster> {
    let assignment = assignment_of(cluster, config);
    let before = previous
        .slots
        .get(name)
        .and_then(|slot| previous.cluster(*slot));
    let same_config = before.filter(|before| Arc::ptr_eq(before.config(), cluster));
    let sockets = TransportSockets::of(
        cluster,
        &config.secrets,
        same_config.map(|before| before.transport_sockets()),
    );
    if let Some(before) = same_config
        && before.transport_sockets().is_same(&sockets)
        && local.now == local.before
        && same(assignment, assignment_of(cluster, &previous.config))
    {
        return Arc::clone(before);
    }
    // The local cluster is not balanced beside itself.
    let of_callers = local
        .now
        .clone()
        .filter(|_| **name != *config.node.local_cluster);
    let built = Cluster::build_beside(
        Arc::clone(cluster),
        assignment.cloned(),
        before.map(|before| &**before),
        &previous.stats,
        entropy,
        (config.now, of_callers),
    )
    .with_transport_sockets(sockets);
    let stats = built.stats();
    let by_eds = matches!(cluster.discovery, ClusterDiscovery::Eds(_));
    if by_eds && assignment.is_some() && !same(assignment, assignment_of(cluster, &previous.config))
    {
        stats.update_attempt.inc();
        stats.update_success.inc();
    }
    let (now, before) = (addresses(Some(&built)), addresses(before.map(|b| &**b)));
    let priorities: BTreeSet<_> = now.keys().chain(before.keys()).collect();
    let changed = priorities.iter().filter(|p| now.get(p) != before.get(p));
    stats.membership_change.add(changed.count() as u64);
    Arc::new(built)
}

/// The local cluster, now and in the snapshot before.
struct Beside {
    now: Option<Arc<LocalCluster>>,
    before: Option<Arc<LocalCluster>>,
}

fn local_cluster(config: &ConfigSet) -> Option<Arc<LocalCluster>> {
    let local = config.clusters.get(&config.node.local_cluster)?;
    let assignment = match &local.discovery {
        ClusterDiscovery::Static(assignment) => assignment,
        _ => assignment_of(local, config)?,
    };
    let local = LocalCluster::new(&config.node.locality, assignment);
    Some(Arc::new(local))
}

/// The addresses of each priority.
fn addresses(cluster: Option<&Cluster>) -> BTreeMap<u32, BTreeSet<SocketAddr>> {
    let mut addresses = BTreeMap::<_, BTreeSet<_>>::new();
    for endpoint in cluster.into_iter().flat_map(Cluster::endpoints) {
        let of_priority = addresses.entry(endpoint.priority()).or_default();
        of_priority.insert(endpoint.address());
    }
    addresses
}

/// The assignment of an EDS or DNS cluster; None: it has not come, or the cluster has its endpoints from elsewhere.
fn assignment_of<'c>(
    cluster: &ClusterConfig,
    config: &'c ConfigSet,
) -> Option<&'c Arc<ClusterLoadAssignment>> {
    match &cluster.discovery {
        ClusterDiscovery::Eds(name) => config.endpoints.get(name),
        ClusterDiscovery::Dns(_) => config.resolved.get(&cluster.name),
        ClusterDiscovery::Static(_) | ClusterDiscovery::OriginalDst => None,
    }
}

fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

fn all_same<T>(a: &[Arc<T>], b: &[Arc<T>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// Compiles connection managers.
struct Chains<'a> {
    config: &'a ConfigSet,
    stats: &'a Stats,
    slots: &'a Allocation,
    same_node: bool,
    /// Of the snapshot before, by listener and the manager's address: an unchanged one is the same `Arc`.
    before: FxHashMap<(Arc<str>, *const ConnectionManagerConfig), &'a Arc<HttpChain>>,
    listeners_before: &'a Snapshot,
    compiled: Vec<Arc<HttpChain>>,
}

impl<'a> Chains<'a> {
    fn new(config: &'a ConfigSet, previous: &'a Snapshot, slots: &'a Allocation) -> Self {
        let key = |chain: &HttpChain| (Arc::clone(&chain.listener), Arc::as_ptr(&chain.manager));
        Self {
            config,
            stats: &previous.stats,
            slots,
            same_node: config.node == previous.config.node,
            before: previous.chains.iter().map(|c| (key(c), c)).collect(),
            listeners_before: previous,
            compiled: Vec::new(),
        }
    }

    fn listener(&mut self, config: &Arc<ListenerConfig>) -> Arc<Listener> {
        let chains = config
            .filter_chains
            .iter()
            .chain(&config.default_filter_chain);
        for filter in chains.flat_map(|chain| &*chain.filters) {
            if let ConnectionFilter::Rbac(rbac) = filter {
                rbac.resolve(self.stats.unscoped());
            }
        }
        let terminals: Vec<_> = config
            .filter_chains
            .iter()
            .chain(&config.default_filter_chain)
            .map(|chain| match &chain.terminal {
                NetworkFilter::Http(manager) => {
                    Terminal::Http(self.chain(config, manager, &chain.filters))
                }
                NetworkFilter::Tcp(proxy) => Terminal::Tcp {
                    config: Arc::clone(proxy),
                    clusters: proxy.clusters().map(|name| self.slots.slot(name)).collect(),
                    stats: self.stats.tcp_proxy(&proxy.stat_prefix),
                },
            })
            .collect();
        let api = config
            .api_listener
            .as_ref()
            .map(|manager| self.chain(config, manager, &Arc::default()));
        let before = self.listeners_before.listener(&config.name);
        let before = before.filter(|before| Arc::ptr_eq(&before.config, config));
        let sockets: Vec<_> = config
            .filter_chains
            .iter()
            .chain(&config.default_filter_chain)
            .enumerate()
            .map(|(at, chain)| {
                let before = before.and_then(|before| before.sockets.get(at));
                let socket = chain.transport_socket.as_ref();
                DownstreamSocket::of(socket, &self.config.secrets, before)
            })
            .collect();
        let same_sockets = |before: &Listener| {
            before.sockets.len() == sockets.len()
                && before
                    .sockets
                    .iter()
                    .zip(&sockets)
                    .all(|(a, b)| a.is_same(b))
        };
        if let Some(before) = before
            && before.api == api
            && same_sockets(before)
            && places(&before.terminals).eq(places(&terminals))
        {
            return Arc::clone(before);
        }
        let stat_name = match config.address {
            Some(address) => stat_name(address),
            None => config.name.to_string(),
        };
        Arc::new(Listener {
            stats: self.stats.listener(&stat_name),
            config: Arc::clone(config),
            terminals,
            sockets,
            api,
        })
    }

    fn chain(
        &mut self,
        listener: &ListenerConfig,
        manager: &Arc<ConnectionManagerConfig>,
        connection_filters: &Arc<[ConnectionFilter]>,
    ) -> ChainIndex {
        let at = ChainIndex(u32::try_from(self.compiled.len()).unwrap_or(u32::MAX));
        let routes = match &manager.routes {
            RouteSource::Rds(name) => self.config.routes.get(name),
            RouteSource::Inline(routes) => Some(routes),
        };
        let service = match (listener.direction, routes) {
            (TrafficDirection::Inbound, Some(routes)) => self.service(routes),
            _ => None,
        };
        let key = (Arc::clone(&listener.name), Arc::as_ptr(manager));
        let before = self.before.get(&key).copied();
        let same_table = |before: &&Arc<HttpChain>| {
            same(before.routes.as_ref().map(|table| table.config()), routes)
        };
        if let Some(before) = before.filter(same_table) {
            for name in before.clusters.iter() {
                self.slots.slot(name);
            }
            if self.same_node && before.service == service && before.direction == listener.direction
            {
                self.compiled.push(Arc::clone(before));
                return at;
            }
        }
        let stats = self.stats.manager(&manager.stat_prefix);
        let filters = match before {
            Some(before) => before.filters.clone(),
            None => {
                let service_cluster = Arc::clone(&self.config.node.service_cluster);
                let unscoped = Arc::clone(self.stats.unscoped());
                let surroundings =
                    FilterSurroundings::new(Arc::clone(&stats), unscoped, service_cluster);
                FilterChain::within(&manager.http_filters, surroundings)
            }
        };
        let (table, clusters) = match before.filter(same_table) {
            Some(before) => (before.routes.clone(), Arc::clone(&before.clusters)),
            None => {
                // What listeners asked for before is not the table's.
                self.slots.take_names();
                let table = routes
                    .map(|routes| RouteTable::compile(Arc::clone(routes), &filters, self.slots));
                (table.map(Arc::new), self.slots.take_names())
            }
        };
        let chain = HttpChain {
            listener: Arc::clone(&listener.name),
            direction: listener.direction,
            manager: Arc::clone(manager),
            connection_filters: Arc::clone(connection_filters),
            filters,
            routes: table,
            unrouted: unrouted(
                listener.direction,
                &self.config.node,
                service.as_ref(),
                self.stats,
            ),
            stats,
            service,
            clusters,
        };
        self.compiled.push(Arc::new(chain));
        at
    }

    /// The service that an inbound chain serves: that of the first cluster that its routes name.
    fn service(&self, routes: &RouteConfiguration) -> Option<IstioService> {
        let clusters = routes.virtual_hosts.iter().flat_map(|host| {
            host.routes.iter().filter_map(|route| match &route.action {
                RouteAction::Forward(forward) => match &forward.cluster {
                    ClusterSpecifier::Cluster(name) => self.config.clusters.get(name),
                    _ => None,
                },
                _ => None,
            })
        });
        clusters.into_iter().find_map(|c| c.service.clone())
    }
}

/// Where the chains of a listener end.
fn places(terminals: &[Terminal]) -> impl Iterator<Item = Result<ChainIndex, &[ClusterIndex]>> {
    terminals.iter().map(|terminal| match terminal {
        Terminal::Http(chain) => Ok(*chain),
        Terminal::Tcp { clusters, .. } => Err(&**clusters),
    })
}

/// Envoy's name for a listener in statistics: its address with `_` for `:`.
fn stat_name(address: SocketAddr) -> String {
    address.to_string().replace(':', "_")
}

/// Istio's request metrics of a chain without a cluster's: outbound for calls that reached none, inbound for all.
fn unrouted(
    direction: TrafficDirection,
    node: &NodeIdentity,
    service: Option<&IstioService>,
    stats: &Stats,
) -> [Arc<RequestMetrics>; 2] {
    let mut labels = match direction {
        TrafficDirection::Inbound => RequestLabels {
            reporter_source: false,
            destination_workload: Arc::clone(&node.workload),
            destination_workload_namespace: Arc::clone(&node.namespace),
            destination_canonical_service: Arc::clone(&node.canonical_service),
            destination_canonical_revision: Arc::clone(&node.canonical_revision),
            destination_cluster: Arc::clone(&node.cluster),
            ..RequestLabels::default()
        },
        _ => RequestLabels {
            reporter_source: true,
            ..RequestLabels::default()
        },
    };
    if let Some(service) = service {
        labels.destination_service = Arc::clone(&service.host);
        labels.destination_service_name = Arc::clone(&service.name);
        labels.destination_service_namespace = Arc::clone(&service.namespace);
    }
    [false, true].map(|grpc| {
        labels.grpc = grpc;
        stats.request_metrics(&labels)
    })
}
