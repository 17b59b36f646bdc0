//! Random listeners that proxy TCP, or speak HTTP behind RBAC of connections.

use std::net::Ipv4Addr;

use mesh_testkit::random::Random;
use serde_json::{Value, json};

use crate::peer::{KINDS, Kind};

pub(crate) const ADMIN: u16 = 9901;
pub(crate) const LISTENER: u16 = 10_000;
pub(crate) const UPSTREAM: u16 = 20_000;
pub(crate) const CONFIGURATIONS: u16 = 30;

/// Where a listener's connections end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leads {
    To(Kind),
    /// At no upstream.
    Nowhere,
    Http,
}

pub(crate) struct Configuration {
    listeners: Vec<(Leads, Value)>,
}

/// The statistics that both programs must agree on.
pub(crate) fn is_compared(line: &str) -> bool {
    const ENDS: [&str; 13] = [
        ".downstream_cx_no_route",
        ".downstream_cx_rx_bytes_total",
        ".downstream_cx_tx_bytes_total",
        ".idle_timeout",
        ".max_downstream_connection_duration",
        ".allowed",
        ".denied",
        "shadow_allowed",
        "shadow_denied",
        ".upstream_cx_total",
        ".upstream_cx_connect_fail",
        ".upstream_cx_overflow",
        ".upstream_cx_connect_attempts_exceeded",
    ];
    let name = line.split(": ").next().unwrap_or_default();
    let first = ["tcp.", "cluster.", "r"]
        .iter()
        .any(|f| name.starts_with(f));
    first && ENDS.iter().any(|end| name.ends_with(end))
}

impl Configuration {
    pub(crate) fn random(random: &mut Random) -> Self {
        let listeners = (0..CONFIGURATIONS).map(|n| listener(random, n)).collect();
        Self { listeners }
    }

    pub(crate) fn leads(&self, n: u16) -> Leads {
        self.listeners[usize::from(n)].0
    }

    pub(crate) fn listener(&self, n: u16) -> String {
        self.listeners[usize::from(n)].1.to_string()
    }

    pub(crate) fn bootstrap(&self, own: Ipv4Addr, upstreams: Ipv4Addr) -> String {
        let address = |ip: Ipv4Addr, port: u16| json!({"socket_address": {"address": ip.to_string(), "port_value": port}});
        let listeners: Vec<Value> = (0u16..)
            .zip(&self.listeners)
            .map(|(n, (_, filters))| {
                json!({
                    "name": format!("l{n}"),
                    "address": address(own, LISTENER + n),
                    "filter_chains": [{"filters": filters}],
                })
            })
            .collect();
        let cluster = |name: &str, ports: &[u16]| {
            let endpoints: Vec<Value> = ports
                .iter()
                .map(|port| {
                    json!({
                        "endpoint": {"address": address(upstreams, *port)},
                        "metadata": {"filter_metadata": {"envoy.lb": {"place": format!("{port}")}}},
                    })
                })
                .collect();
            json!({
                "name": name,
                "connect_timeout": "5s",
                "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
            })
        };
        let mut clusters: Vec<Value> = (0u16..)
            .zip(KINDS)
            .map(|(n, kind)| cluster(&format!("{kind:?}"), &[UPSTREAM + n]))
            .collect();
        clusters.push(cluster("Dead", &[UPSTREAM + 900]));
        clusters.push(cluster("Empty", &[]));
        let mut full = cluster("Full", &[UPSTREAM]);
        full["circuit_breakers"] = json!({"thresholds": [{"max_connections": 0}]});
        clusters.push(full);
        let mut ring = cluster("Ring", &[UPSTREAM, UPSTREAM]);
        ring["lb_policy"] = json!("RING_HASH");
        clusters.push(ring);
        let mut subsets = cluster("Subsets", &[UPSTREAM, UPSTREAM + 900]);
        subsets["lb_subset_config"] = json!({
            "fallback_policy": "NO_FALLBACK", "subset_selectors": [{"keys": ["place"]}],
        });
        clusters.push(subsets);
        json!({
            "admin": {"address": address(own, ADMIN)},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        })
        .to_string()
    }
}

fn type_url(name: &str) -> Value {
    json!(format!(
        "type.googleapis.com/envoy.extensions.filters.network.{name}"
    ))
}

