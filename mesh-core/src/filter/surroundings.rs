use std::sync::Arc;

use crate::stats::{ManagerStats, UnscopedStats};

/// What a chain's filters take from outside of their configuration.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FilterSurroundings {
    /// The connection manager's statistics.
    pub stats: Arc<ManagerStats>,
    /// Statistics whose whole names configuration chooses.
    pub unscoped: Arc<UnscopedStats>,
    /// Our own service cluster (`node.cluster`).
    pub service_cluster: Arc<str>,
}

impl FilterSurroundings {
    /// Statistics of a connection manager and of the process.
    pub fn new(
        stats: Arc<ManagerStats>,
        unscoped: Arc<UnscopedStats>,
        service_cluster: Arc<str>,
    ) -> Self {
        Self {
            stats,
            unscoped,
            service_cluster,
        }
    }
}
