//! The handle with the current snapshot.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mesh_core::{snapshot::Snapshot, stats::Stats};

/// The data plane of one mesh: shared by everything made from it; cloning is one reference count.
#[derive(Clone, Debug)]
pub struct DataPlane(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    snapshot: ArcSwap<Snapshot>,
}

impl DataPlane {
    /// A data plane without configuration.
    pub fn new(stats: Arc<Stats>) -> Self {
        Self(Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(Snapshot::empty(stats)),
        }))
    }

    /// Puts a snapshot in force: one swap. Returns the one before, for the publisher to free once unused.
    pub fn publish(&self, next: Arc<Snapshot>) -> Arc<Snapshot> {
        self.0.snapshot.swap(next)
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }
}
