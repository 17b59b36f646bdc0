//! `/clusters`: `envoy.admin.v3.Clusters`, as istioctl reads it, and Envoy's text.

use std::fmt::Write as _;

use mesh_core::{
    cluster::{Cluster, Endpoint, HealthFlags},
    model::{EndpointHealth, RoutingPriority},
    snapshot::Snapshot,
};
use serde_json::{Map, Value, json};

pub(super) fn json(snapshot: &Snapshot) -> Value {
    let clusters: Vec<Value> = sorted(snapshot).into_iter().map(cluster).collect();
    json!({ "cluster_statuses": clusters })
}

fn sorted(snapshot: &Snapshot) -> Vec<&Cluster> {
    let mut clusters: Vec<&Cluster> = snapshot.clusters().map(|c| &**c).collect();
    clusters.sort_by(|a, b| a.config().name.cmp(&b.config().name));
    clusters
}

fn cluster(cluster: &Cluster) -> Value {
    let config = cluster.config();
    let thresholds = |priority, name: &str| {
        let limits = cluster.breaker(priority).thresholds();
        json!({
            "priority": name,
            "max_connections": limits.max_connections,
            "max_pending_requests": limits.max_pending_requests,
            "max_requests": limits.max_requests,
            "max_retries": limits.max_retries,
        })
    };
    let mut out = json!({
        "name": *config.name,
        "added_via_api": true,
        "circuit_breakers": { "thresholds": [
            thresholds(RoutingPriority::Default, "DEFAULT"),
            thresholds(RoutingPriority::High, "HIGH"),
        ]},
        "host_statuses": cluster.endpoints().iter().map(|e| host(e)).collect::<Vec<_>>(),
    });
    if config.stat_name != config.name
        && let Some(out) = out.as_object_mut()
    {
        out.insert("observability_name".into(), json!(*config.stat_name));
    }
    out
}

fn host(endpoint: &Endpoint) -> Value {
    let mut health = Map::new();
    health.insert(
        "eds_health_status".into(),
        json!(health_name(endpoint.health())),
    );
    let active = endpoint.active_health();
    let flags = [
        (
            "failed_active_health_check",
            active.any(HealthFlags::FAILED),
        ),
        ("failed_outlier_check", endpoint.is_ejected()),
        (
            "failed_active_degraded_check",
            active.any(HealthFlags::DEGRADED),
        ),
        (
            "pending_dynamic_removal",
            active.any(HealthFlags::PENDING_REMOVAL),
        ),
        ("pending_active_hc", active.any(HealthFlags::PENDING)),
        (
            "excluded_via_immediate_hc_fail",
            active.any(HealthFlags::EXCLUDED),
        ),
        ("active_hc_timeout", active.any(HealthFlags::TIMEOUT)),
    ];
    for (name, is_set) in flags {
        if is_set {
            health.insert(name.into(), json!(true));
        }
    }
    let locality = endpoint.locality();
    json!({
        "address": { "socket_address": {
            "address": endpoint.address().ip().to_string(),
            "port_value": endpoint.address().port(),
        }},
        "stats": [
            { "name": "rq_active", "type": "GAUGE", "value": endpoint.active_requests().to_string() },
            { "name": "rq_total", "value": endpoint.total_requests().to_string() },
        ],
        "health_status": health,
        "weight": endpoint.weight(),
        "hostname": &**endpoint.hostname(),
        "priority": endpoint.priority(),
        "locality": { "region": locality.region, "zone": locality.zone, "sub_zone": locality.sub_zone },
    })
}

fn health_name(health: EndpointHealth) -> &'static str {
    match health {
        EndpointHealth::Degraded => "DEGRADED",
        EndpointHealth::Unhealthy => "UNHEALTHY",
        EndpointHealth::Draining => "DRAINING",
        _ => "HEALTHY",
    }
}

/// In Envoy's order (`HostUtility::healthFlagsToString`).
fn health_flags(endpoint: &Endpoint) -> String {
    let active = endpoint.active_health();
    let by_assignment = |health| endpoint.health() == health;
    let flags = [
        ("/failed_active_hc", active.any(HealthFlags::FAILED)),
        ("/failed_outlier_check", endpoint.is_ejected()),
        (
            "/failed_eds_health",
            by_assignment(EndpointHealth::Unhealthy),
        ),
        ("/degraded_active_hc", active.any(HealthFlags::DEGRADED)),
        (
            "/degraded_eds_health",
            by_assignment(EndpointHealth::Degraded),
        ),
        (
            "/pending_dynamic_removal",
            active.any(HealthFlags::PENDING_REMOVAL),
        ),
        ("/pending_active_hc", active.any(HealthFlags::PENDING)),
        (
            "/excluded_via_immediate_hc_fail",
            active.any(HealthFlags::EXCLUDED),
        ),
        ("/active_hc_timeout", active.any(HealthFlags::TIMEOUT)),
        (
            "/eds_status_draining",
            by_assignment(EndpointHealth::Draining),
        ),
    ];
    let text: String = flags
        .iter()
        .filter(|(_, set)| *set)
        .map(|(name, _)| *name)
        .collect();
    match text.is_empty() {
        true => "healthy".into(),
        false => text,
    }
}

pub(super) fn text(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    for cluster in sorted(snapshot) {
        let name = &cluster.config().name;
        for (priority, label) in [
            (RoutingPriority::Default, "default_priority"),
            (RoutingPriority::High, "high_priority"),
        ] {
            let limits = cluster.breaker(priority).thresholds();
            let _ = writeln!(
                out,
                "{name}::{label}::max_connections::{}",
                limits.max_connections
            );
            let _ = writeln!(
                out,
                "{name}::{label}::max_pending_requests::{}",
                limits.max_pending_requests
            );
            let _ = writeln!(
                out,
                "{name}::{label}::max_requests::{}",
                limits.max_requests
            );
            let _ = writeln!(out, "{name}::{label}::max_retries::{}", limits.max_retries);
        }
        for endpoint in cluster.endpoints() {
            let address = endpoint.address();
            let health = health_flags(endpoint);
            let _ = writeln!(
                out,
                "{name}::{address}::rq_active::{}",
                endpoint.active_requests()
            );
            let _ = writeln!(
                out,
                "{name}::{address}::rq_total::{}",
                endpoint.total_requests()
            );
            let _ = writeln!(out, "{name}::{address}::hostname::{}", endpoint.hostname());
            let _ = writeln!(out, "{name}::{address}::health_flags::{health}");
            let _ = writeln!(out, "{name}::{address}::weight::{}", endpoint.weight());
            let _ = writeln!(out, "{name}::{address}::priority::{}", endpoint.priority());
        }
    }
    out
}
