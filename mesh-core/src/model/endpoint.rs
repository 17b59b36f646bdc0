//! Endpoints (`envoy.config.endpoint.v3`).

use std::{net::SocketAddr, sync::Arc};

use super::{Criteria, EndpointHealthCheck, EndpointValue, Fraction};

/// `ClusterLoadAssignment`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ClusterLoadAssignment {
    /// `cluster_name`.
    pub cluster_name: Arc<str>,
    /// `endpoints`, by priority then in order.
    pub localities: Vec<LocalityEndpoints>,
    /// `policy.drop_overloads[0].drop_percentage`: these requests are answered 503 before an endpoint is picked.
    pub drop_overload: Option<Fraction>,
    /// `policy.overprovisioning_factor`; default 140.
    pub overprovisioning_factor: Option<u32>,
}

/// `LocalityLbEndpoints`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LocalityEndpoints {
    /// `locality`.
    pub locality: Locality,
    /// `load_balancing_weight`.
    pub weight: Option<u32>,
    /// `priority`.
    pub priority: u32,
    /// `lb_endpoints`.
    pub endpoints: Vec<EndpointConfig>,
}

/// `Locality`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Locality {
    /// `region`.
    pub region: Box<str>,
    /// `zone`.
    pub zone: Box<str>,
    /// `sub_zone`.
    pub sub_zone: Box<str>,
}

/// `LbEndpoint`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// `endpoint.address`.
    pub address: SocketAddr,
    /// `endpoint.hostname`; may be empty.
    pub hostname: Arc<str>,
    /// `health_status`.
    pub health: EndpointHealth,
    /// `load_balancing_weight`; default 1.
    pub weight: u32,
    /// `metadata.filter_metadata["istio"].workload`: `workload;namespace;canonical-name;canonical-revision;cluster`.
    pub workload: Option<Arc<str>>,
    /// `metadata.filter_metadata["envoy.lb"].hash_key`: what ring hash and maglev know it by, instead of its address.
    pub hash_key: Option<Arc<str>>,
    /// `metadata.filter_metadata["envoy.lb"]`: what subsets are made of, and retries may avoid.
    pub lb_metadata: Vec<(Arc<str>, EndpointValue)>,
    /// `metadata.filter_metadata["envoy.transport_socket_match"]`: which of the cluster's transport sockets.
    pub socket_metadata: Criteria,
    /// `metadata.filter_metadata["envoy.lb"].canary`.
    pub canary: bool,
    /// `endpoint.health_check_config`, where it says anything.
    pub health_check: Option<Box<EndpointHealthCheck>>,
}

impl EndpointConfig {
    /// A healthy endpoint of weight 1.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            hostname: "".into(),
            health: EndpointHealth::Healthy,
            weight: 1,
            workload: None,
            hash_key: None,
            lb_metadata: Vec::new(),
            socket_metadata: Criteria::new(),
            canary: false,
            health_check: None,
        }
    }

    /// Whether active health checks leave it out (`disable_active_health_check`).
    pub fn is_never_checked(&self) -> bool {
        self.health_check
            .as_ref()
            .is_some_and(|check| check.disabled)
    }

    /// Where active health checks go.
    pub fn health_check_address(&self) -> SocketAddr {
        let own = self.health_check.as_ref().and_then(|check| check.address);
        own.unwrap_or(self.address)
    }
}

/// `HealthStatus`, reduced to what load balancing distinguishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointHealth {
    /// `UNKNOWN` or `HEALTHY`.
    #[default]
    Healthy,
    /// `DEGRADED`.
    Degraded,
    /// `UNHEALTHY` or `TIMEOUT`.
    Unhealthy,
    /// `DRAINING`: unhealthy, and not counted in the totals.
    Draining,
}
