//! Random retry policies, timeouts and breakers: one listener and one cluster per configuration, a few routes each.

use std::net::Ipv4Addr;

use mesh_testkit::random::Random;
use serde_json::{Value, json};

pub(crate) const ADMIN: u16 = 9901;
pub(crate) const LISTENER: u16 = 10_000;
pub(crate) const UPSTREAM: u16 = 20_000;
pub(crate) const UPSTREAMS: u16 = 4;
pub(crate) const ROUTES: usize = 6;
/// Nobody listens there.
const DEAD: u16 = 19_999;

/// Which endpoints the cluster has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Layout {
    /// So many, all alike.
    Plain(u16),
    /// One in each of three priorities.
    Priorities,
    /// Priority 0 refuses connections, priority 1 does not.
    DeadFirst,
    /// The only one refuses connections.
    Dead,
    /// The first of three is a canary.
    Canary,
    /// The first of three has metadata by which a retry avoids it.
    Marked,
}

pub(crate) struct Configuration {
    pub(crate) layout: Layout,
    pub(crate) http2: bool,
    /// All are canaries, unless the layout says which.
    canaries: bool,
    cluster: Value,
    manager: Value,
}

impl Configuration {
    pub(crate) fn random(random: &mut Random, n: usize) -> Self {
        let layout = match random.below(10) {
            0..=3 => Layout::Plain(1 + u16::try_from(random.below(4)).unwrap_or(0)),
            4 | 5 => Layout::Priorities,
            6 => Layout::DeadFirst,
            7 => Layout::Dead,
            8 => Layout::Canary,
            _ => Layout::Marked,
        };
        let http2 = random.chance(50);
        let mut generator = Generator { random, layout };
        Self {
            canaries: generator.random.chance(20),
            layout,
            http2,
            cluster: generator.cluster(n, http2),
            manager: generator.manager(n),
        }
    }

    /// The retry policy of a route.
    pub(crate) fn retry_policy(&self, route: &str) -> &Value {
        let routes = &self.manager["route_config"]["virtual_hosts"][0]["routes"];
        let route = routes
            .as_array()
            .into_iter()
            .flatten()
            .find(|r| r["match"]["prefix"] == route);
        route.map_or(&Value::Null, |route| &route["route"]["retry_policy"])
    }

    pub(crate) fn text(&self) -> String {
        format!("{:?} {:#} {:#}", self.layout, self.cluster, self.manager)
    }
}

pub(crate) fn bootstrap(of: &[Configuration], own: Ipv4Addr, upstreams: Ipv4Addr) -> String {
    let address = |ip: Ipv4Addr, port: u16| json!({"socket_address": {"address": ip.to_string(), "port_value": port}});
    let listeners: Vec<Value> = (0u16..)
        .zip(of)
        .map(|(n, one)| {
            json!({
                "name": format!("l{n}"),
                "address": address(own, LISTENER + n),
                "filter_chains": [{"filters": [
                    {"name": "envoy.filters.network.http_connection_manager", "typed_config": one.manager},
                ]}],
            })
        })
        .collect();
    let clusters: Vec<Value> = of
        .iter()
        .map(|one| {
            let mut cluster = one.cluster.clone();
            let endpoint = |n: u16, metadata: Value| {
                let port = if n >= UPSTREAMS { DEAD } else { UPSTREAM + n };
                json!({"endpoint": {"address": address(upstreams, port)},
                    "metadata": {"filter_metadata": {"envoy.lb": metadata}}})
            };
            let plain = |n: u16| match one.canaries {
                true => endpoint(n, json!({"canary": true})),
                false => endpoint(n, json!({})),
            };
            let localities = match one.layout {
                Layout::Plain(count) => {
                    json!([{"lb_endpoints": (0..count).map(plain).collect::<Vec<_>>()}])
                }
                Layout::Priorities => json!(
                    (0..3)
                        .map(|n| json!({"priority": n, "lb_endpoints": [plain(n)]}))
                        .collect::<Vec<_>>()
                ),
                Layout::DeadFirst => json!([
                    {"priority": 0, "lb_endpoints": [plain(UPSTREAMS)]},
                    {"priority": 1, "lb_endpoints": [plain(0)]},
                ]),
                Layout::Dead => json!([{"lb_endpoints": [plain(UPSTREAMS)]}]),
                Layout::Canary => json!([{"lb_endpoints":
                    [endpoint(0, json!({"canary": true})), plain(1), plain(2)]}]),
                Layout::Marked => json!([{"lb_endpoints":
                    [endpoint(0, json!({"group": "bad"})), plain(1), plain(2)]}]),
            };
            cluster["load_assignment"] =
                json!({"cluster_name": cluster["name"], "endpoints": localities});
            cluster
        })
        .collect();
    json!({
        "admin": {"address": address(own, ADMIN)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    })
    .to_string()
}

fn type_url(name: &str) -> Value {
    json!(format!("type.googleapis.com/envoy.extensions.{name}"))
}

struct Generator<'a> {
    random: &'a mut Random,
    layout: Layout,
}

