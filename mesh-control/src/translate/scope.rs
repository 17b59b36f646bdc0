use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use super::authorization::AuthorizationFilters;
use super::imports::{Imports, imported_services, imported_virtual_services};
use super::mutual_tls::WorkloadMtls;
use super::{Node, NodeKind, jwt_authn};
use crate::config::Config;
use crate::model::{
    CaptureMode, Destination, DestinationRule, Protocol, Sidecar, TargetPort, VirtualService,
    is_exported,
};
use crate::registry::{self, Origin, Resolution, Service, ServiceTarget};

/// What one node sees of the configuration.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) config: Arc<Config>,
    pub(super) node: Arc<Node>,
    pub(super) sidecar: Option<Arc<Sidecar>>,
    pub(super) egress: Vec<Egress>,
    pub(super) registry_only: bool,
    /// Where traffic goes that no service claims, instead of where it wanted to go.
    pub(super) egress_proxy: Option<Destination>,
    /// Services that get clusters: one per host.
    pub(super) services: Vec<Arc<Service>>,
    by_host: HashMap<String, usize>,
    /// `region/zone/subzone` of the node.
    pub(super) locality: String,
    /// Labels of the node's workload, and where it is.
    pub(super) labels: BTreeMap<String, String>,
    authorization: OnceLock<AuthorizationFilters>,
    jwt_authn: OnceLock<Option<HttpFilter>>,
    mutual_tls: OnceLock<WorkloadMtls>,
    namespaces: OnceLock<HashSet<String>>,
}

/// An egress listener of the node's Sidecar, or the one for everything if it has none.
#[derive(Debug)]
pub(super) struct Egress {
    pub(super) port: Option<(u32, Protocol)>,
    pub(super) bind: String,
    pub(super) bind_to_port: bool,
    pub(super) services: Vec<Arc<Service>>,
    pub(super) virtual_services: Vec<Arc<VirtualService>>,
}

impl Egress {
    /// Whether it stands for itself on its port, so that a service belongs there by that port.
    fn matches_port(&self) -> Option<u32> {
        self.port
            .filter(|(_, protocol)| *protocol != Protocol::HttpProxy)
            .map(|(port, _)| port)
    }
}

impl Scope {
    pub(super) fn new(config: Arc<Config>, node: Arc<Node>) -> Self {
        let own = node.namespace.as_str();
        let (labels, locality) = workload_of(&config, &node);
        let sidecar = match node.kind {
            NodeKind::Sidecar => sidecar_of(&config, &node, &labels),
            NodeKind::Router => None,
        };
        // what is exported to the namespace by name comes before what everybody sees
        let (public, private): (Vec<_>, Vec<_>) = config
            .registry
            .services
            .iter()
            .filter(|s| s.is_visible(own))
            .cloned()
            .partition(|s| s.is_public());
        let visible: Vec<_> = private.into_iter().chain(public).collect();
        let in_mesh = virtual_services(&config, own, "mesh");
        let egress: Vec<Egress> = match &sidecar {
            Some(sidecar) if !sidecar.egress.is_empty() => sidecar
                .egress
                .iter()
                .map(|listener| {
                    let port = listener.port.map(|port| (port.number, port.protocol));
                    let imports = Imports::new(&listener.hosts, own);
                    let mut egress = Egress {
                        port,
                        bind: listener.bind.clone(),
                        bind_to_port: listener.capture == CaptureMode::None,
                        services: Vec::new(),
                        virtual_services: imported_virtual_services(&in_mesh, &imports),
                    };
                    egress.services =
                        imported_services(&visible, &imports, egress.matches_port(), own);
                    egress
                })
                .collect(),
            _ => {
                let imports = Imports::everything();
                vec![Egress {
                    port: None,
                    bind: String::new(),
                    bind_to_port: false,
                    services: imported_services(&visible, &imports, None, own),
                    virtual_services: imported_virtual_services(&in_mesh, &imports),
                }]
            }
        };
        let mut merged = MergedServices::default();
        match node.kind {
            NodeKind::Router => visible.iter().for_each(|s| merged.add(s.clone())),
            NodeKind::Sidecar => {
                for listener in &egress {
                    add_services(&config, listener, own, &mut merged);
                }
            }
        }
        let policy = sidecar.as_ref().and_then(|s| s.outbound_policy.as_ref());
        let registry_only = policy.map_or(config.mesh.registry_only, |p| p.registry_only);
        let egress_proxy = policy.and_then(|p| p.egress_proxy.clone());
        Scope {
            config,
            node,
            sidecar,
            egress,
            registry_only,
            egress_proxy,
            services: merged.services,
            by_host: merged.by_host,
            locality,
            labels,
            authorization: OnceLock::new(),
            jwt_authn: OnceLock::new(),
            mutual_tls: OnceLock::new(),
            namespaces: OnceLock::new(),
        }
    }

