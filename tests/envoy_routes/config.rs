//! Random route tables, one listener each, in one bootstrap.

use std::net::Ipv4Addr;

use mesh_testkit::random::Random;
use serde_json::{Value, json};

pub(crate) const ADMIN: u16 = 9901;
pub(crate) const LISTENER: u16 = 10_000;
pub(crate) const UPSTREAM: u16 = 20_000;
pub(crate) const CLUSTERS: u16 = 3;

const DOMAINS: &[&str] = &[
    "a.test",
    "b.test",
    "A2.test",
    "*.wild.test",
    "*-x.wild.test",
    "pre.*",
    "a.test:8080",
];
const PATHS: &[&str] = &["/", "/a", "/a/b", "/a/bc", "/A", "/long/path", "/files"];
const REGEXES: &[&str] = &["/a.*", "/(a|long)/[a-z]+", "/files/\\d+", "/a/b?", ".*"];
const HEADERS: &[&str] = &["x-a", "x-b", "x-c"];

pub(crate) struct Configuration {
    tables: Vec<Value>,
    managers: Vec<Value>,
}

impl Configuration {
    pub(crate) fn random(random: &mut Random, n: usize) -> Self {
        let mut generator = Generator { random };
        let tables = (0..n).map(|_| generator.table()).collect();
        let managers = (0..n).map(|_| generator.manager()).collect();
        Self { tables, managers }
    }

    pub(crate) fn table(&self, n: u16) -> String {
        format!(
            "{:#} {:#}",
            self.tables[usize::from(n)],
            self.managers[usize::from(n)]
        )
    }

    pub(crate) fn bootstrap(&self, own: Ipv4Addr, upstreams: Ipv4Addr) -> String {
        let address = |ip: Ipv4Addr, port: u16| json!({"socket_address": {"address": ip.to_string(), "port_value": port}});
        let listeners: Vec<Value> = (0u16..)
            .zip(self.tables.iter().zip(&self.managers))
            .map(|(n, (table, manager))| {
                let mut manager = manager.clone();
                manager["@type"] = type_url("filters.network.http_connection_manager.v3.HttpConnectionManager");
                manager["stat_prefix"] = json!(format!("t{n}"));
                manager["generate_request_id"] = json!(false);
                manager["route_config"] = table.clone();
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
        let clusters: Vec<Value> = (0..CLUSTERS)
            .map(|n| {
                json!({
                    "name": format!("c{n}"),
                    "type": "STATIC",
                    "connect_timeout": "5s",
                    "load_assignment": {"cluster_name": format!("c{n}"), "endpoints": [{"lb_endpoints": [
                        {"endpoint": {"address": address(upstreams, UPSTREAM + n)}},
                    ]}]},
                })
            })
            .collect();
        json!({
            "admin": {"address": address(own, ADMIN)},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        })
        .to_string()
    }
}

fn type_url(name: &str) -> Value {
    json!(format!("type.googleapis.com/envoy.extensions.{name}"))
}

struct Generator<'a> {
    random: &'a mut Random,
}

impl Generator<'_> {
    fn manager(&mut self) -> Value {
        let mut manager = json!({});
        if self.random.chance(50) {
            manager["use_remote_address"] = json!(self.random.chance(50));
        }
        if self.random.chance(30) {
            manager["normalize_path"] = json!(true);
            manager["merge_slashes"] = json!(self.random.chance(50));
        }
        if self.random.chance(20) {
            manager["server_header_transformation"] =
                json!(
                    self.random
                        .one(&["OVERWRITE", "APPEND_IF_ABSENT", "PASS_THROUGH"])
                );
        }
        manager
    }

    fn table(&mut self) -> Value {
        let mut domains: Vec<&str> = DOMAINS.to_vec();
        let mut hosts = Vec::new();
        for n in 0..1 + self.random.below(3) {
            let mut of_host = Vec::new();
            for _ in 0..1 + self.random.below(2) {
                if !domains.is_empty() {
                    of_host.push(domains.remove(self.random.below(domains.len())));
                }
            }
            hosts.push(self.virtual_host(&format!("v{n}"), json!(of_host)));
        }
        if self.random.chance(75) {
            hosts.push(self.virtual_host("all", json!(["*"])));
        }
        let mut table = json!({"name": "r", "virtual_hosts": hosts, "validate_clusters": false});
        if self.random.chance(50) {
            table["ignore_port_in_host_matching"] = json!(true);
        }
        if self.random.chance(20) {
            table["most_specific_header_mutations_wins"] = json!(true);
        }
        self.header_operations(&mut table);
        table
    }

