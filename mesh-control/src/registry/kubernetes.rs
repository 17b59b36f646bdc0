use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::endpoint::Origin as Workload;
use super::service::UNSPECIFIED;
use super::{
    Endpoint, Health, Origin, Places, Port, Resolution, Service, endpoint, kubernetes_host,
};
use crate::config::Config;
use crate::model::{
    self, ClusterIp, EndpointSlice, Pod, SliceEndpoint, TargetPort, TrafficDistribution,
    WorkloadEntry,
};

/// What EndpointSlices and pods are looked up by.
struct Index<'a> {
    config: &'a Config,
    places: &'a Places<'a>,
    pods: BTreeMap<(&'a str, &'a str), &'a Arc<Pod>>,
    pods_by_ip: BTreeMap<(&'a str, &'a str), &'a Arc<Pod>>,
    slices: BTreeMap<(&'a str, &'a str), Vec<&'a Arc<EndpointSlice>>>,
}

/// The Kubernetes Services.
pub(super) fn services(config: &Config, places: &Places<'_>) -> Vec<Service> {
    let mut index = Index {
        config,
        places,
        pods: BTreeMap::new(),
        pods_by_ip: BTreeMap::new(),
        slices: BTreeMap::new(),
    };
    for pod in &config.pods {
        let namespace = pod.metadata.namespace.as_str();
        index
            .pods
            .insert((namespace, pod.metadata.name.as_str()), pod);
        index.pods_by_ip.insert((namespace, pod.ip.as_str()), pod);
    }
    for slice in &config.slices {
        index
            .slices
            .entry((slice.metadata.namespace.as_str(), slice.service.as_str()))
            .or_default()
            .push(slice);
    }
    let namespaces: BTreeMap<_, _> = config
        .others
        .iter()
        .filter(|o| o.kind == "Namespace")
        .map(|o| (o.metadata.name.as_str(), &o.metadata.annotations))
        .collect();
    let read = |service: &Arc<model::Service>| {
        let of_namespace = namespaces
            .get(service.metadata.namespace.as_str())
            .and_then(|a| TrafficDistribution::of_annotations(a));
        let mut service = convert(service, of_namespace.flatten());
        service.endpoints = endpoints(&index, &service).into();
        service
    };
    config.services.iter().map(read).collect()
}

fn convert(service: &model::Service, of_namespace: Option<TrafficDistribution>) -> Service {
    let metadata = &service.metadata;
    let is_alias = !service.external_name.is_empty();
    let mut addresses = match &service.cluster_ip {
        ClusterIp::Addresses(addresses) => addresses.iter().map(ToString::to_string).collect(),
        ClusterIp::Headless | ClusterIp::Unset => Vec::new(),
    };
    if addresses.is_empty() {
        addresses.push(UNSPECIFIED.to_owned());
    }
    let export_to = metadata
        .annotations
        .get("networking.istio.io/exportTo")
        .filter(|text| !text.is_empty())
        .map(|text| text.split(',').map(|to| to.trim().to_owned()).collect());
    Service {
        host: kubernetes_host(&metadata.name, &metadata.namespace),
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        origin: Origin::Kubernetes,
        created: metadata.created.clone(),
        addresses,
        ports: service
            .ports
            .iter()
            .map(|port| Port {
                name: port.name.clone(),
                port: port.port,
                protocol: port.protocol,
                target: port.target.clone(),
            })
            .collect(),
        resolution: match service.cluster_ip {
            ClusterIp::Headless => Resolution::Passthrough,
            _ if is_alias => Resolution::Alias,
            _ => Resolution::ClientSide,
        },
        is_external: is_alias,
        export_to: export_to.unwrap_or_default(),
        labels: metadata.labels.clone(),
        selector: (!service.selector.is_empty()).then(|| service.selector.clone()),
        external_name: service.external_name.clone(),
        aliases: Vec::new(),
        traffic_distribution: match service.traffic_distribution {
            Some(given) => Some(given),
            None => {
                TrafficDistribution::of_annotations(&metadata.annotations).unwrap_or(of_namespace)
            }
        },
        is_node_local: service.is_node_local,
        subject_alt_names: Vec::new(),
        endpoints: Arc::new([]),
    }
}

