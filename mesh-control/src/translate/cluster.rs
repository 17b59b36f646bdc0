use std::sync::Arc;

use mesh_proto::envoy::config::cluster::v3 as xds;
use mesh_proto::envoy::config::core::v3 as core;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use xds::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, LbPolicy,
};

use super::address::{ads, duration, stat_prefix};
use super::network_filters::{BLACK_HOLE, PASSTHROUGH};
use super::scope::Scope;
use super::traffic_policy::{self, HttpOptions};
use super::{NodeKind, inbound_cluster, metadata, outbound_cluster};
use crate::model::{
    DestinationRule, LoadBalancer, Protocol, Service, ServicePort, Subset, TrafficPolicy,
};

/// All clusters of a node: services by port and subset, then the special ones, then inbound.
pub(super) fn clusters(scope: &Scope) -> Vec<xds::Cluster> {
    let mut clusters = Vec::new();
    for service in &scope.services {
        let rule = scope.destination_rule(&service.host);
        for port in service
            .ports
            .iter()
            .filter(|port| port.protocol != Protocol::Udp)
        {
            clusters.push(outbound(scope, service, port, rule.as_ref(), None));
            for subset in rule.iter().flat_map(|rule| &rule.subsets) {
                clusters.push(outbound(scope, service, port, rule.as_ref(), Some(subset)));
            }
        }
    }
    clusters.push(black_hole(scope));
    if scope.node.kind == NodeKind::Sidecar {
        clusters.push(passthrough(scope, PASSTHROUGH));
        clusters.extend(inbound_cluster::clusters(scope));
    }
    clusters
}

fn outbound(
    scope: &Scope,
    service: &Service,
    port: &ServicePort,
    rule: Option<&Arc<DestinationRule>>,
    subset: Option<&Subset>,
) -> xds::Cluster {
    let name = outbound_cluster(port.port, subset.map_or("", |s| &s.name), &service.host);
    let policy = policy_of(rule, subset, port.port);
    let discovery = match service.is_headless() && scope.node.kind == NodeKind::Sidecar {
        true => DiscoveryType::OriginalDst,
        false => DiscoveryType::Eds,
    };
    let mut cluster = with_type(&name, discovery);
    cluster.connect_timeout = Some(duration(scope.config.mesh.connect_timeout));
    cluster.common_lb_config = Some(CommonLbConfig::default());
    cluster.metadata = Some(cluster_metadata(service, rule, subset));
    let mut http = HttpOptions::for_protocol(port.protocol, scope.node.kind);
    traffic_policy::apply(&mut cluster, &mut http, &policy);
    if cluster.cluster_discovery_type == Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()))
    {
        cluster.eds_cluster_config = Some(EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: name,
        });
    }
    http.attach(&mut cluster);
    cluster
}

pub(super) fn policy_of(
    rule: Option<&Arc<DestinationRule>>,
    subset: Option<&Subset>,
    port: u32,
) -> TrafficPolicy {
    let base = rule
        .and_then(|rule| rule.traffic_policy.clone())
        .unwrap_or_default();
    match subset {
        Some(subset) => base.with_subset(subset.traffic_policy.as_ref(), port),
        None => base.for_port(port),
    }
}

/// Whether a rule turns load balancing off, so that the cluster has no endpoints of its own.
pub(super) fn is_passthrough(policy: &TrafficPolicy) -> bool {
    policy.load_balancer == Some(LoadBalancer::Passthrough)
}

fn cluster_metadata(
    service: &Service,
    rule: Option<&Arc<DestinationRule>>,
    subset: Option<&Subset>,
) -> core::Metadata {
    let mut metadata = match rule {
        Some(rule) => metadata::of_object("destination-rule", &rule.metadata),
        None => core::Metadata::default(),
    };
    if let Some(subset) = subset {
        metadata = metadata::with_subset(metadata, &subset.name);
    }
    add_services(&mut metadata, [service]);
    metadata
}

/// `istio: {services: [{host, name, namespace}]}`, which metrics take their labels from.
pub(super) fn add_services<'a>(
    metadata: &mut core::Metadata,
    services: impl IntoIterator<Item = &'a Service>,
) {
    let text = |s: &str| Value {
        kind: Some(Kind::StringValue(s.to_owned())),
    };
    let values = services
        .into_iter()
        .map(|service| {
            let fields = [
                ("host".to_owned(), text(&service.host)),
                ("name".to_owned(), text(&service.metadata.name)),
                ("namespace".to_owned(), text(&service.metadata.namespace)),
            ];
            Value {
                kind: Some(Kind::StructValue(Struct {
                    fields: fields.into(),
                })),
            }
        })
        .collect();
    let istio = metadata
        .filter_metadata
        .entry("istio".to_owned())
        .or_default();
    istio.fields.insert(
        "services".to_owned(),
        Value {
            kind: Some(Kind::ListValue(ListValue { values })),
        },
    );
}

pub(super) fn with_type(name: &str, discovery: DiscoveryType) -> xds::Cluster {
    xds::Cluster {
        name: name.to_owned(),
        alt_stat_name: stat_prefix(name),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
        lb_policy: match discovery {
            DiscoveryType::OriginalDst => LbPolicy::ClusterProvided.into(),
            _ => LbPolicy::RoundRobin.into(),
        },
        ..Default::default()
    }
}

/// Has no endpoints: whatever goes there is refused.
fn black_hole(scope: &Scope) -> xds::Cluster {
    xds::Cluster {
        connect_timeout: Some(duration(scope.config.mesh.connect_timeout)),
        ..with_type(BLACK_HOLE, DiscoveryType::Static)
    }
}

/// Forwards to the original destination with the protocol of the client.
pub(super) fn passthrough(scope: &Scope, name: &str) -> xds::Cluster {
    let mut cluster = xds::Cluster {
        connect_timeout: Some(duration(scope.config.mesh.connect_timeout)),
        circuit_breakers: Some(traffic_policy::circuit_breakers(None)),
        ..with_type(name, DiscoveryType::OriginalDst)
    };
    // statistics of both passthrough clusters share the name
    cluster.alt_stat_name = stat_prefix(PASSTHROUGH);
    HttpOptions::passthrough().attach(&mut cluster);
    cluster
}
