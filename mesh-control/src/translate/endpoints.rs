use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::endpoint::v3 as xds;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use xds::lb_endpoint::HostIdentifier;

use super::NodeKind;
use super::address::{pipe, socket};
use super::cluster::{is_passthrough, policy_of};
use super::locality::Balance;
use super::mutual_tls;
use super::scope::Scope;
use crate::model::{ClientTlsMode, DestinationRule, Subset, TrafficPolicy};
use crate::registry::{Endpoint, Health, Resolution, Service, TLS_DISABLED, split_locality};

/// The endpoints of one locality, with what each was made of.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    pub(super) xds: xds::LocalityLbEndpoints,
}

/// The endpoints of `outbound|PORT|SUBSET|HOST`; `None` if there is no such cluster with endpoints by EDS.
pub(super) fn assignment(scope: &Scope, cluster: &str) -> Option<xds::ClusterLoadAssignment> {
    let parts: Vec<&str> = cluster.split('|').collect();
    let ["outbound", port, subset_name, host] = parts[..] else {
        return None;
    };
    let number: u32 = port.parse().ok()?;
    let service = scope.service(host)?;
    let port = service.port(number)?;
    let rule = scope.destination_rule(host);
    let subset = match subset_name {
        "" => None,
        name => Some(rule.as_ref()?.subsets.iter().find(|s| s.name == name)?),
    };
    let policy = policy_of(rule.as_ref(), subset, number);
    let has_endpoints = match service.resolution {
        Resolution::ClientSide => true,
        Resolution::Passthrough => scope.node.kind == NodeKind::Router,
        Resolution::Dns | Resolution::DnsRoundRobin | Resolution::Alias => false,
    };
    if is_passthrough(&policy) || !has_endpoints {
        return None;
    }
    let of_port = service.endpoints.iter().filter(|endpoint| {
        endpoint.port_name == port.name
            && (endpoint.port == 0 || endpoint.address.parse::<std::net::IpAddr>().is_ok())
    });
    let tls = mode_of_rule(rule.as_deref(), subset, number);
    let groups = groups(scope, service, &policy, tls, in_subset(of_port, subset));
    let mut assignment = xds::ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        ..Default::default()
    };
    assignment.endpoints = match Balance::of(scope, service, &policy) {
        Some(balance) if !groups.is_empty() => {
            balance.apply(scope, groups, policy.outlier_detection.is_some())
        }
        _ => groups.into_iter().map(|group| group.xds).collect(),
    };
    Some(assignment)
}

/// The endpoints of a cluster that has them in itself, by locality: asked of DNS.
pub(super) fn inline(
    scope: &Scope,
    service: &Service,
    port: &crate::registry::Port,
    (rule, subset): (Option<&DestinationRule>, Option<&Subset>),
    policy: &TrafficPolicy,
) -> Vec<Group> {
    let of_port = service.endpoints_by_port(port);
    let tls = mode_of_rule(rule, subset, port.port);
    groups(scope, service, policy, tls, in_subset(of_port, subset))
}

/// What a rule says of TLS for a port, by istiod's `pilot/pkg/xds/endpoints/mtls_checker.go`: unlike for clusters, what it
/// says of a port takes nothing away that it says of all.
fn mode_of_rule(
    rule: Option<&DestinationRule>,
    subset: Option<&Subset>,
    port: u32,
) -> Option<ClientTlsMode> {
    let mode = |policy: Option<&TrafficPolicy>| {
        let policy = policy?;
        let of_port = policy.ports.get(&port).and_then(|p| p.tls.as_ref());
        of_port.or(policy.tls.as_ref()).map(|tls| tls.mode)
    };
    mode(subset.and_then(|s| s.traffic_policy.as_ref()))
        .or_else(|| mode(rule.and_then(|r| r.traffic_policy.as_ref())))
}

fn in_subset<'a>(
    endpoints: impl Iterator<Item = &'a Arc<Endpoint>>,
    subset: Option<&'a Subset>,
) -> impl Iterator<Item = &'a Arc<Endpoint>> {
    endpoints.filter(move |endpoint| {
        subset.is_none_or(|subset| {
            subset
                .labels
                .iter()
                .all(|(k, v)| endpoint.labels.get(k) == Some(v))
        })
    })
}