    fn virtual_host(&mut self, name: &str, domains: Value) -> Value {
        let routes: Vec<Value> = (0..1 + self.random.below(7))
            .map(|n| self.route(n))
            .collect();
        let mut host = json!({"name": name, "domains": domains, "routes": routes});
        if self.random.chance(30) {
            host["include_request_attempt_count"] = json!(true);
        }
        if self.random.chance(20) {
            host["include_attempt_count_in_response"] = json!(true);
        }
        if self.random.chance(10) {
            host["require_tls"] = json!(self.random.one(&["EXTERNAL_ONLY", "ALL"]));
        }
        self.header_operations(&mut host);
        host
    }

    fn route(&mut self, n: usize) -> Value {
        let mut route = json!({"name": format!("r{n}"), "match": self.matcher()});
        match self.random.below(10) {
            0 => route["redirect"] = self.redirect(),
            1 => {
                let status = *self.random.one(&[200, 204, 418, 503]);
                route["direct_response"] =
                    json!({"status": status, "body": {"inline_string": "direct"}});
            }
            _ => route["route"] = self.forward(),
        }
        if self.random.chance(40) {
            self.header_operations(&mut route);
        }
        route
    }

    fn matcher(&mut self) -> Value {
        let mut matcher = json!({});
        let path = *self.random.one(PATHS);
        match self.random.below(6) {
            0 | 1 => matcher["prefix"] = json!(path),
            2 => matcher["path"] = json!(path),
            3 if path != "/" => matcher["path_separated_prefix"] = json!(path),
            4 => matcher["safe_regex"] = json!({"regex": self.random.one(REGEXES)}),
            _ => matcher["prefix"] = json!("/"),
        }
        if self.random.chance(20) {
            matcher["case_sensitive"] = json!(false);
        }
        if self.random.chance(35) {
            let headers: Vec<Value> = (0..1 + self.random.below(2))
                .map(|_| self.header_matcher())
                .collect();
            matcher["headers"] = json!(headers);
        }
        if self.random.chance(15) {
            let parameter = match self.random.below(3) {
                0 => json!({"name": "q", "present_match": self.random.chance(60)}),
                1 => json!({"name": "q", "string_match": {"exact": "1"}}),
                _ => json!({"name": "q", "string_match": {"safe_regex": {"regex": "\\d+"}}}),
            };
            matcher["query_parameters"] = json!([parameter]);
        }
        matcher
    }

    fn header_matcher(&mut self) -> Value {
        let name = *self
            .random
            .one(&["x-a", "x-b", "x-c", ":method", ":authority", ":path"]);
        let mut matcher = json!({"name": name});
        match self.random.below(8) {
            0 => matcher["present_match"] = json!(self.random.chance(60)),
            1 => matcher["range_match"] = json!({"start": 1, "end": 3}),
            2 => matcher["string_match"] = json!({"safe_regex": {"regex": "[0-9]+|GET|/a.*"}}),
            3 => {
                matcher["string_match"] =
                    json!({"prefix": "1", "ignore_case": self.random.chance(50)})
            }
            4 => {
                matcher["string_match"] =
                    json!({"suffix": "T", "ignore_case": self.random.chance(50)})
            }
            5 => {
                matcher["string_match"] =
                    json!({"contains": "a", "ignore_case": self.random.chance(50)})
            }
            6 => {}
            _ => {
                matcher["string_match"] =
                    json!({"exact": self.random.one(&["1", "GET", "a.test", "1,2"])})
            }
        }
        if self.random.chance(25) {
            matcher["invert_match"] = json!(true);
        }
        if self.random.chance(25) {
            matcher["treat_missing_header_as_empty"] = json!(true);
        }
        matcher
    }

