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
    "%UPSTREAM_HOST%",
    "%UPSTREAM_PROTOCOL%",
    "%UPSTREAM_LOCAL_ADDRESS%",
    "%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
    "%UPSTREAM_REMOTE_ADDRESS%",
    "%UPSTREAM_REMOTE_PORT%",
    "%DOWNSTREAM_LOCAL_ADDRESS%",
    "%DOWNSTREAM_REMOTE_ADDRESS%",
];

/// Operators of extensions, which `log_format` names.
const OF_FORMATTERS: &[&str] = &[
    "%REQ_WITHOUT_QUERY(:PATH)%",
    "%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH):4%",
    "%REQ_WITHOUT_QUERY(X-A?X-FORWARDED-FOR)%",
];

/// What istiod writes where a mesh asks for no format of its own (`pilot/pkg/model/telemetry_logging.go`).
const ISTIO_TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \
\"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% \
%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// The same as JSON.
const ISTIO_JSON: &[(&str, &str)] = &[
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    (
        "connection_termination_details",
        "%CONNECTION_TERMINATION_DETAILS%",
    ),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    (
        "upstream_service_time",
        "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    ),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    (
        "upstream_transport_failure_reason",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    ),
];

/// A line of a listener without its times, and without what two starts of a program have of their own: the last numbers
/// of addresses, and the ports of connections.
pub(crate) fn masked(listener: u16, line: &str) -> String {
    let line = match listener {
        0 => without_times_of_text(line),
        1 => without_times_of_json(line),
        _ => line.to_owned(),
    };
    let of_time = |word: &str| word.len() > 20 && word.contains('T') && word.ends_with("Z]");
    let words = line.split(' ').map(|word| {
        if of_time(word) {
            "[time]".to_owned()
        } else {
            without_addresses(word)
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// `%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%`, between the transport's failure and the client's addresses.
fn without_times_of_text(line: &str) -> String {
    let mut quoted: Vec<String> = line.split('"').map(str::to_owned).collect();
    if let Some(numbers) = quoted.get_mut(4) {
        let words: Vec<&str> = numbers.split(' ').collect();
        *numbers = match words[..] {
            ["", received, sent, _, "-", ""] => format!(" {received} {sent} n - "),
            ["", received, sent, _, _, ""] => format!(" {received} {sent} n n "),
            _ => format!("{words:?}"),
        };
    }
    quoted.join("\"")
}

fn without_times_of_json(line: &str) -> String {
    let Ok(mut fields) = serde_json::from_str::<Value>(line) else {
        return format!("not JSON: {line}");
    };
    for time in ["duration", "start_time", "upstream_service_time"] {
        if fields[time].is_number() || fields[time].is_string() {
            fields[time] = json!("n");
        }
    }
    fields.to_string()
}

/// Addresses of the loopback interface as `ip`, ports that the system chose as `port`.
fn without_addresses(word: &str) -> String {
    let mut masked = String::new();
    let mut rest = word;
    while let Some(at) = rest.find("127.") {
        let (before, address) = rest.split_at(at);
        masked += before;
        let end = address.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (_, after) = address.split_at(end.unwrap_or(address.len()));
        masked += "ip";
        rest = after;
        if let Some(port) = after.strip_prefix(':') {
            let end = port
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(port.len());
            if port[..end].parse::<u16>().is_ok_and(|port| port > 30_000) {
                masked += ":port";
                rest = &port[end..];
            }
        }
    }
    masked + rest
}

impl Configuration {
    pub(crate) fn random(random: &mut Random) -> Self {
        let fields: Map<_, _> = ISTIO_JSON
            .iter()
            .map(|(key, operator)| ((*key).to_owned(), json!(operator)))
            .collect();
        let istios = [
            json!({"log_format": {"text_format_source": {"inline_string": ISTIO_TEXT}}}),
            json!({"log_format": {"json_format": fields}}),
        ];
        let mut logs: Vec<_> = istios.into_iter().map(|format| (format, None)).collect();
        while logs.len() < usize::from(CONFIGURATIONS) {
            logs.push((format(random), filter(random)));
        }
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

/// `extended`: formatters are named, too.
fn operators(random: &mut Random, most: usize, extended: bool) -> Vec<&'static str> {
    (0..1 + random.below(most))
        .map(|_| match extended && random.chance(20) {
            true => *random.one(OF_FORMATTERS),
            false => *random.one(OPERATORS),
        })
        .collect()
}

fn formatters() -> Value {
    json!([{"name": "envoy.formatter.req_without_query", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery",
    }}])
}

fn format(random: &mut Random) -> Value {
    if random.chance(50) {
        let deprecated = random.chance(30);
        let mut text = "%REQ(X-MARK)%".to_owned();
        for operator in operators(random, 8, !deprecated) {
            text += *random.one(&[" ", " \"", "|", " x=%%"]);
            text += operator;
        }
        text += "\n";
        return match deprecated {
            true => json!({"format": text}),
            false => json!({"log_format": {
                "text_format_source": {"inline_string": text}, "omit_empty_values": random.chance(40),
                "formatters": formatters(),
            }}),
        };
    }
    let mut fields = Map::new();
    fields.insert("mark".to_owned(), json!("%REQ(X-MARK)%"));
    for (n, operator) in operators(random, 8, true).into_iter().enumerate() {
        let value = match random.below(5) {
            0 => json!(format!("{operator} and text")),
            1 => json!({"inner": operator, "list": [operator, 7, true]}),
            _ => json!(operator),
        };
        fields.insert(format!("k{}{n}", random.one(&["", "b", "Z"])), value);
    }
    json!({"log_format": {
        "json_format": fields, "omit_empty_values": random.chance(40), "formatters": formatters(),
    }})
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
