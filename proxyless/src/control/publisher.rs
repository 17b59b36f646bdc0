//! Puts configuration in force, and frees what it replaces.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mesh_core::{
    model::{ClusterConfig, ClusterDiscovery, ClusterLoadAssignment, DnsDiscovery},
    snapshot::{ConfigSet, Snapshot},
    stats::ClusterStats,
};
use mesh_tower::{ThreadEntropy, WeakDataPlane};
use tokio::sync::watch;

/// Builds snapshots and swaps them in. Old ones are kept until no request uses them, so that freeing thousands of
/// objects is the control thread's work, never a request's.
#[derive(Clone)]
pub(crate) struct Publisher(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// The DNS clusters of the configuration in force, by name.
    named: watch::Sender<NamedClusters>,
    /// Whether each of them has an answer.
    answered: watch::Sender<bool>,
}

/// Clusters whose endpoints are names.
pub(crate) type NamedClusters = HashMap<Arc<str>, Arc<DnsDiscovery>>;

struct State {
    plane: WeakDataPlane,
    replaced: Vec<Arc<Snapshot>>,
    /// The last configuration, as it came.
    config: ConfigSet,
    /// What names resolved to, and for which names that was.
    resolved: HashMap<Arc<str>, (Arc<DnsDiscovery>, Arc<ClusterLoadAssignment>)>,
}

impl Publisher {
    pub(crate) fn new(plane: WeakDataPlane) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                plane,
                replaced: Vec::new(),
                config: ConfigSet::default(),
                resolved: HashMap::new(),
            }),
            named: watch::Sender::new(HashMap::new()),
            answered: watch::Sender::new(true),
        }))
    }

    /// Builds the next snapshot and puts it in force. Names resolved before stay resolved.
    pub(crate) fn publish(&self, config: ConfigSet) {
        let named: NamedClusters = config.clusters.values().filter_map(named).collect();
        let mut state = self.state();
        state.config = config;
        state.resolved.retain(|name, (discovery, _)| {
            let wanted = named.get(name);
            wanted.is_some_and(|wanted| Arc::ptr_eq(wanted, discovery) || wanted == discovery)
        });
        state.publish();
        self.0.tell_answered(&state, &named);
        drop(state);
        self.0.named.send_if_modified(|old| {
            let changed = *old != named;
            *old = named;
            changed
        });
    }

    /// Puts in force what the names of a cluster resolved to.
    pub(crate) fn resolved(
        &self,
        name: &Arc<str>,
        discovery: &Arc<DnsDiscovery>,
        assignment: ClusterLoadAssignment,
    ) {
        let mut state = self.state();
        let wanted = state.config.clusters.get(name).and_then(named);
        if wanted.is_none_or(|(_, wanted)| wanted != *discovery) {
            // The configuration has changed meanwhile.
            return;
        }
        let before = state.resolved.get(name);
        if before.is_none_or(|(_, before)| **before != assignment) {
            let resolved = (Arc::clone(discovery), Arc::new(assignment));
            state.resolved.insert(Arc::clone(name), resolved);
            state.publish();
        }
        self.0.tell_answered(&state, &self.0.named.borrow());
    }

    /// The statistics of a cluster in force.
    pub(crate) fn stats(&self, cluster: &str) -> Option<Arc<ClusterStats>> {
        let snapshot = self.state().plane.upgrade()?.snapshot();
        let at = snapshot.cluster_by_name(cluster)?;
        snapshot
            .cluster(at)
            .map(|cluster| Arc::clone(cluster.stats()))
    }

    /// The DNS clusters to resolve, now and from now on.
    pub(crate) fn named(&self) -> watch::Receiver<NamedClusters> {
        self.0.named.subscribe()
    }

    /// Ready once every DNS cluster has an answer, be it that there is none.
    pub(crate) fn all_answered(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut answered = self.0.answered.subscribe();
        async move {
            // The sender lives as long as somebody publishes; nobody waits longer.
            let _ = answered.wait_for(|answered| *answered).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn tell_answered(&self, state: &State, named: &NamedClusters) {
        let answered = named.keys().all(|name| state.resolved.contains_key(name));
        self.answered.send_replace(answered);
    }
}

impl State {
    fn publish(&mut self) {
        let Some(plane) = self.plane.upgrade() else {
            return;
        };
        let mut config = self.config.clone();
        config.now = Some(tokio::time::Instant::now().into_std());
        let resolved = self.resolved.iter();
        config.resolved = resolved
            .map(|(name, (_, assignment))| (Arc::clone(name), Arc::clone(assignment)))
            .collect();
        let next = Snapshot::build(config, &plane.snapshot(), &mut ThreadEntropy);
        self.replaced.push(plane.publish(Arc::new(next)));
        self.replaced
            .retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }
}

fn named(cluster: &Arc<ClusterConfig>) -> Option<(Arc<str>, Arc<DnsDiscovery>)> {
    match &cluster.discovery {
        ClusterDiscovery::Dns(discovery) => {
            Some((Arc::clone(&cluster.name), Arc::clone(discovery)))
        }
        _ => None,
    }
}
