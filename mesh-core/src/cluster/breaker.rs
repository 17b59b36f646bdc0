//! Circuit breakers of one cluster and priority (Envoy `resource_manager_impl.h`).

use std::sync::Arc;

use crate::model::BreakerThresholds;

/// Counts connections, pending requests, requests and retries against their thresholds. Atomics only.
#[derive(Debug)]
pub struct Breaker {
    thresholds: BreakerThresholds,
}

/// Which resource a [`Permit`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Connection,
    Pending,
    Request,
    Retry,
}

/// One unit of a breaker's resource, released when dropped.
#[derive(Debug)]
pub struct Permit {
    breaker: Arc<Breaker>,
    resource: Resource,
}

impl Breaker {
    /// Breakers with nothing in use.
    pub fn new(thresholds: BreakerThresholds) -> Self {
        Self { thresholds }
    }

    /// The limits.
    pub fn thresholds(&self) -> &BreakerThresholds {
        &self.thresholds
    }

    /// A connection, if `max_connections` allows. Envoy makes one all the same where the host's pool has none: see
    /// [`Self::connection_regardless`].
    pub fn connection(self: &Arc<Self>) -> Option<Permit> {
        let _ = (
            Resource::Connection,
            Resource::Pending,
            Resource::Request,
            Resource::Retry,
        );
        todo!()
    }

    /// A connection beyond the limit.
    pub fn connection_regardless(self: &Arc<Self>) -> Permit {
        todo!()
    }

    /// A place in the queue, if `max_pending_requests` allows.
    pub fn pending(self: &Arc<Self>) -> Option<Permit> {
        todo!()
    }

    /// A request, if `max_requests` allows.
    pub fn request(self: &Arc<Self>) -> Option<Permit> {
        todo!()
    }

    /// A retry, if `max_retries` or the retry budget allows. Held through back-off and the retried attempt.
    pub fn retry(self: &Arc<Self>) -> Option<Permit> {
        todo!()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let _ = (&self.breaker, self.resource);
    }
}
