//! Random clusters with outlier detection: one of each case, since what a cluster has seen decides what it does next.

use std::{net::Ipv4Addr, time::Duration};

use mesh_testkit::random::Random;
use serde_json::{Value, json};

pub(crate) const ADMIN: u16 = 9901;
pub(crate) const LISTENER: u16 = 10_000;
pub(crate) const UPSTREAM: u16 = 20_000;
pub(crate) const UPSTREAMS: u16 = 6;
/// Nobody listens there.
const DEAD: u16 = 19_999;

/// When the cases' intervals end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Interval {
    /// Never: only consecutive errors eject, and nobody returns.
    Never,
    /// All of them at once, again and again.
    Every(Duration),
}

/// A cluster without its name.
pub(crate) fn cluster(random: &mut Random, interval: Interval) -> Value {
    let mut cluster = json!({
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": random.one(&["RING_HASH", "MAGLEV"]),
        "ring_hash_lb_config": {"minimum_ring_size": 64},
        "maglev_lb_config": {"table_size": 101},
        "localities": localities(random),
        "outlier_detection": detection(random, interval),
        "common_lb_config": {
            "healthy_panic_threshold": {"value": random.one(&[0, 0, 30, 50, 100])},
            "update_merge_window": merge_window(random, interval),
        },
    });
    if cluster["lb_policy"] == "RING_HASH" {
        remove(&mut cluster, "maglev_lb_config");
    } else {
        remove(&mut cluster, "ring_hash_lb_config");
    }
    if random.chance(10) {
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http_protocol_options": {}},
                "outlier_detection": {"error_matcher": {"or_match": {"rules": [
                    status_is(random.one::<&str>(&["404", "503"])),
                    status_is("502"),
                ]}}},
            }
        });
    }
    cluster
}

/// Nothing waits, or what waits does so to the end. Where an interval's end ejects several hosts, the first of them does
/// not wait, and how many of the others a worker then sees already is a race between Envoy's threads.
fn merge_window(random: &mut Random, interval: Interval) -> &'static str {
    match interval {
        Interval::Never => random.one::<&str>(&["0s", "0s", "3600s"]),
        Interval::Every(_) => "0s",
    }
}

fn status_is(status: &str) -> Value {
    json!({"http_response_headers_match": {"headers": [
        {"name": ":status", "string_match": {"exact": status}},
    ]}})
}

fn remove(from: &mut Value, name: &str) {
    if let Some(object) = from.as_object_mut() {
        object.remove(name);
    }
}

/// Priority, and numbers of upstreams with their health; `UPSTREAMS` is the dead one.
fn localities(random: &mut Random) -> Value {
    let mut all: Vec<u16> = (0..=UPSTREAMS).collect();
    let count = 1 + random.below(usize::from(UPSTREAMS));
    let mut left = Vec::new();
    for _ in 0..count {
        let at = random.below(all.len());
        let host = all.swap_remove(at);
        let health = match random.chance(6) {
            true => *random.one(&["DEGRADED", "UNHEALTHY", "DRAINING"]),
            false => "HEALTHY",
        };
        left.push(json!({"port": if host == UPSTREAMS { DEAD } else { UPSTREAM + host }, "health": health}));
    }
    if count < 3 || random.chance(70) {
        return json!([left]);
    }
    let second = left.split_off(1 + random.below(count - 1));
    json!([left, second])
}

fn detection(random: &mut Random, interval: Interval) -> Value {
    let mut detection = json!({
        "consecutive_5xx": random.below(4),
        "max_ejection_percent": random.one(&[0, 10, 34, 50, 67, 100, 100, 100]),
        "interval": "3600s",
    });
    let some = |random: &mut Random, detection: &mut Value, percent, name: &str, value: Value| {
        if random.chance(percent) {
            detection[name] = value;
        }
    };
    let off = json!(random.one(&[0, 100]));
    some(random, &mut detection, 20, "enforcing_consecutive_5xx", off);
    if random.chance(50) {
        detection["consecutive_gateway_failure"] = json!(1 + random.below(3));
        detection["enforcing_consecutive_gateway_failure"] = json!(random.one(&[0, 100, 100]));
    }
    if random.chance(40) {
        detection["split_external_local_origin_errors"] = json!(true);
        detection["consecutive_local_origin_failure"] = json!(1 + random.below(3));
        let off = json!(random.one(&[0, 100]));
        let name = "enforcing_consecutive_local_origin_failure";
        some(random, &mut detection, 20, name, off);
    }
    some(
        random,
        &mut detection,
        20,
        "always_eject_one_host",
        json!(true),
    );
    some(
        random,
        &mut detection,
        30,
        "detect_degraded_hosts",
        json!(true),
    );
    if let Interval::Every(interval) = interval {
        rates(random, &mut detection, interval);
    }
    detection
}

