use std::collections::BTreeMap;

use mesh_proto::envoy::config::core::v3::TrafficDirection;
use mesh_proto::envoy::config::listener::v3 as xds;
use mesh_proto::envoy::config::route::v3 as rt;

use super::address::{socket, zero};
use super::connection_manager::{self, Place, Routes};
use super::listener::{WILDCARD, accepts_per_event, own_address};
use super::listener_filters::{
    PLAINTEXT_HTTP, RAW_BUFFER, http_inspector, http_inspector_except, original_dst,
};
use super::network_filters::{BLACK_HOLE, INBOUND_PASSTHROUGH, tcp_proxy};
use super::scope::{Scope, ServiceTarget};
use super::{inbound_cluster, route_action};
use crate::model::Protocol;

const INBOUND_PORT: u32 = 15006;

/// `virtualInbound`: receives all captured traffic to the workload, a chain per port that a service exposes.
pub(super) fn virtual_inbound(scope: &Scope) -> xds::Listener {
    let mut chains = vec![black_hole()];
    chains.extend(passthrough(scope));
    for (port, target) in first_per_port(scope) {
        chains.extend(service_chains(scope, port, &target));
    }
    xds::Listener {
        name: "virtualInbound".to_owned(),
        address: Some(socket(
            own_address(&scope.node, WILDCARD, true),
            INBOUND_PORT,
        )),
        traffic_direction: TrafficDirection::Inbound.into(),
        continue_on_listener_filters_timeout: true,
        max_connections_to_accept_per_socket_event: accepts_per_event(),
        listener_filters: vec![original_dst(), inspector(&chains)],
        listener_filters_timeout: Some(zero()),
        filter_chains: chains,
        ..Default::default()
    }
}

/// Ports and the service that shapes each: the oldest one.
fn first_per_port(scope: &Scope) -> BTreeMap<u32, ServiceTarget> {
    let mut ports = BTreeMap::new();
    for target in scope.targets() {
        ports.entry(target.target_port).or_insert(target);
    }
    ports
}

/// Looks at every port, except those that every chain of the port treats alike.
fn inspector(chains: &[xds::FilterChain]) -> xds::ListenerFilter {
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
    let left_alone: Vec<u32> = ports
        .into_iter()
        .filter(|(_, looks)| !looks)
        .map(|(port, _)| port)
        .collect();
    if left_alone.is_empty() {
        http_inspector()
    } else {
        http_inspector_except(&left_alone)
    }
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
        http_filter(
            scope,
            INBOUND_PASSTHROUGH,
            INBOUND_PASSTHROUGH,
            ":0/*",
            0,
            Protocol::Unknown,
        ),
    );
    let tcp = chain(0, false, "virtualInbound", tcp_proxy(INBOUND_PASSTHROUGH));
    [http, tcp]
}

fn service_chains(scope: &Scope, port: u32, target: &ServiceTarget) -> Vec<xds::FilterChain> {
    let cluster = inbound_cluster::name(port);
    let name = format!("{WILDCARD}_{port}");
    let operation = format!("{}:{}/*", target.service.host, target.port.port);
    let protocol = target.port.protocol;
    let http = || {
        http_filter(
            scope,
            &cluster,
            &format!("inbound_{name}"),
            &operation,
            target.port.port,
            protocol,
        )
    };
    if protocol.is_http() {
        vec![chain(port, false, &name, http())]
    } else if protocol == Protocol::Unknown {
        vec![
            chain(port, true, &name, http()),
            chain(port, false, &name, tcp_proxy(&cluster)),
        ]
    } else {
        vec![chain(port, false, &name, tcp_proxy(&cluster))]
    }
}

fn chain(port: u32, only_http: bool, name: &str, filter: xds::Filter) -> xds::FilterChain {
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
        filters: vec![filter],
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
        &scope.node,
        place,
        stat_name,
        Routes::Inline(Box::new(routes)),
        grpc_web,
    )
}
