use std::sync::Arc;

use mesh_proto::envoy::config::listener::v3 as listener;
use mesh_proto::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy,
    tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight},
};

use super::address::{any, duration};
use super::scope::Scope;
use super::{hash_policy, outbound_cluster};
use crate::model::{Destination, DestinationRule, L4Destination, Metadata};
use crate::registry::Service;

pub(super) const BLACK_HOLE: &str = "BlackHoleCluster";
pub(super) const PASSTHROUGH: &str = "PassthroughCluster";
pub(super) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";

/// The filter `envoy.filters.network.tcp_proxy` to one cluster.
pub(super) fn tcp_proxy(cluster: &str) -> listener::Filter {
    filter(&TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    })
}

fn filter(proxy: &TcpProxy) -> listener::Filter {
    listener::Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(any(proxy))),
    }
}

/// Connections to a service, as its rule wants them.
pub(super) fn tcp_proxy_to_service(
    cluster: &str,
    subset: &str,
    rule: Option<&DestinationRule>,
) -> listener::Filter {
    filter(&TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..with_rule(rule, subset)
    })
}

fn with_rule(rule: Option<&DestinationRule>, subset: &str) -> TcpProxy {
    let pool = rule
        .and_then(|rule| rule.traffic_policy.as_ref())
        .and_then(|policy| policy.connection_pool.as_ref());
    TcpProxy {
        idle_timeout: pool.and_then(|p| p.tcp_idle_timeout).map(duration),
        max_downstream_connection_duration: pool
            .and_then(|p| p.max_connection_duration)
            .map(duration),
        hash_policy: hash_policy::tcp_policies(rule, subset),
        ..Default::default()
    }
}

/// Connections by the routes of a VirtualService.
pub(super) fn tcp_proxy_to_routes(
    scope: &Scope,
    routes: &[L4Destination],
    listener_port: u32,
    of: &Metadata,
) -> Option<listener::Filter> {
    let service_of = |destination: &Destination| scope.service(&destination.host).cloned();
    let first = routes.first()?;
    let rule =
        service_of(&first.destination).and_then(|service| scope.destination_rule(&service.host));
    let cluster = |destination: &Destination| {
        destination_cluster(destination, service_of(destination).as_ref(), listener_port)
    };
    if routes.len() == 1 {
        return Some(tcp_proxy_to_service(
            &cluster(&first.destination),
            &first.destination.subset,
            rule.as_deref(),
        ));
    }
    let weight = |route: &L4Destination| ClusterWeight {
        name: cluster(&route.destination),
        weight: route.weight,
        ..Default::default()
    };
    let clusters = routes.iter().filter(|r| r.weight > 0).map(weight).collect();
    Some(filter(&TcpProxy {
        stat_prefix: format!("{}.{}", of.name, of.namespace),
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters,
        })),
        ..with_rule(rule.as_deref(), "")
    }))
}

/// The port is the one given, else the service's only one, else that of the listener.
pub(super) fn destination_cluster(
    destination: &Destination,
    service: Option<&Arc<Service>>,
    listener_port: u32,
) -> String {
    if destination.host.is_empty() {
        // only a wrong backend of the Gateway API has none
        return "UnknownService".to_owned();
    }
    let host = match service {
        Some(service) if !service.external_name.is_empty() => &service.external_name,
        _ => &destination.host,
    };
    let only = match service.map(|s| s.ports.as_slice()) {
        Some([only]) => Some(only.port),
        _ => None,
    };
    let port = destination.port.or(only).unwrap_or(listener_port);
    outbound_cluster(port, &destination.subset, host)
}
