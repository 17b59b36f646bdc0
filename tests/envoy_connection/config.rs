//! Random connection managers, one listener each, over one route table.

use std::net::Ipv4Addr;

use mesh_testkit::random::Random;
use serde_json::{Value, json};

pub(crate) const ADMIN: u16 = 9901;
pub(crate) const LISTENER: u16 = 10_000;
pub(crate) const UPSTREAM: u16 = 20_000;

pub(crate) struct Configuration {
    managers: Vec<Value>,
}

impl Configuration {
    pub(crate) fn random(random: &mut Random, n: usize) -> Self {
        let managers = (0..n).map(|_| manager(random)).collect();
        Self { managers }
    }

    pub(crate) fn manager(&self, n: u16) -> String {
        format!("{:#}", self.managers[usize::from(n)])
    }

    pub(crate) fn bootstrap(&self, own: Ipv4Addr, upstreams: Ipv4Addr) -> String {
        let address = |ip: Ipv4Addr, port: u16| json!({"socket_address": {"address": ip.to_string(), "port_value": port}});
        let listeners: Vec<Value> = (0u16..)
            .zip(&self.managers)
            .map(|(n, manager)| {
                let mut manager = manager.clone();
                manager["@type"] = type_url("filters.network.http_connection_manager.v3.HttpConnectionManager");
                manager["stat_prefix"] = json!(format!("m{n}"));
                manager["route_config"] = routes();
                // A connection that is to be closed is closed soon, not at once: what is left to read shall not make
                // the kernel throw the answer away.
                manager["delayed_close_timeout"] = json!("0.05s");
                manager["http_filters"] = json!([{
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": type_url("filters.http.router.v3.Router")},
                }]);
                json!({
                    "name": format!("l{n}"),
                    "address": address(own, LISTENER + n),
                    "filter_chains": [{"filters": [
                        {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
                    ]}],
                })
            })
            .collect();
        json!({
            "admin": {"address": address(own, ADMIN)},
            "static_resources": {"listeners": listeners, "clusters": [{
                "name": "up",
                "type": "STATIC",
                "connect_timeout": "5s",
                // What an upstream answers wrongly shall not spoil the next case.
                "max_requests_per_connection": 1,
                "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": address(upstreams, UPSTREAM)}},
                ]}]},
            }]},
        })
        .to_string()
    }
}

fn type_url(name: &str) -> Value {
    json!(format!("type.googleapis.com/envoy.extensions.{name}"))
}

