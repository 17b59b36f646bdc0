//! Round robin over equal weights: one index for each shard, started at random (Envoy `RoundRobinLoadBalancer`).

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{SHARDS, Seeds};

/// The indices of one source of endpoints. They outlive changes of the endpoints, as in Envoy.
#[derive(Debug)]
pub(crate) struct Cursors([Cursor; SHARDS]);

#[derive(Debug)]
#[repr(align(64))]
struct Cursor(AtomicUsize);

impl Cursors {
    pub(crate) fn new(seeds: &Seeds) -> Self {
        Self(seeds.map(|seed| Cursor(AtomicUsize::new(seed as usize))))
    }

    /// The next turn of a shard.
    pub(crate) fn next(&self, shard: usize) -> usize {
        self.0[shard % SHARDS].0.fetch_add(1, Relaxed)
    }
}
