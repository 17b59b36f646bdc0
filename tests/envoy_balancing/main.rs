//! Load balancing through the real Envoy and through mesh-proxy on the same bootstrap.
//!
//! * [`checks`]: active health checks by scripted answers: flags, statistics, and who gets traffic.
//! * [`spread`]: zones, typed subsets with all their fallbacks, panic that fails, full scans: how often each endpoint
//!   is picked.
//!
//! Random configurations; the seed is printed (`MESH_SEED` repeats a run, `MESH_CASES` asks for more).

mod checks;
mod spread;

use std::net::Ipv4Addr;

use serde_json::{Value, json};

const ADMIN: u16 = 9901;
const LISTENER: u16 = 10_000;
const UPSTREAM: u16 = 20_000;

/// A listener for each cluster `cN`, with one route.
fn bootstrap(own: Ipv4Addr, routes: Vec<Value>, clusters: Vec<Value>) -> Value {
    let listeners: Vec<Value> = (0u16..)
        .zip(routes)
        .map(|(n, mut route)| {
            route["cluster"] = json!(format!("c{n}"));
            json!({
                "name": format!("l{n}"),
                "address": address(own, LISTENER + n),
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": {
                        "@type": type_url("filters.network.http_connection_manager.v3.HttpConnectionManager"),
                        "stat_prefix": "h",
                        "route_config": {"name": "r", "virtual_hosts": [{
                            "name": "all", "domains": ["*"],
                            "routes": [{"match": {"prefix": "/"}, "route": route}],
                        }]},
                        "http_filters": [{
                            "name": "envoy.filters.http.router",
                            "typed_config": {"@type": type_url("filters.http.router.v3.Router")},
                        }],
                    },
                }]}],
            })
        })
        .collect();
    json!({
        "admin": {"address": address(own, ADMIN)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    })
}

fn address(ip: Ipv4Addr, port: u16) -> Value {
    json!({"socket_address": {"address": ip.to_string(), "port_value": port}})
}

fn type_url(name: &str) -> Value {
    json!(format!("type.googleapis.com/envoy.extensions.{name}"))
}