fn routes() -> Value {
    let forward = json!({"cluster": "up"});
    let text = |status: u16, text: &str| json!({"status": status, "body": {"inline_string": text}});
    json!({"name": "r", "validate_clusters": false, "virtual_hosts": [
        {"name": "plain", "domains": ["a.test", "a.test:8080"], "routes": [
            {"match": {"path": "/direct"}, "direct_response": text(200, "direct")},
            {"match": {"path": "/empty"}, "direct_response": {"status": 204}},
            {"match": {"path": "/redirect"}, "redirect": {"path_redirect": "/to"}},
            {"match": {"path": "/missing"}, "route": {"cluster": "missing"}},
            {"match": {"prefix": "/nothing/"}, "direct_response": text(404, "nothing")},
            {"match": {"prefix": "/ws"}, "route": {"cluster": "up", "upgrade_configs": [{"upgrade_type": "websocket"}]}},
            {"match": {"prefix": "/no-ws"}, "route": {"cluster": "up", "upgrade_configs": [{"upgrade_type": "websocket", "enabled": false}]}},
            {"match": {"prefix": "/"}, "route": forward},
        ]},
        {"name": "only", "domains": ["only.test"], "routes": [
            {"match": {"prefix": "/only"}, "route": forward},
        ]},
        {"name": "connect", "domains": ["c.test:443", "c.test"], "routes": [
            {"match": {"connect_matcher": {}}, "route": {"cluster": "up", "upgrade_configs": [{"upgrade_type": "CONNECT"}]}},
            {"match": {"prefix": "/"}, "route": forward},
        ]},
        {"name": "rest", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": forward}]},
    ]})
}

fn manager(random: &mut Random) -> Value {
    let mut manager = json!({"generate_request_id": false});
    let m = &mut manager;
    client_address(random, m);
    paths_and_hosts(random, m);
    if random.chance(20) {
        m["via"] = json!("mesh");
    }
    if random.chance(30) {
        m["server_header_transformation"] =
            json!(random.one(&["OVERWRITE", "APPEND_IF_ABSENT", "PASS_THROUGH"]));
    }
    if random.chance(15) {
        m["server_name"] = json!("named");
    }
    if random.chance(40) {
        m["generate_request_id"] = json!(true);
    }
    if random.chance(30) {
        m["preserve_external_request_id"] = json!(true);
    }
    if random.chance(30) {
        m["always_set_request_id_in_response"] = json!(true);
    }
    if random.chance(20) {
        m["proxy_100_continue"] = json!(true);
    }
    if random.chance(30) {
        m["max_request_headers_kb"] = json!(random.one(&[1, 2, 60]));
    }
    let mut common = json!({});
    if random.chance(40) {
        common["headers_with_underscores_action"] =
            json!(random.one(&["ALLOW", "REJECT_REQUEST", "DROP_HEADER"]));
    }
    if random.chance(20) {
        common["max_headers_count"] = json!(random.one(&[20, 100]));
    }
    m["common_http_protocol_options"] = common;
    let mut http1 = json!({});
    if random.chance(40) {
        http1["accept_http_10"] = json!(true);
        if random.chance(50) {
            http1["default_host_for_http_10"] = json!(random.one(&["only.test", "a.test"]));
        }
    }
    if random.chance(30) {
        http1["enable_trailers"] = json!(true);
    }
    m["http_protocol_options"] = http1;
    m["http2_protocol_options"] = json!({"allow_connect": random.chance(70)});
    if random.chance(20) {
        m["scheme_header_transformation"] =
            json!({"scheme_to_overwrite": random.one(&["http", "https"])});
    }
    let upgrades: Vec<Value> = [("websocket", 50), ("CONNECT", 50), ("foo", 20)]
        .iter()
        .filter_map(|(kind, percent)| {
            let enabled = random.chance(80);
            random
                .chance(*percent)
                .then(|| json!({"upgrade_type": kind, "enabled": enabled}))
        })
        .collect();
    m["upgrade_configs"] = json!(upgrades);
    manager
}

fn client_address(random: &mut Random, m: &mut Value) {
    let detection = random.chance(25);
    if random.chance(60) && !detection {
        m["use_remote_address"] = json!(random.chance(60));
    }
    if random.chance(30) {
        m["skip_xff_append"] = json!(true);
    }
    if random.chance(30) && !detection {
        m["xff_num_trusted_hops"] = json!(random.below(3));
    }
    if random.chance(40) {
        m["internal_address_config"] = json!({"cidr_ranges": [
            {"address_prefix": random.one(&["10.0.0.0", "127.0.0.0"]), "prefix_len": 8},
        ]});
    }
    if detection {
        let custom = "http.original_ip_detection.custom_header.v3.CustomHeaderConfig";
        let xff = "http.original_ip_detection.xff.v3.XffConfig";
        let mut all = Vec::new();
        if random.chance(60) {
            let mut config = json!({"@type": type_url(custom), "header_name": "x-client"});
            if random.chance(50) {
                config["allow_extension_to_set_address_as_trusted"] = json!(true);
            }
            if random.chance(50) {
                config["reject_with_status"] =
                    json!({"code": random.one(&["Forbidden", "Unauthorized"])});
            }
            all.push(json!({"name": "custom", "typed_config": config}));
        }
        if all.is_empty() || random.chance(60) {
            let mut config = json!({"@type": type_url(xff)});
            if random.chance(50) {
                config["xff_num_trusted_hops"] = json!(random.below(3));
            } else {
                config["xff_trusted_cidrs"] = json!({"cidrs": [
                    {"address_prefix": random.one(&["10.0.0.0", "127.0.0.0"]), "prefix_len": 8},
                ]});
            }
            if random.chance(50) {
                config["skip_xff_append"] = json!(random.chance(50));
            }
            all.push(json!({"name": "xff", "typed_config": config}));
        }
        m["original_ip_detection_extensions"] = json!(all);
    }
}

fn paths_and_hosts(random: &mut Random, m: &mut Value) {
    if random.chance(40) {
        m["normalize_path"] = json!(true);
    }
    if random.chance(30) {
        m["merge_slashes"] = json!(true);
    }
    if random.chance(40) {
        m["path_with_escaped_slashes_action"] = json!(random.one(&[
            "KEEP_UNCHANGED",
            "REJECT_REQUEST",
            "UNESCAPE_AND_REDIRECT",
            "UNESCAPE_AND_FORWARD",
        ]));
    }
    match random.below(5) {
        0 => m["strip_matching_host_port"] = json!(true),
        1 => m["strip_any_host_port"] = json!(true),
        _ => {}
    }
    if random.chance(25) {
        m["strip_trailing_host_dot"] = json!(true);
    }
}
