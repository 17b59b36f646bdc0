//! Bootstraps: a client's with a cluster for each context, server and listener; a server's with listeners of all kinds.

use std::net::Ipv4Addr;

use mesh_testkit::random::Random;
use serde_json::{Value, json};

use crate::context::{Certificates, WORKLOAD};

pub(crate) const ADMIN: u16 = 9901;
pub(crate) const LISTENER: u16 = 10_000;
pub(crate) const UPSTREAM: u16 = 20_000;
/// The server of secrets.
pub(crate) const SECRETS: u16 = 20_001;
/// Contexts of the client, and listeners of the server.
pub(crate) const CONTEXTS: u16 = 12;
pub(crate) const LAST_LISTENER: u16 = LISTENER + CONTEXTS - 1;

pub(crate) struct Configuration {
    /// What it is, the socket (Null: cleartext), and the HTTP options.
    clients: Vec<(String, Value, Value)>,
    /// What it is, listener filters and chains.
    servers: Vec<(String, Value, Value)>,
}

impl Configuration {
    pub(crate) fn random(random: &mut Random, certificates: &Certificates) -> Self {
        Self {
            clients: (0..CONTEXTS)
                .map(|_| client(random, certificates))
                .collect(),
            servers: (0..CONTEXTS)
                .map(|n| server(random, certificates, n))
                .collect(),
        }
    }

    /// What two contexts are.
    pub(crate) fn of(&self, client: u16, server: u16) -> String {
        let (client, server) = (
            &self.clients[usize::from(client)],
            &self.servers[usize::from(server)],
        );
        format!("client: {}\nserver: {}", client.0, server.0)
    }

    pub(crate) fn client(
        &self,
        own: Ipv4Addr,
        servers: [Ipv4Addr; 2],
        secrets: Ipv4Addr,
    ) -> String {
        let mut clusters = vec![secret_server(secrets)];
        for (c, (_, socket, http)) in self.clients.iter().enumerate() {
            for (s, ip) in servers.iter().enumerate() {
                for n in 0..CONTEXTS {
                    let name = format!("c{c}-s{s}-{n}");
                    let endpoint = json!({"endpoint": {"address": address(*ip, LISTENER + n)}});
                    let mut cluster = json!({
                        "name": name,
                        "connect_timeout": "5s",
                        "load_assignment": {
                            "cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}],
                        },
                        "typed_extension_protocol_options": {
                            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http,
                        },
                    });
                    if !socket.is_null() {
                        cluster["transport_socket"] = socket.clone();
                    }
                    clusters.push(cluster);
                }
            }
        }
        let routes = json!([{
            "match": {"prefix": "/"},
            "route": {"cluster_header": "x-cluster"},
            "request_headers_to_remove": ["x-cluster"],
        }]);
        let manager = manager(
            "client",
            routes,
            json!({"forward_client_cert_details": "ALWAYS_FORWARD_ONLY"}),
            json!([]),
        );
        let listener = json!({
            "name": "l", "address": address(own, LISTENER), "filter_chains": [{"filters": [manager]}],
        });
        bootstrap(own, json!([listener]), json!(clusters))
    }

    pub(crate) fn server(&self, own: Ipv4Addr, upstream: Ipv4Addr) -> String {
        let listeners = (0u16..)
            .zip(&self.servers)
            .map(|(n, (_, filters, chains))| {
                json!({
                    "name": format!("l{n}"),
                    "address": address(own, LISTENER + n),
                    "listener_filters": filters,
                    "filter_chains": chains,
                })
            });
        let cluster = json!({
            "name": "u",
            "load_assignment": {"cluster_name": "u", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": address(upstream, UPSTREAM)}},
            ]}]},
        });
        bootstrap(
            own,
            listeners.collect(),
            json!([cluster, secret_server(upstream)]),
        )
    }
}

pub(crate) fn secret_server(ip: Ipv4Addr) -> Value {
    json!({
        "name": "sds",
        "load_assignment": {"cluster_name": "sds", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": address(ip, SECRETS)}},
        ]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            },
        },
    })
}

