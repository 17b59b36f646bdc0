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

use std::{fmt, net::SocketAddr, path::Path, sync::Arc};

use mesh_core::{
    model::ListenerConfig,
    snapshot::{ConfigSet, NodeIdentity},
};
use mesh_proto::envoy::config::{bootstrap::v3 as proto, core::v3::Node};

#[cfg(feature = "grpc")]
use crate::Problems;
use crate::{assemble::Fixed, graph::References, store::ResourceStore};

/// A bootstrap, read and checked.
#[derive(Clone)]
pub struct Bootstrap {
    node: Node,
    ads: Option<AdsTarget>,
    fixed: Fixed,
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
            fixed: Fixed {
                node: Arc::new(node::identity(&node, "")),
                ..Fixed::default()
            },
            node,
            ads: Some(ads),
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
        &self.fixed.node
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

    /// The static resources.
    pub(crate) fn fixed(&self) -> Fixed {
        self.fixed.clone()
    }

    /// The static resources alone, as configuration, without listeners that wait for secrets.
    pub fn static_config(&self) -> ConfigSet {
        let is_complete = |listener: &&Arc<ListenerConfig>| {
            let listeners = std::slice::from_ref(*listener);
            let named = References::of(&ResourceStore::default(), listeners, &[]);
            let known = |name| self.fixed.secrets.contains_key(name);
            named.secrets.is_empty() && named.foreign_secrets.iter().all(known)
        };
        let mut config = ConfigSet::default();
        config.node = Arc::clone(&self.fixed.node);
        let listeners = self.fixed.listeners.iter();
        config.listeners = listeners.filter(is_complete).cloned().collect();
        config.clusters = self
            .fixed
            .clusters
            .iter()
            .map(|cluster| (Arc::clone(&cluster.name), Arc::clone(cluster)))
            .collect();
        config.secrets.clone_from(&self.fixed.secrets);
        config
    }

    /// How a static cluster that serves secrets is reached.
    ///
    /// # Errors
    /// There is no such cluster, or it cannot be reached.
    #[cfg(feature = "grpc")]
    pub(crate) fn secret_server(&self, cluster: &str) -> Result<AdsTarget, Problems> {
        let resources = self.proto.static_resources.as_ref();
        let clusters = resources.map(|r| r.clusters.as_slice()).unwrap_or_default();
        ads_target::of_cluster(cluster, clusters)
    }
}

/// Without the message, which may hold private keys.
impl fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bootstrap")
            .field("node", &self.node.id)
            .field("ads", &self.ads)
            .field("fixed", &self.fixed)
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

/// Limits and rules for reading YAML: what Envoy's reader takes, without its extensions.
pub(crate) fn yaml_options() -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    options
}
