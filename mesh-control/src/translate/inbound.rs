use std::collections::BTreeMap;

use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::core::v3::TrafficDirection;
use mesh_proto::envoy::config::listener::v3 as xds;
use mesh_proto::envoy::config::route::v3 as rt;

use super::address::{duration, socket};
use super::connection_manager::{self, Place, Routes};
use super::listener::{WILDCARD, accepts_per_event, own_address};
use super::listener_filters::{
    PLAINTEXT_HTTP, RAW_BUFFER, http_inspector, http_inspector_except, original_dst,
};
use super::network_filters::{BLACK_HOLE, INBOUND_PASSTHROUGH, tcp_proxy};
use super::scope::Scope;
use super::{inbound_cluster, metadata, route_action};
use crate::model::{CaptureMode, Protocol};

const OUTBOUND_PORT: u32 = 15001;
const INBOUND_PORT: u32 = 15006;

/// A port of the workload, and how it is served.
struct InboundPort {
    port: u32,
    bind: String,
    bind_to_port: bool,
    protocol: Protocol,
    /// Of the service; that of the listener if the Sidecar writes it out.
    service_port: u32,
    /// What traces call it.
    host: String,
    metadata: Option<core::Metadata>,
}

/// `virtualInbound`, and listeners that the node's Sidecar binds.
pub(super) fn listeners(scope: &Scope) -> Vec<xds::Listener> {
    let ports = ports(scope);
    let mut listeners = vec![virtual_inbound(scope, &ports)];
    let bound = ports.iter().filter(|port| port.bind_to_port);
    listeners.extend(bound.map(|port| bound_listener(scope, port)));
    listeners
}

/// Receives all captured traffic to the workload, a chain per port that a service exposes.
fn virtual_inbound(scope: &Scope, ports: &[InboundPort]) -> xds::Listener {
    let mut chains = vec![black_hole()];
    chains.extend(passthrough(scope));
    for port in ports.iter().filter(|port| !port.bind_to_port) {
        chains.extend(service_chains(scope, port));
    }
    let mut listener = listener("virtualInbound", WILDCARD, INBOUND_PORT, chains, scope);
    listener.listener_filters.insert(0, original_dst());
    listener
}

fn bound_listener(scope: &Scope, port: &InboundPort) -> xds::Listener {
    let name = format!("{}_{}", port.bind, port.port);
    listener(
        &name,
        &port.bind,
        port.port,
        service_chains(scope, port),
        scope,
    )
}

fn listener(
    name: &str,
    bind: &str,
    port: u32,
    chains: Vec<xds::FilterChain>,
    scope: &Scope,
) -> xds::Listener {
    xds::Listener {
        name: name.to_owned(),
        address: Some(socket(own_address(&scope.node, bind, true), port)),
        traffic_direction: TrafficDirection::Inbound.into(),
        continue_on_listener_filters_timeout: true,
        max_connections_to_accept_per_socket_event: accepts_per_event(),
        listener_filters: inspector(&chains).into_iter().collect(),
        listener_filters_timeout: Some(duration(scope.config.mesh.protocol_detection_timeout)),
        filter_chains: chains,
        ..Default::default()
    }
}

/// What the node's Sidecar writes out, else a port per port of its services, shaped by the oldest.
fn ports(scope: &Scope) -> Vec<InboundPort> {
    let mut ports: BTreeMap<u32, InboundPort> = BTreeMap::new();
    let sidecar = scope.sidecar.as_ref().filter(|s| !s.ingress.is_empty());
    let Some(sidecar) = sidecar else {
        for target in scope.targets() {
            if target.target_port == OUTBOUND_PORT || target.target_port == INBOUND_PORT {
                continue;
            }
            ports.entry(target.target_port).or_insert(InboundPort {
                port: target.target_port,
                bind: WILDCARD.to_owned(),
                bind_to_port: false,
                protocol: target.port.protocol,
                service_port: target.port.port,
                host: target.service.host.clone(),
                metadata: None,
            });
        }
        return ports.into_values().collect();
    };
    let metadata = &sidecar.metadata;
    for listener in &sidecar.ingress {
        ports.entry(listener.port).or_insert(InboundPort {
            port: listener.port,
            bind: match listener.bind.as_str() {
                "" => WILDCARD.to_owned(),
                bind => bind.to_owned(),
            },
            bind_to_port: listener.capture == CaptureMode::None,
            protocol: listener.protocol,
            service_port: listener.port,
            host: format!("{}.{}", metadata.name, scope.node.namespace),
            metadata: Some(metadata::of_sidecar(&metadata.name, &scope.node.namespace)),
        });
    }
    ports.into_values().collect()
}

