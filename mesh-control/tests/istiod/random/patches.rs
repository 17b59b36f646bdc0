//! EnvoyFilters: random patches of everything that can be patched.
//!
//! Left out is what makes istiod itself give up halfway, configurations of two types merged into each other; and
//! of routes `validate_clusters: true` and `max_direct_response_body_size_bytes`, which it merges into the one value
//! that all of its resources share; nor are lists of `application_protocols` replaced, which it overwrites in the one
//! list that all plaintext chains share (seen: `["x", "h2c"]` where nothing said so).

use super::*;

const CONTEXTS: [&str; 5] = [
    "ANY",
    "ANY",
    "SIDECAR_INBOUND",
    "SIDECAR_OUTBOUND",
    "GATEWAY",
];

const TYPE: &str = "\"@type\": type.googleapis.com/envoy";
const MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// The text of a folder with EnvoyFilters.
pub(crate) fn folder_with_patches(random: &mut Random) -> String {
    let mut text = folder(random);
    let mut maker = Maker {
        random,
        text: String::new(),
        services: Vec::new(),
        addresses: 0,
    };
    for i in 0..1 + maker.random.below(4) {
        maker.envoy_filter(i);
    }
    text.push_str("---\n");
    text.push_str(&maker.text);
    text
}

impl Maker<'_> {
    fn envoy_filter(&mut self, i: usize) {
        let namespace = self.namespace();
        let name = format!("filter-{}", 9 - i);
        self.object(
            "networking.istio.io/v1alpha3",
            "EnvoyFilter",
            &name,
            namespace,
            "",
        );
        self.line("spec:");
        if self.random.chance(40) {
            let priority = *self.random.one(&[-5, 0, 3, 10]);
            self.line(&format!("  priority: {priority}"));
        }
        if self.random.chance(25) {
            let labels = *self
                .random
                .one(&["app: app-0", "app: app-1", "istio: ingressgateway"]);
            self.line(&format!("  workloadSelector: {{labels: {{{labels}}}}}"));
        }
        self.line("  configPatches:");
        for k in 0..1 + self.random.below(6) {
            self.patch(&format!("{i}-{k}"));
        }
    }

    fn patch(&mut self, id: &str) {
        let (apply_to, matched, operation, value) = match self.random.below(10) {
            0 | 1 => self.cluster_patch(id),
            2 => self.listener_patch(id),
            3 => self.chain_patch(id),
            4 => self.network_filter_patch(),
            5 | 6 => self.http_filter_patch(),
            7 => self.virtual_host_patch(id),
            8 => self.route_patch(id),
            _ if self.random.chance(50) => self.listener_filter_patch(),
            _ => self.route_configuration_patch(),
        };
        let mut conditions = vec![format!("context: {}", self.random.one(&CONTEXTS))];
        if self.random.chance(15) {
            conditions.push(
                (*self.random.one(&[
                    "proxy: {proxyVersion: '^1\\.31.*'}",
                    "proxy: {proxyVersion: '31'}",
                    "proxy: {proxyVersion: '^1\\.2.*'}",
                    "proxy: {metadata: {CLUSTER_ID: Kubernetes}}",
                    "proxy: {metadata: {CLUSTER_ID: other}}",
                ]))
                .to_owned(),
            );
        }
        if !matched.is_empty() {
            conditions.push(matched);
        }
        let value = match value.as_str() {
            "" => String::new(),
            value => format!(", value: {{{value}}}"),
        };
        self.line(&format!(
            "  - {{applyTo: {apply_to}, match: {{{}}}, patch: {{operation: {operation}{value}}}}}",
            conditions.join(", ")
        ));
    }

    fn merge(&mut self) -> &'static str {
        match self.random.chance(80) {
            true => "MERGE",
            false => "MERGE_AND_REPLACE_LIST",
        }
    }

    fn cluster_patch(&mut self, id: &str) -> (&'static str, String, &'static str, String) {
        let matched = self
            .random
            .one(&[
                "",
                "cluster: {portNumber: 80}",
                "cluster: {portNumber: 10080}",
                "cluster: {service: svc-0.default.svc.cluster.local}",
                "cluster: {subset: v1}",
                "cluster: {name: BlackHoleCluster}",
                "cluster: {name: InboundPassthroughCluster}",
                "cluster: {service: svc-1.default.svc.cluster.local, portNumber: 9090}",
            ])
            .to_string();
        let (operation, value) = match self.random.below(8) {
            0 if !matched.is_empty() => ("REMOVE", String::new()),
            1 => (
                *self.random.one(&["ADD", "INSERT_FIRST"]),
                format!(
                    "name: added-{id}, type: STATIC, connect_timeout: 1s, load_assignment: {{cluster_name: x, \
                     endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, \
                     port_value: 1}}}}}}}}]}}]}}"
                ),
            ),
            _ => {
                let value = *self.random.one(&[
                    "connect_timeout: 0.250s",
                    "connectTimeout: 7s, lbPolicy: RANDOM",
                    "circuit_breakers: {thresholds: [{max_retries: 5, priority: HIGH}]}",
                    "metadata: {filter_metadata: {mine: {a: [1, true, x]}}}",
                    "per_connection_buffer_limit_bytes: 4321",
                    "common_lb_config: {healthy_panic_threshold: {value: 12.5}}",
                    "max_requests_per_connection: 3",
                    "outlier_detection: {consecutive_5xx: 4, interval: 2s}",
                    "transport_socket: {name: envoy.transport_sockets.raw_buffer, typed_config: {\"@type\": \
                     type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}",
                    "upstream_connection_options: {tcp_keepalive: {keepalive_time: 300}}",
                    "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: \
                     {\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, \
                     explicit_http_config: {http_protocol_options: {}}}}",
                ]);
                (self.merge(), value.to_owned())
            }
        };
        ("CLUSTER", matched, operation, value)
    }

    fn of_listener(&mut self, chain: &str) -> String {
        let mut parts = Vec::new();
        match self.random.below(8) {
            0 => parts.push("name: virtualInbound".to_owned()),
            1 => parts.push("name: virtualOutbound".to_owned()),
            2 => parts.push("name: 0.0.0.0_80".to_owned()),
            3 | 4 => {
                let port = *self
                    .random
                    .one(&[80u32, 8080, 9090, 9000, 443, 10_080, 18_080, 15_006]);
                parts.push(format!("portNumber: {port}"));
            }
            _ => {}
        }
        if !chain.is_empty() {
            parts.push(format!("filterChain: {{{chain}}}"));
        }
        match parts.is_empty() {
            true => String::new(),
            false => format!("listener: {{{}}}", parts.join(", ")),
        }
    }

    fn chain(&mut self) -> String {
        (*self.random.one(&[
            "",
            "",
            "",
            "transportProtocol: raw_buffer",
            "applicationProtocols: 'http/1.1'",
            "applicationProtocols: 'http/1.1,h2c'",
            "destinationPort: 10080",
            "name: virtualInbound-blackhole",
            "name: virtualOutbound-catchall-tcp",
            "sni: tls.example.com",
        ]))
        .to_owned()
    }

    fn listener_patch(&mut self, id: &str) -> (&'static str, String, &'static str, String) {
        let matched = self.of_listener("");
        let (operation, value) = match self.random.below(6) {
            0 if matched.contains("portNumber") => ("REMOVE", String::new()),
            1 => (
                "ADD",
                format!(
                    "name: added-{id}, address: {{socket_address: {{address: 127.0.0.1, port_value: 4}}}}, \
                     filter_chains: [{{filters: [{}]}}]",
                    tcp_proxy("added")
                ),
            ),
            _ => {
                let value = *self.random.one(&[
                    "per_connection_buffer_limit_bytes: 1234",
                    "listener_filters_timeout: 0.5s, continue_on_listener_filters_timeout: true",
                    "stat_prefix: mine",
                    "socket_options: [{level: 1, name: 2, int_value: 3, state: STATE_LISTENING}]",
                    "connection_balance_config: {exact_balance: {}}",
                ]);
                (self.merge(), value.to_owned())
            }
        };
        ("LISTENER", matched, operation, value)
    }

    fn chain_patch(&mut self, id: &str) -> (&'static str, String, &'static str, String) {
        let chain = self.chain();
        let matched = self.of_listener(&chain);
        let (operation, value) = match self.random.below(6) {
            0 if !chain.is_empty() => ("REMOVE", String::new()),
            1 => (
                "ADD",
                format!(
                    "name: added-{id}, filter_chain_match: {{server_names: [a.example.com]}}, filters: [{}]",
                    tcp_proxy("added")
                ),
            ),
            _ => {
                let value = *self.random.one(&[
                    "transport_socket_connect_timeout: 2s",
                    "filter_chain_match: {server_names: [b.example.com], application_protocols: [x]}",
                    "name: renamed",
                    "metadata: {filter_metadata: {mine: {a: b}}}",
                ]);
                let operation = match value.contains("application_protocols") {
                    true => "MERGE",
                    false => self.merge(),
                };
                (operation, value.to_owned())
            }
        };
        ("FILTER_CHAIN", matched, operation, value)
    }

    fn network_filter_patch(&mut self) -> (&'static str, String, &'static str, String) {
        let filter = *self
            .random
            .one(&[MANAGER, "envoy.filters.network.tcp_proxy"]);
        let named = self.random.chance(80);
        let mut chain = self.chain();
        if named {
            let separator = if chain.is_empty() { "" } else { ", " };
            chain = format!("{chain}{separator}filter: {{name: {filter}}}");
        }
        let rbac = format!(
            "name: mine, typed_config: {{{TYPE}.extensions.filters.network.rbac.v3.RBAC, stat_prefix: mine}}"
        );
        let (operation, value) = match self.random.below(7) {
            0 if named => ("REMOVE", String::new()),
            1 if named => ("REPLACE", rbac),
            2 | 3 if named => (
                "MERGE",
                match filter == MANAGER {
                    true => format!(
                        "name: {MANAGER}, typed_config: {{{TYPE}.extensions.filters.network.\
                         http_connection_manager.v3.HttpConnectionManager, {}}}",
                        self.random.one(&[
                            "server_name: mine, common_http_protocol_options: {idle_timeout: 30s}",
                            "use_remote_address: true, xff_num_trusted_hops: 2",
                            "upgrade_configs: [{upgrade_type: CONNECT}], stream_idle_timeout: 5s",
                            "http_filters: [{name: x, typed_config: {\"@type\": type.googleapis.com/\
                             envoy.extensions.filters.http.cors.v3.Cors}}]",
                            "path_with_escaped_slashes_action: REJECT_REQUEST",
                        ])
                    ),
                    false => format!(
                        "typed_config: {{{TYPE}.extensions.filters.network.tcp_proxy.v3.TcpProxy, {}}}",
                        self.random.one(&["idle_timeout: 11s", "max_connect_attempts: 3"])
                    ),
                },
            ),
            other => (
                ["ADD", "INSERT_FIRST", "INSERT_BEFORE", "INSERT_AFTER"][other % 4],
                rbac,
            ),
        };
        ("NETWORK_FILTER", self.of_listener(&chain), operation, value)
    }

    fn http_filter_patch(&mut self) -> (&'static str, String, &'static str, String) {
        let sub = *self.random.one(&["router", "cors", "fault", "nothing"]);
        let mut chain = self.chain();
        let separator = if chain.is_empty() { "" } else { ", " };
        let named = self.random.chance(80);
        let sub_filter = match named {
            true => format!(", subFilter: {{name: envoy.filters.http.{sub}}}"),
            false => String::new(),
        };
        chain = format!("{chain}{separator}filter: {{name: {MANAGER}{sub_filter}}}");
        let added = (*self.random.one(&[
            "name: mine, typed_config: {\"@type\": type.googleapis.com/\
             envoy.extensions.filters.http.header_mutation.v3.HeaderMutation, mutations: {request_mutations: \
             [{append: {header: {key: a, value: b}}}]}}",
            "name: envoy.filters.http.buffer, typed_config: {\"@type\": type.googleapis.com/\
             envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 99}",
            "name: envoy.filters.http.local_ratelimit, disabled: true, typed_config: {\"@type\": \
             type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: x, \
             token_bucket: {max_tokens: 5, fill_interval: 60s}}",
        ]))
        .to_owned();
        let (operation, value) = match self.random.below(8) {
            0 if named && sub != "router" => ("REMOVE", String::new()),
            1 if named && sub != "router" => ("REPLACE", added),
            2 | 3 if named => {
                let (kind, fields) = match sub {
                    "router" => ("router.v3.Router", "suppress_envoy_headers: true"),
                    "cors" => ("cors.v3.Cors", ""),
                    _ => ("fault.v3.HTTPFault", "max_active_faults: 3"),
                };
                let separator = if fields.is_empty() { "" } else { ", " };
                (
                    "MERGE",
                    format!(
                        "typed_config: {{{TYPE}.extensions.filters.http.{kind}{separator}{fields}}}"
                    ),
                )
            }
            other => (
                ["ADD", "INSERT_FIRST", "INSERT_BEFORE", "INSERT_AFTER"][other % 4],
                added,
            ),
        };
        ("HTTP_FILTER", self.of_listener(&chain), operation, value)
    }

    fn listener_filter_patch(&mut self) -> (&'static str, String, &'static str, String) {
        let inspector = "name: mine, typed_config: {\"@type\": type.googleapis.com/\
                         envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}";
        let named = self.random.chance(60);
        let (matched, operations): (_, &[&'static str]) = match named {
            true => (
                "listener: {listenerFilter: envoy.filters.listener.http_inspector}",
                &[
                    "ADD",
                    "INSERT_FIRST",
                    "INSERT_BEFORE",
                    "INSERT_AFTER",
                    "REPLACE",
                    "REMOVE",
                ],
            ),
            false => (
                "",
                &["ADD", "INSERT_FIRST", "INSERT_BEFORE", "INSERT_AFTER"],
            ),
        };
        let operation = *self.random.one(operations);
        let value = match operation {
            "REMOVE" => String::new(),
            _ => inspector.to_owned(),
        };
        ("LISTENER_FILTER", matched.to_owned(), operation, value)
    }

    fn of_routes(&mut self, host: &str) -> String {
        let mut parts = Vec::new();
        match self.random.below(6) {
            0 => parts.push("name: \"80\"".to_owned()),
            1 => parts.push("name: http.80".to_owned()),
            2 => parts.push("portNumber: 80".to_owned()),
            3 => parts.push("portNumber: 10080".to_owned()),
            _ => {}
        }
        if !host.is_empty() {
            parts.push(format!("vhost: {{{host}}}"));
        }
        match parts.is_empty() {
            true => String::new(),
            false => format!("routeConfiguration: {{{}}}", parts.join(", ")),
        }
    }

    fn some_host(&mut self) -> &'static str {
        self.random.one::<&str>(&[
            "",
            "",
            "name: allow_any",
            "name: svc-0.default.svc.cluster.local:80",
            "name: 'inbound|http|80'",
            "domainName: svc-1.default",
            "domainName: \"*\"",
        ])
    }

    fn route_configuration_patch(&mut self) -> (&'static str, String, &'static str, String) {
        let value = *self.random.one(&[
            "response_headers_to_add: [{header: {key: a, value: b}}]",
            "request_headers_to_remove: [x], internal_only_headers: [x-y]",
            "ignore_path_parameters_in_path_matching: true",
        ]);
        let matched = self.of_routes("");
        (
            "ROUTE_CONFIGURATION",
            matched,
            self.merge(),
            value.to_owned(),
        )
    }

    fn virtual_host_patch(&mut self, id: &str) -> (&'static str, String, &'static str, String) {
        let host = self.some_host();
        let whole = format!(
            "name: added-{id}, domains: [{}.example.com], routes: [{{match: {{prefix: /}}, direct_response: {{status: 418}}}}]",
            id
        );
        let (operation, value) = match self.random.below(6) {
            0 if !host.is_empty() => ("REMOVE", String::new()),
            1 if !host.is_empty() => ("REPLACE", whole),
            2 => ("ADD", whole),
            _ => {
                let value = *self.random.one(&[
                    "request_headers_to_add: [{header: {key: a, value: b}, append_action: ADD_IF_ABSENT}]",
                    "include_request_attempt_count: true, domains: [more.example.com]",
                    "retry_policy: {retry_on: 5xx, num_retries: 7}",
                    "require_tls: ALL",
                ]);
                // no routes: istiod adds them again for each port that shares the cached host
                (self.merge(), value.to_owned())
            }
        };
        ("VIRTUAL_HOST", self.of_routes(host), operation, value)
    }

    fn route_patch(&mut self, id: &str) -> (&'static str, String, &'static str, String) {
        let mut host = self.some_host().to_owned();
        let route = *self.random.one(&[
            "",
            "",
            "route: {name: default}",
            "route: {action: ROUTE}",
            "route: {action: REDIRECT}",
            "route: {name: r0, action: ANY}",
            "route: {action: DIRECT_RESPONSE}",
        ]);
        if !route.is_empty() {
            let separator = if host.is_empty() { "" } else { ", " };
            host = format!("{host}{separator}{route}");
        }
        let added =
            format!("name: added-{id}, match: {{path: /{id}}}, direct_response: {{status: 204}}");
        let (operation, value) = match self.random.below(9) {
            0 if !route.is_empty() => ("REMOVE", String::new()),
            1 | 2 => {
                let value = match route.contains("action: ROUTE") {
                    true => *self.random.one(&[
                        "route: {timeout: 7.500s, priority: HIGH}",
                        "route: {retry_policy: {num_retries: 9}}",
                    ]),
                    false => *self.random.one(&[
                        "match: {case_sensitive: false}",
                        "response_headers_to_remove: [a, b]",
                        "metadata: {filter_metadata: {mine: {a: b}}}",
                    ]),
                };
                (self.merge(), value.to_owned())
            }
            other => (
                ["ADD", "INSERT_FIRST", "INSERT_BEFORE", "INSERT_AFTER"][other % 4],
                added,
            ),
        };
        ("HTTP_ROUTE", self.of_routes(&host), operation, value)
    }
}

fn tcp_proxy(cluster: &str) -> String {
    format!(
        "{{name: envoy.filters.network.tcp_proxy, typed_config: {{{TYPE}.extensions.filters.network.tcp_proxy.v3.TcpProxy, \
         stat_prefix: x, cluster: {cluster}}}}}"
    )
}
