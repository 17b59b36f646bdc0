//! The services of the mesh and their endpoints, whatever objects they come from.

mod endpoint;
mod kubernetes;
mod rules;
mod service;
mod service_entry;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::config::Config;
use crate::model::{DOMAIN, KubernetesNode, Pod, WorkloadEntry};
pub(crate) use endpoint::{
    Endpoint, Health, TLS_DISABLED, augment, locality_label as locality_of_labels, split_locality,
};
pub(crate) use kubernetes::target_on_workload_entry;
pub(crate) use rules::RuleIndex;
pub(crate) use service::{Origin, Port, Resolution, Service, UNSPECIFIED};

/// All services, oldest first; made once per configuration, whoever asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    pub(crate) services: Vec<Arc<Service>>,
    /// Places in `services`.
    by_host: Arc<FxHashMap<String, Vec<usize>>>,
    pub(crate) rules: Arc<RuleIndex>,
    pods_by_ip: Arc<BTreeMap<String, Arc<Pod>>>,
    nodes: Arc<BTreeMap<String, Arc<KubernetesNode>>>,
    /// WorkloadEntries with labels and an address of their own, by that address.
    workloads_by_ip: Arc<BTreeMap<String, Arc<WorkloadEntry>>>,
}

/// A port of a workload that a service exposes.
#[derive(Clone, Debug)]
pub(crate) struct ServiceTarget {
    pub(crate) service: Arc<Service>,
    pub(crate) port: Port,
    pub(crate) target_port: u32,
}

impl Registry {
    pub(crate) fn new(config: &Config) -> Self {
        let nodes: Arc<BTreeMap<_, _>> = Arc::new(
            config
                .nodes
                .iter()
                .map(|node| (node.metadata.name.clone(), node.clone()))
                .collect(),
        );
        let places = Places { nodes: &nodes };
        let mut services = kubernetes::services(config, &places);
        services.extend(service_entry::services(config, &places));
        share_endpoints(&mut services);
        resolve_aliases(&mut services);
        services.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut by_host: FxHashMap<String, Vec<usize>> = FxHashMap::default();
        for (at, service) in services.iter().enumerate() {
            by_host.entry(service.host.clone()).or_default().push(at);
        }
        let pods = config.pods.iter().rev().filter(|pod| !pod.ip.is_empty());
        let workloads = config.workload_entries.iter().rev();
        let workloads = workloads.filter(|entry| !entry.workload.labels.is_empty());
        Registry {
            services: services.into_iter().map(Arc::new).collect(),
            by_host: by_host.into(),
            rules: RuleIndex::new(&config.destination_rules, &config.mesh.root_namespace).into(),
            pods_by_ip: Arc::new(pods.map(|pod| (pod.ip.clone(), pod.clone())).collect()),
            workloads_by_ip: Arc::new(
                workloads
                    .map(|entry| (entry.workload.address.clone(), entry.clone()))
                    .collect(),
            ),
            nodes,
        }
    }

    /// The services of a host, oldest first.
    pub(crate) fn of_host(&self, host: &str) -> impl Iterator<Item = &Arc<Service>> + Clone {
        let places = self.by_host.get(host).map_or(&[][..], Vec::as_slice);
        places.iter().map(|at| &self.services[*at])
    }

    /// The same with the endpoints of some Services, by namespace and name, read anew, and their hosts; `None` if more
    /// than clusters' endpoints may depend on them.
    pub(crate) fn with_endpoints<'a>(
        &self,
        config: &Config,
        of: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Option<(Registry, BTreeSet<String>)> {
        let (mut registry, mut hosts) = (self.clone(), BTreeSet::new());
        for (namespace, name) in of {
            let host = kubernetes_host(name, namespace);
            let at = match self.by_host.get(&host).map(Vec::as_slice) {
                None => continue,
                Some([at]) => *at,
                Some(_) => return None,
            };
            let service = &mut registry.services[at];
            // headless Services have listeners by endpoint, and one without a selector makes its endpoints inbound ports
            let is_plain = service.origin == Origin::Kubernetes
                && service.resolution == Resolution::ClientSide
                && service.selector.is_some();
            if !is_plain {
                return None;
            }
            let places = Places { nodes: &self.nodes };
            let endpoints = kubernetes::endpoints_anew(config, &places, service);
            // clusters say who may serve them
            if peers(&endpoints) != peers(&service.endpoints) {
                return None;
            }
            Arc::make_mut(service).endpoints = endpoints.into();
            hosts.insert(host);
        }
        Some((registry, hosts))
    }

