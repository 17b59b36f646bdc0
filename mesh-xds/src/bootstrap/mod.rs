//! What a process knows before any control plane: who it is, whom to ask, and its static resources.
//!
//! Three forms are read: Envoy's v3 bootstrap (YAML or JSON), the one that Istio's agent writes (the same form), and
//! gRPC's JSON (`GRPC_XDS_BOOTSTRAP`, gRFC A27).

mod ads_target;
mod envoy;
mod grpc;
mod invalid;
mod node;
mod place;

pub use ads_target::{AdsAddress, AdsTarget};
pub use envoy::NodeOverrides;
pub use invalid::InvalidBootstrap;

use std::{net::SocketAddr, path::Path, sync::Arc};

use mesh_core::{
    model::{ClusterConfig, ListenerConfig},
    snapshot::{ConfigSet, NodeIdentity},
};
use mesh_proto::envoy::config::{bootstrap::v3 as proto, core::v3::Node};

/// A bootstrap, read and checked.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    node: Node,
    identity: Arc<NodeIdentity>,
    ads: Option<AdsTarget>,
    listeners: Vec<Arc<ListenerConfig>>,
    clusters: Vec<Arc<ClusterConfig>>,
    admin: Option<SocketAddr>,
    warnings: Vec<String>,
    proto: proto::Bootstrap,
}

impl Bootstrap {
    /// Reads an Envoy v3 bootstrap in YAML or JSON.
    ///
    /// # Errors
    /// Everything that is wrong, each with line and column: syntax, misspelt fields, unknown extension types (named),
    /// and what the decoder refuses in static resources.
    pub fn from_envoy(text: &str, node: &NodeOverrides) -> Result<Self, InvalidBootstrap> {
        envoy::read(text, node)
    }

    /// Reads an Envoy v3 bootstrap from a file; errors begin with its name.
    ///
    /// # Errors
    /// As [`Self::from_envoy`], or that the file cannot be read.
    pub fn from_envoy_file(path: &Path, node: &NodeOverrides) -> Result<Self, InvalidBootstrap> {
        Self::from_file(path, |text| Self::from_envoy(text, node))
    }

    /// Reads gRPC's JSON, as in the variable `GRPC_XDS_BOOTSTRAP_CONFIG`. The first server is used.
    ///
    /// # Errors
    /// Everything that is wrong, each with line and column. Unknown fields are ignored, as gRPC does.
    pub fn from_grpc(text: &str) -> Result<Self, InvalidBootstrap> {
        grpc::read(text)
    }

    /// Reads gRPC's JSON from a file, as named by `GRPC_XDS_BOOTSTRAP`; errors begin with its name.
    ///
    /// # Errors
    /// As [`Self::from_grpc`], or that the file cannot be read.
    pub fn from_grpc_file(path: &Path) -> Result<Self, InvalidBootstrap> {
        Self::from_file(path, Self::from_grpc)
    }

    fn from_file(
        path: &Path,
        read: impl FnOnce(&str) -> Result<Self, InvalidBootstrap>,
    ) -> Result<Self, InvalidBootstrap> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => read(&text).map_err(|invalid| invalid.in_file(&name)),
            Err(error) => Err(InvalidBootstrap::whole(error.to_string()).in_file(&name)),
        }
    }

    /// A bootstrap for a control plane inside this process: a node, wildcard LDS and CDS, no static resources.
    /// The transport decides how the stream is made.
    pub fn in_process(node: Node) -> Self {
        let ads = AdsTarget::in_process(&node);
        Self {
            identity: Arc::new(node::identity(&node, "")),
            node,
            ads: Some(ads),
            listeners: Vec::new(),
            clusters: Vec::new(),
            admin: None,
            warnings: Vec::new(),
            proto: proto::Bootstrap::default(),
        }
    }

    /// The node, as sent in the first request of every stream.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The node in the terms of mesh-core.
    pub fn identity(&self) -> &Arc<NodeIdentity> {
        &self.identity
    }

    /// The control plane; None: static resources only.
    pub fn ads(&self) -> Option<&AdsTarget> {
        self.ads.as_ref()
    }

    /// `admin.address`.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What is accepted without effect, each with its field path.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The message as read; empty for gRPC's form. Shown in config dumps.
    pub fn proto(&self) -> &proto::Bootstrap {
        &self.proto
    }

    /// The static listeners and clusters.
    pub(crate) fn static_resources(&self) -> (&[Arc<ListenerConfig>], &[Arc<ClusterConfig>]) {
        (&self.listeners, &self.clusters)
    }

    /// The static resources alone, as configuration.
    pub fn static_config(&self) -> ConfigSet {
        let mut config = ConfigSet::default();
        config.node = Arc::clone(&self.identity);
        config.listeners = self.listeners.clone();
        config.clusters = self
            .clusters
            .iter()
            .map(|cluster| (Arc::clone(&cluster.name), Arc::clone(cluster)))
            .collect();
        config
    }
}

/// Limits and rules for reading YAML: what Envoy's reader takes, without its extensions.
pub(crate) fn yaml_options() -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    options
}
