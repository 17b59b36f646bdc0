use std::{net::SocketAddr, sync::Arc, time::Instant};

use super::Endpoint;
use crate::model::{Criteria, RetryPolicy};

/// What a pick may use.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PickContext<'a> {
    /// Endpoints of earlier attempts.
    pub previous: &'a [Arc<Endpoint>],
    /// The policy of a retry whose `retry_host_predicate` passes over endpoints.
    pub retry: Option<&'a RetryPolicy>,
    /// `retry_priority`: `previous_priorities.update_frequency`: after every so many attempts the priorities of
    /// `previous` are left out, while others are available.
    pub previous_priorities: Option<u32>,
    /// Where the connection wanted to go: what [`crate::model::ClusterDiscovery::OriginalDst`] picks.
    pub original_destination: Option<SocketAddr>,
    /// The request's hash ([`crate::route::request_hash`]), if the cluster asks for one
    /// ([`super::Cluster::picks_by_hash`]). None: a policy that hashes picks at random.
    pub hash: Option<u64>,
    /// `metadata_match`: which subset, if the cluster has any.
    pub criteria: Option<&'a Criteria>,
    /// The time, if the cluster asks for it ([`super::Cluster::picks_by_time`]).
    pub now: Option<Instant>,
    /// Which shard of pickers with state to use: the proxy's worker, or the caller's core.
    pub shard: usize,
}

impl PickContext<'_> {
    /// A first attempt.
    pub fn first(original_destination: Option<SocketAddr>) -> Self {
        Self {
            previous: &[],
            retry: None,
            previous_priorities: None,
            original_destination,
            hash: None,
            criteria: None,
            now: None,
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
