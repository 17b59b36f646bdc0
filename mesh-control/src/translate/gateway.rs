use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_proto::envoy::config::core::v3::TrafficDirection;
use mesh_proto::envoy::config::listener::v3 as xds;
use mesh_proto::envoy::config::route::v3 as rt;

use rt::virtual_host::TlsRequirementType;

use super::address::socket;
use super::connection_manager::{self, Place, Routes};
use super::listener::{WILDCARD, accepts_per_event, own_address};
use super::route::{RouteContext, routes_of};
use super::scope::Scope;
use crate::model::{Gateway, Protocol, Server, VirtualService, names};

const MAX_DIRECT_RESPONSE: u32 = 1 << 20;

/// A server of a Gateway that selects the node, on the port that it really listens on.
struct Bound<'a> {
    gateway: &'a Arc<Gateway>,
    server: &'a Server,
    port: u32,
}

impl Bound<'_> {
    fn bind(&self) -> &str {
        if self.server.bind.is_empty() {
            WILDCARD
        } else {
            &self.server.bind
        }
    }
}

/// A listener per address and port of the servers.
pub(super) fn listeners(scope: &Scope) -> Vec<xds::Listener> {
    let mut bound: BTreeMap<(String, u32), Protocol> = BTreeMap::new();
    for server in servers(scope) {
        bound
            .entry((server.bind().to_owned(), server.port))
            .or_insert(server.server.protocol);
    }
    bound
        .into_iter()
        .map(|((bind, port), protocol)| listener(scope, &bind, port, protocol))
        .collect()
}

fn listener(scope: &Scope, bind: &str, port: u32, protocol: Protocol) -> xds::Listener {
    let name = format!("{bind}_{port}");
    let filter = connection_manager::filter(
        &scope.node,
        Place::Gateway,
        &format!("outbound_{name}"),
        Routes::Rds(route_name(bind, port)),
        protocol == Protocol::GrpcWeb,
    );
    let chain = xds::FilterChain {
        filters: vec![filter],
        transport_socket_connect_timeout: Some(prost_types::Duration {
            seconds: 15,
            nanos: 0,
        }),
        ..Default::default()
    };
    xds::Listener {
        address: Some(socket(own_address(&scope.node, bind, true), port)),
        name,
        filter_chains: vec![chain],
        traffic_direction: TrafficDirection::Outbound.into(),
        max_connections_to_accept_per_socket_event: accepts_per_event(),
        ..Default::default()
    }
}

/// Name of the routes of an address and port.
fn route_name(bind: &str, port: u32) -> String {
    match bind {
        WILDCARD => format!("http.{port}"),
        bind => format!("http.{port}.{bind}"),
    }
}

/// The servers of the Gateways that select the node, oldest first.
fn servers(scope: &Scope) -> Vec<Bound<'_>> {
    let labels = &scope.labels;
    let selects = |g: &&Arc<Gateway>| g.selector.iter().all(|(k, v)| labels.get(k) == Some(v));
    let targets = scope.targets();
    let mut all = Vec::new();
    // of servers that redirect to HTTPS, one that names a host of an earlier one is left out whole, as if they
    // had certificates for it
    let mut redirected: BTreeSet<(u32, String, String)> = BTreeSet::new();
    for gateway in scope.config.gateways.iter().filter(selects) {
        for server in &gateway.servers {
            // a Service in front of the gateway may map its port to another one of the pod
            let mut mapped: Vec<u32> = targets
                .iter()
                .filter(|t| t.port.port == server.port)
                .map(|t| t.target_port)
                .collect();
            mapped.dedup();
            if mapped.is_empty() {
                mapped.push(server.port);
            }
            for port in mapped {
                let keys = || {
                    let hosts = server.hosts.iter().map(|host| host.text());
                    hosts.map(|host| (port, server.bind.clone(), host))
                };
                if server.https_redirect {
                    if keys().any(|key| redirected.contains(&key)) {
                        continue;
                    }
                    redirected.extend(keys());
                }
                all.push(Bound {
                    gateway,
                    server,
                    port,
                });
            }
        }
    }
    all
}

