//! `/clusters`: `envoy.admin.v3.Clusters`, as istioctl reads it, and Envoy's text.

use std::fmt::Write as _;

use mesh_core::{
    cluster::{Cluster, Endpoint},
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
    if endpoint.is_ejected() {
        health.insert("failed_outlier_check".into(), json!(true));
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
            let health = match (endpoint.is_ejected(), endpoint.health()) {
                (true, _) => "/failed_outlier_check",
                (false, EndpointHealth::Healthy) => "healthy",
                (false, EndpointHealth::Degraded) => "/eds_status_degraded",
                (false, _) => "/failed_eds_health",
            };
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
