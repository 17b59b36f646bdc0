//! From the store to the configuration that a snapshot is built from. Unchanged resources stay the same `Arc`.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use mesh_core::{
    model::{
        ClusterConfig, ClusterDiscovery, ClusterLoadAssignment, ListenerConfig, Secret, SecretName,
        SecretSource,
    },
    snapshot::{ConfigSet, NodeIdentity},
};

use crate::{Resource, ResourceKind, secrets::Secrets, store::ResourceStore};

/// How long a removed cluster is kept for routes that still name it: control planes remove a cluster and change its
/// routes in two messages (make before break).
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// Clusters that were removed while in use.
#[derive(Debug, Default)]
pub(crate) struct Lingering(HashMap<Arc<str>, Lingerer>);

#[derive(Debug)]
struct Lingerer {
    cluster: Arc<ClusterConfig>,
    assignment: Option<Arc<ClusterLoadAssignment>>,
    until: Instant,
}

impl Lingering {
    /// A cluster was removed. One without endpoints was never in force, or of no use.
    pub(crate) fn add(&mut self, now: Instant, cluster: Arc<ClusterConfig>, store: &ResourceStore) {
        let assignment = match &cluster.discovery {
            ClusterDiscovery::Eds(name) => match in_force(store, name) {
                Some(assignment) => Some(assignment),
                None => return,
            },
            _ => None,
        };
        let until = now + LINGER;
        let lingerer = Lingerer {
            cluster: Arc::clone(&cluster),
            assignment,
            until,
        };
        self.0.insert(Arc::clone(&cluster.name), lingerer);
    }

    /// Drops what is over or no longer named; returns whether anything was.
    pub(crate) fn expire(&mut self, now: Instant, named: &BTreeSet<Arc<str>>) -> bool {
        let before = self.0.len();
        self.0
            .retain(|name, lingerer| lingerer.until > now && named.contains(name));
        self.0.len() != before
    }

    /// When something is over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.values().map(|lingerer| lingerer.until).min()
    }
}

fn in_force(store: &ResourceStore, name: &str) -> Option<Arc<ClusterLoadAssignment>> {
    match &store
        .entry(ResourceKind::Endpoints, name)?
        .good
        .as_ref()?
        .resource
    {
        Resource::Endpoints(assignment) => Some(Arc::clone(assignment)),
        _ => None,
    }
}

/// The static parts of a configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fixed {
    pub(crate) node: Arc<NodeIdentity>,
    pub(crate) listeners: Vec<Arc<ListenerConfig>>,
    pub(crate) clusters: Vec<Arc<ClusterConfig>>,
    pub(crate) secrets: HashMap<SecretName, Secret>,
}

/// All resources in force. Static resources win over dynamic ones of the same name, as in Envoy.
pub(crate) fn assemble(
    fixed: &Fixed,
    store: &ResourceStore,
    secrets: &Secrets,
    lingering: &Lingering,
) -> ConfigSet {
    let mut config = ConfigSet::default();
    config.node = Arc::clone(&fixed.node);
    for lingerer in lingering.0.values() {
        let name = Arc::clone(&lingerer.cluster.name);
        if let (ClusterDiscovery::Eds(eds), Some(assignment)) =
            (&lingerer.cluster.discovery, &lingerer.assignment)
        {
            config
                .endpoints
                .insert(Arc::clone(eds), Arc::clone(assignment));
        }
        config.clusters.insert(name, Arc::clone(&lingerer.cluster));
    }
    for resource in ResourceKind::ALL
        .into_iter()
        .flat_map(|kind| store.good(kind))
    {
        match resource {
            Resource::Cluster(cluster) => {
                config
                    .clusters
                    .insert(Arc::clone(&cluster.name), Arc::clone(cluster));
            }
            Resource::Endpoints(assignment) => {
                config
                    .endpoints
                    .insert(Arc::clone(&assignment.cluster_name), Arc::clone(assignment));
            }
            Resource::Route(routes) => {
                config
                    .routes
                    .insert(Arc::clone(&routes.name), Arc::clone(routes));
            }
            Resource::Secret { name, secret } => {
                let name = SecretName {
                    source: SecretSource::Ads,
                    name: Arc::clone(name),
                };
                config.secrets.insert(name, secret.clone());
            }
            Resource::Listener(_) => {}
        }
    }
    for (name, secret) in fixed.secrets.iter().chain(secrets.good()) {
        config.secrets.insert(name.clone(), secret.clone());
    }
    for cluster in &fixed.clusters {
        config
            .clusters
            .insert(Arc::clone(&cluster.name), Arc::clone(cluster));
    }
    config.listeners.clone_from(&fixed.listeners);
    for resource in store.good_in_order(ResourceKind::Listener) {
        if let Resource::Listener(listener) = resource
            && !fixed
                .listeners
                .iter()
                .any(|other| other.name == listener.name)
        {
            config.listeners.push(Arc::clone(listener));
        }
    }
    config
}