/// The endpoints of one Service, without an index of all pods.
pub(super) fn endpoints_anew(
    config: &Config,
    places: &Places<'_>,
    service: &Service,
) -> Vec<Arc<Endpoint>> {
    let slices = config.slices.iter().filter(|slice| {
        slice.service == service.name && slice.metadata.namespace == service.namespace
    });
    let slices: Vec<_> = slices.collect();
    let all = || slices.iter().flat_map(|slice| &slice.endpoints);
    let named: BTreeSet<(&str, &str)> = all()
        .filter_map(|e| e.pod.as_ref())
        .map(|(namespace, name)| (namespace.as_str(), name.as_str()))
        .collect();
    let addresses: BTreeSet<&str> = all()
        .flat_map(|e| &e.addresses)
        .map(String::as_str)
        .collect();
    let mut index = Index {
        config,
        places,
        pods: BTreeMap::new(),
        pods_by_ip: BTreeMap::new(),
        slices: BTreeMap::new(),
    };
    for pod in &config.pods {
        let namespace = pod.metadata.namespace.as_str();
        let name = (namespace, pod.metadata.name.as_str());
        if named.contains(&name) {
            index.pods.insert(name, pod);
        }
        if addresses.contains(pod.ip.as_str()) {
            index.pods_by_ip.insert((namespace, pod.ip.as_str()), pod);
        }
    }
    let of = (service.namespace.as_str(), service.name.as_str());
    index.slices.insert(of, slices);
    endpoints(&index, service)
}

fn endpoints(index: &Index<'_>, service: &Service) -> Vec<Arc<Endpoint>> {
    let mut found = Vec::new();
    // an endpoint that moves from one slice to another may be in both for a while
    let mut seen = BTreeSet::new();
    let slices = index
        .slices
        .get(&(service.namespace.as_str(), service.name.as_str()));
    for slice in slices.into_iter().flatten() {
        for endpoint in &slice.endpoints {
            for address in &endpoint.addresses {
                let Some(origin) = origin_of(index, slice, endpoint, address) else {
                    continue;
                };
                for (port_name, port) in &slice.ports {
                    if seen.insert((address.clone(), port_name.clone())) {
                        let health = match (endpoint.ready, endpoint.terminating) {
                            (true, _) => Health::Healthy,
                            (false, true) => Health::Terminating,
                            (false, false) => Health::Unhealthy,
                        };
                        found.push(Arc::new(Endpoint {
                            health,
                            ..origin.endpoint(address, *port, port_name)
                        }));
                    }
                }
            }
        }
    }
    if service.resolution == Resolution::ClientSide
        && let Some(selector) = &service.selector
    {
        for entry in &index.config.workload_entries {
            let selected = entry.metadata.namespace == service.namespace
                && selector
                    .iter()
                    .all(|(k, v)| entry.workload.labels.get(k) == Some(v))
                && entry.workload.address.parse::<std::net::IpAddr>().is_ok();
            if selected {
                found.extend(of_workload_entry(service, entry));
            }
        }
    }
    found
}

/// The workload behind an address; `None` if it should be a pod that is not there.
fn origin_of(
    index: &Index<'_>,
    slice: &EndpointSlice,
    endpoint: &SliceEndpoint,
    address: &str,
) -> Option<Workload> {
    let pod = match &endpoint.pod {
        Some((namespace, name)) => Some(*index.pods.get(&(namespace.as_str(), name.as_str()))?),
        None => index
            .pods_by_ip
            .get(&(slice.metadata.namespace.as_str(), address))
            .copied(),
    };
    Some(match pod {
        Some(pod) => Workload::pod(pod, index.places.of_pod(pod)),
        None => Workload::unknown(),
    })
}

fn of_workload_entry(service: &Service, entry: &WorkloadEntry) -> Vec<Arc<Endpoint>> {
    let origin = endpoint::Origin::workload(
        &entry.workload,
        &entry.metadata.name,
        &entry.metadata.namespace,
    );
    let of_port = |port: &Port| {
        let target = target_on_workload_entry(port, entry)?;
        Some(Arc::new(origin.endpoint(
            &entry.workload.address,
            target,
            &port.name,
        )))
    };
    service.ports.iter().filter_map(of_port).collect()
}

/// A target port by name is one of the entry's; a number is taken as it is, unless the entry has a port of the
/// service port's name.
pub(crate) fn target_on_workload_entry(port: &Port, entry: &WorkloadEntry) -> Option<u32> {
    let ports = &entry.workload.ports;
    match &port.target {
        TargetPort::Name(name) => ports.get(name).copied(),
        TargetPort::Number(number) => Some(ports.get(&port.name).copied().unwrap_or(*number)),
    }
}
