//! The handle that applications hold.

use std::{io, sync::Arc, time::Duration};

use http::Request;
use mesh_core::{explain::Explanation, stats::Stats};
use mesh_tower::{
    DataPlane, MeshLayer,
    server::{MeshListener, ServerLayer},
    transport::Transport,
};
use tokio::{net::ToSocketAddrs, sync::watch};

use crate::{BuildError, Client, MeshBuilder};

/// A mesh: one subscriber to configuration and everything that is made from it. Cloning is cheap; all clones and all
/// clients share the subscriber and the connections. When the last of them is dropped the subscription ends.
#[derive(Clone, Debug)]
pub struct Mesh {
    plane: DataPlane,
    ready: watch::Receiver<bool>,
}

impl Mesh {
    /// A mesh configured by the environment: `ENVOY_BOOTSTRAP` (an Envoy v3 bootstrap file), `GRPC_XDS_BOOTSTRAP`
    /// (gRPC's bootstrap file), `GRPC_XDS_BOOTSTRAP_CONFIG` (its text) or `MESH_CONFIG_DIR` (a folder of YAML, feature
    /// `control`). The first one set wins and is logged.
    ///
    /// Needs no runtime: subscribing runs on a thread of the mesh's own. Returns before any configuration has come; see
    /// [`Self::ready`].
    ///
    /// # Errors
    /// None is set, or what it names is wrong: with file, line and column.
    pub fn from_env() -> Result<Self, BuildError> {
        Self::builder().from_env()?.build()
    }

    /// A mesh configured in code.
    pub fn builder() -> MeshBuilder {
        MeshBuilder::default()
    }

    pub(crate) fn new(plane: DataPlane, ready: watch::Receiver<bool>) -> Self {
        Self { plane, ready }
    }

    /// Waits for the first complete configuration: every resource that it refers to has come, or counts as absent
    /// (15 s after connecting). With static resources only it is ready at once. Cancel safe.
    pub async fn ready(&self) {
        // The sender lives as long as the data plane, which this handle keeps.
        let _ = self.ready.clone().wait_for(|ready| *ready).await;
    }

    /// Whether the first complete configuration is in force.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// The layer that makes a transport a client of the mesh. Goes over [`Self::transport`], or over
    /// [`ByUri`](crate::ByUri) around any plain HTTP client.
    pub fn layer(&self) -> MeshLayer {
        self.plane.layer()
    }

    /// The mesh's own transport: pooled HTTP/1.1 and HTTP/2. The body's type is inferred from the call.
    pub fn transport<B>(&self) -> Transport<B> {
        self.plane.transport()
    }

    /// The layer over the transport, ready made.
    pub fn client(&self) -> Client {
        Client::new(self.clone())
    }

    /// A channel for generated tonic clients: `InventoryClient::new(mesh.grpc_channel("inventory:9090"))`.
    #[cfg(feature = "tonic")]
    pub fn grpc_channel(&self, target: impl AsRef<str>) -> mesh_tower::GrpcChannel {
        self.plane.grpc_channel(target)
    }

    /// A listener for a server in this process, which does what the configuration says of its port: PERMISSIVE and
    /// STRICT mutual TLS, and which filter chain. It knows each connection's peer
    /// ([`PeerIdentity`](crate::PeerIdentity)). Where the port that is bound is not the service's, name that one with
    /// [`MeshListener::for_port`]. Binds after [`Self::ready`], so that
    /// no request is answered without the policies of its port.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn listener(&self, address: impl ToSocketAddrs) -> io::Result<MeshListener> {
        self.ready().await;
        self.plane.listener(address).await
    }

    /// The layer that puts the inbound chain of a port in front of an application:
    /// `axum::serve(mesh.listener(addr).await?, mesh.server_layer(9080).into_make_service(app))`.
    pub fn server_layer(&self, port: u16) -> ServerLayer {
        self.plane.server_layer(port)
    }

    /// What becomes of a request, and why: virtual host, route, cluster, endpoints and policies with the YAML that they
    /// came from, and for each earlier route the conditions that ruled it out. Displays as text. Nothing is sent,
    /// counted or drawn; where chance decides, all outcomes are listed. Not for the hot path.
    pub fn explain<B>(&self, request: &Request<B>) -> Explanation {
        let mut parts = Request::new(()).into_parts().0;
        parts.method.clone_from(request.method());
        parts.uri.clone_from(request.uri());
        parts.version = request.version();
        parts.headers.clone_from(request.headers());
        self.plane.explain(parts)
    }

    /// All statistics.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(self.plane.snapshot().stats())
    }

    /// The data plane below: for proxies and tests.
    pub fn data_plane(&self) -> &DataPlane {
        &self.plane
    }

    /// Stops taking part: readiness goes off, servers end their connections after the requests in flight. Returns after
    /// `limit`, or when nothing is in flight any more.
    pub async fn shutdown(&self, limit: Duration) {
        self.plane.drain();
        let idle = async {
            let mut look = tokio::time::interval(Duration::from_millis(10));
            loop {
                look.tick().await;
                let snapshot = self.plane.snapshot();
                if snapshot
                    .clusters()
                    .flat_map(|c| c.endpoints())
                    .all(|e| e.active_requests() == 0)
                {
                    return;
                }
            }
        };
        // What is left at the limit is the caller's to drop.
        let _ = tokio::time::timeout(limit, idle).await;
    }
}
