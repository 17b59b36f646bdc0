use std::collections::BTreeSet;
use std::net::IpAddr;

use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::listener::v3 as xds;

use super::connection_manager::{self, Place, Routes};
use super::listener_filters::{PLAINTEXT_HTTP, RAW_BUFFER};
use super::network_filters::{tcp_proxy_to_routes, tcp_proxy_to_service};
use super::scope::Scope;
use super::{metadata, outbound_cluster};
use crate::model::{L4Match, Protocol, VirtualService, names};
use crate::registry::{Resolution, Service, UNSPECIFIED};

/// A chain of an outbound listener while it is put together.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) metadata: Option<core::Metadata>,
    pub(super) sni_hosts: Vec<String>,
    pub(super) cidrs: Vec<String>,
    /// Only for what the HTTP inspector calls HTTP.
    pub(super) sniffed: bool,
    pub(super) kind: ChainKind,
}

#[derive(Clone, Debug)]
pub(super) enum ChainKind {
    Http { rds: String, grpc_web: bool },
    Tcp(Box<xds::Filter>),
}

impl Chain {
    pub(super) fn http(rds: String, protocol: Protocol, sniffed: bool) -> Self {
        Chain {
            metadata: None,
            sni_hosts: Vec::new(),
            cidrs: Vec::new(),
            sniffed,
            kind: ChainKind::Http {
                rds,
                grpc_web: protocol == Protocol::GrpcWeb,
            },
        }
    }

    pub(super) fn tcp(filter: xds::Filter, cidrs: &[String]) -> Self {
        Chain {
            metadata: None,
            sni_hosts: Vec::new(),
            cidrs: cidrs.to_vec(),
            sniffed: false,
            kind: ChainKind::Tcp(Box::new(filter)),
        }
    }

    pub(super) fn matches_all(&self) -> bool {
        let any_name = self.sni_hosts.is_empty() || self.sni_hosts.iter().any(|h| h == "*");
        any_name && !self.sniffed && self.cidrs.is_empty()
    }

    /// Whether Envoy could not tell the two apart.
    pub(super) fn conflicts_with(&self, other: &Chain) -> bool {
        fn names(chain: &Chain) -> BTreeSet<&str> {
            let all = chain.sni_hosts.iter().map(String::as_str);
            all.filter(|host| *host != "*").collect()
        }
        fn ranges(chain: &Chain) -> BTreeSet<(IpAddr, u8)> {
            chain.cidrs.iter().filter_map(|c| range(c)).collect()
        }
        self.sniffed == other.sniffed
            && names(self) == names(other)
            && ranges(self) == ranges(other)
    }

    pub(super) fn build(self, scope: &Scope, listener: &str) -> xds::FilterChain {
        let matched = (!self.matches_all()).then(|| self.filter_chain_match());
        let filter = match self.kind {
            ChainKind::Http { rds, grpc_web } => connection_manager::filter(
                scope,
                Place::Outbound,
                &format!("outbound_{listener}"),
                Routes::Rds(rds),
                grpc_web,
            ),
            ChainKind::Tcp(filter) => *filter,
        };
        xds::FilterChain {
            filter_chain_match: matched,
            filters: vec![filter],
            metadata: self.metadata,
            transport_socket_connect_timeout: Some(prost_types::Duration {
                seconds: 15,
                nanos: 0,
            }),
            ..Default::default()
        }
    }

    fn filter_chain_match(&self) -> xds::FilterChainMatch {
        let mut matched = xds::FilterChainMatch::default();
        if self.sniffed {
            RAW_BUFFER.clone_into(&mut matched.transport_protocol);
            matched.application_protocols = PLAINTEXT_HTTP.map(str::to_owned).into();
        }
        if !self.sni_hosts.iter().any(|host| host == "*") {
            matched.server_names.clone_from(&self.sni_hosts);
            matched.server_names.sort();
        }
        let mut cidrs = self.cidrs.clone();
        cidrs.sort();
        matched.prefix_ranges = cidrs
            .iter()
            .filter_map(|cidr| {
                let (address, bits) = match cidr.split_once('/') {
                    Some((address, bits)) => (address, bits.parse().ok()?),
                    None => (cidr.as_str(), if cidr.contains(':') { 128 } else { 32 }),
                };
                (address != UNSPECIFIED).then(|| core::CidrRange {
                    address_prefix: address.to_owned(),
                    prefix_len: Some(bits),
                })
            })
            .collect();
        matched
    }
}

/// A range without the bits that it leaves open.
fn range(cidr: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match cidr.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (cidr, None),
    };
    match address.parse().ok()? {
        IpAddr::V4(ip) => {
            let bits = bits.unwrap_or(32);
            let mask = u32::MAX
                .checked_shl(32 - u32::from(bits.min(32)))
                .unwrap_or(0);
            Some((IpAddr::V4((ip.to_bits() & mask).into()), bits))
        }
        IpAddr::V6(ip) => {
            let bits = bits.unwrap_or(128);
            let mask = u128::MAX
                .checked_shl(128 - u32::from(bits.min(128)))
                .unwrap_or(0);
            Some((IpAddr::V6((ip.to_bits() & mask).into()), bits))
        }
    }
}

