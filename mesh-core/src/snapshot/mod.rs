//! One consistent configuration, compiled: what a request loads once and every attempt of it uses.
//!
//! * `build`: compiles what changed, shares what did not.
//! * `slots`: stable places of clusters.
//! * `outbound`, `inbound`: which chain a call of the application in this process takes, and a request to it.

mod build;
mod inbound;
mod outbound;
mod slots;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc, time::Instant};

use rustc_hash::FxHashMap;

use crate::{
    Entropy,
    cluster::Cluster,
    listener::{HttpChain, Listener},
    model::{
        ClusterConfig, ClusterLoadAssignment, ListenerConfig, Locality, RouteConfiguration, Secret,
        SecretName,
    },
    stats::Stats,
};
pub use inbound::Inbound;
use inbound::InboundIndex;
use outbound::OutboundIndex;
use slots::Slots;

/// A cluster's slot: stable while the name lives, whatever is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterIndex(pub(crate) u32);

impl ClusterIndex {
    /// The slot at a place: for tables that are compiled outside of a snapshot ([`crate::route::ClusterSlots`]).
    pub const fn at(place: u32) -> Self {
        Self(place)
    }

    /// Its place.
    pub const fn place(self) -> u32 {
        self.0
    }
}

/// An HTTP chain's place in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChainIndex(pub(crate) u32);

/// Who we are: what names are expanded with and what metrics are labelled with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeIdentity {
    /// `node.id`.
    pub id: Arc<str>,
    /// `node.cluster`: our own service cluster.
    pub service_cluster: Arc<str>,
    /// The DNS domain of a sidecar's id (`default.svc.cluster.local`); empty: names are not expanded.
    pub dns_domain: Arc<str>,
    /// The workload's name; `unknown` where not known.
    pub workload: Arc<str>,
    /// The namespace.
    pub namespace: Arc<str>,
    /// Label `service.istio.io/canonical-name`, else `app`, else the workload.
    pub canonical_service: Arc<str>,
    /// Label `service.istio.io/canonical-revision`, else `version`, else `latest`.
    pub canonical_revision: Arc<str>,
    /// Label `app`.
    pub app: Arc<str>,
    /// Label `version`.
    pub version: Arc<str>,
    /// `CLUSTER_ID`.
    pub cluster: Arc<str>,
    /// `server_listener_resource_name_template` (gRFC A36); empty: none.
    pub server_listener_template: Arc<str>,
    /// `node.locality`.
    pub locality: Locality,
    /// `cluster_manager.local_cluster_name`: the cluster that this process is an endpoint of; empty: none.
    pub local_cluster: Arc<str>,
}

/// All resources in force: what a snapshot is built from. Unchanged resources are the same `Arc` as before.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConfigSet {
    /// Who we are.
    pub node: Arc<NodeIdentity>,
    /// Listeners, in the order received.
    pub listeners: Vec<Arc<ListenerConfig>>,
    /// Route configurations by name.
    pub routes: HashMap<Arc<str>, Arc<RouteConfiguration>>,
    /// Clusters by name.
    pub clusters: HashMap<Arc<str>, Arc<ClusterConfig>>,
    /// Assignments by name (EDS `cluster_name`).
    pub endpoints: HashMap<Arc<str>, Arc<ClusterLoadAssignment>>,
    /// What the names of DNS clusters resolved to, by cluster name.
    pub resolved: HashMap<Arc<str>, Arc<ClusterLoadAssignment>>,
    /// Secrets by name.
    pub secrets: HashMap<SecretName, Secret>,
    /// When it was put together: slow start of endpoints that are new begins then. None: they have none.
    pub now: Option<Instant>,
}

/// What a call from inside the process uses (design: "Which listener and route a library call uses").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outbound {
    /// An HTTP chain.
    Http(ChainIndex),
    /// A TCP-only service: its cluster, without HTTP policy.
    Tcp(ClusterIndex),
    /// Nothing answers for this host and port.
    None,
}

/// One configuration.
#[derive(Debug)]
pub struct Snapshot {
    version: u64,
    config: ConfigSet,
    stats: Arc<Stats>,
    listeners: Vec<Arc<Listener>>,
    listeners_by_name: FxHashMap<Arc<str>, usize>,
    chains: Vec<Arc<HttpChain>>,
    slots: Arc<Slots>,
    /// By slot.
    clusters: Vec<Option<Arc<Cluster>>>,
    outbound: Arc<OutboundIndex>,
    inbound: InboundIndex,
}

impl Snapshot {
    /// Without any resource.
    pub fn empty(stats: Arc<Stats>) -> Self {
        Self {
            version: 0,
            config: ConfigSet::default(),
            stats,
            listeners: Vec::new(),
            listeners_by_name: FxHashMap::default(),
            chains: Vec::new(),
            slots: Arc::default(),
            clusters: Vec::new(),
            outbound: Arc::default(),
            inbound: InboundIndex::default(),
        }
    }

    /// Builds the next snapshot: compiles what changed, shares what did not, carries live state over by key
    /// (cluster, address, hostname).
    pub fn build(config: ConfigSet, previous: &Snapshot, entropy: &mut dyn Entropy) -> Self {
        build::build(config, previous, entropy)
    }

    /// Counts up with every build.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What it was built from.
    pub fn config(&self) -> &ConfigSet {
        &self.config
    }

    /// All statistics.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// All listeners, in the order received.
    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }

    /// A listener by name.
    pub fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        self.listeners.get(*self.listeners_by_name.get(name)?)
    }

    /// A chain by its place in this snapshot.
    pub fn chain(&self, at: ChainIndex) -> Option<&Arc<HttpChain>> {
        self.chains.get(at.0 as usize)
    }

    /// A cluster by its slot; None: the slot is empty.
    pub fn cluster(&self, at: ClusterIndex) -> Option<&Arc<Cluster>> {
        self.clusters.get(at.0 as usize)?.as_ref()
    }

    /// A cluster's slot by name; None: no such cluster.
    pub fn cluster_by_name(&self, name: &str) -> Option<ClusterIndex> {
        let at = *self.slots.get(name)?;
        self.cluster(at).map(|_| at)
    }

    /// All clusters.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.clusters.iter().flatten()
    }

    /// What a call from inside the process to `host:port` uses: API listener, outbound listener of the port, VIP,
    /// wildcard, `virtualOutbound`. `host` without port, any case. No allocation.
    pub fn outbound(&self, host: &str, port: u16) -> Outbound {
        self.outbound.find(host, port)
    }

    /// What [`Self::outbound`] says of the host and port of an `http` URI's authority, by one look-up. None: the host is
    /// not known by that very name, and may be known by another (capitals, wildcards, addresses).
    pub fn outbound_by_name(&self, authority: &str) -> Option<Outbound> {
        self.outbound.find_authority(authority)
    }

    /// The inbound chain for plaintext requests to a server in this process on `port`: of `virtualInbound`, of a bound
    /// inbound listener, or of the gRPC server listener.
    pub fn inbound(&self, port: u16) -> Inbound {
        self.inbound.find(port)
    }

    /// The listener that it is of: its chains are for connections of which more is known.
    pub fn inbound_listener(&self, port: u16) -> Option<&Arc<Listener>> {
        self.listeners.get(self.inbound.listener(port)?)
    }
}
