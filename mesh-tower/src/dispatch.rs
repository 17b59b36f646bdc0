//! A request bound to an endpoint: what the mesh hands to a transport.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{Request, Version};
use mesh_core::{
    cluster::{Cluster, Endpoint},
    model::RoutingPriority,
};

/// A request, its endpoint and its cluster.
///
/// The request's URI is in absolute form; its authority is the service's (`:authority`, `Host`), never the address.
/// There is no `host` header; the transport writes it for HTTP/1.1. The version is reset to the connection's.
#[derive(Debug)]
pub struct Dispatch<B> {
    request: Request<B>,
    endpoint: Arc<Endpoint>,
    cluster: Arc<Cluster>,
    priority: RoutingPriority,
    downstream_version: Version,
    pool_ready: Option<PoolReady>,
}

impl<B> Dispatch<B> {
    pub(crate) fn new(
        request: Request<B>,
        endpoint: Arc<Endpoint>,
        cluster: Arc<Cluster>,
        priority: RoutingPriority,
        downstream_version: Version,
        pool_ready: Option<PoolReady>,
    ) -> Self {
        Self {
            request,
            endpoint,
            cluster,
            priority,
            downstream_version,
            pool_ready,
        }
    }

    /// The request.
    pub fn request(&self) -> &Request<B> {
        &self.request
    }

    /// The request, to change it: a per-attempt layer between the mesh and its transport may add headers.
    pub fn request_mut(&mut self) -> &mut Request<B> {
        &mut self.request
    }

    /// Where it goes.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The cluster: connection settings and circuit breakers.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Which of the cluster's breakers counts.
    pub fn priority(&self) -> RoutingPriority {
        self.priority
    }

    /// The version that the caller spoke: for clusters with `use_downstream_protocol_config`.
    pub fn downstream_version(&self) -> Version {
        self.downstream_version
    }

    /// The signal that a connection has taken the request; None: nobody waits for it.
    pub fn pool_ready(&self) -> Option<&PoolReady> {
        self.pool_ready.as_ref()
    }

    /// The request alone.
    pub fn into_request(self) -> Request<B> {
        self.request
    }

    /// The same dispatch with another body.
    pub fn map_body<C>(self, f: impl FnOnce(B) -> C) -> Dispatch<C> {
        Dispatch {
            request: self.request.map(f),
            endpoint: self.endpoint,
            cluster: self.cluster,
            priority: self.priority,
            downstream_version: self.downstream_version,
            pool_ready: self.pool_ready,
        }
    }
}

/// Tells the router that a connection has taken the request: the per-try timeout starts there, as in Envoy. Only made
/// where a per-try timeout is set (one allocation); a transport that never sets it is taken as ready at once.
#[derive(Clone, Debug)]
pub struct PoolReady(Arc<AtomicBool>);

impl PoolReady {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    /// A connection has taken the request. The task that polls the transport's future is woken by that future itself.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
