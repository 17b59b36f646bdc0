//! Circuit breakers of one cluster and priority (Envoy `resource_manager_impl.h`).

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use crate::model::BreakerThresholds;

/// Counts connections, pending requests, requests and retries against their thresholds. Atomics only: one
/// compare-and-swap to take a unit, one subtraction to give it back.
///
/// A unit is granted while fewer than the threshold are held, so that permits never exceed a fixed threshold. The
/// retry budget moves with the load: what was granted stays granted when the budget shrinks. The overflow counters
/// of [`crate::stats::ClusterStats`] are counted by who asks, since only they know what the refusal meant.
#[derive(Debug)]
pub struct Breaker {
    thresholds: BreakerThresholds,
    connections: AtomicU32,
    pending: AtomicU32,
    requests: AtomicU32,
    retries: AtomicU32,
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
#[must_use = "the unit is released when the permit is dropped"]
pub struct Permit {
    breaker: Arc<Breaker>,
    resource: Resource,
}

impl Breaker {
    /// Breakers with nothing in use.
    pub fn new(thresholds: BreakerThresholds) -> Self {
        Self {
            thresholds,
            connections: AtomicU32::new(0),
            pending: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            retries: AtomicU32::new(0),
        }
    }

    /// The limits.
    pub fn thresholds(&self) -> &BreakerThresholds {
        &self.thresholds
    }

    /// A connection, if `max_connections` allows. Envoy makes one all the same where the host's pool has none: see
    /// [`Self::connection_regardless`].
    pub fn connection(self: &Arc<Self>) -> Option<Permit> {
        self.take(Resource::Connection)
    }

    /// A connection beyond the limit.
    pub fn connection_regardless(self: &Arc<Self>) -> Permit {
        self.connections.fetch_add(1, Relaxed);
        self.permit(Resource::Connection)
    }

    /// A place in the queue, if `max_pending_requests` allows.
    pub fn pending(self: &Arc<Self>) -> Option<Permit> {
        self.take(Resource::Pending)
    }

    /// A request, if `max_requests` allows.
    pub fn request(self: &Arc<Self>) -> Option<Permit> {
        self.take(Resource::Request)
    }

    /// A retry, if `max_retries` or the retry budget allows. Held through back-off and the retried attempt.
    pub fn retry(self: &Arc<Self>) -> Option<Permit> {
        self.take(Resource::Retry)
    }

    /// Connections held (`cx_active`).
    pub fn active_connections(&self) -> u32 {
        self.connections.load(Relaxed)
    }

    /// Requests in the queue (`rq_pending_active`).
    pub fn pending_requests(&self) -> u32 {
        self.pending.load(Relaxed)
    }

    /// Requests held (`rq_active`).
    pub fn active_requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// Retries held, in back-off or under way (`rq_retry_active`).
    pub fn active_retries(&self) -> u32 {
        self.retries.load(Relaxed)
    }

    /// Connections left (`remaining_cx`).
    pub fn remaining_connections(&self) -> u32 {
        self.remaining(Resource::Connection)
    }

    /// Places left in the queue (`remaining_pending`).
    pub fn remaining_pending(&self) -> u32 {
        self.remaining(Resource::Pending)
    }

    /// Requests left (`remaining_rq`).
    pub fn remaining_requests(&self) -> u32 {
        self.remaining(Resource::Request)
    }

    /// Retries left (`remaining_retries`); of a budget, at the present load.
    pub fn remaining_retries(&self) -> u32 {
        self.remaining(Resource::Retry)
    }

    /// The retry limit at the present load: `max_retries`, or what the retry budget makes of active and pending
    /// requests.
    pub fn max_retries(&self) -> u32 {
        match self.thresholds.retry_budget {
            None => self.thresholds.max_retries,
            Some((percent, at_least)) => {
                let load = f64::from(self.active_requests()) + f64::from(self.pending_requests());
                // A cast saturates, and Envoy truncates too.
                ((percent / 100.0 * load) as u32).max(at_least)
            }
        }
    }

    fn remaining(&self, resource: Resource) -> u32 {
        self.max(resource)
            .saturating_sub(self.counter(resource).load(Relaxed))
    }

    fn max(&self, resource: Resource) -> u32 {
        match resource {
            Resource::Connection => self.thresholds.max_connections,
            Resource::Pending => self.thresholds.max_pending_requests,
            Resource::Request => self.thresholds.max_requests,
            Resource::Retry => self.max_retries(),
        }
    }