pub(crate) fn bootstrap(own: Ipv4Addr, listeners: Value, clusters: Value) -> String {
    json!({
        "node": {"id": "n", "cluster": "c"},
        "admin": {"address": address(own, ADMIN)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    })
    .to_string()
}

pub(crate) fn address(ip: Ipv4Addr, port: u16) -> Value {
    json!({"socket_address": {"address": ip.to_string(), "port_value": port}})
}

fn client(random: &mut Random, certificates: &Certificates) -> (String, Value, Value) {
    let http2 = random.chance(40);
    let protocol = match http2 {
        true => "http2_protocol_options",
        false => "http_protocol_options",
    };
    let http = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {protocol: {}},
    });
    if random.chance(10) {
        return (format!("cleartext, {protocol}"), Value::Null, http);
    }
    let (said, socket) = certificates.upstream(random);
    (format!("{said}, {protocol}"), socket, http)
}

fn server(random: &mut Random, certificates: &Certificates, n: u16) -> (String, Value, Value) {
    let inspectors = |http: bool| {
        let tls = inspector("tls_inspector", "TlsInspector");
        match http {
            true => json!([tls, inspector("http_inspector", "HttpInspector")]),
            false => json!([tls]),
        }
    };
    let (said, socket) = certificates.downstream(random);
    match random.below(4) {
        0 | 1 => {
            let (more, filters) = filters(random, &format!("l{n}"));
            let chains = json!([{"transport_socket": socket, "filters": filters}]);
            (format!("{said}; {more}"), json!([]), chains)
        }
        2 => {
            let (other, other_socket) = certificates.downstream(random);
            let (more, filters_of) = filters(random, &format!("l{n}a"));
            let (rest, filters_else) = filters(random, &format!("l{n}b"));
            let names =
                *random.one::<&[&str]>(&[&["a.test"][..], &["*.test"], &["*.w.test", "b.test"]]);
            let mut otherwise = json!({"transport_socket": other_socket, "filters": filters_else});
            if random.chance(50) {
                otherwise["filter_chain_match"] = json!({"application_protocols": ["istio", "h2"]});
            }
            let chains = json!([
                {"filter_chain_match": {"server_names": names}, "transport_socket": socket, "filters": filters_of},
                otherwise,
            ]);
            (
                format!(
                    "for {names:?}: {said}; {more}\notherwise {}: {other}; {rest}",
                    chains[1]["filter_chain_match"]
                ),
                inspectors(false),
                chains,
            )
        }
        // PERMISSIVE, as istiod has it.
        _ => {
            let (more, filters_of) = filters(random, &format!("l{n}a"));
            let (rest, filters_else) = filters(random, &format!("l{n}b"));
            let chains = json!([
                {"filter_chain_match": {"transport_protocol": "tls"}, "transport_socket": socket, "filters": filters_of},
                {"filter_chain_match": {"transport_protocol": "raw_buffer"}, "filters": filters_else},
            ]);
            (
                format!("permissive: {said}; {more}\ncleartext: {rest}"),
                inspectors(true),
                chains,
            )
        }
    }
}

fn inspector(name: &str, message: &str) -> Value {
    json!({
        "name": name,
        "typed_config": {"@type": format!("type.googleapis.com/envoy.extensions.filters.listener.{name}.v3.{message}")},
    })
}

