use std::collections::BTreeMap;

use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::core::v3::TrafficDirection;
use mesh_proto::envoy::config::listener::v3 as xds;
use mesh_proto::envoy::config::route::v3 as rt;

use super::address::{duration, socket};
use super::connection_manager::{self, Place, Routes};
use super::listener::{WILDCARD, accepts_per_event, own_address};
use super::listener_filters::{
    PLAINTEXT_HTTP, RAW_BUFFER, TLS, http_inspector_except, original_dst, tls_inspector_except,
    tls_inspector_only,
};
use super::network_filters::{BLACK_HOLE, INBOUND_PASSTHROUGH, tcp_proxy};
use super::scope::Scope;
use super::{inbound_cluster, metadata, route_action, tls};
use crate::model::{CaptureMode, MtlsMode, Protocol};

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
    chains.extend(passthrough(scope, ports));
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
        listener_filters: inspectors(&chains),
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

/// What looks for TLS and for HTTP, at the ports where a chain depends on it.
fn inspectors(chains: &[xds::FilterChain]) -> Vec<xds::ListenerFilter> {
    let mut ports: BTreeMap<u32, (bool, bool)> = BTreeMap::new();
    for chain in chains {
        let Some(matched) = &chain.filter_chain_match else {
            continue;
        };
        let (tls, http) = ports
            .entry(matched.destination_port.unwrap_or(0))
            .or_default();
        *tls |= matched.transport_protocol == TLS;
        *http |= matched
            .application_protocols
            .iter()
            .any(|protocol| PLAINTEXT_HTTP.contains(&protocol.as_str()));
    }
    let mut filters = Vec::new();
    if ports.values().any(|(tls, _)| *tls) {
        let of = |wanted: bool| -> Vec<u32> {
            let ports = ports
                .iter()
                .filter(|(port, (tls, _))| **port > 0 && *tls == wanted);
            ports.map(|(port, _)| *port).collect()
        };
        let (by_default, _) = ports.get(&0).copied().unwrap_or_default();
        filters.push(match by_default {
            true => tls_inspector_except(&of(false)),
            false => tls_inspector_only(&of(true)),
        });
    }
    if ports.values().any(|(_, http)| *http) {
        let left_alone = ports.iter().filter(|(_, (_, http))| !http);
        let left_alone: Vec<u32> = left_alone.map(|(port, _)| *port).collect();
        filters.push(http_inspector_except(&left_alone));
    }
    filters
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

/// For every port, and for those that no service exposes but a PeerAuthentication names.
fn passthrough(scope: &Scope, ports: &[InboundPort]) -> Vec<xds::FilterChain> {
    let named = scope.mutual_tls().ports.keys().copied();
    let unexposed = named.filter(|port| ports.iter().all(|exposed| exposed.port != *port));
    let of_port = |port: u32| {
        let cluster = INBOUND_PASSTHROUGH;
        Chains {
            port,
            mode: scope.mutual_tls().for_port(port),
            http_name: "virtualInbound-catchall-http",
            tcp_name: "virtualInbound",
            http: &|| http_filter(scope, cluster, cluster, ":0/*", 0, Protocol::Unknown),
            tcp: &|| tcp_filters(scope, cluster),
        }
        .build(scope, Protocol::Unknown)
    };
    [0].into_iter().chain(unexposed).flat_map(of_port).collect()
}

fn service_chains(scope: &Scope, port: &InboundPort) -> Vec<xds::FilterChain> {
    let cluster = inbound_cluster::name(port.port);
    let name = format!("{}_{}", port.bind, port.port);
    let operation = format!("{}:{}/*", port.host, port.service_port);
    let protocol = port.protocol;
    let chains = Chains {
        port: port.port,
        mode: scope.mutual_tls().for_port(port.port),
        http_name: &name,
        tcp_name: &name,
        http: &|| {
            let stat_name = format!("inbound_{name}");
            let service_port = port.service_port;
            http_filter(
                scope,
                &cluster,
                &stat_name,
                &operation,
                service_port,
                protocol,
            )
        },
        tcp: &|| tcp_filters(scope, &cluster),
    };
    let mut chains = chains.build(scope, protocol);
    for chain in &mut chains {
        chain.metadata.clone_from(&port.metadata);
    }
    chains
}

/// What the chains of a port are made of.
struct Chains<'a> {
    /// 0: every other port.
    port: u32,
    mode: MtlsMode,
    http_name: &'a str,
    tcp_name: &'a str,
    http: &'a dyn Fn() -> xds::Filter,
    tcp: &'a dyn Fn() -> Vec<xds::Filter>,
}