    fn redirect(&mut self) -> Value {
        let mut redirect = json!({});
        match self.random.below(4) {
            0 => redirect["path_redirect"] = json!(self.random.one(&["/to", "/to?x=1"])),
            1 => redirect["prefix_rewrite"] = json!("/new"),
            2 => {
                redirect["regex_rewrite"] =
                    json!({"pattern": {"regex": "/([a-z]+)"}, "substitution": "/r-\\1"});
            }
            _ => {}
        }
        match self.random.below(4) {
            0 => redirect["https_redirect"] = json!(true),
            1 => redirect["scheme_redirect"] = json!(self.random.one(&["http", "HTTPS"])),
            _ => {}
        }
        if self.random.chance(40) {
            redirect["host_redirect"] = json!("to.test");
        }
        if self.random.chance(30) {
            redirect["port_redirect"] = json!(8443);
        }
        if self.random.chance(40) {
            redirect["response_code"] = json!(self.random.one(&[
                "FOUND",
                "SEE_OTHER",
                "TEMPORARY_REDIRECT",
                "PERMANENT_REDIRECT"
            ]));
        }
        if self.random.chance(30) {
            redirect["strip_query"] = json!(true);
        }
        redirect
    }

    fn forward(&mut self) -> Value {
        let cluster = |n: usize| format!("c{n}");
        let mut forward = match self.random.below(10) {
            0 => json!({"cluster": "missing"}),
            1 => json!({"cluster_header": "x-cluster"}),
            2 => json!({"weighted_clusters": {
                "header_name": "x-weight",
                "clusters": [
                    {"name": cluster(0), "weight": 1 + self.random.below(50)},
                    {"name": cluster(1), "weight": 1 + self.random.below(50),
                     "request_headers_to_add": [{"header": {"key": "x-from-weight", "value": "1"}}]},
                ],
            }}),
            _ => json!({"cluster": cluster(self.random.below(3))}),
        };
        match self.random.below(6) {
            0 => forward["prefix_rewrite"] = json!(self.random.one(&["/", "/new", "/new/"])),
            1 => {
                forward["regex_rewrite"] =
                    json!({"pattern": {"regex": "/([a-z]+)"}, "substitution": "/x\\1"});
            }
            _ => {}
        }
        match self.random.below(6) {
            0 => forward["host_rewrite_literal"] = json!("host.test"),
            1 => forward["host_rewrite_header"] = json!("x-host"),
            _ => {}
        }
        if self.random.chance(15) {
            forward["append_x_forwarded_host"] = json!(true);
        }
        if self.random.chance(40) {
            forward["timeout"] = json!(self.random.one(&["0s", "10s"]));
        }
        if self.random.chance(40) {
            forward["retry_policy"] = self.retry_policy();
        }
        forward
    }

    fn retry_policy(&mut self) -> Value {
        const TOKENS: &[&str] = &[
            "5xx",
            "gateway-error",
            "reset",
            "connect-failure",
            "retriable-4xx",
            "refused-stream",
            "retriable-status-codes",
            "unavailable",
            "reset-before-request",
        ];
        let tokens: Vec<&str> = (0..1 + self.random.below(3))
            .map(|_| *self.random.one(TOKENS))
            .collect();
        let mut policy = json!({
            "retry_on": tokens.join(","),
            "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
        });
        if self.random.chance(80) {
            policy["num_retries"] = json!(self.random.below(4));
        }
        if self.random.chance(50) {
            policy["retriable_status_codes"] = json!([418, 503]);
        }
        policy
    }

    fn header_operations(&mut self, of: &mut Value) {
        for side in ["request", "response"] {
            if self.random.chance(25) {
                let names = [*self.random.one(HEADERS), "x-up"];
                of[format!("{side}_headers_to_remove")] = json!([self.random.one(&names)]);
            }
            if self.random.chance(40) {
                let added: Vec<Value> = (0..1 + self.random.below(2))
                    .map(|_| self.header_addition())
                    .collect();
                of[format!("{side}_headers_to_add")] = json!(added);
            }
        }
    }

    fn header_addition(&mut self) -> Value {
        let values = [
            "set",
            "%REQ(X-A)%",
            "a-%PROTOCOL%-b",
            "100%%",
            "%REQ(X-NONE?:METHOD)%",
            "%RESPONSE_CODE%x",
        ];
        // The last is only known to Envoy after the response; our decoder may refuse it: left out.
        let value = *self.random.one(&values[..values.len() - 1]);
        let mut addition = json!({"header": {"key": self.random.one(HEADERS), "value": value}});
        if self.random.chance(70) {
            addition["append_action"] = json!(self.random.one(&[
                "APPEND_IF_EXISTS_OR_ADD",
                "ADD_IF_ABSENT",
                "OVERWRITE_IF_EXISTS_OR_ADD",
                "OVERWRITE_IF_EXISTS",
            ]));
        }
        if self.random.chance(20) {
            addition["keep_empty_value"] = json!(true);
        }
        addition
    }
}
