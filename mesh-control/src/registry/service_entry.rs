use std::sync::Arc;

use super::endpoint::Origin as Workload;
use super::service::UNSPECIFIED;
use super::{Endpoint, Health, Origin, Places, Port, Resolution, Service, endpoint};
use crate::config::Config;
use crate::model::{
    self, EntryPort, EntryResolution, ServiceEntry, TargetPort, TrafficDistribution,
};

/// A workload that a ServiceEntry means.
struct Selected<'a> {
    workload: Workload,
    address: &'a str,
    health: Health,
    ports: PortNumbers<'a>,
}

/// Port numbers by name.
enum PortNumbers<'a> {
    Entry(&'a std::collections::BTreeMap<String, u32>),
    Pod(&'a [(String, u32)]),
}

impl PortNumbers<'_> {
    fn get(&self, name: &str) -> Option<u32> {
        match self {
            PortNumbers::Entry(ports) => ports.get(name).copied(),
            PortNumbers::Pod(ports) => ports.iter().find(|(n, _)| n == name).map(|(_, p)| *p),
        }
    }
}

/// A service per host and address of every ServiceEntry.
pub(super) fn services(config: &Config, places: &Places<'_>) -> Vec<Service> {
    config
        .service_entries
        .iter()
        .flat_map(|entry| of_entry(config, places, entry))
        .collect()
}

fn of_entry(config: &Config, places: &Places<'_>, entry: &ServiceEntry) -> Vec<Service> {
    let unspecified = [UNSPECIFIED.to_owned()];
    let addresses = match entry.addresses.as_slice() {
        [] => &unspecified[..],
        addresses => addresses,
    };
    let metadata = &entry.metadata;
    let namespace = config
        .others
        .iter()
        .find(|o| o.kind == "Namespace" && o.metadata.name == metadata.namespace);
    let distribution =
        TrafficDistribution::of_annotations(&metadata.annotations).unwrap_or_else(|| {
            namespace
                .and_then(|n| TrafficDistribution::of_annotations(&n.metadata.annotations))
                .flatten()
        });
    let mut services = Vec::new();
    for host in &entry.hosts {
        for address in addresses {
            services.push(Service {
                host: host.clone(),
                name: host.clone(),
                namespace: metadata.namespace.clone(),
                origin: Origin::Entry,
                created: metadata.created.clone(),
                addresses: vec![address.clone()],
                ports: entry.ports.iter().map(port).collect(),
                resolution: match entry.resolution {
                    EntryResolution::Passthrough => Resolution::Passthrough,
                    EntryResolution::Static => Resolution::ClientSide,
                    EntryResolution::Dns => Resolution::Dns,
                    EntryResolution::DnsRoundRobin => Resolution::DnsRoundRobin,
                },
                is_external: entry.is_external,
                export_to: entry.export_to.clone(),
                labels: metadata.labels.clone(),
                selector: entry.workload_labels.clone(),
                external_name: String::new(),
                aliases: Vec::new(),
                traffic_distribution: distribution,
                is_node_local: false,
                subject_alt_names: entry.subject_alt_names.clone(),
                endpoints: endpoints(config, places, entry, host).into(),
            });
        }
    }
    services
}

fn port(port: &EntryPort) -> Port {
    Port {
        name: port.name.clone(),
        port: port.number,
        protocol: port.protocol,
        target: TargetPort::Number(port.target),
    }
}

fn endpoints(
    config: &Config,
    places: &Places<'_>,
    entry: &ServiceEntry,
    host: &str,
) -> Vec<Arc<Endpoint>> {
    let metadata = &entry.metadata;
    let is_dns = matches!(
        entry.resolution,
        EntryResolution::Dns | EntryResolution::DnsRoundRobin
    );
    let mut found: Vec<Selected<'_>> = Vec::new();
    match &entry.workload_labels {
        None => {
            for (i, workload) in entry.endpoints.iter().enumerate() {
                let name = format!("{}-{i}", metadata.name);
                found.push(Selected {
                    workload: Workload::workload(workload, &name, &metadata.namespace),
                    address: &workload.address,
                    health: Health::Unknown,
                    ports: PortNumbers::Entry(&workload.ports),
                });
            }
            if is_dns && found.is_empty() {
                return of_host(entry, host);
            }
        }
        Some(labels) => found = selected(config, places, &metadata.namespace, labels, is_dns),
    }
    let mut endpoints = Vec::new();
    for one in &found {
        for port in &entry.ports {
            let (address, number) = match one.address.strip_prefix("unix://") {
                Some(path) => (path, 0),
                None => {
                    let own = one.ports.get(&port.name).filter(|p| *p > 0);
                    (one.address, own.unwrap_or_else(|| target(port)))
                }
            };
            endpoints.push(Arc::new(Endpoint {
                service_port: Some(port.number),
                health: one.health,
                ..one.workload.endpoint(address, number, &port.name)
            }));
        }
    }
    endpoints
}

fn target(port: &EntryPort) -> u32 {
    match port.target {
        0 => port.number,
        target => target,
    }
}

/// The host itself, asked of DNS.
fn of_host(entry: &ServiceEntry, host: &str) -> Vec<Arc<Endpoint>> {
    let metadata = &entry.metadata;
    let mut origin = Workload::unknown();
    let text = endpoint::workload_text(&metadata.name, &metadata.namespace, &Default::default());
    origin.workload = text.into();
    origin.labels = Arc::default();
    let of_port = |port: &EntryPort| {
        Arc::new(Endpoint {
            service_port: Some(port.number),
            ..origin.endpoint(host, target(port), &port.name)
        })
    };
    entry.ports.iter().map(of_port).collect()
}

/// Pods that are ready, then WorkloadEntries, each by name.
fn selected<'a>(
    config: &'a Config,
    places: &Places<'_>,
    namespace: &str,
    labels: &std::collections::BTreeMap<String, String>,
    is_dns: bool,
) -> Vec<Selected<'a>> {
    let fits = |metadata: &model::Metadata, of: &std::collections::BTreeMap<String, String>| {
        metadata.namespace == namespace && labels.iter().all(|(k, v)| of.get(k) == Some(v))
    };
    let mut found = Vec::new();
    let mut pods: Vec<_> = config
        .pods
        .iter()
        .filter(|pod| pod.ready && !pod.ip.is_empty() && fits(&pod.metadata, &pod.metadata.labels))
        .collect();
    pods.sort_by_key(|pod| &pod.metadata.name);
    for pod in pods {
        found.push(Selected {
            workload: Workload::pod(pod, places.of_pod(pod)),
            address: &pod.ip,
            health: Health::Healthy,
            ports: PortNumbers::Pod(&pod.ports),
        });
    }
    let mut entries: Vec<_> = config
        .workload_entries
        .iter()
        .filter(|entry| fits(&entry.metadata, &entry.workload.labels))
        .filter(|entry| is_dns || entry.workload.address.parse::<std::net::IpAddr>().is_ok())
        .collect();
    entries.sort_by_key(|entry| &entry.metadata.name);
    for entry in entries {
        found.push(Selected {
            workload: Workload::workload(&entry.workload, &entry.metadata.name, namespace),
            address: &entry.workload.address,
            health: Health::Unknown,
            ports: PortNumbers::Entry(&entry.workload.ports),
        });
    }
    found
}
