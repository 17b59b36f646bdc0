//! Random access logs, one listener each.

use std::{net::Ipv4Addr, path::Path};

use mesh_testkit::random::Random;
use serde_json::{Map, Value, json};

use crate::request::LAST;

pub(crate) const ADMIN: u16 = 9901;
pub(crate) const LISTENER: u16 = 10_000;
pub(crate) const UPSTREAM: u16 = 20_000;
pub(crate) const CONFIGURATIONS: u16 = 20;

pub(crate) struct Configuration {
    logs: Vec<(Value, Option<Value>)>,
}

/// Operators whose values both programs must agree on.
const OPERATORS: &[&str] = &[
    "%REQ(:METHOD)%",
    "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "%REQ(:PATH)%",
    "%REQ(:AUTHORITY)%",
    "%REQ(X-A)%",
    "%REQ(X-A):3%",
    "%REQ(USER-AGENT)%",
    "%REQ(X-FORWARDED-FOR)%",
    "%REQ(X-FORWARDED-PROTO)%",
    "%REQ(X-REQUEST-ID)%",
    "%PROTOCOL%",
    "%RESPONSE_CODE%",
    "%RESPONSE_CODE_DETAILS%",
    "%RESPONSE_FLAGS%",
    "%RESPONSE_FLAGS_LONG%",
    "%BYTES_RECEIVED%",
    "%BYTES_SENT%",
    "%RESP(CONTENT-TYPE)%",
    "%RESP(SERVER)%",
    "%RESP(X-UP?CONTENT-LENGTH)%",
    "%RESP(:STATUS)%",
    "%GRPC_STATUS%",
    "%GRPC_STATUS_NUMBER%",
    "%UPSTREAM_CLUSTER%",
    "%UPSTREAM_CLUSTER_RAW%",
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "%ROUTE_NAME%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_LOCAL_PORT%",
    "%REQUESTED_SERVER_NAME%",
    "%CONNECTION_TERMINATION_DETAILS%",
    "%ACCESS_LOG_TYPE%",
    "%PATH(NQ)%",
    "%PATH(WQ:ORIG_OR_PATH)%",
    "%QUERY_PARAM(q)%",
];

/// A line without its times.
pub(crate) fn masked(line: &str) -> String {
    // Two starts of a program have addresses of their own: only the last number of theirs differs.
    line.split(' ')
        .map(
            |word| match word.len() > 20 && word.contains("T") && word.ends_with("Z]") {
                true => "[time]",
                false => word,
            },
        )
        .collect::<Vec<_>>()
        .join(" ")
}

impl Configuration {
    pub(crate) fn random(random: &mut Random) -> Self {
        let logs = (0..CONFIGURATIONS)
            .map(|_| (format(random), filter(random)))
            .collect();
        Self { logs }
    }

    pub(crate) fn log(&self, n: usize) -> String {
        let (format, filter) = &self.logs[n];
        format!(
            "format: {format}\nfilter: {}",
            filter.as_ref().unwrap_or(&Value::Null)
        )
    }

    pub(crate) fn bootstrap(&self, own: Ipv4Addr, upstreams: Ipv4Addr, dir: &Path) -> String {
        let address = |ip: Ipv4Addr, port: u16| json!({"socket_address": {"address": ip.to_string(), "port_value": port}});
        let listeners: Vec<Value> = (0u16..)
            .zip(&self.logs)
            .map(|(n, (format, filter))| {
                let mut file = json!({
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": dir.join(format!("l{n}")),
                });
                if let (Some(file), Value::Object(format)) = (file.as_object_mut(), format) {
                    file.extend(format.clone());
                }
                let mut log = json!({"name": "log", "typed_config": file});
                if let Some(filter) = filter {
                    // The last request is always written.
                    let last = json!({"header_filter": {"header": {"name": "x-mark", "string_match": {"exact": LAST}}}});
                    log["filter"] = json!({"or_filter": {"filters": [last, filter]}});
                }
                json!({
                    "name": format!("l{n}"),
                    "address": address(own, LISTENER + n),
                    "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager(&log)}]}],
                })
            })
            .collect();
        let cluster = |name: &str, ports: &[u16]| {
            let endpoints: Vec<Value> = ports
                .iter()
                .map(|port| json!({"endpoint": {"address": address(upstreams, *port)}}))
                .collect();
            json!({
                "name": name,
                "connect_timeout": "5s",
                "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
            })
        };
        json!({
            "admin": {"address": address(own, ADMIN)},
            "static_resources": {
                "listeners": listeners,
                "clusters": [cluster("c0", &[UPSTREAM]), cluster("dead", &[UPSTREAM + 900]), cluster("empty", &[])],
            },
        })
        .to_string()
    }
}