fn rates(random: &mut Random, detection: &mut Value, interval: Duration) {
    let seconds = |time: Duration| json!(format!("{:.3}s", time.as_secs_f64()));
    detection["interval"] = seconds(interval);
    // Who is ejected at an interval's end, or by a burst after it, returns at the same later one: see `clock`.
    let base = interval.mul_f64(*random.one(&[0.1, 1.3, 1.3, 2.3]));
    detection["base_ejection_time"] = seconds(base);
    if random.chance(30) {
        detection["max_ejection_time"] = seconds(base);
    }
    // Of several outliers found at once, whose turn it is first is chance where not all may go.
    detection["max_ejection_percent"] = json!(random.one(&[0, 100, 100, 100]));
    remove(detection, "always_eject_one_host");
    if random.chance(50) {
        // So that they do not hide what the rates say.
        detection["consecutive_5xx"] = json!(0);
        remove(detection, "consecutive_gateway_failure");
    }
    detection["success_rate_request_volume"] = json!(1 + random.below(3));
    detection["success_rate_minimum_hosts"] = json!(1 + random.below(4));
    detection["success_rate_stdev_factor"] = json!(random.one(&[0, 500, 1000, 1900]));
    detection["failure_percentage_request_volume"] = json!(1 + random.below(3));
    detection["failure_percentage_minimum_hosts"] = json!(1 + random.below(4));
    detection["failure_percentage_threshold"] = json!(random.one(&[0, 30, 50, 85, 100]));
    // A host that both find is ejected twice, and who else still may be is then a matter of their order.
    let by_rate = random.chance(60);
    let percent = |on: bool| json!(if on { 100 } else { 0 });
    detection["enforcing_success_rate"] = percent(by_rate);
    detection["enforcing_local_origin_success_rate"] = percent(by_rate);
    detection["enforcing_failure_percentage"] = percent(!by_rate);
    detection["enforcing_failure_percentage_local_origin"] = percent(!by_rate);
}

/// The last cluster comes first.
pub(crate) fn bootstrap(clusters: &[&Value], own: Ipv4Addr, upstreams: Ipv4Addr) -> String {
    let address = |ip: Ipv4Addr, port: &Value| json!({"socket_address": {"address": ip.to_string(), "port_value": port}});
    let mut clusters: Vec<Value> = clusters
        .iter()
        .enumerate()
        .map(|(n, cluster)| {
            let mut cluster = (*cluster).clone();
            let localities = cluster["localities"].take();
            remove(&mut cluster, "localities");
            let endpoints: Vec<Value> = (localities.as_array().into_iter().flatten())
                .enumerate()
                .map(|(priority, hosts)| {
                    let hosts = hosts.as_array().into_iter().flatten();
                    let endpoint = |host: &Value| {
                        json!({"endpoint": {"address": address(upstreams, &host["port"])},
                            "health_status": host["health"]})
                    };
                    json!({"priority": priority, "lb_endpoints": hosts.map(endpoint).collect::<Vec<_>>()})
                })
                .collect();
            cluster["name"] = json!(format!("c{n}"));
            cluster["load_assignment"] =
                json!({"cluster_name": cluster["name"], "endpoints": endpoints});
            cluster
        })
        .collect();
    clusters.rotate_right(1);
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "t",
        "generate_request_id": false,
        // Otherwise Envoy keeps the connection of an answer that is cut off for a second.
        "delayed_close_timeout": "0s",
        "use_remote_address": true,
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]},
        "route_config": {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{
            "match": {"prefix": "/"},
            "route": {
                "cluster_header": "x-cluster",
                "hash_policy": [{"header": {"header_name": "x-key"}}],
            },
        }]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
    });
    json!({
        "admin": {"address": address(own, &json!(ADMIN))},
        "static_resources": {
            "listeners": [{
                "name": "l",
                "address": address(own, &json!(LISTENER)),
                "filter_chains": [{"filters": [
                    {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
                ]}],
            }],
            "clusters": clusters,
        },
    })
    .to_string()
}
