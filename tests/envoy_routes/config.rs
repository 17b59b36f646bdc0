//! Random route tables, one listener each, in one bootstrap.

use std::net::Ipv4Addr;

use mesh_testkit::random::Random;
use serde_json::{Value, json};

pub(crate) const ADMIN: u16 = 9901;
pub(crate) const LISTENER: u16 = 10_000;
pub(crate) const UPSTREAM: u16 = 20_000;
pub(crate) const CLUSTERS: u16 = 3;
/// Clusters for mirrored requests, behind the others.
pub(crate) const MIRRORS: u16 = 2;

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
/// Each has the variable `x`.
const TEMPLATES: &[&str] = &[
    "/a/{x}",
    "/{x}/b",
    "/{x=**}",
    "/long/{x=*/y}",
    "/{first}/{x=**}",
    "/files/{x}",
    "/{x=a/*}.html",
];
const REGEXES: &[&str] = &["/a.*", "/(a|long)/[a-z]+", "/files/\\d+", "/a/b?", ".*"];
/// Some tell bytes from characters.
const REGEXES_OF_HEADERS: &[&str] = &[
    "[0-9]+|GET|/a.*",
    ".",
    "[^1]*",
    "\\W+",
    "(?i).*\\xe9",
    "..",
    "\u{e9}\\C*",
    "[\u{e9}]+.*",
    "\\pL+",
];
pub(crate) const HEADERS: &[&str] = &["x-a", "x-b", "x-c"];

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
        let cluster = |name: String, n: u16| {
            json!({
                "name": name,
                "type": "STATIC",
                "connect_timeout": "5s",
                "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": address(upstreams, UPSTREAM + n)}},
                ]}]},
            })
        };
        let mut clusters: Vec<Value> = (0..CLUSTERS).map(|n| cluster(format!("c{n}"), n)).collect();
        clusters.extend((0..MIRRORS).map(|n| cluster(format!("m{n}"), CLUSTERS + n)));
        // Nobody listens there.
        clusters.push(cluster("refused".to_owned(), CLUSTERS + MIRRORS));
        json!({
            "admin": {"address": address(own, ADMIN)},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        })
        .to_string()
    }
}

pub(crate) fn type_url(name: &str) -> Value {
    json!(format!("type.googleapis.com/envoy.extensions.{name}"))
}