/// What a chain does with requests.
fn filters(random: &mut Random, prefix: &str) -> (String, Value) {
    let mut filters = Vec::new();
    let mut said = Vec::new();
    if random.chance(25) {
        let rules = rules(random);
        said.push(format!("connections: {rules}"));
        filters.push(json!({"name": "rbac", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
            "stat_prefix": prefix, "rules": rules,
        }}));
    }
    let mut http = Vec::new();
    if random.chance(50) {
        let rules = rules(random);
        said.push(format!("requests: {rules}"));
        http.push(json!({"name": "rbac", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC", "rules": rules,
        }}));
    }
    let mode = *random.one(&[
        "SANITIZE",
        "FORWARD_ONLY",
        "APPEND_FORWARD",
        "SANITIZE_SET",
        "SANITIZE_SET",
        "ALWAYS_FORWARD_ONLY",
    ]);
    said.push(mode.to_owned());
    let options = json!({
        "forward_client_cert_details": mode,
        "set_current_client_cert_details": {
            "subject": random.chance(50), "cert": random.chance(30), "chain": random.chance(30),
            "dns": random.chance(50), "uri": random.chance(50),
        },
        "use_remote_address": random.chance(50),
    });
    let mut matched = json!({"match": {"prefix": "/"}, "route": {"cluster": "u"}});
    let mut routes = Vec::new();
    if random.chance(40) {
        let mut options = json!({});
        for name in ["presented", "validated"] {
            if random.chance(60) {
                options[name] = json!(random.chance(50));
            }
        }
        let mut of_tls = matched.clone();
        of_tls["match"]["tls_context"] = options;
        of_tls["request_headers_to_add"] =
            json!([{"header": {"key": "x-route", "value": "of tls"}}]);
        routes.push(of_tls);
    }
    matched["name"] = json!("rest");
    routes.push(matched);
    filters.push(manager(prefix, json!(routes), options, json!(http)));
    (said.join("; "), json!(filters))
}

const OPERATORS: &[&str] = &[
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_TLS_VERSION",
    "REQUESTED_SERVER_NAME",
];

fn manager(prefix: &str, routes: Value, options: Value, filters: Value) -> Value {
    let mut filters = filters.as_array().cloned().unwrap_or_default();
    filters.push(json!({"name": "router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
    }}));
    let is_server = prefix != "client";
    let told: Vec<Value> = OPERATORS
        .iter()
        .filter(|_| is_server)
        .map(|name| {
            let key = format!("x-{}", name.to_ascii_lowercase().replace('_', "-"));
            json!({"header": {"key": key, "value": format!("%{name}%")}})
        })
        .collect();
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": prefix,
        "generate_request_id": false,
        "delayed_close_timeout": "0s",
        "http_filters": filters,
        "route_config": {
            "request_headers_to_add": told,
            "virtual_hosts": [{
                "name": "v", "domains": ["*"], "routes": routes,
            }],
        },
    });
    for (name, value) in options.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    json!({"name": "hcm", "typed_config": config})
}

/// A connection manager with one cluster that adds headers to requests.
pub(crate) fn inline_manager(cluster: &str, added: &[(&str, &str)]) -> Value {
    let added: Vec<Value> = added
        .iter()
        .map(|(key, value)| json!({"header": {"key": key, "value": value}}))
        .collect();
    let routes = json!([{
        "match": {"prefix": "/"}, "route": {"cluster": cluster}, "request_headers_to_add": added,
    }]);
    manager("client", routes, json!({}), json!([]))
}

fn rules(random: &mut Random) -> Value {
    let principal = |random: &mut Random| match random.below(8) {
        0 => json!({"any": true}),
        1 => json!({"authenticated": {}}),
        2 => json!({"authenticated": {"principal_name": {"exact": WORKLOAD}}}),
        3 => json!({"authenticated": {"principal_name": {"prefix": "spiffe://else.test/"}}}),
        4 => json!({"authenticated": {"principal_name": {"safe_regex": {"regex": ".*/ns/a/.*"}}}}),
        5 => json!({"authenticated": {"principal_name": {"exact": "a.test"}}}),
        6 => json!({"authenticated": {"principal_name": {"contains": "CN=workload"}}}),
        _ => json!({"not_id": {"authenticated": {"principal_name": {"prefix": ""}}}}),
    };
    let permission = match random.below(3) {
        0 => json!({"requested_server_name": {"exact": "a.test"}}),
        _ => json!({"any": true}),
    };
    let mut principal = principal(random);
    if principal["not_id"].is_object() {
        principal["not_id"]["authenticated"]["principal_name"] = json!({"suffix": "w"});
    }
    json!({
        "action": random.one(&["ALLOW", "ALLOW", "DENY"]),
        "policies": {"p": {"permissions": [permission], "principals": [principal]}},
    })
}