    /// The pod of a node, by its address.
    pub(crate) fn pod(&self, ip: &str, namespace: &str) -> Option<&Arc<Pod>> {
        self.pods_by_ip
            .get(ip)
            .filter(|pod| pod.metadata.namespace == namespace)
    }

    /// The WorkloadEntry of a node, by its address.
    pub(crate) fn workload(&self, ip: &str, namespace: &str) -> Option<&Arc<WorkloadEntry>> {
        self.workloads_by_ip
            .get(ip)
            .filter(|entry| entry.metadata.namespace == namespace)
    }

    /// `region/zone/subzone` of a pod.
    pub(crate) fn locality_of(&self, pod: &Pod) -> String {
        Places { nodes: &self.nodes }.of_pod(pod)
    }
}

/// What endpoints say of their identities, and of whether they take mutual TLS.
fn peers(endpoints: &[Arc<Endpoint>]) -> BTreeSet<(&str, &str)> {
    let peers = endpoints.iter().map(|e| (&*e.identity, &*e.tls_mode));
    peers.collect()
}

/// Where pods are.
struct Places<'a> {
    nodes: &'a BTreeMap<String, Arc<KubernetesNode>>,
}

impl Places<'_> {
    /// A label's word, else where its node is.
    fn of_pod(&self, pod: &Pod) -> String {
        match endpoint::locality_label(&pod.metadata.labels) {
            Some(label) => label,
            None => self
                .nodes
                .get(&pod.node)
                .map(|node| node.locality())
                .unwrap_or_default(),
        }
    }
}

/// Services of one name and namespace have the endpoints of all of them.
fn share_endpoints(services: &mut [Service]) {
    let mut all: BTreeMap<(String, String), Vec<Arc<Endpoint>>> = BTreeMap::new();
    for service in services.iter() {
        let found = all
            .entry((service.namespace.clone(), service.host.clone()))
            .or_default();
        for endpoint in service.endpoints.iter() {
            // one name is asked for, so one endpoint per port is all that counts
            let is_second = service.resolution == Resolution::DnsRoundRobin
                && found
                    .iter()
                    .any(|other| other.service_port == endpoint.service_port);
            if !is_second {
                found.push(endpoint.clone());
            }
        }
    }
    let all: BTreeMap<_, Arc<[Arc<Endpoint>]>> =
        all.into_iter().map(|(k, v)| (k, v.into())).collect();
    for service in services {
        if let Some(shared) = all.get(&(service.namespace.clone(), service.host.clone())) {
            service.endpoints = shared.clone();
        }
    }
}

/// Tells services which names of type ExternalName mean them, also by way of one another.
fn resolve_aliases(services: &mut [Service]) {
    let aliases: Vec<(String, String, String)> = services
        .iter()
        .filter(|s| s.resolution == Resolution::Alias)
        .map(|s| (s.namespace.clone(), s.host.clone(), s.external_name.clone()))
        .collect();
    let target_of = |host: &str| aliases.iter().find(|(_, alias, _)| alias == host);
    let mut found: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (namespace, alias, target) in &aliases {
        let mut seen = vec![alias.as_str(), target.as_str()];
        let mut target = target.as_str();
        let end = loop {
            let Some((_, _, next)) = target_of(target) else {
                break Some(target);
            };
            if seen.contains(&next.as_str()) {
                break None;
            }
            seen.push(next);
            target = next;
        };
        if let Some(end) = end {
            found
                .entry(end.to_owned())
                .or_default()
                .push((namespace.clone(), alias.clone()));
        }
    }
    for service in services {
        if let Some(mut aliases) = found.get(&service.host).cloned() {
            aliases.sort();
            service.aliases = aliases.into_iter().map(|(_, host)| host).collect();
        }
    }
}

/// `NAME.NAMESPACE.svc.cluster.local`.
fn kubernetes_host(name: &str, namespace: &str) -> String {
    format!("{name}.{namespace}.svc.{DOMAIN}")
}