    /// Whether there are clusters for the same services.
    pub(super) fn has_services_of(&self, other: &Scope) -> bool {
        let same = |(a, b): (&Arc<Service>, &Arc<Service>)| Arc::ptr_eq(a, b) || a == b;
        self.services.len() == other.services.len()
            && self.services.iter().zip(&other.services).all(same)
    }

    /// Whether some service of a namespace is for the node.
    pub(super) fn sees_services_of(&self, namespace: &str) -> bool {
        let namespaces = self.namespaces.get_or_init(|| {
            let all = self
                .services
                .iter()
                .map(|service| service.namespace.clone());
            all.collect()
        });
        namespaces.contains(namespace)
    }

    /// What PeerAuthentications ask of the node's peers.
    pub(super) fn mutual_tls(&self) -> &WorkloadMtls {
        self.mutual_tls.get_or_init(|| WorkloadMtls::of_node(self))
    }

    /// What RequestAuthentications make of the node's connection managers.
    pub(super) fn jwt_authn(&self) -> Option<&HttpFilter> {
        let filter = self.jwt_authn.get_or_init(|| jwt_authn::filter(self));
        filter.as_ref()
    }

    /// What AuthorizationPolicies make of the node's listeners.
    pub(super) fn authorization(&self) -> &AuthorizationFilters {
        self.authorization
            .get_or_init(|| AuthorizationFilters::new(self))
    }

    /// The egress listener that the routes of a port belong to.
    pub(super) fn egress_for_port(&self, port: u32) -> Option<&Egress> {
        self.egress
            .iter()
            .find(|e| e.port.is_none_or(|(number, _)| number == port))
    }

    /// A service by its full name.
    pub(super) fn service(&self, host: &str) -> Option<&Arc<Service>> {
        self.by_host.get(host).map(|i| &self.services[*i])
    }

    /// The rule for what the node calls a service by.
    pub(super) fn destination_rule(&self, host: &str) -> Option<Arc<DestinationRule>> {
        self.rule(host, true)
    }

    /// The rule for what the node receives for a service: none that selects workloads.
    pub(super) fn inbound_rule(&self, host: &str) -> Option<Arc<DestinationRule>> {
        self.rule(host, false)
    }

    fn rule(&self, host: &str, outbound: bool) -> Option<Arc<DestinationRule>> {
        let service = self.service(host)?;
        let own = self.node.namespace.as_str();
        let root = self.config.mesh.root_namespace.as_str();
        let mut general = None;
        for rule in self.config.registry.rules.of(service, own, root) {
            let Some(labels) = &rule.workload_labels else {
                general = Some(rule);
                continue;
            };
            let selects = labels.iter().all(|(k, v)| self.labels.get(k) == Some(v));
            if outbound && rule.metadata.namespace == own && selects {
                return Some(rule);
            }
        }
        general
    }

    /// The VirtualServices of a Gateway, as the node sees them.
    pub(super) fn virtual_services(&self, gateway: &str) -> Vec<Arc<VirtualService>> {
        virtual_services(&self.config, &self.node.namespace, gateway)
    }

    /// The ports of this node that services expose, oldest service first.
    pub(super) fn targets(&self) -> Vec<ServiceTarget> {
        let mut targets = self.kubernetes_targets();
        for service in &self.config.registry.services {
            if service.origin == Origin::Entry && service.namespace == self.node.namespace {
                targets.extend(targets_by_address(service, &self.node.ip));
            }
        }
        targets.sort_by(|a, b| {
            let age = |t: &ServiceTarget| (t.service.created.clone(), t.service.origin);
            (age(a), &a.service.host).cmp(&(age(b), &b.service.host))
        });
        targets
    }

