use std::collections::{BTreeMap, BTreeSet};

use mesh_proto::envoy::config::core::v3::TrafficDirection;
use mesh_proto::envoy::config::listener::v3 as xds;
use mesh_proto::envoy::config::route::v3 as rt;

use rt::virtual_host::TlsRequirementType;

use super::address::{socket, stat_prefix};
use super::connection_manager::{self, Place, Routes};
use super::filter_chain::Chain;
use super::gateway_servers::{Bound, merged_servers};
use super::listener::{accepts_per_event, own_address};
use super::listener_filters::tls_inspector;
use super::network_filters::tcp_proxy_to_routes;
use super::route::{RouteContext, routes_of};
use super::scope::Scope;
use super::server_tls;
use crate::model::{L4Match, Protocol, Server, VirtualService, names};

const MAX_DIRECT_RESPONSE: u32 = 1 << 20;

/// A listener per address and port of the servers; none where nothing would become of a connection.
pub(super) fn listeners(scope: &Scope) -> Vec<xds::Listener> {
    let mut names: BTreeMap<(String, u32), Vec<xds::FilterChain>> = BTreeMap::new();
    let mut inspected = BTreeSet::new();
    // names that clients may ask for, claimed by port
    let mut claimed = BTreeSet::new();
    for merged in merged_servers(scope) {
        let Some(first) = merged.servers.first() else {
            continue;
        };
        let key = (first.bind().to_owned(), first.port);
        let chains = names.entry(key.clone()).or_default();
        if merged.protocol.is_http() {
            chains.push(http_chain(scope, first, merged.protocol));
            continue;
        }
        for bound in &merged.servers {
            if bound.server.terminates_https() {
                inspected.insert(key.clone());
                chains.push(https_chain(scope, bound));
                continue;
            }
            let terminated = bound.server.terminated();
            let l4 = match (&bound.server.tls, terminated) {
                (Some(_), None) => tls_chains(scope, bound, &mut claimed),
                _ => tcp_chain(scope, bound).into_iter().collect(),
            };
            for chain in l4 {
                if !chain.sni_hosts.is_empty() {
                    inspected.insert(key.clone());
                }
                let mut chain = chain.build(scope, "");
                chain.transport_socket = terminated.map(server_tls::of_server);
                let may_connect = scope.authorization().tcp.iter().cloned();
                chain.filters.splice(0..0, may_connect);
                chains.push(chain);
            }
        }
    }
    let built = names.into_iter().filter(|(_, chains)| !chains.is_empty());
    built
        .map(|(key, chains)| {
            let inspects = inspected.contains(&key);
            let (bind, port) = key;
            xds::Listener {
                address: Some(socket(own_address(&scope.node, &bind, true), port)),
                name: format!("{bind}_{port}"),
                filter_chains: chains,
                listener_filters: inspects.then(tls_inspector).into_iter().collect(),
                traffic_direction: TrafficDirection::Outbound.into(),
                max_connections_to_accept_per_socket_event: accepts_per_event(),
                ..Default::default()
            }
        })
        .collect()
}

fn http_chain(scope: &Scope, first: &Bound<'_>, protocol: Protocol) -> xds::FilterChain {
    let filter = connection_manager::filter(
        scope,
        Place::Gateway,
        &format!("outbound_{}_{}", first.bind(), first.port),
        Routes::Rds(first.route_name()),
        protocol == Protocol::GrpcWeb,
    );
    xds::FilterChain {
        filters: vec![filter],
        transport_socket_connect_timeout: Some(prost_types::Duration {
            seconds: 15,
            nanos: 0,
        }),
        ..Default::default()
    }
}

/// HTTP behind TLS, for the names that the server admits.
fn https_chain(scope: &Scope, bound: &Bound<'_>) -> xds::FilterChain {
    let stat_prefix = match bound.server.title.as_str() {
        "" => stat_prefix(&format!("outbound_{}_{}", bound.bind(), bound.port)),
        title => title.to_owned(),
    };
    let routes = Routes::Rds(bound.route_name());
    let filter =
        connection_manager::named_filter(scope, Place::Gateway, stat_prefix, routes, false);
    let chain = Chain {
        sni_hosts: sni_hosts(bound),
        ..Chain::tcp(filter, &[])
    };
    let mut chain = chain.build(scope, "");
    chain.transport_socket = bound.server.terminated().map(server_tls::of_server);
    chain
}