/// `http.PORT`: a virtual host per host that a server admits and a VirtualService routes.
pub(super) fn route_configuration(scope: &Scope, name: &str) -> rt::RouteConfiguration {
    let empty = rt::RouteConfiguration {
        name: name.to_owned(),
        validate_clusters: Some(false),
        ..Default::default()
    };
    let named = |bound: &Bound<'_>| route_name(bound.bind(), bound.port) == name;
    let servers: Vec<_> = servers(scope).into_iter().filter(named).collect();
    let Some(first) = servers.first() else {
        return empty;
    };
    let mut hosts: BTreeMap<String, Host> = BTreeMap::new();
    for bound in &servers {
        add_server(scope, bound, &mut hosts);
    }
    let virtual_hosts = match hosts.is_empty() {
        true => vec![virtual_host(
            "blackhole",
            first.server.port,
            "*",
            Vec::new(),
            false,
        )],
        false => collapse(hosts, first.server.port),
    };
    rt::RouteConfiguration {
        virtual_hosts,
        max_direct_response_body_size_bytes: Some(MAX_DIRECT_RESPONSE),
        ignore_port_in_host_matching: true,
        ..empty
    }
}

/// A host that servers admit.
#[derive(Default)]
struct Host {
    routes: Vec<rt::Route>,
    https_redirect: bool,
}

fn add_server(scope: &Scope, bound: &Bound<'_>, hosts: &mut BTreeMap<String, Host>) {
    let metadata = &bound.gateway.metadata;
    let gateway_name = format!("{}/{}", metadata.namespace, metadata.name);
    for vs in &scope.virtual_services(&gateway_name) {
        let shared = intersection(bound.server, vs);
        if shared.is_empty() {
            continue;
        }
        let lookup = |host: &str| scope.service(host).cloned();
        let context = RouteContext {
            scope,
            listener_port: bound.server.port,
            gateways: &[&gateway_name],
            service: &lookup,
        };
        let routes = routes_of(&context, vs);
        if routes.is_empty() {
            continue;
        }
        for host in shared {
            let host = hosts.entry(host.to_lowercase()).or_default();
            host.routes.extend(routes.iter().cloned());
            host.https_redirect |= bound.server.https_redirect;
        }
    }
    if bound.server.https_redirect {
        // also hosts that no VirtualService routes
        for host in &bound.server.hosts {
            let host = hosts.entry(host.text().to_lowercase()).or_default();
            host.https_redirect = true;
        }
    }
}

/// Hosts that both admit: the narrower of two that overlap.
fn intersection(server: &Server, vs: &VirtualService) -> Vec<String> {
    let mut shared: Vec<String> = Vec::new();
    let of_namespace = server
        .hosts
        .iter()
        .filter(|h| h.namespace == "*" || h.namespace == vs.metadata.namespace);
    for server_host in of_namespace {
        for host in &vs.hosts {
            let narrower = if names::is_subset(host, &server_host.host) {
                host
            } else if names::is_subset(&server_host.host, host) {
                &server_host.host
            } else {
                continue;
            };
            if !shared.contains(narrower) {
                shared.push(narrower.clone());
            }
        }
    }
    shared
}

/// Hosts with the same routes become one virtual host; routes that match everything go last.
fn collapse(hosts: BTreeMap<String, Host>, port: u32) -> Vec<rt::VirtualHost> {
    let mut built: Vec<rt::VirtualHost> = Vec::new();
    let mut hosts: Vec<_> = hosts.into_iter().collect();
    // the most specific name comes first and names the virtual host
    hosts.sort_by_key(|(host, _)| {
        (
            host.starts_with('*'),
            std::cmp::Reverse(host.len()),
            host.clone(),
        )
    });
    for (name, host) in hosts {
        let require_tls = match host.https_redirect {
            true => TlsRequirementType::All.into(),
            false => TlsRequirementType::None.into(),
        };
        let is_same =
            |vh: &&mut rt::VirtualHost| vh.routes == host.routes && vh.require_tls == require_tls;
        match built.iter_mut().find(is_same) {
            Some(same) => same.domains.push(name),
            None => built.push(rt::VirtualHost {
                require_tls,
                ..virtual_host(&name, port, &name, host.routes, true)
            }),
        }
    }
    for host in &mut built {
        host.routes.sort_by_key(|route| {
            route
                .r#match
                .as_ref()
                .is_some_and(super::route_match::is_catch_all)
        });
    }
    built.sort_by(|a, b| a.name.cmp(&b.name));
    built
}

fn virtual_host(
    name: &str,
    port: u32,
    domain: &str,
    routes: Vec<rt::Route>,
    attempts: bool,
) -> rt::VirtualHost {
    rt::VirtualHost {
        name: format!("{name}:{port}"),
        domains: vec![domain.to_owned()],
        routes,
        include_request_attempt_count: attempts,
        ..Default::default()
    }
}