impl Chains<'_> {
    fn build(&self, scope: &Scope, protocol: Protocol) -> Vec<xds::FilterChain> {
        let kinds = kinds(self.mode, protocol);
        kinds.iter().map(|kind| self.chain(scope, kind)).collect()
    }

    fn chain(&self, scope: &Scope, kind: &ChainKind) -> xds::FilterChain {
        let (name, filters) = match kind.http {
            true => (self.http_name, vec![(self.http)()]),
            false => (self.tcp_name, (self.tcp)()),
        };
        let protocols = kind.application_protocols.iter();
        xds::FilterChain {
            name: name.to_owned(),
            filter_chain_match: Some(xds::FilterChainMatch {
                destination_port: (self.port > 0).then_some(self.port),
                transport_protocol: kind.transport_protocol.to_owned(),
                application_protocols: protocols.map(|p| (*p).to_owned()).collect(),
                ..Default::default()
            }),
            filters,
            transport_socket: kind.terminates.then(|| tls::inbound(&scope.config.mesh)),
            ..Default::default()
        }
    }
}

/// One of the ways in which connections to a port arrive.
struct ChainKind {
    http: bool,
    application_protocols: &'static [&'static str],
    transport_protocol: &'static str,
    /// Whether it is TLS of the mesh, which ends here.
    terminates: bool,
}

const fn mutual(http: bool, application_protocols: &'static [&'static str]) -> ChainKind {
    ChainKind {
        http,
        application_protocols,
        transport_protocol: TLS,
        terminates: true,
    }
}

const fn plain(http: bool, application_protocols: &'static [&'static str]) -> ChainKind {
    ChainKind {
        http,
        application_protocols,
        transport_protocol: RAW_BUFFER,
        terminates: false,
    }
}

/// TLS of the application itself.
const PASSED_ON: ChainKind = ChainKind {
    http: false,
    application_protocols: &[],
    transport_protocol: TLS,
    terminates: false,
};

/// By which clients of the mesh say that they speak mutual TLS, and what within it.
const MESH_HTTP: &[&str] = &["istio-http/1.0", "istio-http/1.1", "istio-h2"];
const MESH_TCP: &[&str] = &["istio-peer-exchange", "istio"];
const MESH: &[&str] = &[
    "istio",
    "istio-peer-exchange",
    "istio-http/1.0",
    "istio-http/1.1",
    "istio-h2",
];

/// In the order of istiod's `core/filterchain_options.go`.
fn kinds(mode: MtlsMode, protocol: Protocol) -> &'static [ChainKind] {
    use MtlsMode::{Permissive, Strict};
    match (protocol, mode) {
        (protocol, Strict) if protocol.is_http() => &const { [mutual(true, &[])] },
        (protocol, Permissive) if protocol.is_http() => {
            &const { [mutual(true, MESH), plain(true, &[])] }
        }
        (protocol, _) if protocol.is_http() => &const { [plain(true, &[])] },
        (Protocol::Unknown, Strict) => &const { [mutual(true, MESH_HTTP), mutual(false, &[])] },
        (Protocol::Unknown, Permissive) => {
            &const {
                [
                    mutual(true, MESH_HTTP),
                    plain(true, &PLAINTEXT_HTTP),
                    mutual(false, MESH_TCP),
                    plain(false, &[]),
                    PASSED_ON,
                ]
            }
        }
        (Protocol::Unknown, _) => &const { [plain(true, &PLAINTEXT_HTTP), plain(false, &[])] },
        (_, Strict) => &const { [mutual(false, &[])] },
        (_, Permissive) => &const { [mutual(false, MESH), PASSED_ON, plain(false, &[])] },
        (_, _) => &const { [plain(false, &[])] },
    }
}

/// Who may connect, then the proxy.
fn tcp_filters(scope: &Scope, cluster: &str) -> Vec<xds::Filter> {
    let mut filters = scope.authorization().tcp.clone();
    filters.push(tcp_proxy(cluster));
    filters
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
