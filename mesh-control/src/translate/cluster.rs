use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_proto::envoy::config::cluster::v3 as xds;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use xds::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, DnsLookupFamily, EdsClusterConfig,
    LbConfig, LbPolicy, OriginalDstLbConfig,
};

use super::address::{ads, any, duration, stat_prefix};
use super::network_filters::{BLACK_HOLE, PASSTHROUGH};
use super::patch::Clusters;
use super::scope::Scope;
use super::traffic_policy::{self, HttpOptions, Target};
use super::{NodeKind, endpoints, inbound_cluster, metadata, outbound_cluster};
use crate::model::{DestinationRule, Protocol, SimpleLb, Subset, TargetPort, TrafficPolicy};
use crate::registry::{Origin, Port, Resolution, Service};

/// All clusters of a node: services by port and subset, then the special ones, then inbound.
pub(super) fn clusters(scope: &Scope) -> Clusters {
    let mut clusters = Vec::new();
    for service in &scope.services {
        if service.resolution == Resolution::Alias {
            continue;
        }
        let rule = scope.destination_rule(&service.host);
        for port in service
            .ports
            .iter()
            .filter(|port| port.protocol != Protocol::Udp)
        {
            let Some(cluster) = outbound(scope, service, port, rule.as_ref(), None) else {
                continue;
            };
            clusters.push(cluster);
            for subset in rule.iter().flat_map(|rule| &rule.subsets) {
                clusters.extend(outbound(scope, service, port, rule.as_ref(), Some(subset)));
            }
        }
    }
    let (mut special, mut inbound) = (vec![black_hole(scope)], Vec::new());
    if scope.node.kind == NodeKind::Sidecar {
        special.push(passthrough(scope, PASSTHROUGH));
        inbound = inbound_cluster::clusters(scope);
    }
    Clusters {
        services: clusters,
        special,
        inbound,
    }
}

/// `None`: it would have its endpoints in itself, and there are none.
fn outbound(
    scope: &Scope,
    service: &Service,
    port: &Port,
    rule: Option<&Arc<DestinationRule>>,
    subset: Option<&Subset>,
) -> Option<xds::Cluster> {
    let name = outbound_cluster(port.port, subset.map_or("", |s| &s.name), &service.host);
    let policy = policy_of(rule, subset, port.port);
    let whole = policy_of(rule, None, port.port);
    let subset_balancing = subset
        .and_then(|s| s.traffic_policy.as_ref())
        .and_then(|policy| policy.load_balancer.as_ref())
        .is_some_and(|lb| lb.simple == SimpleLb::Passthrough);
    // a subset is made after its rule's own cluster
    let discovery = match service.resolution {
        _ if subset.is_some() && (subset_balancing || is_passthrough(&whole)) => {
            DiscoveryType::OriginalDst
        }
        Resolution::Dns => DiscoveryType::StrictDns,
        Resolution::DnsRoundRobin => DiscoveryType::LogicalDns,
        Resolution::Passthrough if scope.node.kind == NodeKind::Sidecar => {
            DiscoveryType::OriginalDst
        }
        _ => DiscoveryType::Eds,
    };
    let mut cluster = with_type(&name, discovery);
    cluster.connect_timeout = Some(duration(scope.config.mesh.connect_timeout));
    cluster.common_lb_config = Some(CommonLbConfig::default());
    let mut metadata = cluster_metadata(service, rule, subset);
    let originates = policy.tls.as_ref().is_some_and(|tls| tls.is_originated());
    if originates {
        metadata::keep_alpn(&mut metadata);
    }
    cluster.metadata = Some(metadata);
    let mut groups = Vec::new();
    match discovery {
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
            groups = endpoints::inline(scope, service, port, (rule.map(|r| &**r), subset), &policy);
            if groups.is_empty() {
                return None;
            }
            dns(&mut cluster, scope);
            cluster.load_assignment = Some(ClusterLoadAssignment {
                cluster_name: name.clone(),
                endpoints: groups.iter().map(|group| group.xds.clone()).collect(),
                ..Default::default()
            });
        }
        DiscoveryType::OriginalDst => {
            if let TargetPort::Number(target) = port.target
                && service.origin == Origin::Entry
                && service.resolution == Resolution::Passthrough
                && target > 0
            {
                cluster.lb_config = Some(LbConfig::OriginalDstLbConfig(OriginalDstLbConfig {
                    upstream_port_override: Some(target),
                    ..Default::default()
                }));
            }
        }
        _ => {}
    }
    let mut http = HttpOptions::for_protocol(port.protocol, scope.node.kind);
    let general = match subset {
        Some(subset) => subset.traffic_policy.as_ref(),
        None => rule.and_then(|rule| rule.traffic_policy.as_ref()),
    };
    let of = Target {
        service,
        port: port.port,
        protocol: port.protocol,
        subset: subset.map_or("", |subset| &subset.name),
        rule: rule.map(|rule| &**rule),
        is_passthrough: general.is_some_and(is_passthrough),
    };
    traffic_policy::apply(scope, &of, &mut cluster, &mut http, &policy, groups);
    if cluster.cluster_discovery_type == Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()))
    {
        cluster.eds_cluster_config = Some(EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: name,
        });
    }
    http.attach(&mut cluster);
    Some(cluster)
}

/// How its names are asked for.
#[allow(deprecated, reason = "istiod sets these fields, not their successors")]
fn dns(cluster: &mut xds::Cluster, scope: &Scope) {
    let is_v6 = scope.node.ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
    cluster.dns_lookup_family = match is_v6 {
        true => DnsLookupFamily::V6Only,
        false => DnsLookupFamily::V4Only,
    }
    .into();
    let resolver = CaresDnsResolverConfig {
        udp_max_queries: Some(100),
        ..Default::default()
    };
    cluster.typed_dns_resolver_config = Some(core::TypedExtensionConfig {
        name: "envoy.network.dns_resolver.cares".to_owned(),
        typed_config: Some(any(&resolver)),
    });
    cluster.dns_jitter = Some(duration(Duration::from_millis(100)));
    cluster.dns_refresh_rate = Some(duration(Duration::from_secs(60)));
    cluster.respect_dns_ttl = true;
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
    policy
        .load_balancer
        .as_ref()
        .is_some_and(|lb| lb.simple == SimpleLb::Passthrough)
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
    match subset {
        Some(subset) => metadata = metadata::with_subset(metadata, &subset.name),
        None if service.is_external => metadata::set_external(&mut metadata),
        None => {}
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
                ("name".to_owned(), text(&service.name)),
                ("namespace".to_owned(), text(&service.namespace)),
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
    let mut http = HttpOptions::passthrough();
    let policy = TrafficPolicy::default();
    traffic_policy::apply_connection_pool(scope, &mut cluster, &mut http, &policy);
    http.attach(&mut cluster);
    cluster
}
