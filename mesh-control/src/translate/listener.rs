use std::collections::BTreeMap;

use mesh_proto::envoy::config::core::v3::TrafficDirection;
use mesh_proto::envoy::config::listener::v3 as xds;

use super::address::{socket, zero};
use super::connection_manager::{self, Place, Routes};
use super::listener_filters::{PLAINTEXT_HTTP, RAW_BUFFER, http_inspector};
use super::network_filters::{BLACK_HOLE, PASSTHROUGH, tcp_proxy};
use super::scope::{Egress, Scope};
use super::{Node, outbound_cluster};
use crate::model::{ClusterIp, Protocol, Service};

pub(super) const WILDCARD: &str = "0.0.0.0";
const LOCALHOST: &str = "127.0.0.1";
const OUTBOUND_PORT: u32 = 15001;
/// Idle upstream connections per event of an accepting socket, as istiod sets it.
const ACCEPTS_PER_EVENT: u32 = 1;

/// A listener while it is put together.
struct Entry {
    bind_to_port: bool,
    /// Made by an explicit port of a Sidecar: later services add nothing to it.
    locked: bool,
    chains: Vec<Chain>,
}

struct Chain {
    /// Only for what the HTTP inspector calls HTTP.
    sniffed: bool,
    kind: ChainKind,
}

enum ChainKind {
    Http { rds: String, grpc_web: bool },
    Tcp { cluster: String },
}

/// The listeners for what the node calls, by address and port.
pub(super) fn outbound(scope: &Scope) -> Vec<xds::Listener> {
    let mut entries: BTreeMap<(String, u32), Entry> = BTreeMap::new();
    for egress in &scope.egress {
        let bind = match egress.bind.as_str() {
            "" if egress.bind_to_port => LOCALHOST,
            bind => bind,
        };
        if let Some((port, protocol)) = egress.port {
            for service in &egress.services {
                add(&mut entries, egress, bind, service, port, protocol);
            }
            continue;
        }
        entries.values_mut().for_each(|entry| entry.locked = true);
        for service in &egress.services {
            for port in &service.ports {
                add(
                    &mut entries,
                    egress,
                    bind,
                    service,
                    port.port,
                    port.protocol,
                );
            }
        }
    }
    entries
        .into_iter()
        .map(|((bind, port), entry)| build(scope, &bind, port, entry))
        .collect()
}

fn add(
    entries: &mut BTreeMap<(String, u32), Entry>,
    egress: &Egress,
    bind: &str,
    service: &Service,
    port: u32,
    protocol: Protocol,
) {
    let bind = match bind {
        "" if protocol.is_http() => WILDCARD.to_owned(),
        "" => vip(service),
        bind => bind.to_owned(),
    };
    let tcp = || Chain {
        sniffed: false,
        kind: ChainKind::Tcp {
            cluster: outbound_cluster(port, "", &service.host),
        },
    };
    let http = |rds: String, sniffed| Chain {
        sniffed,
        kind: ChainKind::Http {
            rds,
            grpc_web: protocol == Protocol::GrpcWeb,
        },
    };
    let key = (bind.clone(), port);
    let existing = entries.get_mut(&key);
    if existing.as_ref().is_some_and(|entry| entry.locked) {
        return;
    }
    let has = |entry: &Entry, wants_http: bool| {
        entry
            .chains
            .iter()
            .any(|c| matches!(c.kind, ChainKind::Http { .. }) == wants_http)
    };
    let chains = match protocol {
        Protocol::Udp => return,
        _ if protocol.is_http() => match &existing {
            Some(entry) if has(entry, true) => return,
            // HTTP beside TCP on one address is told apart by looking at it
            Some(_) => vec![http(port.to_string(), true)],
            None => vec![http(port.to_string(), bind == WILDCARD)],
        },
        _ if protocol.is_tcp() => match &existing {
            Some(entry) if has(entry, false) => return,
            _ => vec![tcp()],
        },
        _ => {
            let shared = bind == WILDCARD;
            let rds = if shared {
                port.to_string()
            } else {
                format!("{}:{port}", service.host)
            };
            match &existing {
                Some(entry) if has(entry, true) && has(entry, false) => return,
                Some(entry) if has(entry, true) => vec![tcp()],
                Some(_) => vec![http(rds, true)],
                None => vec![tcp(), http(rds, true)],
            }
        }
    };
    match existing {
        Some(entry) => {
            entry.chains.extend(chains);
            for chain in &mut entry.chains {
                chain.sniffed |= matches!(chain.kind, ChainKind::Http { .. });
            }
        }
        None => {
            entries.insert(
                key,
                Entry {
                    bind_to_port: egress.bind_to_port,
                    locked: false,
                    chains,
                },
            );
        }
    }
}

fn vip(service: &Service) -> String {
    match &service.cluster_ip {
        ClusterIp::Addresses(addresses) => addresses
            .first()
            .map(ToString::to_string)
            .unwrap_or_default(),
        ClusterIp::Unset | ClusterIp::Headless => WILDCARD.to_owned(),
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
        ..Default::default()
    };
    match entry.bind_to_port {
        true => listener.max_connections_to_accept_per_socket_event = Some(ACCEPTS_PER_EVENT),
        false => listener.bind_to_port = Some(false),
    }
    if entry.chains.iter().any(|chain| chain.sniffed) {
        listener.listener_filters.push(http_inspector());
        // no answer of the client's for a while means nothing: wait as long as it takes
        listener.listener_filters_timeout = Some(zero());
    } else {
        listener.listener_filters_timeout = Some(zero());
    }
    for chain in entry.chains {
        let filter = match chain.kind {
            ChainKind::Http { rds, grpc_web } => connection_manager::filter(
                &scope.node,
                Place::Outbound,
                &format!("outbound_{name}"),
                Routes::Rds(rds),
                grpc_web,
            ),
            ChainKind::Tcp { cluster } => tcp_proxy(&cluster),
        };
        let mut built = xds::FilterChain {
            filters: vec![filter],
            transport_socket_connect_timeout: Some(prost_types::Duration {
                seconds: 15,
                nanos: 0,
            }),
            ..Default::default()
        };
        if chain.sniffed {
            built.filter_chain_match = Some(xds::FilterChainMatch {
                transport_protocol: RAW_BUFFER.to_owned(),
                application_protocols: PLAINTEXT_HTTP.map(str::to_owned).into(),
                ..Default::default()
            });
            listener.filter_chains.push(built);
        } else {
            listener.default_filter_chain = Some(built);
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
            filters: vec![tcp_proxy(catch_all_cluster(scope))],
            ..Default::default()
        });
    }
    listener.name = name;
    listener
}

/// Where traffic goes that no service claims.
pub(super) fn catch_all_cluster(scope: &Scope) -> &'static str {
    if scope.registry_only {
        BLACK_HOLE
    } else {
        PASSTHROUGH
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
        filters: vec![tcp_proxy(catch_all_cluster(scope))],
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
