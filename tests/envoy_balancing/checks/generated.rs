//! Clusters with health checks, and scripts for their endpoints.

use std::{collections::BTreeMap, net::Ipv4Addr};

use mesh_testkit::{random::Random, upstream::Speaks};
use serde_json::{Value, json};

use super::PORTS;
use crate::{UPSTREAM, address, type_url};

/// A cluster, and how its endpoints answer.
pub(super) struct Generated {
    pub(super) config: Value,
    pub(super) ports: Vec<(u16, Speaks)>,
    /// By the port that is asked.
    pub(super) scripts: BTreeMap<u16, Vec<String>>,
    /// Answers may be late: then asking goes on, and counts differ.
    pub(super) is_late: bool,
    pub(super) threshold: usize,
    /// Whether enough requests get to every endpoint that gets any.
    pub(super) is_round_robin: bool,
    /// Every endpoint is asked, so that any of them may be told to fail.
    pub(super) tells_failures: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http1,
    Http2,
    Grpc,
    Tcp,
    Connect,
}

impl Generated {
    pub(super) fn random(random: &mut Random, n: u16, upstreams: Ipv4Addr) -> Self {
        let kind = *random.one(&[
            Kind::Http1,
            Kind::Http1,
            Kind::Http1,
            Kind::Http2,
            Kind::Grpc,
            Kind::Tcp,
            Kind::Connect,
        ]);
        let is_late = random.chance(10) && kind != Kind::Connect;
        let thresholds = [1 + random.below(3), 1 + random.below(3)];
        let mut check = json!({
            "timeout": if is_late { "0.15s" } else { "300s" },
            "interval": milliseconds(1 + random.below(4)),
            "no_traffic_interval": milliseconds(1 + random.below(4)),
            "unhealthy_threshold": thresholds[0],
            "healthy_threshold": thresholds[1],
        });
        if kind == Kind::Connect {
            check["interval"] = json!("600s");
            check["no_traffic_interval"] = json!("600s");
        }
        if random.chance(30) {
            check["reuse_connection"] = json!(false);
        }
        if random.chance(20) {
            check["initial_jitter"] = json!("0.01s");
            check["interval_jitter"] = json!("0.002s");
        }
        if random.chance(20) {
            check["unhealthy_interval"] = json!("0.003s");
            check["healthy_edge_interval"] = json!("0.001s");
            check["unhealthy_edge_interval"] = json!("0.001s");
        }
        let mut words = kind.configure(random, &mut check);
        if is_late {
            words.push("200;wait=3000".into());
        }

        let mut ports = Vec::new();
        let mut scripts = BTreeMap::new();
        let mut tells_failures = true;
        let priorities = 1 + usize::from(random.chance(25));
        let mut groups = vec![Vec::new(); priorities];
        let hosts = 1 + random.below(4) as u16;
        if hosts > 1 {
            // Excluding one that fails already is in force with the next change of another: a matter of time.
            words.retain(|word| !word.contains("immediate"));
        }
        for host in 0..hosts {
            let port = UPSTREAM + n * PORTS + host;
            let mut endpoint = json!({"endpoint": {"address": address(upstreams, port)}});
            if random.chance(20) {
                endpoint["health_status"] = json!(*random.one(&[
                    "HEALTHY",
                    "DEGRADED",
                    "UNHEALTHY",
                    "DRAINING",
                    "TIMEOUT",
                ]));
            }
            let mut asked = port;
            if kind == Kind::Tcp || kind == Kind::Connect || random.chance(20) {
                asked = port + PORTS / 2;
                let speaks = match kind {
                    Kind::Tcp | Kind::Connect => Speaks::Tcp,
                    _ => Speaks::Http,
                };
                ports.push((asked, speaks));
                endpoint["endpoint"]["health_check_config"] = json!({"port_value": asked});
            }
            ports.push((port, Speaks::Http));
            if random.chance(8) {
                endpoint["endpoint"]["health_check_config"]["disable_active_health_check"] =
                    json!(true);
                tells_failures = false;
            } else if kind != Kind::Connect {
                let length = 1 + random.below(8);
                let script = (0..length).map(|_| random.one(&words).clone()).collect();
                scripts.insert(asked, script);
            }
            groups[random.below(priorities)].push(endpoint);
        }
        // Envoy knows no priority without the ones before it.
        groups.retain(|group| !group.is_empty());
        let groups: Vec<_> = groups
            .iter()
            .enumerate()
            .map(|(priority, endpoints)| json!({"lb_endpoints": endpoints, "priority": priority}))
            .collect();
        let mut config = json!({
            "name": format!("c{n}"),
            "type": "STATIC",
            "connect_timeout": "5s",
            "lb_policy": "ROUND_ROBIN",
            "health_checks": [check],
            "common_lb_config": {
                "update_merge_window": "0s",
                "healthy_panic_threshold": {"value": *random.one(&[0, 30, 50])},
            },
            "load_assignment": {"cluster_name": "c", "endpoints": groups},
        });
        if random.chance(20) {
            config["common_lb_config"]["ignore_new_hosts_until_first_hc"] = json!(true);
        }
        if kind == Kind::Grpc {
            config["typed_extension_protocol_options"] = json!({
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": type_url("upstreams.http.v3.HttpProtocolOptions"),
                    "explicit_http_config": {"http2_protocol_options": {}},
                },
            });
        }
        Self {
            config,
            ports,
            scripts,
            is_late,
            threshold: thresholds[0],
            is_round_robin: groups.len() == 1,
            tells_failures,
        }
    }
}

