//! Short ways to write clusters and to count picks.

use std::{collections::BTreeMap, sync::Arc};

use http::StatusCode;
use mesh_core::{
    Entropy,
    cluster::{Cluster, Endpoint, PickContext, PickError},
    model::*,
    outcome::Outcome,
    stats::Stats,
};

/// A reproducible generator (splitmix64).
pub(crate) struct Rng(pub(crate) u64);

impl Entropy for Rng {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Endpoint `127.0.N.N`, known in tests by its number.
pub(crate) fn endpoint(number: u16) -> EndpointConfig {
    let [high, low] = number.to_be_bytes();
    EndpointConfig::new(([127, 0, high, low], 80).into())
}

pub(crate) fn weighted(number: u16, weight: u32) -> EndpointConfig {
    let mut endpoint = endpoint(number);
    endpoint.weight = weight;
    endpoint
}

pub(crate) fn with_health(number: u16, health: EndpointHealth) -> EndpointConfig {
    let mut endpoint = endpoint(number);
    endpoint.health = health;
    endpoint
}

pub(crate) fn number(endpoint: &Endpoint) -> u16 {
    match endpoint.address().ip() {
        std::net::IpAddr::V4(ip) => u16::from_be_bytes([ip.octets()[2], ip.octets()[3]]),
        std::net::IpAddr::V6(_) => unreachable!("tests use IPv4"),
    }
}

pub(crate) fn locality(
    zone: &str,
    priority: u32,
    weight: Option<u32>,
    endpoints: impl IntoIterator<Item = EndpointConfig>,
) -> LocalityEndpoints {
    let mut group = LocalityEndpoints::default();
    group.locality.zone = zone.into();
    group.priority = priority;
    group.weight = weight;
    group.endpoints = endpoints.into_iter().collect();
    group
}

pub(crate) fn assignment(
    localities: impl IntoIterator<Item = LocalityEndpoints>,
) -> Arc<ClusterLoadAssignment> {
    let mut assignment = ClusterLoadAssignment::default();
    assignment.localities = localities.into_iter().collect();
    Arc::new(assignment)
}

/// One locality of priority 0.
pub(crate) fn flat(
    endpoints: impl IntoIterator<Item = EndpointConfig>,
) -> Arc<ClusterLoadAssignment> {
    assignment([locality("", 0, None, endpoints)])
}

pub(crate) fn config(change: impl FnOnce(&mut ClusterConfig)) -> Arc<ClusterConfig> {
    let mut config = ClusterConfig::new("c", ClusterDiscovery::Eds("c".into()));
    change(&mut config);
    Arc::new(config)
}

/// Round robin.
pub(crate) fn plain() -> Arc<ClusterConfig> {
    config(|_| {})
}

/// Outlier detection that ejects after `errors`, without limit and without merging of changes; no panic.
pub(crate) fn ejecting(
    errors: u32,
    change: impl FnOnce(&mut ClusterConfig, &mut OutlierDetection),
) -> Arc<ClusterConfig> {
    config(|config| {
        let mut detection = OutlierDetection::default();
        detection.consecutive_5xx = errors;
        detection.max_ejection_percent = 100;
        config.healthy_panic_threshold = 0.0;
        config.update_merge_window = std::time::Duration::ZERO;
        change(config, &mut detection);
        config.outlier_detection = Some(detection);
    })
}

pub(crate) fn build(
    config: &Arc<ClusterConfig>,
    assignment: Arc<ClusterLoadAssignment>,
) -> Cluster {
    build_after(None, config, assignment)
}

pub(crate) fn build_after(
    previous: Option<&Cluster>,
    config: &Arc<ClusterConfig>,
    assignment: Arc<ClusterLoadAssignment>,
) -> Cluster {
    Cluster::build(
        Arc::clone(config),
        Some(assignment),
        previous,
        &Stats::default(),
        &mut Rng(1),
    )
}

pub(crate) fn pick(cluster: &Cluster, rng: &mut Rng) -> Result<u16, PickError> {
    cluster
        .pick(&PickContext::first(None), rng)
        .map(|endpoint| number(&endpoint))
}

/// How often each endpoint comes in `count` picks.
pub(crate) fn picks(cluster: &Cluster, count: usize) -> BTreeMap<u16, usize> {
    let mut rng = Rng(7);
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        *seen
            .entry(pick(cluster, &mut rng).expect("an endpoint"))
            .or_default() += 1;
    }
    seen
}

/// The endpoints that are picked at all.
pub(crate) fn picked(cluster: &Cluster) -> Vec<u16> {
    picks(cluster, 500).into_keys().collect()
}

pub(crate) fn find(cluster: &Cluster, wanted: u16) -> Arc<Endpoint> {
    let endpoints = cluster.endpoints().iter();
    Arc::clone(
        endpoints
            .into_iter()
            .find(|e| number(e) == wanted)
            .expect("the endpoint is in the cluster"),
    )
}

pub(crate) fn response(status: u16) -> Outcome {
    Outcome::response(StatusCode::from_u16(status).expect("a status"))
}