fn groups<'a>(
    scope: &Scope,
    service: &Service,
    policy: &TrafficPolicy,
    tls: Option<ClientTlsMode>,
    endpoints: impl Iterator<Item = &'a Arc<Endpoint>>,
) -> Vec<Group> {
    // what is not ready counts for the panic threshold, unless panicking would choose it
    let with_unready = service.traffic_distribution.is_some()
        || policy
            .outlier_detection
            .as_ref()
            .is_none_or(|outlier| outlier.min_health_percent == 0);
    let own_node = scope.labels.get("kubernetes.io/hostname");
    let mut localities: BTreeMap<&str, Vec<Arc<Endpoint>>> = BTreeMap::new();
    for endpoint in endpoints {
        let is_wanted = match endpoint.health {
            Health::Unknown | Health::Healthy => true,
            Health::Unhealthy => with_unready,
            Health::Terminating => false,
        };
        let is_near =
            !service.is_node_local || own_node.map_or("", String::as_str) == endpoint.node;
        if is_wanted && is_near {
            localities
                .entry(&endpoint.locality)
                .or_default()
                .push(endpoint.clone());
        }
    }
    let group = |(label, endpoints): (&str, Vec<Arc<Endpoint>>)| {
        let (region, zone, sub_zone) = split_locality(label);
        let weight = endpoints
            .iter()
            .fold(0u32, |sum, e| sum.saturating_add(e.weight));
        let xds = xds::LocalityLbEndpoints {
            locality: Some(core::Locality {
                region: region.to_owned(),
                zone: zone.to_owned(),
                sub_zone: sub_zone.to_owned(),
            }),
            lb_endpoints: endpoints
                .iter()
                .map(|e| lb_endpoint(scope, tls, e))
                .collect(),
            load_balancing_weight: Some(weight),
            ..Default::default()
        };
        Group { endpoints, xds }
    };
    localities.into_iter().map(group).collect()
}

fn lb_endpoint(scope: &Scope, tls: Option<ClientTlsMode>, endpoint: &Endpoint) -> xds::LbEndpoint {
    let health = match endpoint.health {
        Health::Unknown => core::HealthStatus::Unknown,
        Health::Healthy => core::HealthStatus::Healthy,
        Health::Unhealthy | Health::Terminating => core::HealthStatus::Unhealthy,
    };
    let address = match endpoint.port {
        0 => pipe(&endpoint.address),
        port => socket(&endpoint.address, port),
    };
    let mut metadata = workload_metadata(endpoint);
    let takes_mutual_tls = match tls {
        Some(mode) => mode == ClientTlsMode::IstioMutual,
        None => mutual_tls::is_offered(scope, endpoint),
    };
    if takes_mutual_tls && !matches!(&*endpoint.tls_mode, "" | TLS_DISABLED) {
        let fields = tls_mode(&endpoint.tls_mode);
        metadata
            .filter_metadata
            .insert("envoy.transport_socket_match".to_owned(), fields);
    }
    xds::LbEndpoint {
        health_status: health.into(),
        metadata: Some(metadata),
        load_balancing_weight: Some(endpoint.weight),
        host_identifier: Some(HostIdentifier::Endpoint(xds::Endpoint {
            address: Some(address),
            ..Default::default()
        })),
    }
}

/// By what the cluster chooses an endpoint's transport socket.
pub(super) fn tls_mode(mode: &str) -> Struct {
    let value = Value {
        kind: Some(Kind::StringValue(mode.to_owned())),
    };
    Struct {
        fields: BTreeMap::from([("tlsMode".to_owned(), value)]),
    }
}

/// `istio: {workload: "NAME;NAMESPACE;SERVICE;REVISION;CLUSTER"}`, which metrics take their labels from.
fn workload_metadata(endpoint: &Endpoint) -> core::Metadata {
    let fields = BTreeMap::from([(
        "workload".to_owned(),
        Value {
            kind: Some(Kind::StringValue(endpoint.workload.to_string())),
        },
    )]);
    core::Metadata {
        filter_metadata: [("istio".to_owned(), Struct { fields })].into(),
        ..Default::default()
    }
}