/// Looks at every port, except those that every chain of the port treats alike.
fn inspector(chains: &[xds::FilterChain]) -> Option<xds::ListenerFilter> {
    let mut ports: BTreeMap<u32, bool> = BTreeMap::new();
    for chain in chains {
        let Some(matched) = &chain.filter_chain_match else {
            continue;
        };
        let looks = !matched.application_protocols.is_empty();
        *ports
            .entry(matched.destination_port.unwrap_or(0))
            .or_default() |= looks;
    }
    if !ports.values().any(|looks| *looks) {
        return None;
    }
    let left_alone: Vec<u32> = ports
        .into_iter()
        .filter(|(_, looks)| !looks)
        .map(|(port, _)| port)
        .collect();
    Some(if left_alone.is_empty() {
        http_inspector()
    } else {
        http_inspector_except(&left_alone)
    })
}

/// Traffic to the listener's own port would come back for ever.
fn black_hole() -> xds::FilterChain {
    xds::FilterChain {
        name: "virtualInbound-blackhole".to_owned(),
        filter_chain_match: Some(xds::FilterChainMatch {
            destination_port: Some(INBOUND_PORT),
            ..Default::default()
        }),
        filters: vec![tcp_proxy(BLACK_HOLE)],
        ..Default::default()
    }
}

fn passthrough(scope: &Scope) -> [xds::FilterChain; 2] {
    let http = chain(
        0,
        true,
        "virtualInbound-catchall-http",
        vec![http_filter(
            scope,
            INBOUND_PASSTHROUGH,
            INBOUND_PASSTHROUGH,
            ":0/*",
            0,
            Protocol::Unknown,
        )],
    );
    let tcp = chain(
        0,
        false,
        "virtualInbound",
        tcp_filters(scope, INBOUND_PASSTHROUGH),
    );
    [http, tcp]
}

fn service_chains(scope: &Scope, port: &InboundPort) -> Vec<xds::FilterChain> {
    let cluster = inbound_cluster::name(port.port);
    let name = format!("{}_{}", port.bind, port.port);
    let operation = format!("{}:{}/*", port.host, port.service_port);
    let protocol = port.protocol;
    let http = || {
        vec![http_filter(
            scope,
            &cluster,
            &format!("inbound_{name}"),
            &operation,
            port.service_port,
            protocol,
        )]
    };
    let number = port.port;
    let mut chains = if protocol.is_http() {
        vec![chain(number, false, &name, http())]
    } else if protocol == Protocol::Unknown {
        vec![
            chain(number, true, &name, http()),
            chain(number, false, &name, tcp_filters(scope, &cluster)),
        ]
    } else {
        vec![chain(number, false, &name, tcp_filters(scope, &cluster))]
    };
    for chain in &mut chains {
        chain.metadata.clone_from(&port.metadata);
    }
    chains
}

/// Who may connect, then the proxy.
fn tcp_filters(scope: &Scope, cluster: &str) -> Vec<xds::Filter> {
    let mut filters = scope.authorization().tcp.clone();
    filters.push(tcp_proxy(cluster));
    filters
}

fn chain(port: u32, only_http: bool, name: &str, filters: Vec<xds::Filter>) -> xds::FilterChain {
    xds::FilterChain {
        name: name.to_owned(),
        filter_chain_match: Some(xds::FilterChainMatch {
            destination_port: (port > 0).then_some(port),
            transport_protocol: RAW_BUFFER.to_owned(),
            application_protocols: if only_http {
                PLAINTEXT_HTTP.map(str::to_owned).into()
            } else {
                Vec::new()
            },
            ..Default::default()
        }),
        filters,
        ..Default::default()
    }
}

fn http_filter(
    scope: &Scope,
    cluster: &str,
    stat_name: &str,
    operation: &str,
    service_port: u32,
    protocol: Protocol,
) -> xds::Filter {
    let routes = rt::RouteConfiguration {
        name: cluster.to_owned(),
        virtual_hosts: vec![rt::VirtualHost {
            name: format!("inbound|http|{service_port}"),
            domains: vec!["*".to_owned()],
            routes: vec![route_action::inbound_route(cluster, operation, protocol)],
            ..Default::default()
        }],
        validate_clusters: Some(false),
        ..Default::default()
    };
    let place = Place::Inbound {
        http2: protocol.is_http2(),
    };
    let grpc_web = protocol == Protocol::GrpcWeb;
    connection_manager::filter(
        scope,
        place,
        stat_name,
        Routes::Inline(Box::new(routes)),
        grpc_web,
    )
}
