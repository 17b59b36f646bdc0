use std::collections::BTreeMap;

use mesh_proto::envoy::config::core::v3::TrafficDirection;
use mesh_proto::envoy::config::listener::v3 as xds;

use super::Node;
use super::address::{duration, socket, zero};
use super::filter_chain::{Chain, TcpTarget, tcp_chains};
use super::listener_filters::{http_inspector, tls_inspector};
use super::network_filters::{BLACK_HOLE, PASSTHROUGH, destination_cluster, tcp_proxy};
use super::scope::{Egress, Scope};
use crate::model::Protocol;
use crate::registry::{Endpoint, Origin, Resolution, Service, UNSPECIFIED};

pub(super) const WILDCARD: &str = UNSPECIFIED;
const LOCALHOST: &str = "127.0.0.1";
const OUTBOUND_PORT: u32 = 15001;
const INBOUND_PORT: u32 = 15006;
/// Idle upstream connections per event of an accepting socket, as istiod sets it.
const ACCEPTS_PER_EVENT: u32 = 1;

/// A listener while it is put together.
struct Entry {
    bind_to_port: bool,
    /// Made by an explicit port of a Sidecar: later services add nothing to it.
    locked: bool,
    /// Unknown: it tells HTTP from the rest by looking.
    protocol: Protocol,
    chains: Vec<Chain>,
}

type Entries = BTreeMap<(String, u32), Entry>;

/// The listeners for what the node calls, by address and port.
pub(super) fn outbound(scope: &Scope) -> Vec<xds::Listener> {
    let mut entries = Entries::new();
    for egress in &scope.egress {
        let bind = match egress.bind.as_str() {
            "" if egress.bind_to_port => LOCALHOST,
            bind => bind,
        };
        if let Some((port, protocol)) = egress.port {
            if is_reserved(bind, port, protocol) {
                continue;
            }
            for service in &egress.services {
                add(&mut entries, scope, egress, bind, service, port, protocol);
            }
            continue;
        }
        entries.values_mut().for_each(|entry| entry.locked = true);
        for service in &egress.services {
            for port in &service.ports {
                if is_reserved(bind, port.port, port.protocol) {
                    continue;
                }
                for bind in binds(scope, service, port, bind) {
                    let (number, protocol) = (port.port, port.protocol);
                    add(
                        &mut entries,
                        scope,
                        egress,
                        &bind,
                        service,
                        number,
                        protocol,
                    );
                }
            }
        }
    }
    entries
        .into_iter()
        .map(|((bind, port), entry)| build(scope, &bind, port, entry))
        .collect()
}

/// Ports of the listeners that receive captured traffic.
fn is_reserved(bind: &str, port: u32, protocol: Protocol) -> bool {
    let is_wildcard = match bind {
        "" => protocol.is_http(),
        bind => bind == WILDCARD,
    };
    is_wildcard && matches!(port, OUTBOUND_PORT | INBOUND_PORT)
}

/// Where a service's port listens. One without an address of its own listens on those of its endpoints, unless
/// it is HTTP, which has names.
fn binds(
    scope: &Scope,
    service: &Service,
    port: &crate::registry::Port,
    bind: &str,
) -> Vec<String> {
    let by_endpoint = bind.is_empty()
        && service.resolution == Resolution::Passthrough
        && service.address() == UNSPECIFIED
        && (port.protocol.is_tcp() || port.protocol == Protocol::Unknown);
    if !by_endpoint {
        return vec![bind.to_owned()];
    }
    let endpoints: Vec<&Endpoint> = service.endpoints_by_port(port).map(|e| &**e).collect();
    if service.origin == Origin::Entry && endpoints.is_empty() && service.selector.is_none() {
        return vec![bind.to_owned()];
    }
    endpoints
        .into_iter()
        .filter(|e| e.address.parse::<std::net::IpAddr>().is_ok() && e.address != scope.node.ip)
        .map(|e| e.address.clone())
        .collect()
}

fn add(
    entries: &mut Entries,
    scope: &Scope,
    egress: &Egress,
    bind: &str,
    service: &Service,
    port: u32,
    protocol: Protocol,
) {
    if service.resolution == Resolution::Alias || protocol == Protocol::Udp {
        return;
    }
    let mut cidrs = Vec::new();
    let bind = match bind {
        "" if protocol.is_http() => WILDCARD,
        "" if service.address().contains('/') => {
            cidrs = service.addresses.clone();
            WILDCARD
        }
        "" => service.address(),
        bind => bind,
    };
    let key = (bind.to_owned(), port);
    if entries.get(&key).is_some_and(|entry| entry.locked) {
        return;
    }
    let tcp = || {
        let target = TcpTarget {
            service,
            bind,
            port,
            protocol,
            cidrs: cidrs.clone(),
        };
        tcp_chains(scope, &target, &egress.virtual_services)
    };
    let existing = entries.get(&key).map(|entry| entry.protocol);
    let mut kept = protocol;
    let chains = if protocol.is_http() {
        if existing.is_some_and(|p| !p.is_tcp()) {
            return;
        }
        let sniffed = bind == WILDCARD;
        if sniffed {
            kept = Protocol::Unknown;
        }
        vec![Chain::http(port.to_string(), protocol, sniffed)]
    } else if protocol.is_tcp() {
        tcp()
    } else {
        if existing == Some(Protocol::Unknown) {
            return;
        }
        let rds = match bind {
            WILDCARD => port.to_string(),
            _ => format!("{}:{port}", service.host),
        };
        let mut chains = tcp();
        chains.push(Chain::http(rds, protocol, true));
        chains
    };
    let needs_own_port = |p: Protocol| matches!(p, Protocol::Mongo | Protocol::MySql);
    if let Some(existing) = existing
        && existing != protocol
        && (needs_own_port(existing) || needs_own_port(protocol))
    {
        return;
    }
    match entries.get_mut(&key) {
        Some(entry) if !(protocol == Protocol::Unknown && entry.protocol.is_http()) => {
            for chain in chains {
                if !entry.chains.iter().any(|c| c.conflicts_with(&chain)) {
                    entry.chains.push(chain);
                }
            }
            if !(entry.protocol.is_tcp() && protocol.is_tcp()) {
                entry.protocol = Protocol::Unknown;
            }
        }
        _ => {
            let entry = Entry {
                bind_to_port: egress.bind_to_port,
                locked: false,
                protocol: kept,
                chains,
            };
            entries.insert(key, entry);
        }
    }
}

