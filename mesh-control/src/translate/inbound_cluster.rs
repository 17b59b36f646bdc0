use std::collections::BTreeMap;

use mesh_proto::envoy::config::cluster::v3 as xds;
use mesh_proto::envoy::config::core::v3 as core;
use xds::cluster::{CommonLbConfig, DiscoveryType};

use super::address::duration;
use super::cluster::{add_services, passthrough, policy_of, with_type};
use super::network_filters::INBOUND_PASSTHROUGH;
use super::scope::{Scope, ServiceTarget};
use super::{metadata, traffic_policy};
use crate::model::{ConnectionPool, TrafficPolicy};
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
    let mut ports: BTreeMap<u32, Vec<ServiceTarget>> = BTreeMap::new();
    for target in scope.targets() {
        ports.entry(target.target_port).or_default().push(target);
    }
    let mut clusters: Vec<_> = ports
        .into_iter()
        .map(|(port, targets)| inbound(scope, port, &targets))
        .collect();
    clusters.push(xds::Cluster {
        upstream_bind_config: Some(magic_source()),
        ..passthrough(scope, INBOUND_PASSTHROUGH)
    });
    clusters
}

fn inbound(scope: &Scope, port: u32, targets: &[ServiceTarget]) -> xds::Cluster {
    let mut cluster = with_type(&name(port), DiscoveryType::OriginalDst);
    cluster.connect_timeout = Some(duration(scope.config.mesh.connect_timeout));
    cluster.common_lb_config = Some(CommonLbConfig::default());
    cluster.cleanup_interval = Some(NEVER);
    cluster.upstream_bind_config = Some(magic_source());
    let mut metadata = core::Metadata::default();
    let Some(first) = targets.first() else {
        return cluster;
    };
    let rule = scope.destination_rule(&first.service.host);
    if let Some(rule) = rule.as_ref().filter(|rule| rule.traffic_policy.is_some()) {
        metadata = metadata::of_object("destination-rule", &rule.metadata);
    }
    let same_port = targets.iter().filter(|t| t.port.port == first.port.port);
    add_services(&mut metadata, same_port.map(|t| &*t.service));
    cluster.metadata = Some(metadata);
    let policy = policy_of(rule.as_ref(), None, first.port.port);
    // only the connection pool concerns the receiver, and its protocol is that of the service
    let connection_pool = policy.connection_pool.map(|pool| ConnectionPool {
        upgrade_to_h2: false,
        ..pool
    });
    let policy = TrafficPolicy {
        connection_pool,
        ..TrafficPolicy::default()
    };
    let mut http = HttpOptions::for_protocol(first.port.protocol, scope.node.kind);
    traffic_policy::apply_connection_pool(&mut cluster, &mut http, &policy);
    http.attach(&mut cluster);
    cluster
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
