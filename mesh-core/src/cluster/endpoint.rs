//! One endpoint: address, live counters, health.

use std::{
    any::Any,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    active_health::{ActiveHealth, HealthFlags},
    outlier::HostMonitor,
};
use crate::{
    model::{EndpointConfig, EndpointHealth, Locality},
    stats::RequestMetrics,
};

/// An endpoint of one snapshot. Its live state (requests in flight, outlier detection) is shared between snapshots
/// while address and hostname stay in the cluster; what the assignment says of it is this snapshot's.
#[derive(Debug)]
pub struct Endpoint {
    live: Arc<Live>,
    config: EndpointConfig,
    locality: Arc<Locality>,
    priority: u32,
    metrics: Option<Metrics>,
}

/// Metrics of calls that reached an endpoint, by request protocol.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) http: Arc<RequestMetrics>,
    pub(super) grpc: Arc<RequestMetrics>,
}

/// What outlives a snapshot. A cache line of its own: neighbours are written by other threads.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Live {
    active: AtomicU32,
    /// Outlier detection has ejected it.
    ejected: AtomicBool,
    /// The ejection is in force in load balancing (it may lag by the update merge window).
    withheld: AtomicBool,
    /// Outlier detection has made it degraded.
    degraded: AtomicBool,
    /// That is in force in load balancing.
    lowered: AtomicBool,
    total: AtomicU64,
    pub(super) active_health: ActiveHealth,
    /// When it first counted as healthy, for slow start (Envoy `lastHcPassTime`).
    first_healthy: OnceLock<Instant>,
    /// Milliseconds from then to when it last began to pass its health checks.
    passes_since: AtomicU64,
    pub(super) monitor: HostMonitor,
    attachment: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Live {
    pub(super) fn is_ejected(&self) -> bool {
        self.ejected.load(Relaxed)
    }

    pub(super) fn set_ejected(&self, ejected: bool) {
        self.ejected.store(ejected, Relaxed);
    }

    pub(super) fn is_withheld(&self) -> bool {
        self.withheld.load(Relaxed)
    }

    /// Whether load balancing sees more than its assignment says.
    pub(super) fn is_changed(&self) -> bool {
        self.is_withheld() || self.is_lowered() || !self.active_health.in_force().is_empty()
    }

    pub(super) fn is_degraded(&self) -> bool {
        self.degraded.load(Relaxed)
    }

    pub(super) fn set_degraded(&self, degraded: bool) {
        self.degraded.store(degraded, Relaxed);
    }

    pub(super) fn is_lowered(&self) -> bool {
        self.lowered.load(Relaxed)
    }

    /// Since when it counts as healthy.
    pub(super) fn healthy_since(&self) -> Option<Instant> {
        let first = *self.first_healthy.get()?;
        Some(first + Duration::from_millis(self.passes_since.load(Relaxed)))
    }

    /// It is healthy at this time; the first time counts.
    pub(super) fn is_healthy_at(&self, now: Instant) {
        self.first_healthy.get_or_init(|| now);
    }

    /// An endpoint that failed its health checks has passed one.
    pub(super) fn passes_at(&self, now: Instant) {
        let first = *self.first_healthy.get_or_init(|| now);
        let since = now.saturating_duration_since(first).as_millis();
        self.passes_since
            .store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
    }

    /// Makes load balancing see what outlier detection and health checks have decided.
    pub(super) fn publish_health(&self) {
        self.withheld.store(self.is_ejected(), Relaxed);
        self.lowered.store(self.is_degraded(), Relaxed);
        self.active_health.publish();
    }

    /// Of an endpoint that health checks have not seen yet.
    pub(super) fn unchecked(flags: HealthFlags) -> Self {
        Self {
            active_health: ActiveHealth::unchecked(flags),
            ..Self::default()
        }
    }
}

