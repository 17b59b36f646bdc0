//! Uniformly random, weights ignored (Envoy `RandomLoadBalancer`).

use std::sync::Arc;

use crate::{Entropy, cluster::endpoint::Endpoint};

/// `random`: the number that chose the priority, if one was drawn; Envoy uses the same for the endpoint.
pub(super) fn pick<'a>(
    endpoints: &'a [Arc<Endpoint>],
    random: Option<u64>,
    entropy: &mut dyn Entropy,
) -> Option<&'a Arc<Endpoint>> {
    let random = random.unwrap_or_else(|| entropy.next_u64());
    endpoints.get(random.checked_rem(endpoints.len() as u64)? as usize)
}
