use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mesh_proto::envoy::config::cluster::v3 as xds;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use mesh_proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use xds::cluster::{CommonLbConfig, DiscoveryType};

use super::address::{duration, pipe, socket};
use super::cluster::{add_services, passthrough, policy_of, with_type};
use super::network_filters::INBOUND_PASSTHROUGH;
use super::scope::Scope;
use super::{metadata, traffic_policy};
use crate::model::{
    ConnectionPool, IngressEndpoint, IngressListener, Protocol, RetryBudget, TrafficPolicy,
};
use crate::registry::ServiceTarget;
use traffic_policy::HttpOptions;

/// Source address of connections to the own workload, by which capture knows not to capture them again.
const MAGIC_SOURCE: &str = "127.0.0.6";
/// Hosts of inbound clusters are never cleaned up (Go's greatest duration).
const NEVER: prost_types::Duration = prost_types::Duration {
    seconds: 9_223_372_035,
    nanos: 0,
};

pub(super) fn name(port: u32) -> String {
    format!("inbound|{port}||")
}

/// One cluster per port of the workload, and one for all other ports.
pub(super) fn clusters(scope: &Scope) -> Vec<xds::Cluster> {
    let ingress = scope.sidecar.iter().flat_map(|s| &s.ingress);
    let mut clusters: Vec<_> = ingress
        .map(|listener| of_ingress(scope, listener))
        .collect();
    if clusters.is_empty() {
        let mut ports: BTreeMap<u32, Vec<ServiceTarget>> = BTreeMap::new();
        for target in scope.targets() {
            ports.entry(target.target_port).or_default().push(target);
        }
        clusters.extend(
            ports
                .iter()
                .filter_map(|(port, targets)| of_services(scope, *port, targets)),
        );
    }
    clusters.push(xds::Cluster {
        upstream_bind_config: Some(magic_source()),
        ..passthrough(scope, INBOUND_PASSTHROUGH)
    });
    clusters
}

fn of_services(scope: &Scope, port: u32, targets: &[ServiceTarget]) -> Option<xds::Cluster> {
    let first = targets.first()?;
    let mut cluster = with_type(&name(port), DiscoveryType::OriginalDst);
    let rule = scope.inbound_rule(&first.service.host);
    let mut metadata = core::Metadata::default();
    if let Some(rule) = rule.as_ref().filter(|rule| rule.traffic_policy.is_some()) {
        metadata = metadata::of_object("destination-rule", &rule.metadata);
    }
    let mut seen = BTreeSet::new();
    let same_port = targets
        .iter()
        .filter(|t| t.port.port == first.port.port && seen.insert(&t.service.host));
    add_services(&mut metadata, same_port.map(|t| &*t.service));
    cluster.metadata = Some(metadata);
    let policy = policy_of(rule.as_ref(), None, first.port.port);
    let pool = scope
        .sidecar
        .as_ref()
        .and_then(|sidecar| sidecar.inbound_pool.clone());
    let pool = pool.or(policy.connection_pool);
    finish(
        scope,
        &mut cluster,
        first.port.protocol,
        pool,
        policy.retry_budget,
    );
    Some(cluster)
}

/// For a listener that the node's Sidecar writes out.
fn of_ingress(scope: &Scope, listener: &IngressListener) -> xds::Cluster {
    let own = &scope.node.ip;
    let address = match &listener.endpoint {
        None | Some(IngressEndpoint::Socket(None, _)) => None,
        Some(IngressEndpoint::Socket(Some(ip), port)) => {
            let is_v6 = own.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
            let ip = match (ip.is_unspecified(), is_v6) {
                (true, same) if ip.is_ipv6() == same => own.clone(),
                (true, _) if ip.is_ipv6() => "::1".to_owned(),
                (true, _) => "127.0.0.1".to_owned(),
                // the loopback address of the node's family
                (false, true) => "::1".to_owned(),
                (false, false) => "127.0.0.1".to_owned(),
            };
            Some((socket(&ip, *port), ip == "127.0.0.1" || ip == "::1"))
        }
        Some(IngressEndpoint::Pipe(path)) => {
            Some((pipe(path.trim_start_matches("unix://")), false))
        }
    };
    let discovery = match address {
        Some(_) => DiscoveryType::Static,
        None => DiscoveryType::OriginalDst,
    };
    let name = name(listener.port);
    let mut cluster = with_type(&name, discovery);
    let is_loopback = address
        .as_ref()
        .is_some_and(|(_, is_loopback)| *is_loopback);
    if let Some((address, _)) = address {
        let endpoint = Endpoint {
            address: Some(address),
            ..Default::default()
        };
        cluster.load_assignment = Some(ClusterLoadAssignment {
            cluster_name: name,
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: vec![LbEndpoint {
                    host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        });
    }
    let targets = scope.targets();
    let service = targets
        .iter()
        .find(|t| t.target_port == listener.port)
        .map(|t| &t.service);
    let mut rule = None;
    if let Some(service) = service {
        rule = scope.inbound_rule(&service.host);
        let mut metadata = core::Metadata::default();
        if let Some(rule) = rule.as_ref().filter(|rule| rule.traffic_policy.is_some()) {
            metadata = metadata::of_object("destination-rule", &rule.metadata);
        }
        add_services(&mut metadata, [&**service]);
        cluster.metadata = Some(metadata);
    }
    let policy = policy_of(rule.as_ref(), None, listener.port);
    let of_sidecar = scope.sidecar.as_ref().and_then(|s| s.inbound_pool.clone());
    let pool = listener
        .pool
        .clone()
        .or(of_sidecar)
        .or(policy.connection_pool);
    finish(
        scope,
        &mut cluster,
        listener.protocol,
        pool,
        policy.retry_budget,
    );
    if is_loopback {
        cluster.upstream_bind_config = None;
    }
    cluster
}

/// Only the connection pool concerns the receiver, and its protocol is that of the service.
fn finish(
    scope: &Scope,
    cluster: &mut xds::Cluster,
    protocol: Protocol,
    connection_pool: Option<ConnectionPool>,
    retry_budget: Option<RetryBudget>,
) {
    cluster.connect_timeout = Some(duration(scope.config.mesh.connect_timeout));
    cluster.common_lb_config = Some(CommonLbConfig::default());
    if cluster.load_assignment.is_none() {
        cluster.cleanup_interval = Some(NEVER);
    }
    cluster.upstream_bind_config = Some(magic_source());
    let policy = TrafficPolicy {
        connection_pool,
        retry_budget,
        ..TrafficPolicy::default()
    };
    let mut http = HttpOptions::for_protocol(protocol, scope.node.kind);
    traffic_policy::apply_connection_pool(scope, cluster, &mut http, &policy);
    http.attach(cluster);
}

fn magic_source() -> core::BindConfig {
    core::BindConfig {
        source_address: Some(core::SocketAddress {
            address: MAGIC_SOURCE.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(0)),
            ..Default::default()
        }),
        ..Default::default()
    }
}