fn milliseconds(n: usize) -> Value {
    json!(format!("0.{n:03}s"))
}

impl Kind {
    /// The checker, and the words that its endpoints may answer.
    fn configure(self, random: &mut Random, check: &mut Value) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Http1 | Self::Http2 => &[
                "200",
                "200",
                "200;h=x-envoy-degraded:1",
                "200;h=x-envoy-upstream-healthchecked-cluster:cluster-1",
                "200;hex=6f6b20796573",
                "204",
                "429",
                "503",
                "503;h=x-envoy-immediate-health-check-fail:1",
                "reset",
                "200;h=connection:close",
                "503;h=x-envoy-degraded:1",
            ],
            Self::Grpc => &[
                "200;h=content-type:application/grpc;hex=00000000020801;t=grpc-status:0",
                "200;h=content-type:application/grpc;hex=00000000020801;t=grpc-status:0",
                "200;h=content-type:application/grpc;hex=00000000020802;t=grpc-status:0",
                "200;h=content-type:application/grpc;hex=0000000000;t=grpc-status:0",
                "200;h=content-type:application/grpc;hex=00000000020801;t=grpc-status:13",
                "200;h=content-type:application/grpc;h=grpc-status:12",
                "200;h=content-type:text/plain;hex=00000000020801;t=grpc-status:0",
                "503",
                "reset",
            ],
            Self::Tcp => &[
                "hex=6f6b",
                "hex=6f6b",
                "hex=78786f6b7878",
                "cut",
                "hex=78;cut",
            ],
            Self::Connect => &[],
        };
        // The connection's word cannot be said over HTTP/2.
        let mut words: Vec<_> = words
            .iter()
            .filter(|word| self != Self::Http2 || !word.contains("connection"))
            .map(|word| (*word).to_owned())
            .collect();
        match self {
            Self::Http1 | Self::Http2 => {
                let mut http = json!({"path": "/hc"});
                if self == Self::Http2 {
                    http["codec_client_type"] = json!("HTTP2");
                }
                if random.chance(40) {
                    http["expected_statuses"] =
                        json!([{"start": 200, "end": *random.one(&[201, 205, 300])}]);
                }
                if random.chance(40) {
                    http["retriable_statuses"] =
                        json!([{"start": 429, "end": *random.one(&[430, 504])}]);
                }
                if random.chance(20) {
                    http["receive"] = json!([{"text": "6f6b"}, {"text": "796573"}]);
                }
                if random.chance(20) {
                    http["service_name_matcher"] = json!({"prefix": "cluster"});
                }
                if random.chance(20) {
                    http["method"] = json!(*random.one(&["GET", "HEAD", "OPTIONS", "POST"]));
                    if http["method"] == "HEAD" {
                        words.retain(|word| !word.contains("hex"));
                    }
                }
                if random.chance(20) {
                    http["request_headers_to_add"] =
                        json!([{"header": {"key": "x-check", "value": "yes"}}]);
                    http["host"] = json!("host.test");
                }
                check["http_health_check"] = http;
            }
            Self::Grpc => {
                check["grpc_health_check"] = match random.chance(50) {
                    true => json!({}),
                    false => json!({"service_name": "a.b", "authority": "host.test"}),
                };
            }
            Self::Tcp => {
                check["tcp_health_check"] =
                    json!({"send": {"text": "70696e67"}, "receive": [{"text": "6f6b"}]});
            }
            Self::Connect => check["tcp_health_check"] = json!({}),
        }
        words
    }
}