    /// By a Service's selector; without any, by its endpoints.
    fn kubernetes_targets(&self) -> Vec<ServiceTarget> {
        let registry = &self.config.registry;
        let (ip, own) = (self.node.ip.as_str(), self.node.namespace.as_str());
        let services = || {
            registry
                .services
                .iter()
                .filter(|s| s.origin == Origin::Kubernetes && s.namespace == own)
        };
        let workload = registry.workload(ip, own);
        let pod = registry.pod(ip, own);
        let labels = match (workload, pod) {
            (Some(entry), _) => &entry.workload.labels,
            (None, Some(pod)) => &pod.metadata.labels,
            (None, None) => &self.node.labels,
        };
        let selected: Vec<_> = services()
            .filter(|s| {
                s.selector
                    .as_ref()
                    .is_some_and(|selector| selector.iter().all(|(k, v)| labels.get(k) == Some(v)))
            })
            .collect();
        if selected.is_empty() && workload.is_none() && pod.is_some() {
            return services()
                .flat_map(|service| targets_by_address(service, ip))
                .collect();
        }
        let mut targets = Vec::new();
        for service in selected {
            if workload.is_some() && service.resolution != Resolution::ClientSide {
                continue;
            }
            let mut seen = HashSet::new();
            for port in &service.ports {
                let target = match (workload, &port.target) {
                    (Some(_), _) if port.protocol == Protocol::Udp => None,
                    (Some(entry), _) => registry::target_on_workload_entry(port, entry),
                    (None, TargetPort::Number(number)) => Some(*number),
                    (None, TargetPort::Name(name)) => pod
                        .and_then(|pod| pod.ports.iter().find(|(n, _)| n == name))
                        .map(|(_, port)| *port),
                };
                let Some(target_port) = target else { continue };
                if seen.insert((target_port, port.protocol)) {
                    targets.push(ServiceTarget {
                        service: service.clone(),
                        port: port.clone(),
                        target_port,
                    });
                }
            }
        }
        targets
    }
}

fn targets_by_address(service: &Arc<Service>, ip: &str) -> Vec<ServiceTarget> {
    let mine = service.endpoints.iter().filter(|e| e.address == ip);
    let target = |endpoint: &Arc<registry::Endpoint>| {
        let port = match endpoint.service_port {
            Some(number) => service.port(number)?,
            None => service
                .ports
                .iter()
                .find(|p| p.name == endpoint.port_name)?,
        };
        Some(ServiceTarget {
            service: service.clone(),
            port: port.clone(),
            target_port: endpoint.port,
        })
    };
    mine.filter_map(target).collect()
}

/// The labels of the node's workload and where it is: what the registry knows of its pod, else its own words.
fn workload_of(config: &Config, node: &Node) -> (BTreeMap<String, String>, String) {
    let pod = config.registry.pod(&node.ip, &node.namespace);
    let mut labels = node.labels.clone();
    let mut locality = String::new();
    if let Some(pod) = pod {
        labels.extend(pod.metadata.labels.clone());
        locality = config.registry.locality_of(pod);
    }
    if locality.is_empty() {
        locality = registry::locality_of_labels(&labels).unwrap_or_default();
    }
    if locality.is_empty() {
        locality.clone_from(&node.locality);
    }
    let labels = registry::augment(&labels, &node.cluster_id, &locality, &node.node_name);
    (labels, locality)
}

/// VirtualServices of a gateway, or of the mesh: the namespace's private ones, what others export to it, what
/// everybody sees.
fn virtual_services(config: &Config, own: &str, gateway: &str) -> Vec<Arc<VirtualService>> {
    let rank = |vs: &VirtualService| {
        if vs.export_to.is_empty() || vs.export_to.iter().any(|to| to == "*") {
            2
        } else if vs.metadata.namespace == own {
            0
        } else {
            1
        }
    };
    let mut found: Vec<_> = config
        .virtual_services
        .iter()
        .filter(|vs| vs.gateways.iter().any(|g| g == gateway))
        .filter(|vs| is_exported(&vs.export_to, &vs.metadata.namespace, own))
        .cloned()
        .collect();
    // a route of the Gateway API in the caller's own namespace goes before others
    let is_own = |vs: &VirtualService| vs.is_of_gateway_api && vs.metadata.namespace == own;
    found.sort_by_key(|vs| (rank(vs), !is_own(vs)));
    found
}

