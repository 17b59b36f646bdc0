//! Puts configuration in force, and frees what it replaces.

use std::sync::Arc;

use mesh_core::snapshot::{ConfigSet, Snapshot};
use mesh_tower::{ThreadEntropy, WeakDataPlane};

/// Builds snapshots and swaps them in. Old ones are kept until no request uses them, so that freeing thousands of
/// objects is the control thread's work, never a request's.
pub(crate) struct Publisher {
    plane: WeakDataPlane,
    replaced: Vec<Arc<Snapshot>>,
}

impl Publisher {
    pub(crate) fn new(plane: WeakDataPlane) -> Self {
        Self {
            plane,
            replaced: Vec::new(),
        }
    }

    /// Builds the next snapshot and puts it in force.
    pub(crate) fn publish(&mut self, mut config: ConfigSet) {
        config.now = Some(tokio::time::Instant::now().into_std());
        let Some(plane) = self.plane.upgrade() else {
            return;
        };
        let next = Snapshot::build(config, &plane.snapshot(), &mut ThreadEntropy);
        self.replaced.push(plane.publish(Arc::new(next)));
        self.replaced
            .retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }
}