/// Which service, and where its listener is.
pub(super) struct TcpTarget<'a> {
    pub(super) service: &'a Service,
    pub(super) bind: &'a str,
    pub(super) port: u32,
    pub(super) protocol: Protocol,
    /// Ranges of the service, if it has no address of its own.
    pub(super) cidrs: Vec<String>,
}

/// Chains for connections to a service: by routes, else straight to it.
pub(super) fn tcp_chains(
    scope: &Scope,
    target: &TcpTarget<'_>,
    virtual_services: &[std::sync::Arc<VirtualService>],
) -> Vec<Chain> {
    let host = target.service.host.as_str();
    let of_host: Vec<_> = virtual_services
        .iter()
        .filter(|vs| vs.hosts.iter().any(|h| names::overlaps(h, host)))
        .map(|vs| &**vs)
        .collect();
    match target.protocol.is_tls() {
        true => tls_routes(scope, target, &of_host),
        false => tcp_routes(scope, target, &of_host),
    }
}

/// What of a match is decided here and not per connection.
fn applies(scope: &Scope, matched: &L4Match, port: u32) -> bool {
    (matched.gateways.is_empty() || matched.gateways.iter().any(|g| g == "mesh"))
        && matched
            .source_labels
            .iter()
            .all(|(k, v)| scope.labels.get(k) == Some(v))
        && matched.port.is_none_or(|p| p == port)
        && (matched.source_namespace.is_empty() || matched.source_namespace == scope.node.namespace)
}

fn tls_routes(scope: &Scope, target: &TcpTarget<'_>, all: &[&VirtualService]) -> Vec<Chain> {
    let mut chains = Vec::new();
    let mut seen = BTreeSet::new();
    let mut cidrs = target.cidrs.clone();
    for vs in all {
        for route in vs.tls.iter().filter(|route| !route.route.is_empty()) {
            for matched in &route.matches {
                if !applies(scope, matched, target.port) {
                    continue;
                }
                if !matched.destination_subnets.is_empty() {
                    cidrs.clone_from(&matched.destination_subnets);
                }
                let key = (
                    matched.sni_hosts.clone(),
                    matched.destination_subnets.clone(),
                );
                if !seen.insert(key) {
                    continue;
                }
                let filter = tcp_proxy_to_routes(scope, &route.route, target.port, &vs.metadata);
                chains.extend(filter.map(|filter| Chain {
                    metadata: Some(metadata::of_object("virtual-service", &vs.metadata)),
                    sni_hosts: matched.sni_hosts.clone(),
                    ..Chain::tcp(filter, &cidrs)
                }));
            }
        }
    }
    if chains.is_empty() {
        let address = match target.service.address() {
            range if range.contains('/') => "",
            address => address,
        };
        // without an address of its own only the name tells it from others
        let by_name = !cidrs.is_empty()
            || address.is_empty()
            || (address == UNSPECIFIED && target.bind == UNSPECIFIED);
        let mut sni_hosts = Vec::new();
        if by_name {
            sni_hosts.push(target.service.host.clone());
            for alias in &target.service.aliases {
                sni_hosts.push(alias.clone());
                sni_hosts.extend(super::virtual_host::short_names(scope, alias));
            }
        }
        chains.push(Chain {
            sni_hosts,
            ..straight(scope, target, &cidrs)
        });
    }
    chains
}

fn tcp_routes(scope: &Scope, target: &TcpTarget<'_>, all: &[&VirtualService]) -> Vec<Chain> {
    let mut chains = Vec::new();
    for vs in all {
        for route in vs.tcp.iter().filter(|route| !route.route.is_empty()) {
            let filter = || tcp_proxy_to_routes(scope, &route.route, target.port, &vs.metadata);
            let fitting: Vec<_> = route
                .matches
                .iter()
                .filter(|m| applies(scope, m, target.port))
                .collect();
            let mut subnets: Vec<String> = Vec::new();
            let mut catches_all = route.matches.is_empty();
            for matched in fitting {
                if matched.destination_subnets.is_empty() {
                    catches_all = true;
                    break;
                }
                subnets.extend(matched.destination_subnets.iter().cloned());
            }
            if catches_all {
                chains.extend(filter().map(|filter| Chain {
                    metadata: Some(metadata::of_object("virtual-service", &vs.metadata)),
                    ..Chain::tcp(filter, &target.cidrs)
                }));
                return chains;
            }
            if !subnets.is_empty() {
                chains.extend(filter().map(|filter| Chain::tcp(filter, &subnets)));
                let mut own = target.cidrs.clone();
                own.sort();
                subnets.sort();
                if subnets == own {
                    return chains;
                }
            }
        }
    }
    chains.push(straight(scope, target, &target.cidrs));
    chains
}

/// To the service itself; by its only port, if the listener has another one.
fn straight(scope: &Scope, target: &TcpTarget<'_>, cidrs: &[String]) -> Chain {
    let service = target.service;
    debug_assert!(service.resolution != Resolution::Alias);
    let port = match service.ports.as_slice() {
        [only] => only.port,
        _ => target.port,
    };
    let rule = scope.destination_rule(&service.host);
    let cluster = outbound_cluster(port, "", &service.host);
    Chain::tcp(tcp_proxy_to_service(&cluster, "", rule.as_deref()), cidrs)
}