/// The Sidecar of a node: one for its labels, else one of its namespace, else one of the root namespace.
fn sidecar_of(
    config: &Config,
    node: &Node,
    labels: &BTreeMap<String, String>,
) -> Option<Arc<Sidecar>> {
    let of = |namespace: &str, special: bool| {
        config.sidecars.iter().find(move |s| {
            s.metadata.namespace == namespace
                && s.workload_labels.is_empty() != special
                && s.workload_labels
                    .iter()
                    .all(|(k, v)| labels.get(k) == Some(v))
        })
    };
    of(&node.namespace, true)
        .or_else(|| of(&node.namespace, false))
        .or_else(|| of(&config.mesh.root_namespace, false))
        .cloned()
}

/// Services one per host: Kubernetes' own wins, otherwise the first; ports of its like are added.
#[derive(Default)]
struct MergedServices {
    services: Vec<Arc<Service>>,
    by_host: HashMap<String, usize>,
}

impl MergedServices {
    fn add(&mut self, service: Arc<Service>) {
        let Some(&i) = self.by_host.get(&service.host) else {
            self.by_host
                .insert(service.host.clone(), self.services.len());
            self.services.push(service);
            return;
        };
        let existing = &self.services[i];
        if Arc::ptr_eq(existing, &service) || existing.origin < service.origin {
            return;
        }
        if existing.origin > service.origin {
            self.services[i] = service;
            return;
        }
        let alike = existing.namespace == service.namespace
            && existing.resolution == service.resolution
            && existing.labels == service.labels
            && existing.selector == service.selector
            && existing.export_to == service.export_to;
        if !alike {
            return;
        }
        let missing: Vec<_> = service
            .ports
            .iter()
            .filter(|port| existing.port(port.port).is_none())
            .cloned()
            .collect();
        if !missing.is_empty() {
            Arc::make_mut(&mut self.services[i]).ports.extend(missing);
        }
    }
}

/// The services of an egress listener, and those that its routes lead to.
fn add_services(config: &Config, listener: &Egress, own: &str, merged: &mut MergedServices) {
    for service in &listener.services {
        merged.add(service.clone());
    }
    for vs in &listener.virtual_services {
        for (host, ports) in destinations(vs, own) {
            let Some(service) = service_for(config, host, own) else {
                continue;
            };
            let narrowed = match listener.matches_port() {
                Some(port) => service
                    .port(port)
                    .and_then(|_| service.with_ports(|number| number == port)),
                None if ports.contains(&0) => Some(service.clone()),
                None => service.with_ports(|number| ports.contains(&number)),
            };
            if let Some(service) = narrowed {
                merged.add(service);
            }
        }
    }
}

/// Hosts that routes lead to, with ports; 0: one that names no port.
fn destinations<'a>(vs: &'a VirtualService, own: &str) -> BTreeMap<&'a str, BTreeSet<u32>> {
    let mut all: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    let mut add = |destination: &'a Destination| {
        all.entry(&destination.host)
            .or_default()
            .insert(destination.port.unwrap_or(0));
    };
    for http in &vs.http {
        // the last word counts, unless one fits
        let mut fits = true;
        for matched in http
            .matches
            .iter()
            .filter(|m| !m.source_namespace.is_empty())
        {
            fits = matched.source_namespace == own;
            if fits {
                break;
            }
        }
        if fits {
            http.route.iter().for_each(|d| add(&d.destination));
            http.all_mirrors().for_each(|(d, _)| add(d));
        }
    }
    for route in vs.tcp.iter().chain(&vs.tls) {
        route.route.iter().for_each(|d| add(&d.destination));
    }
    all
}

/// The service that a destination means: of the own namespace, else Kubernetes' own, else the oldest.
fn service_for<'a>(config: &'a Config, host: &str, own: &str) -> Option<&'a Arc<Service>> {
    let all = || config.registry.of_host(host);
    let first_of = |namespace: &str| {
        let mut of = all().filter(|s| s.namespace == namespace);
        all()
            .find(|s| s.namespace == namespace && s.origin == Origin::Kubernetes)
            .or_else(|| of.next())
    };
    first_of(own).or_else(|| all().filter(|s| s.is_visible(own)).min_by_key(|s| s.origin))
}