fn build(scope: &Scope, bind: &str, port: u32, entry: Entry) -> xds::Listener {
    let name = format!("{bind}_{port}");
    let mut listener = xds::Listener {
        address: Some(socket(
            own_address(&scope.node, bind, entry.bind_to_port),
            port,
        )),
        traffic_direction: TrafficDirection::Outbound.into(),
        continue_on_listener_filters_timeout: true,
        // no answer of the client's for a while means nothing: wait as long as it takes
        listener_filters_timeout: Some(zero()),
        ..Default::default()
    };
    match entry.bind_to_port {
        true => listener.max_connections_to_accept_per_socket_event = Some(ACCEPTS_PER_EVENT),
        false => listener.bind_to_port = Some(false),
    }
    if entry.chains.iter().any(|chain| !chain.sni_hosts.is_empty()) {
        listener.listener_filters.push(tls_inspector());
    }
    if entry.chains.iter().any(|chain| chain.sniffed) {
        listener.listener_filters.push(http_inspector());
        let timeout = scope.config.mesh.protocol_detection_timeout;
        listener.listener_filters_timeout = Some(duration(timeout));
    }
    for chain in entry.chains {
        let matches_all = chain.matches_all();
        let built = chain.build(scope, &name);
        match matches_all {
            true => listener.default_filter_chain = Some(built),
            false => listener.filter_chains.push(built),
        }
    }
    if listener.filter_chains.is_empty() {
        listener
            .filter_chains
            .extend(listener.default_filter_chain.take());
    } else if listener.default_filter_chain.is_none() {
        listener.default_filter_chain = Some(xds::FilterChain {
            name: "PassthroughFilterChain".to_owned(),
            filter_chain_match: Some(xds::FilterChainMatch::default()),
            filters: vec![tcp_proxy(&catch_all_cluster(scope))],
            ..Default::default()
        });
    }
    listener.name = name;
    listener
}

/// Where traffic goes that no service claims.
pub(super) fn catch_all_cluster(scope: &Scope) -> String {
    if scope.registry_only {
        return BLACK_HOLE.to_owned();
    }
    match &scope.egress_proxy {
        Some(proxy) => destination_cluster(proxy, None, 0),
        None => PASSTHROUGH.to_owned(),
    }
}

/// The address to bind: the node's own instead of all, for nodes that share a machine.
pub(super) fn own_address<'a>(node: &'a Node, bind: &'a str, bind_to_port: bool) -> &'a str {
    match bind == WILDCARD && bind_to_port && node.bind_instance_ip {
        true => &node.ip,
        false => bind,
    }
}

/// `virtualOutbound`: receives all captured traffic, hands it to the listener of its original destination.
pub(super) fn virtual_outbound(scope: &Scope) -> xds::Listener {
    let black_hole = xds::FilterChain {
        name: "virtualOutbound-blackhole".to_owned(),
        filter_chain_match: Some(xds::FilterChainMatch {
            destination_port: Some(OUTBOUND_PORT),
            ..Default::default()
        }),
        filters: vec![tcp_proxy(BLACK_HOLE)],
        ..Default::default()
    };
    let catch_all = xds::FilterChain {
        name: "virtualOutbound-catchall-tcp".to_owned(),
        filters: vec![tcp_proxy(&catch_all_cluster(scope))],
        ..Default::default()
    };
    xds::Listener {
        name: "virtualOutbound".to_owned(),
        address: Some(socket(
            own_address(&scope.node, WILDCARD, true),
            OUTBOUND_PORT,
        )),
        use_original_dst: Some(true),
        filter_chains: vec![black_hole, catch_all],
        traffic_direction: TrafficDirection::Outbound.into(),
        max_connections_to_accept_per_socket_event: Some(ACCEPTS_PER_EVENT),
        ..Default::default()
    }
}

/// See [`ACCEPTS_PER_EVENT`].
pub(super) fn accepts_per_event() -> Option<u32> {
    Some(ACCEPTS_PER_EVENT)
}
