//! Clusters at run time: endpoints, load balancing, circuit breakers, outlier detection.
//!
//! A [`Cluster`] is immutable but for its live state: counters of [`Endpoint`]s, the [`Breaker`]s, the outlier
//! detector, and the load state that pickers read, which is rebuilt and swapped when health changes.

mod breaker;
mod endpoint;

pub use breaker::{Breaker, Permit};
pub use endpoint::{Endpoint, InFlight};

use std::{net::SocketAddr, sync::Arc, time::Instant};

use crate::{
    Entropy,
    model::{ClusterConfig, ClusterLoadAssignment, RoutingPriority},
    outcome::Outcome,
    stats::{ClusterStats, RequestMetrics, Stats},
};

/// A cluster of one snapshot.
#[derive(Debug)]
pub struct Cluster {
    config: Arc<ClusterConfig>,
}

/// What a pick may use.
#[derive(Debug)]
#[non_exhaustive]
pub struct PickContext<'a> {
    /// Endpoints of earlier attempts: avoided if the retry policy says `previous_hosts`.
    pub previous: &'a [Arc<Endpoint>],
    /// `host_selection_retry_max_attempts` of a policy with `previous_hosts`; 0 on the first attempt.
    pub reselect: u32,
    /// Where the connection wanted to go: what [`crate::model::ClusterDiscovery::OriginalDst`] picks.
    pub original_destination: Option<SocketAddr>,
    /// Which shard of pickers with state to use: the proxy's worker, or the caller's core.
    pub shard: usize,
}

impl PickContext<'_> {
    /// A first attempt.
    pub fn first(original_destination: Option<SocketAddr>) -> Self {
        Self {
            previous: &[],
            reselect: 0,
            original_destination,
            shard: 0,
        }
    }
}

/// Why no endpoint was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PickError {
    /// No endpoint is eligible: 503 UH.
    NoHealthyUpstream,
    /// An original-destination cluster without a destination.
    NoOriginalDestination,
}

impl Cluster {
    /// Builds a cluster. `previous`: the same name in the snapshot before: endpoint state is carried over by address
    /// and hostname if `config` is the same value, everything starts anew otherwise; an unchanged pair of inputs is
    /// not rebuilt but shared by the caller.
    pub fn build(
        config: Arc<ClusterConfig>,
        assignment: Option<Arc<ClusterLoadAssignment>>,
        previous: Option<&Cluster>,
        stats: &Stats,
        entropy: &mut dyn Entropy,
    ) -> Self {
        let _ = (assignment, previous, stats, entropy);
        Self { config }
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<ClusterConfig> {
        &self.config
    }

    /// All endpoints of all priorities.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        todo!()
    }

    /// Picks an endpoint: priority, then the policy inside it. No lock that waits, no allocation.
    ///
    /// # Errors
    /// Nothing is eligible.
    pub fn pick(
        &self,
        cx: &PickContext<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<Arc<Endpoint>, PickError> {
        let _ = (cx, entropy);
        todo!()
    }

    /// The circuit breaker of a priority.
    pub fn breaker(&self, priority: RoutingPriority) -> &Arc<Breaker> {
        let _ = priority;
        todo!()
    }

    /// Tells outlier detection how an attempt ended. An ejection is in force when this returns: the very next pick
    /// does not see the endpoint (the first within `update_merge_window`, as in Envoy). `now` is read from the caller's
    /// clock only when the outcome is an error or the cluster has an outlier detector.
    pub fn observe(
        &self,
        endpoint: &Arc<Endpoint>,
        outcome: Outcome,
        now: Instant,
        entropy: &mut dyn Entropy,
    ) {
        let _ = (endpoint, outcome, now, entropy);
        todo!()
    }

    /// The interval work of outlier detection: returns hosts whose time is up, applies merged health updates.
    /// Returns when to come back; None: never (no outlier detection).
    pub fn sweep(&self, now: Instant, entropy: &mut dyn Entropy) -> Option<Instant> {
        let _ = (now, entropy);
        todo!()
    }

    /// Envoy's counters of this cluster.
    pub fn stats(&self) -> &Arc<ClusterStats> {
        todo!()
    }

    /// Istio's request metrics for calls that reached no endpoint; by protocol (`grpc`).
    pub fn request_metrics(&self, grpc: bool) -> &Arc<RequestMetrics> {
        let _ = grpc;
        todo!()
    }
}
