//! A request bound to an endpoint: what the mesh hands to a transport.

use std::{
    cell::RefCell,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
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

/// Tells the router that a connection has taken the request: the per-try timeout starts there, as in Envoy, and only
/// from there on a timeout counts against the endpoint. Only made where a timeout is set, and reused by its thread, so
/// that it costs no allocation. A transport that drops it unset is taken as ready at once.
#[derive(Clone, Debug)]
pub struct PoolReady(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    is_set: AtomicBool,
    connection: OnceLock<UpstreamConnection>,
}

/// The connection that took an attempt, as access logs name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpstreamConnection {
    /// Our end.
    pub(crate) local: Option<SocketAddr>,
    /// What it speaks.
    pub(crate) version: Version,
}

/// How many are kept per thread for reuse.
const KEPT: usize = 64;

thread_local! {
    static POOL: RefCell<Vec<Arc<Signal>>> = const { RefCell::new(Vec::new()) };
}

impl PoolReady {
    pub(crate) fn new() -> Self {
        Self(POOL.with_borrow_mut(Vec::pop).unwrap_or_default())
    }

    /// A connection has taken the request. The task that polls the transport's future is woken by that future itself.
    pub fn set(&self) {
        self.0.is_set.store(true, Ordering::Release);
    }

    /// The same, by a connection that says what it is.
    pub(crate) fn set_by(&self, connection: UpstreamConnection) {
        // Set twice only where a connection was closed before anything was written: logs name the first.
        let _ = self.0.connection.set(connection);
        self.set();
    }

    /// The connection that took the request, as far as the transport says.
    pub(crate) fn connection(&self) -> Option<UpstreamConnection> {
        self.0.connection.get().copied()
    }

    /// Whether it was set, or never will be.
    pub fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::Acquire) || Arc::strong_count(&self.0) == 1
    }

    /// Gives it back, if the transport has dropped its own.
    pub(crate) fn recycle(mut self) {
        let Some(flag) = Arc::get_mut(&mut self.0) else {
            return;
        };
        *flag = Signal::default();
        // The thread may be ending: then it is dropped.
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut()
                && pool.len() < KEPT
            {
                pool.push(self.0);
            }
        });
    }
}
