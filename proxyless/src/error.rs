//! Why a mesh cannot be built.

use std::io;

use mesh_xds::bootstrap::InvalidBootstrap;

/// Why [`MeshBuilder::build`](crate::MeshBuilder::build) failed. The text and the source are not stable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No source of configuration was named.
    #[error(
        "no configuration: set one of ENVOY_BOOTSTRAP, GRPC_XDS_BOOTSTRAP, GRPC_XDS_BOOTSTRAP_CONFIG, \
             MESH_CONFIG_DIR, or give a bootstrap in code"
    )]
    NoConfiguration,
    /// The bootstrap is wrong.
    #[error("{origin}: {source}")]
    Bootstrap {
        /// Where it came from.
        origin: String,
        /// What is wrong, with line and column.
        source: InvalidBootstrap,
    },
    /// The folder of YAML cannot be read.
    #[error("{origin}: {reason}")]
    Folder {
        /// Where it came from.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// `MESH_CONFIG_DIR` is set but the embedded control plane is not compiled in.
    #[error("{origin}: needs feature \"control\" of crate proxyless")]
    FeatureControl {
        /// Where it came from.
        origin: String,
    },
    /// The admin address cannot be bound.
    #[error("admin address {address}: {source}")]
    Admin {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The control thread cannot be started.
    #[error("control thread: {0}")]
    Thread(#[source] io::Error),
}