impl Endpoint {
    /// An endpoint outside any cluster's list (original destination).
    pub fn detached(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self::new(
            Arc::default(),
            EndpointConfig::new(address),
            Arc::default(),
            0,
            None,
        ))
    }

    pub(super) fn new(
        live: Arc<Live>,
        config: EndpointConfig,
        locality: Arc<Locality>,
        priority: u32,
        metrics: Option<Metrics>,
    ) -> Self {
        Self {
            live,
            config,
            locality,
            priority,
            metrics,
        }
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.config.address
    }

    /// The hostname; may be empty.
    pub fn hostname(&self) -> &Arc<str> {
        &self.config.hostname
    }

    /// Whether it is a canary.
    pub fn is_canary(&self) -> bool {
        self.config.canary
    }

    /// A place for the transport: its connections live and die with the endpoint, over all snapshots that have it,
    /// and are found without a lookup.
    pub fn attachment(&self) -> &OnceLock<Box<dyn Any + Send + Sync>> {
        &self.live.attachment
    }

    /// Requests in flight.
    pub fn active_requests(&self) -> u32 {
        self.live.active.load(Relaxed)
    }

    /// Requests ever (`rq_total`).
    pub fn total_requests(&self) -> u64 {
        self.live.total.load(Relaxed)
    }

    /// Whether outlier detection has ejected it (`failed_outlier_check`). Load balancing follows at once, or after
    /// the cluster's `update_merge_window`.
    pub fn is_ejected(&self) -> bool {
        self.live.is_ejected()
    }

    /// What active health checks say of it. Load balancing follows at once, or after the cluster's
    /// `update_merge_window`.
    pub fn active_health(&self) -> HealthFlags {
        self.live.active_health.flags()
    }

    /// Whether outlier detection has made it degraded (`detect_degraded_hosts`, `degraded_outlier_detection`).
    pub fn is_degraded_by_outlier_detection(&self) -> bool {
        self.live.is_degraded()
    }

    /// The success rates of the last interval of outlier detection, in percent: of responses, and of local origin
    /// (`success_rate`, `local_origin_success_rate`); None where too little was asked, or the endpoint is ejected.
    pub fn success_rates(&self) -> [Option<f64>; 2] {
        self.live.monitor.history().success_rates
    }

    /// The health that the assignment says.
    pub fn health(&self) -> EndpointHealth {
        self.config.health
    }

    /// `load_balancing_weight`.
    pub fn weight(&self) -> u32 {
        self.config.weight
    }

    /// The priority; 0 is the highest.
    pub fn priority(&self) -> u32 {
        self.priority
    }

    /// The locality.
    pub fn locality(&self) -> &Arc<Locality> {
        &self.locality
    }

    /// What the assignment says of it.
    pub fn config(&self) -> &EndpointConfig {
        &self.config
    }

    /// Istio's request metrics for calls that reached this endpoint; by protocol (`grpc`). None for an endpoint
    /// outside any cluster's list: the cluster's own count.
    pub fn request_metrics(&self, grpc: bool) -> Option<&Arc<RequestMetrics>> {
        let metrics = self.metrics.as_ref()?;
        Some(if grpc { &metrics.grpc } else { &metrics.http })
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Whether both are the same endpoint, of whatever snapshot.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.live, &other.live)
    }
}

/// Counts a request on its endpoint until dropped: at the end of the body, or of the upgraded stream.
#[derive(Debug)]
pub struct InFlight(Arc<Endpoint>);

impl InFlight {
    /// Counts one request.
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.live.active.fetch_add(1, Relaxed);
        endpoint.live.total.fetch_add(1, Relaxed);
        Self(endpoint)
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.live.active.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_until_its_guard_is_dropped() {
        let endpoint = Endpoint::detached(([127, 0, 0, 1], 80).into());
        let guards = [
            InFlight::new(Arc::clone(&endpoint)),
            InFlight::new(Arc::clone(&endpoint)),
        ];
        assert_eq!(endpoint.active_requests(), 2);
        drop(guards);
        assert_eq!(
            (endpoint.active_requests(), endpoint.total_requests()),
            (0, 2)
        );
    }
}
