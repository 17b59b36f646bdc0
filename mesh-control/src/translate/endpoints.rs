use std::collections::BTreeMap;

use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::endpoint::v3 as xds;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use xds::lb_endpoint::HostIdentifier;

use super::NodeKind;
use super::address::socket;
use super::cluster::{is_passthrough, policy_of};
use super::scope::Scope;
use crate::model::{Pod, Service, SliceEndpoint, Subset};

/// The cluster that all pods of a folder belong to.
const CLUSTER_ID: &str = "Kubernetes";

/// The endpoints of `outbound|PORT|SUBSET|HOST`.
pub(super) fn assignment(scope: &Scope, cluster: &str) -> Option<xds::ClusterLoadAssignment> {
    let parts: Vec<&str> = cluster.split('|').collect();
    let ["outbound", port, subset_name, host] = parts[..] else {
        return None;
    };
    let port: u32 = port.parse().ok()?;
    let service = scope.service(host)?;
    let service_port = service.port(port)?;
    let rule = scope.destination_rule(host);
    let subset = match subset_name {
        "" => None,
        name => Some(rule.as_ref()?.subsets.iter().find(|s| s.name == name)?),
    };
    let policy = policy_of(rule.as_ref(), subset, port);
    if is_passthrough(&policy) || (service.is_headless() && scope.node.kind == NodeKind::Sidecar) {
        return None;
    }
    // what is not ready counts for the panic threshold, unless panicking would choose it
    let with_unready = policy
        .outlier_detection
        .as_ref()
        .is_none_or(|outlier| outlier.min_health_percent == 0);
    let mut localities: BTreeMap<String, Vec<xds::LbEndpoint>> = BTreeMap::new();
    for (endpoint, target_port) in endpoints_of(scope, service, &service_port.name) {
        let pod = pod_of(scope, endpoint);
        if !(endpoint.ready || with_unready && !endpoint.terminating) || !in_subset(subset, pod) {
            continue;
        }
        let locality = pod.map(locality_label).unwrap_or_default();
        let Some(address) = endpoint.addresses.first() else {
            continue;
        };
        localities.entry(locality).or_default().push(lb_endpoint(
            endpoint,
            address,
            target_port,
            pod,
        ));
    }
    let endpoints = localities
        .into_iter()
        .map(|(label, endpoints)| locality(&label, endpoints))
        .collect();
    Some(xds::ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints,
        ..Default::default()
    })
}

/// Endpoints of a service's port, each with its port.
fn endpoints_of<'a>(
    scope: &'a Scope,
    service: &'a Service,
    port_name: &'a str,
) -> impl Iterator<Item = (&'a SliceEndpoint, u32)> {
    let of_service = scope.config.slices.iter().filter(|slice| {
        slice.service == service.metadata.name
            && slice.metadata.namespace == service.metadata.namespace
    });
    of_service.flat_map(move |slice| {
        let port = slice
            .ports
            .iter()
            .find(|(name, _)| name == port_name)
            .map(|(_, port)| *port);
        slice
            .endpoints
            .iter()
            .filter_map(move |endpoint| Some((endpoint, port?)))
    })
}

fn pod_of<'a>(scope: &'a Scope, endpoint: &SliceEndpoint) -> Option<&'a Pod> {
    let (namespace, name) = endpoint.pod.as_ref()?;
    let is_it = |pod: &&std::sync::Arc<Pod>| {
        pod.metadata.namespace == *namespace && pod.metadata.name == *name
    };
    scope.config.pods.iter().find(is_it).map(|pod| &**pod)
}

fn in_subset(subset: Option<&Subset>, pod: Option<&Pod>) -> bool {
    let Some(subset) = subset else { return true };
    subset
        .labels
        .iter()
        .all(|(k, v)| pod.is_some_and(|pod| pod.metadata.labels.get(k) == Some(v)))
}

/// `region/zone/subzone` of a pod's label; Istio writes dots in labels.
fn locality_label(pod: &Pod) -> String {
    match pod.metadata.labels.get("istio-locality") {
        Some(label) if label.contains('/') => label.clone(),
        Some(label) => label.replace('.', "/"),
        None => String::new(),
    }
}

fn locality(label: &str, lb_endpoints: Vec<xds::LbEndpoint>) -> xds::LocalityLbEndpoints {
    let mut parts = label.splitn(3, '/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    let weight = u32::try_from(lb_endpoints.len()).unwrap_or(u32::MAX);
    xds::LocalityLbEndpoints {
        locality: Some(core::Locality {
            region: next(),
            zone: next(),
            sub_zone: next(),
        }),
        lb_endpoints,
        load_balancing_weight: Some(weight),
        ..Default::default()
    }
}

fn lb_endpoint(
    endpoint: &SliceEndpoint,
    address: &str,
    port: u32,
    pod: Option<&Pod>,
) -> xds::LbEndpoint {
    let health = if endpoint.ready {
        core::HealthStatus::Healthy
    } else {
        core::HealthStatus::Unhealthy
    };
    xds::LbEndpoint {
        health_status: health.into(),
        metadata: Some(workload_metadata(pod)),
        load_balancing_weight: Some(1),
        host_identifier: Some(HostIdentifier::Endpoint(xds::Endpoint {
            address: Some(socket(address, port)),
            ..Default::default()
        })),
    }
}

/// `istio: {workload: "NAME;NAMESPACE;SERVICE;REVISION;CLUSTER"}`, which metrics take their labels from.
fn workload_metadata(pod: Option<&Pod>) -> core::Metadata {
    let text = match pod {
        Some(pod) => {
            let labels = &pod.metadata.labels;
            let first = |names: &[&str]| names.iter().find_map(|name| labels.get(*name)).cloned();
            let service = first(&[
                "service.istio.io/canonical-name",
                "app.kubernetes.io/name",
                "app",
            ]);
            let revision = first(&[
                "service.istio.io/canonical-revision",
                "app.kubernetes.io/version",
                "version",
            ]);
            let revision = revision
                .filter(|revision| revision != "latest")
                .unwrap_or_default();
            let service = service.unwrap_or_else(|| pod.workload.clone());
            format!(
                "{};{};{service};{revision};{CLUSTER_ID}",
                pod.workload, pod.metadata.namespace
            )
        }
        None => format!(";;;;{CLUSTER_ID}"),
    };
    let fields = BTreeMap::from([(
        "workload".to_owned(),
        Value {
            kind: Some(Kind::StringValue(text)),
        },
    )]);
    core::Metadata {
        filter_metadata: [("istio".to_owned(), Struct { fields })].into(),
        ..Default::default()
    }
}
