//! The handle with the current snapshot.

use std::{
    any::Any,
    fmt, io,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::request;
use mesh_core::{explain::Explanation, head::ConnectionInfo, snapshot::Snapshot, stats::Stats};
use tokio::{net::ToSocketAddrs, sync::watch};

use crate::{
    entropy::ThreadEntropy,
    layer::MeshLayer,
    server::{MeshListener, ServerLayer},
    service::MeshService,
    stages::ChainSource,
    stream::Connection,
    transport::Transport,
};

/// The data plane of one mesh: shared by everything made from it; cloning is one reference count.
#[derive(Clone, Debug)]
pub struct DataPlane(Arc<Shared>);

struct Shared {
    snapshot: ArcSwap<Snapshot>,
    /// The version in force, to wait for.
    version: watch::Sender<u64>,
    miss: OnceLock<Arc<dyn Miss>>,
    draining: AtomicBool,
    /// Dropped with the last handle.
    owned: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// A handle that does not keep the data plane alive: for the publisher, which must end with the last user.
#[derive(Clone, Debug)]
pub struct WeakDataPlane(Weak<Shared>);

impl WeakDataPlane {
    /// The data plane, while somebody uses it.
    pub fn upgrade(&self) -> Option<DataPlane> {
        self.0.upgrade().map(DataPlane)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("version", &*self.version.borrow())
            .field("draining", &self.draining)
            .finish_non_exhaustive()
    }
}

/// Told of calls to hosts that the snapshot does not know: it may subscribe. A hit never asks it.
pub trait Miss: Send + Sync + 'static {
    /// Nothing answers for `host:port` in the snapshot in force. Returns how long the call may wait for a snapshot in
    /// which something does; None: it fails at once (404 NR).
    fn on_miss(&self, host: &str, port: u16) -> Option<Duration>;
}

impl DataPlane {
    /// A data plane without configuration.
    pub fn new(stats: Arc<Stats>) -> Self {
        Self(Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(Snapshot::empty(stats)),
            version: watch::Sender::new(0),
            miss: OnceLock::new(),
            draining: AtomicBool::new(false),
            owned: OnceLock::new(),
        }))
    }

    /// Puts a snapshot in force: one swap. Returns the one before, for the publisher to free once unused.
    pub fn publish(&self, next: Arc<Snapshot>) -> Arc<Snapshot> {
        let version = next.version();
        let previous = self.0.snapshot.swap(next);
        self.0.version.send_replace(version);
        previous
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// Changes with every snapshot: to wait for one. Mark it seen (`borrow_and_update`), then read
    /// [`Self::snapshot`], then wait (`changed`): no snapshot is missed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// The layer that makes a transport a client of the mesh:
    /// `ServiceBuilder::new().layer(plane.layer()).service(plane.transport())`.
    pub fn layer(&self) -> MeshLayer {
        MeshLayer::new(self.clone())
    }

    /// The layer that puts the inbound chain of a port in front of an application.
    pub fn server_layer(&self, port: u16) -> ServerLayer {
        ServerLayer::new(self.clone(), port)
    }

    /// A listener for a server in this process, which does what the configuration says of its port. It takes
    /// connections as they come while there is none: bind once it is there.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn listener(&self, address: impl ToSocketAddrs) -> io::Result<MeshListener> {
        MeshListener::bind(address).await?.of(self.clone())
    }

    /// The mesh's own transport. Its connections are shared by all transports of all data planes that use the same
    /// endpoint and runtime.
    pub fn transport<B>(&self) -> Transport<B> {
        Transport::new()
    }

    /// The service for the requests of one accepted connection of a proxy: `source` finds the connection's chain in
    /// each new snapshot.
    pub fn service_for_chain<S>(
        &self,
        source: Arc<dyn ChainSource>,
        connection: Arc<ConnectionInfo>,
        inner: S,
    ) -> MeshService<S> {
        let connection = Connection::Accepted(connection);
        MeshService::of_chain(self.clone(), source, connection, inner)
    }

    /// What becomes of a call of the application in this process, and why; nothing is sent, counted or drawn. Not for
    /// the hot path: it allocates, and grows with the routes of the virtual host.
    pub fn explain(&self, parts: request::Parts) -> Explanation {
        self.snapshot().explain(parts, &mut ThreadEntropy)
    }

    /// A handle that does not keep the data plane alive.
    pub fn downgrade(&self) -> WeakDataPlane {
        WeakDataPlane(Arc::downgrade(&self.0))
    }

    /// Hangs a value on the data plane, to be dropped with its last handle; only the first call counts. Returns whether
    /// it was the first.
    pub fn own(&self, value: impl Any + Send + Sync) -> bool {
        self.0.owned.set(Box::new(value)).is_ok()
    }

    /// Sets who is told of misses; only the first call counts. Returns whether it was the first.
    pub fn set_miss(&self, miss: Arc<dyn Miss>) -> bool {
        self.0.miss.set(miss).is_ok()
    }

    /// Who is told of misses.
    pub(crate) fn miss(&self) -> Option<&Arc<dyn Miss>> {
        self.0.miss.get()
    }

    /// Starts draining: servers answer with `connection: close`. It cannot be undone.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Whether draining has started.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }
}