impl Generator<'_> {
    fn cluster(&mut self, n: usize, http2: bool) -> Value {
        let mut cluster = json!({
            "name": format!("c{n}"),
            "type": "STATIC",
            "connect_timeout": "5s",
        });
        let protocol = if http2 {
            "http2_protocol_options"
        } else {
            "http_protocol_options"
        };
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": type_url("upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": {protocol: {}},
            }
        });
        let mut thresholds = json!([]);
        if self.random.chance(35) {
            thresholds = json!([self.thresholds("DEFAULT")]);
        }
        if self.random.chance(20)
            && let Some(list) = thresholds.as_array_mut()
        {
            list.push(self.thresholds("HIGH"));
        }
        cluster["circuit_breakers"] = json!({"thresholds": thresholds});
        cluster
    }

    fn thresholds(&mut self, priority: &str) -> Value {
        let mut thresholds = json!({"priority": priority});
        match self.random.below(8) {
            0 => thresholds["max_connections"] = json!(self.random.below(2)),
            1 => thresholds["max_pending_requests"] = json!(self.random.below(3)),
            2 => thresholds["max_requests"] = json!(self.random.below(3)),
            3 | 4 => thresholds["max_retries"] = json!(self.random.below(2)),
            5 | 6 => {
                thresholds["retry_budget"] = json!({
                    "budget_percent": {"value": self.random.one(&[0.0, 20.0, 100.0])},
                    "min_retry_concurrency": self.random.below(2),
                });
            }
            _ => {}
        }
        thresholds
    }

    fn manager(&mut self, n: usize) -> Value {
        let routes: Vec<Value> = (0..ROUTES).map(|r| self.route(n, r)).collect();
        let mut host = json!({"name": "v", "domains": ["*"], "routes": routes});
        if self.random.chance(60) {
            host["include_request_attempt_count"] = json!(true);
        }
        if self.random.chance(60) {
            host["include_attempt_count_in_response"] = json!(true);
        }
        if self.random.chance(20) {
            host["include_is_timeout_retry_header"] = json!(true);
        }
        if self.random.chance(20) {
            host["retry_policy"] = self.retry_policy();
        }
        if self.random.chance(20) {
            host["hedge_policy"] = json!({"hedge_on_per_try_timeout": self.random.chance(80)});
        }
        if self.random.chance(15) {
            host["per_request_buffer_limit_bytes"] = json!(self.random.one(&[0, 1000, 20_000]));
        }
        let mut router = json!({"@type": type_url("filters.http.router.v3.Router")});
        if self.random.chance(15) {
            router["suppress_envoy_headers"] = json!(true);
        }
        if self.random.chance(15) {
            router["respect_expected_rq_timeout"] = json!(true);
        }
        let mut manager = json!({
            "@type": type_url("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": format!("t{n}"),
            "generate_request_id": false,
            "use_remote_address": true,
            "route_config": {"name": "r", "virtual_hosts": [host]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        });
        // Outside, nearly all of the headers under test are stripped.
        if self.random.chance(90) {
            manager["internal_address_config"] =
                json!({"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]});
        }
        if self.random.chance(15) {
            manager["stream_idle_timeout"] = json!("0.53s");
        }
        if self.random.chance(10) {
            manager["common_http_protocol_options"] = json!({"max_stream_duration": "0.6s"});
        }
        manager
    }

    fn route(&mut self, n: usize, r: usize) -> Value {
        let mut action = json!({"cluster": format!("c{n}")});
        match self.random.below(10) {
            0 => action["timeout"] = json!("0s"),
            1 | 2 => action["timeout"] = json!("0.85s"),
            _ => {}
        }
        if self.random.chance(85) {
            action["retry_policy"] = self.retry_policy();
        }
        if self.random.chance(20) {
            action["hedge_policy"] = json!({
                "hedge_on_per_try_timeout": self.random.chance(80),
                "initial_requests": 2,
            });
            // Between two of these an attempt may still answer.
            if action["retry_policy"].is_object() {
                action["retry_policy"]["per_try_timeout"] = json!("0.26s");
            }
        }
        if self.random.chance(15) {
            action["priority"] = json!("HIGH");
        }
        if self.random.chance(10) {
            action["idle_timeout"] = json!(self.random.one(&["0s", "0.53s"]));
        }
        if self.random.chance(15) {
            action["max_grpc_timeout"] = json!(self.random.one(&["0s", "0.6s"]));
            if self.random.chance(50) {
                action["grpc_timeout_offset"] = json!("0.05s");
            }
        }
        if self.random.chance(10) {
            let mut duration = json!({});
            if self.random.chance(50) {
                duration["max_stream_duration"] = json!("0.6s");
            }
            if self.random.chance(50) {
                duration["grpc_timeout_header_max"] = json!(self.random.one(&["0s", "0.7s"]));
            }
            if self.random.chance(30) {
                duration["grpc_timeout_header_offset"] = json!("0.05s");
            }
            action["max_stream_duration"] = duration;
        }
        let mut route = json!({
            "name": format!("r{r}"),
            "match": {"prefix": format!("/r{r}")},
            "route": action,
        });
        if self.random.chance(10) {
            route["per_request_buffer_limit_bytes"] = json!(self.random.one(&[0, 1000, 20_000]));
        }
        route
    }

    fn retry_policy(&mut self) -> Value {
        let mut policy = json!({
            "retry_on": self.retry_on(),
            "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
        });
        if self.random.chance(80) {
            policy["num_retries"] = json!(self.random.below(4));
        }
        match self.random.below(10) {
            0..=2 => policy["per_try_timeout"] = json!("0.15s"),
            3 => policy["per_try_timeout"] = json!("20s"),
            4 => policy["per_try_idle_timeout"] = json!("0.15s"),
            _ => {}
        }
        if self.random.chance(40) {
            policy["retriable_status_codes"] = json!([self.random.one(&[409, 418, 429, 503])]);
        }
        if self.random.chance(30) {
            policy["retriable_headers"] = match self.random.below(3) {
                0 => json!([{"name": "x-retry-me"}]),
                1 => json!([{"name": "x-retry-me", "string_match": {"exact": "yes"}}]),
                _ => json!([{"name": ":status", "string_match": {"exact": "418"}}]),
            };
        }
        if self.random.chance(15) {
            policy["retriable_request_headers"] =
                json!([{"name": "x-may-retry", "string_match": {"exact": "1"}}]);
        }
        if self.random.chance(25) {
            policy["rate_limited_retry_back_off"] = json!({
                "reset_headers": [
                    {"name": "retry-after", "format": "SECONDS"},
                    {"name": "x-reset", "format": "UNIX_TIMESTAMP"},
                ],
                "max_interval": "100s",
            });
        }
        self.hosts(&mut policy);
        policy
    }

    fn hosts(&mut self, policy: &mut Value) {
        let predicate = |name: &str, message: Value| {
            let mut config = message;
            config["@type"] = type_url(&format!("retry.host.{name}"));
            json!({"name": format!("envoy.retry_host_predicates.{name}"), "typed_config": config})
        };
        match self.layout {
            Layout::Canary => {
                policy["retry_host_predicate"] = json!([predicate(
                    "omit_canary_hosts.v3.OmitCanaryHostsPredicate",
                    json!({})
                )]);
                policy["host_selection_retry_max_attempts"] = json!(5);
            }
            Layout::Marked => {
                policy["retry_host_predicate"] = json!([predicate(
                    "omit_host_metadata.v3.OmitHostMetadataConfig",
                    json!({"metadata_match": {"filter_metadata": {"envoy.lb": {"group": "bad"}}}})
                )]);
                policy["host_selection_retry_max_attempts"] = json!(5);
            }
            Layout::Plain(_) if self.random.chance(50) => {
                policy["retry_host_predicate"] = json!([predicate(
                    "previous_hosts.v3.PreviousHostsPredicate",
                    json!({})
                )]);
                policy["host_selection_retry_max_attempts"] = json!(self.random.below(6));
            }
            Layout::Priorities | Layout::DeadFirst if self.random.chance(70) => {
                policy["retry_priority"] = json!({
                    "name": "envoy.retry_priorities.previous_priorities",
                    "typed_config": {
                        "@type": type_url("retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"),
                        "update_frequency": 1 + self.random.below(2),
                    }
                });
            }
            _ => {}
        }
    }

    fn retry_on(&mut self) -> String {
        const TOKENS: &[&str] = &[
            "5xx",
            "gateway-error",
            "reset",
            "reset-before-request",
            "connect-failure",
            "envoy-ratelimited",
            "retriable-4xx",
            "refused-stream",
            "retriable-status-codes",
            "retriable-headers",
            "http3-post-connect-failure",
            "cancelled",
            "deadline-exceeded",
            "internal",
            "resource-exhausted",
            "unavailable",
        ];
        let tokens: Vec<&str> = (0..self.random.below(5))
            .map(|_| *self.random.one(TOKENS))
            .collect();
        tokens.join(",")
    }
}