pub(crate) struct Generator<'a> {
    pub(crate) random: &'a mut Random,
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
            manager["path_with_escaped_slashes_action"] = json!(self.random.one(&[
                "KEEP_UNCHANGED",
                "REJECT_REQUEST",
                "UNESCAPE_AND_REDIRECT",
                "UNESCAPE_AND_FORWARD",
            ]));
        }
        if self.random.chance(10) {
            let name = *self
                .random
                .one(&["strip_any_host_port", "strip_matching_host_port"]);
            manager[name] = json!(true);
        }
        if self.random.chance(10) {
            manager["via"] = json!("proxy");
        }
        if self.random.chance(10) {
            manager["always_set_request_id_in_response"] = json!(true);
        }
        if self.random.chance(10) {
            manager["xff_num_trusted_hops"] = json!(1);
        }
        if self.random.chance(20) {
            manager["server_header_transformation"] =
                json!(
                    self.random
                        .one(&["OVERWRITE", "APPEND_IF_ABSENT", "PASS_THROUGH"])
                );
        }
        if self.random.chance(30) {
            manager["local_reply_config"] = self.local_reply();
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
        if self.random.chance(25) {
            table["ignore_path_parameters_in_path_matching"] = json!(true);
        }
        if self.random.chance(10) {
            table["internal_only_headers"] = json!(["x-b"]);
        }
        if self.random.chance(10) {
            table["request_mirror_policies"] = self.mirrors();
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
        if self.random.chance(15) {
            host["retry_policy"] = self.retry_policy();
        }
        if self.random.chance(15) {
            host["include_is_timeout_retry_header"] = json!(true);
        }
        if self.random.chance(10) {
            host["per_request_buffer_limit_bytes"] = json!(self.random.one(&[0, 5, 10_000]));
        }
        if self.random.chance(10) {
            host["require_tls"] = json!(self.random.one(&["EXTERNAL_ONLY", "ALL"]));
        }
        if self.random.chance(15) {
            host["request_mirror_policies"] = self.mirrors();
        }
        self.header_operations(&mut host);
        host
    }

    fn route(&mut self, n: usize) -> Value {
        let matcher = self.matcher();
        let template = matcher.get("path_match_policy").is_some();
        let mut route = json!({"name": format!("r{n}"), "match": matcher});
        match self.random.below(10) {
            0 => route["redirect"] = self.redirect(template),
            1 => {
                let status = *self.random.one(&[200, 204, 418, 503]);
                route["direct_response"] =
                    json!({"status": status, "body": {"inline_string": "direct"}});
                if self.random.chance(50) {
                    route["direct_response"]["body_format"] = self.body_format();
                }
            }
            _ => route["route"] = self.forward(template),
        }
        if self.random.chance(40) {
            self.header_operations(&mut route);
        }
        if self.random.chance(10) {
            route["decorator"] =
                json!({"operation": "decorated", "propagate": self.random.chance(70)});
        }
        if self.random.chance(10) {
            route["per_request_buffer_limit_bytes"] = json!(self.random.one(&[0, 5, 10_000]));
        }
        if self.random.chance(10) {
            route["stat_prefix"] = json!("of-route");
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
            5 if self.random.chance(60) => matcher["path_match_policy"] = self.template(),
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
            let parameters: Vec<Value> = (0..1 + self.random.below(2))
                .map(|_| self.query_parameter())
                .collect();
            matcher["query_parameters"] = json!(parameters);
        }
        if self.random.chance(40) {
            self.rare_condition(&mut matcher);
        }
        matcher
    }

    fn query_parameter(&mut self) -> Value {
        let name = *self.random.one(&["q", "q", "p", "Q"]);
        match self.random.below(7) {
            0 => json!({"name": name, "present_match": self.random.chance(60)}),
            1 => json!({"name": name, "string_match": {"exact": "1"}}),
            2 => json!({"name": name, "string_match": {"safe_regex": {"regex": "\\d+"}}}),
            3 => {
                json!({"name": name, "string_match": {"prefix": "A", "ignore_case": self.random.chance(50)}})
            }
            4 => json!({"name": name, "string_match": {"suffix": "1", "ignore_case": true}}),
            5 => {
                json!({"name": name, "string_match": {"contains": "B", "ignore_case": self.random.chance(70)}})
            }
            _ => json!({"name": name}),
        }
    }

    fn template(&mut self) -> Value {
        json!({
            "name": "envoy.path.match.uri_template.uri_template_matcher",
            "typed_config": {
                "@type": type_url("path.match.uri_template.v3.UriTemplateMatchConfig"),
                "path_template": self.random.one(TEMPLATES),
            },
        })
    }

    /// One of the conditions that few routes have.
    fn rare_condition(&mut self, matcher: &mut Value) {
        match self.random.below(5) {
            0 => {
                let cookie = match self.random.below(3) {
                    0 => json!({"exact": "1"}),
                    1 => json!({"prefix": "a", "ignore_case": true}),
                    _ => json!({"safe_regex": {"regex": "[0-9]*"}}),
                };
                matcher["cookies"] = json!([{
                    "name": self.random.one(&["c", "d"]),
                    "string_match": cookie,
                    "invert_match": self.random.chance(30),
                }]);
            }
            1 => {
                let name = *self.random.one(&["presented", "validated"]);
                matcher["tls_context"] = json!({name: self.random.chance(30)});
            }
            2 => {
                matcher["dynamic_metadata"] = json!([{
                    "filter": "a",
                    "path": [{"key": "b"}],
                    "value": {"present_match": true},
                    "invert": self.random.chance(70),
                }]);
            }
            3 => {
                let (numerator, denominator) = *self.random.one(&[
                    (0, "HUNDRED"),
                    (100, "HUNDRED"),
                    (250, "HUNDRED"),
                    (0, "MILLION"),
                    (10_000, "TEN_THOUSAND"),
                    (1_000_000, "MILLION"),
                ]);
                matcher["runtime_fraction"] = json!({
                    "runtime_key": "no.such.key",
                    "default_value": {"numerator": numerator, "denominator": denominator},
                });
            }
            _ => matcher["grpc"] = json!({}),
        }
    }

    fn header_matcher(&mut self) -> Value {
        let name = *self
            .random
            .one(&["x-a", "x-b", "x-c", ":method", ":authority", ":path"]);
        let mut matcher = json!({"name": name});
        match self.random.below(14) {
            8 => matcher["exact_match"] = json!(self.random.one(&["1", "abc", ""])),
            9 => matcher["prefix_match"] = json!(self.random.one(&["1", "/a", "a"])),
            10 => matcher["suffix_match"] = json!(self.random.one(&["1", "b", "T"])),
            11 => matcher["contains_match"] = json!(self.random.one(&["a", ",", "/"])),
            12 => matcher["safe_regex_match"] = json!({"regex": "[a-z]*|1.*|\\S+"}),
            13 => {
                let (start, end) = *self.random.one(&[(-5, 2), (0, 1), (1, 9_000_000_000_i64)]);
                matcher["range_match"] = json!({"start": start, "end": end});
            }
            0 => matcher["present_match"] = json!(self.random.chance(60)),
            1 => matcher["range_match"] = json!({"start": 1, "end": 3}),
            2 => {
                let regex = *self.random.one(REGEXES_OF_HEADERS);
                matcher["string_match"] = json!({"safe_regex": {"regex": regex}});
            }
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
}