fn listener(random: &mut Random, n: u16) -> (Leads, Value) {
    let mut filters = Vec::new();
    for at in 0..random.below(3) {
        filters.push(json!({
            "name": format!("rbac{at}"),
            "typed_config": rbac(random, &format!("r{n}x{at}")),
        }));
    }
    if random.chance(15) {
        filters.push(json!({
            "name": "hcm",
            "typed_config": {
                "@type": type_url("http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": "h",
                "generate_request_id": false,
                // Otherwise the connection's end is a second off.
                "delayed_close_timeout": "0s",
                "http_filters": [{"name": "router", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                }}],
                "route_config": {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "direct"}}},
                ]}]},
            },
        }));
        return (Leads::Http, json!(filters));
    }
    let (leads, name) = match random.below(12) {
        0 => (Leads::Nowhere, "Dead"),
        1 => (Leads::Nowhere, "Empty"),
        2 => (Leads::Nowhere, "Full"),
        3 => (Leads::Nowhere, "missing"),
        4 => (Leads::To(Kind::Echoes), "Ring"),
        5 => (Leads::To(Kind::Echoes), "Subsets"),
        6 => (Leads::To(Kind::Greets), "Greets"),
        7 | 8 => (Leads::To(Kind::HangsUp), "HangsUp"),
        _ => (Leads::To(Kind::Echoes), "Echoes"),
    };
    let mut proxy =
        json!({"@type": type_url("tcp_proxy.v3.TcpProxy"), "stat_prefix": format!("t{n}")});
    let subset = json!({"filter_metadata": {"envoy.lb": {"place": UPSTREAM.to_string()}}});
    if random.chance(40) {
        // Never left to chance.
        let mut entry = json!({"name": name, "weight": 4_000_000_000_u32});
        if name == "Subsets" {
            entry["metadata_match"] = subset;
        }
        let other = json!({"name": "Dead", "weight": 1});
        let clusters = match random.chance(50) {
            true => json!([entry, other]),
            false => json!([other, entry]),
        };
        proxy["weighted_clusters"] = json!({"clusters": clusters});
    } else {
        proxy["cluster"] = json!(name);
        if name == "Subsets" {
            proxy["metadata_match"] = subset;
        }
    }
    if random.chance(40) {
        proxy["max_connect_attempts"] = json!(1 + random.below(3));
    }
    if random.chance(50) {
        proxy["hash_policy"] = json!([{"source_ip": {}}]);
    }
    if random.chance(30) {
        proxy["idle_timeout"] = json!(random.one(&["0s", "100s"]));
    }
    if random.chance(30) {
        proxy["max_downstream_connection_duration"] = json!("100s");
        proxy["max_downstream_connection_duration_jitter_percentage"] = json!({"value": 50});
    }
    filters.push(json!({"name": "tcp", "typed_config": proxy}));
    (leads, json!(filters))
}

fn rbac(random: &mut Random, prefix: &str) -> Value {
    let mut config = json!({"@type": type_url("rbac.v3.RBAC"), "stat_prefix": prefix});
    if random.chance(85) {
        config["rules"] = rules(random);
    }
    if random.chance(35) {
        config["shadow_rules"] = rules(random);
        if random.chance(50) {
            config["shadow_rules_stat_prefix"] = json!("dry_");
        }
    }
    if random.chance(10) {
        config["delay_deny"] = json!("0.05s");
    }
    config
}

fn rules(random: &mut Random) -> Value {
    let policies = (0..1 + random.below(2)).map(|n| {
        let permissions: Vec<Value> = (0..=random.below(2))
            .map(|_| permission(random, 2))
            .collect();
        let principals: Vec<Value> = (0..=random.below(2))
            .map(|_| principal(random, 2))
            .collect();
        (
            format!("p{n}"),
            json!({"permissions": permissions, "principals": principals}),
        )
    });
    let policies: serde_json::Map<String, Value> = policies.collect();
    json!({
        "action": random.one(&["ALLOW", "ALLOW", "DENY", "LOG"]),
        "policies": policies,
    })
}

fn cidr(random: &mut Random) -> Value {
    let (prefix, length) = *random.one(&[
        ("127.0.0.0", 29),
        ("127.0.0.8", 29),
        ("127.0.0.5", 32),
        ("127.0.0.0", 8),
        ("10.0.0.0", 8),
        ("::", 0),
    ]);
    json!({"address_prefix": prefix, "prefix_len": length})
}

fn permission(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth > 0 { 9 } else { 6 }) {
        0 => json!({"any": true}),
        1 => json!({"destination_ip": cidr(random)}),
        2 => json!({"destination_port": LISTENER + u16::try_from(random.below(30)).unwrap_or(0)}),
        3 | 4 => json!({"destination_port_range": {"start": LISTENER, "end": LISTENER + 15}}),
        5 => json!({"requested_server_name": {"exact": random.one(&["", "a.test"])}}),
        6 => json!({"not_rule": permission(random, depth - 1)}),
        7 => {
            json!({"and_rules": {"rules": [permission(random, depth - 1), permission(random, depth - 1)]}})
        }
        _ => {
            json!({"or_rules": {"rules": [permission(random, depth - 1), permission(random, depth - 1)]}})
        }
    }
}

fn principal(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth > 0 { 9 } else { 6 }) {
        0 => json!({"any": true}),
        1 => json!({"authenticated": {}}),
        2 => json!({"direct_remote_ip": cidr(random)}),
        3 => json!({"remote_ip": cidr(random)}),
        4 => json!({"source_ip": cidr(random)}),
        5 => {
            json!({"metadata": {"filter": "f", "path": [{"key": "k"}], "value": {"present_match": true}}})
        }
        6 => json!({"not_id": principal(random, depth - 1)}),
        7 => {
            json!({"and_ids": {"ids": [principal(random, depth - 1), principal(random, depth - 1)]}})
        }
        _ => {
            json!({"or_ids": {"ids": [principal(random, depth - 1), principal(random, depth - 1)]}})
        }
    }
}