    fn counter(&self, resource: Resource) -> &AtomicU32 {
        match resource {
            Resource::Connection => &self.connections,
            Resource::Pending => &self.pending,
            Resource::Request => &self.requests,
            Resource::Retry => &self.retries,
        }
    }

    fn take(self: &Arc<Self>, resource: Resource) -> Option<Permit> {
        let max = self.max(resource);
        self.counter(resource)
            .fetch_update(Relaxed, Relaxed, |held| (held < max).then(|| held + 1))
            .ok()
            .map(|_| self.permit(resource))
    }

    fn permit(self: &Arc<Self>, resource: Resource) -> Permit {
        Permit {
            breaker: Arc::clone(self),
            resource,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.breaker.counter(self.resource).fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(thresholds: BreakerThresholds) -> Arc<Breaker> {
        Arc::new(Breaker::new(thresholds))
    }

    #[test]
    fn grants_up_to_each_threshold_and_takes_back_on_drop() {
        let breaker = breaker(BreakerThresholds {
            max_connections: 1,
            max_pending_requests: 2,
            max_requests: 3,
            max_retries: 1,
            ..Default::default()
        });
        type Take = fn(&Arc<Breaker>) -> Option<Permit>;
        type Gauge = fn(&Breaker) -> u32;
        let cases: [(Take, Gauge, Gauge, u32); 4] = [
            (
                Breaker::connection,
                Breaker::active_connections,
                Breaker::remaining_connections,
                1,
            ),
            (
                Breaker::pending,
                Breaker::pending_requests,
                Breaker::remaining_pending,
                2,
            ),
            (
                Breaker::request,
                Breaker::active_requests,
                Breaker::remaining_requests,
                3,
            ),
            (
                Breaker::retry,
                Breaker::active_retries,
                Breaker::remaining_retries,
                1,
            ),
        ];
        for (take, held, left, max) in cases {
            let permits: Vec<_> = (0..max).map(|_| take(&breaker).unwrap()).collect();
            assert!(take(&breaker).is_none());
            assert_eq!((held(&breaker), left(&breaker)), (max, 0));
            drop(permits);
            assert_eq!((held(&breaker), left(&breaker)), (0, max));
        }
    }

    #[test]
    fn a_connection_regardless_counts_beyond_the_limit() {
        let breaker = breaker(BreakerThresholds {
            max_connections: 0,
            ..Default::default()
        });
        assert!(breaker.connection().is_none());
        let permit = breaker.connection_regardless();
        assert_eq!(
            (
                breaker.active_connections(),
                breaker.remaining_connections()
            ),
            (1, 0)
        );
        drop(permit);
        assert_eq!(breaker.active_connections(), 0);
    }

    #[test]
    fn the_retry_budget_follows_active_and_pending_requests() {
        let breaker = breaker(BreakerThresholds {
            retry_budget: Some((20.0, 3)),
            max_retries: 0,
            ..Default::default()
        });
        assert_eq!(breaker.max_retries(), 3, "min_retry_concurrency");
        let requests: Vec<_> = (0..19).filter_map(|_| breaker.request()).collect();
        let pending = breaker.pending();
        assert_eq!(breaker.max_retries(), 4, "20 % of 20");
        let retries: Vec<_> = (0..10).filter_map(|_| breaker.retry()).collect();
        assert_eq!(retries.len(), 4);
        drop((requests, pending));
        assert_eq!(breaker.remaining_retries(), 0, "shrunk below what is held");
        drop(retries);
        assert_eq!(breaker.remaining_retries(), 3);
    }

    #[test]
    fn threads_never_hold_more_than_the_limit_and_all_comes_back() {
        const MAX: u32 = 5;
        let breaker = breaker(BreakerThresholds {
            max_requests: MAX,
            ..Default::default()
        });
        let highest = AtomicU32::new(0);
        let granted = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        if let Some(permit) = breaker.request() {
                            highest.fetch_max(breaker.active_requests(), Relaxed);
                            granted.fetch_add(1, Relaxed);
                            drop(permit);
                        }
                    }
                });
            }
        });
        assert!(highest.into_inner() <= MAX);
        assert!(granted.into_inner() >= 5_000);
        assert_eq!(breaker.active_requests(), 0);
    }
}