/// The names that a server with TLS is for, as clients say them.
fn sni_hosts(bound: &Bound<'_>) -> Vec<String> {
    let hosts = bound.server.hosts.iter();
    let hosts: BTreeSet<&str> = hosts.map(|admitted| admitted.host.as_str()).collect();
    hosts.into_iter().map(str::to_owned).collect()
}

/// VirtualServices of the server's Gateway with a host that the server covers.
fn of_server<'a>(
    scope: &'a Scope,
    bound: &'a Bound<'_>,
) -> impl Iterator<Item = std::sync::Arc<VirtualService>> + 'a {
    let all = scope.virtual_services(&bound.gateway_name());
    all.into_iter().filter(|vs| {
        bound.server.hosts.iter().any(|admitted| {
            (admitted.namespace == "*" || admitted.namespace == vs.metadata.namespace)
                && vs
                    .hosts
                    .iter()
                    .any(|host| names::overlaps(&admitted.host, host))
        })
    })
}

fn fits(matched: &L4Match, bound: &Bound<'_>) -> bool {
    let name = bound.gateway_name();
    matched.port.is_none_or(|port| port == bound.server.port)
        && (matched.gateways.is_empty() || matched.gateways.contains(&name))
}

/// By the first route of `tcp` that fits.
fn tcp_chain(scope: &Scope, bound: &Bound<'_>) -> Option<Chain> {
    of_server(scope, bound).find_map(|vs| {
        let route = vs.tcp.iter().find(|route| {
            !route.route.is_empty()
                && (route.matches.is_empty() || route.matches.iter().any(|m| fits(m, bound)))
        })?;
        let filter = tcp_proxy_to_routes(scope, &route.route, bound.server.port, &vs.metadata)?;
        Some(Chain {
            sni_hosts: match bound.server.terminated() {
                Some(_) => sni_hosts(bound),
                None => Vec::new(),
            },
            ..Chain::tcp(filter, &[])
        })
    })
}

/// A chain per name that clients ask for; one that an earlier rule has is left out.
fn tls_chains(
    scope: &Scope,
    bound: &Bound<'_>,
    claimed: &mut BTreeSet<(u32, String, String)>,
) -> Vec<Chain> {
    let mut chains = Vec::new();
    for vs in of_server(scope, bound) {
        for route in &vs.tls {
            for matched in route.matches.iter().filter(|m| fits(m, bound)) {
                let keys = || {
                    let hosts = matched.sni_hosts.iter().cloned();
                    hosts.map(|host| (bound.port, bound.server.bind.clone(), host))
                };
                if keys().any(|key| claimed.contains(&key)) {
                    continue;
                }
                claimed.extend(keys());
                let to = &route.route;
                let filter = tcp_proxy_to_routes(scope, to, bound.server.port, &vs.metadata);
                chains.extend(filter.map(|filter| Chain {
                    sni_hosts: matched.sni_hosts.clone(),
                    ..Chain::tcp(filter, &[])
                }));
            }
        }
    }
    chains
}

/// `http.PORT`, `https.PORT.…`: a virtual host per host that a server admits and a VirtualService routes.
pub(super) fn route_configuration(scope: &Scope, name: &str) -> rt::RouteConfiguration {
    let empty = rt::RouteConfiguration {
        name: name.to_owned(),
        validate_clusters: Some(false),
        ..Default::default()
    };
    let merged = merged_servers(scope).into_iter();
    let servers: Vec<_> = merged
        .flat_map(|merged| merged.servers)
        .filter(|bound| !name.is_empty() && bound.route_name() == name)
        .collect();
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
    let gateway_name = bound.gateway_name();
    for vs in &scope.virtual_services(&gateway_name) {
        let shared = intersection(bound.server, vs);
        if shared.is_empty() {
            continue;
        }
        let lookup = |host: &str| scope.service(host).cloned();
        let context = RouteContext {
            scope,
            listener_port: bound.server.port,
            is_tls: bound.server.tls.is_some(),
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
            host.https_redirect |= bound.server.redirects();
        }
    }
    if bound.server.redirects() {
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