fn manager(log: &Value) -> Value {
    let to = |prefix: &str, cluster: &str| json!({"name": format!("to-{cluster}"), "match": {"prefix": prefix}, "route": {"cluster": cluster}});
    let mut rewritten = to("/rewritten", "c0");
    rewritten["route"]["prefix_rewrite"] = json!("/new");
    let mut retried = to("/retried", "c0");
    retried["route"]["retry_policy"] = json!({
        "retry_on": "5xx", "num_retries": 1,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
    });
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s",
        "generate_request_id": false,
        "access_log": [log],
        "http_filters": [
            {"name": "fault", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
                "headers": [{"name": "x-abort", "string_match": {"exact": "1"}}],
                "abort": {"http_status": 418, "percentage": {"numerator": 100}},
            }},
            {"name": "router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            }},
        ],
        "route_config": {"name": "r", "validate_clusters": false, "virtual_hosts": [{
            "name": "a", "domains": ["*"],
            "routes": [
                {"name": "direct", "match": {"prefix": "/direct"},
                 "direct_response": {"status": 418, "body": {"inline_string": "direct"}}},
                {"match": {"prefix": "/redirect"}, "redirect": {"host_redirect": "to.test"}},
                to("/missing", "missing"), to("/dead", "dead"), to("/empty", "empty"),
                rewritten, retried,
                to("/a", "c0"),
                {"match": {"path": "/"}, "route": {"cluster": "c0"}},
            ],
        }]},
    })
}

fn operators(random: &mut Random, most: usize) -> Vec<&'static str> {
    (0..1 + random.below(most))
        .map(|_| *random.one(OPERATORS))
        .collect()
}

fn format(random: &mut Random) -> Value {
    if random.chance(50) {
        let mut text = "%REQ(X-MARK)%".to_owned();
        for operator in operators(random, 8) {
            text += *random.one(&[" ", " \"", "|", " x=%%"]);
            text += operator;
        }
        text += "\n";
        return match random.chance(30) {
            true => json!({"format": text}),
            false => json!({"log_format": {
                "text_format_source": {"inline_string": text}, "omit_empty_values": random.chance(40),
            }}),
        };
    }
    let mut fields = Map::new();
    fields.insert("mark".to_owned(), json!("%REQ(X-MARK)%"));
    for (n, operator) in operators(random, 8).into_iter().enumerate() {
        let value = match random.below(5) {
            0 => json!(format!("{operator} and text")),
            1 => json!({"inner": operator, "list": [operator, 7, true]}),
            _ => json!(operator),
        };
        fields.insert(format!("k{}{n}", random.one(&["", "b", "Z"])), value);
    }
    json!({"log_format": {"json_format": fields, "omit_empty_values": random.chance(40)}})
}

fn filter(random: &mut Random) -> Option<Value> {
    random.chance(60).then(|| filter_of(random, 2))
}

fn comparison(random: &mut Random, values: &[u32]) -> Value {
    json!({"comparison": {
        "op": random.one(&["EQ", "GE", "LE", "NE"]),
        "value": {"default_value": random.one(values), "runtime_key": "k"},
    }})
}

fn filter_of(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth > 0 { 12 } else { 9 }) {
        0 | 1 => json!({"status_code_filter": comparison(random, &[0, 200, 404, 418, 500, 503])}),
        2 => json!({"duration_filter": comparison(random, &[100_000])}),
        3 => json!({"not_health_check_filter": {}}),
        4 => json!({"runtime_filter": {
            "runtime_key": "r", "percent_sampled": {"numerator": random.one(&[0, 100])},
        }}),
        5 => json!({"header_filter": {"header": {"name": "x-a", "string_match": {"exact": "1"}}}}),
        6 => {
            let flags = *random.one(&["", "NR", "UH UF NC", "FI", "URX LH"]);
            let flags: Vec<&str> = flags.split_ascii_whitespace().collect();
            json!({"response_flag_filter": {"flags": flags}})
        }
        7 => {
            let statuses = *random.one(&["UNKNOWN", "UNIMPLEMENTED UNAVAILABLE", "OK"]);
            let statuses: Vec<&str> = statuses.split(' ').collect();
            json!({"grpc_status_filter": {"statuses": statuses, "exclude": random.chance(40)}})
        }
        8 => json!({"metadata_filter": {
            "matcher": {"filter": "f", "path": [{"key": "k"}], "value": {"present_match": true}},
            "match_if_key_not_found": random.chance(50),
        }}),
        9 => {
            let types = *random.one(&[
                "DownstreamEnd",
                "TcpConnectionEnd",
                "DownstreamStart DownstreamEnd",
            ]);
            let types: Vec<&str> = types.split(' ').collect();
            json!({"log_type_filter": {"types": types, "exclude": random.chance(40)}})
        }
        10 => {
            json!({"and_filter": {"filters": [filter_of(random, depth - 1), filter_of(random, depth - 1)]}})
        }
        _ => {
            json!({"or_filter": {"filters": [filter_of(random, depth - 1), filter_of(random, depth - 1)]}})
        }
    }
}
