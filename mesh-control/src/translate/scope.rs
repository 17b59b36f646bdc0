use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::Config;
use crate::model::{
    CaptureMode, DestinationRule, Pod, Protocol, ServerHost, Service, ServicePort, Sidecar,
    TargetPort, VirtualService, is_exported,
};

use super::{Node, NodeKind};

/// What one node sees of the configuration.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) config: Arc<Config>,
    pub(super) node: Arc<Node>,
    pub(super) egress: Vec<Egress>,
    pub(super) registry_only: bool,
    /// Services that get clusters.
    pub(super) services: Vec<Arc<Service>>,
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

/// A port of the node's own workload that a service exposes.
#[derive(Clone, Debug)]
pub(super) struct ServiceTarget {
    pub(super) service: Arc<Service>,
    pub(super) port: ServicePort,
    pub(super) target_port: u32,
}

impl Scope {
    pub(super) fn new(config: Arc<Config>, node: Arc<Node>) -> Self {
        let all: Vec<_> = config.services.clone();
        let in_mesh: Vec<_> = config
            .virtual_services
            .iter()
            .filter(|vs| vs.gateways.iter().any(|g| g == "mesh"))
            .filter(|vs| is_exported(&vs.export_to, &vs.metadata.namespace, &node.namespace))
            .cloned()
            .collect();
        let sidecar = match node.kind {
            NodeKind::Sidecar => sidecar_of(&config, &node),
            NodeKind::Router => None,
        };
        let everything = || Egress {
            port: None,
            bind: String::new(),
            bind_to_port: false,
            services: all.clone(),
            virtual_services: in_mesh.clone(),
        };
        let egress = match &sidecar {
            Some(sidecar) if !sidecar.egress.is_empty() => sidecar
                .egress
                .iter()
                .map(|listener| Egress {
                    port: listener.port.map(|port| (port, listener.protocol)),
                    bind: listener.bind.clone(),
                    bind_to_port: listener.capture == CaptureMode::None,
                    services: imported_services(&all, &listener.hosts, listener.port),
                    virtual_services: imported_virtual_services(&in_mesh, &listener.hosts),
                })
                .collect(),
            _ => vec![everything()],
        };
        let services = if sidecar.as_ref().is_some_and(|s| !s.egress.is_empty()) {
            services_for_clusters(&all, &egress)
        } else {
            all
        };
        let registry_only = sidecar
            .and_then(|sidecar| sidecar.registry_only)
            .unwrap_or(config.mesh.registry_only);
        Scope {
            config,
            node,
            egress,
            registry_only,
            services,
        }
    }

    /// The egress listener that the routes of a port belong to.
    pub(super) fn egress_for_port(&self, port: u32) -> Option<&Egress> {
        let own = self
            .egress
            .iter()
            .find(|e| e.port.is_some_and(|(number, _)| number == port));
        own.or_else(|| self.egress.iter().find(|e| e.port.is_none()))
    }

    /// A service by its full name.
    pub(super) fn service(&self, host: &str) -> Option<&Arc<Service>> {
        self.services.iter().find(|service| service.host == host)
    }

    /// The rule for a host: the node's namespace, then the service's, then the root namespace; in each the
    /// most specific host. Several rules for the same host are one.
    pub(super) fn destination_rule(&self, host: &str) -> Option<Arc<DestinationRule>> {
        let own = self.node.namespace.as_str();
        let root = self.config.mesh.root_namespace.as_str();
        let of_service = self.service(host).map(|s| s.metadata.namespace.as_str());
        let mut namespaces = vec![own];
        namespaces.extend(of_service);
        namespaces.push(root);
        namespaces
            .into_iter()
            .find_map(|namespace| self.rule_in(namespace, host))
    }

    fn rule_in(&self, namespace: &str, host: &str) -> Option<Arc<DestinationRule>> {
        let fits = |rule: &&Arc<DestinationRule>| {
            rule.metadata.namespace == namespace
                && host_matches(&rule.host, host)
                && is_exported(&rule.export_to, namespace, &self.node.namespace)
                && rule
                    .workload_labels
                    .iter()
                    .all(|(k, v)| self.node.labels.get(k) == Some(v))
        };
        let candidates: Vec<_> = self.config.destination_rules.iter().filter(fits).collect();
        // the longest pattern is the most specific one, and a rule for this workload beats one for all
        let rank = |rule: &Arc<DestinationRule>| {
            (
                !rule.workload_labels.is_empty(),
                !rule.host.starts_with('*'),
                rule.host.len(),
            )
        };
        let best = candidates.iter().map(|rule| rank(rule)).max()?;
        let mut same = candidates.into_iter().filter(|rule| rank(rule) == best);
        let mut merged = same.next()?.clone();
        for other in same {
            let into = Arc::make_mut(&mut merged);
            if into.traffic_policy.is_none() {
                into.traffic_policy = other.traffic_policy.clone();
            }
            for subset in &other.subsets {
                if into.subsets.iter().all(|s| s.name != subset.name) {
                    into.subsets.push(subset.clone());
                }
            }
        }
        Some(merged)
    }

    /// The ports of this node that services expose, in the order of the services.
    pub(super) fn targets(&self) -> Vec<ServiceTarget> {
        let pod = self
            .config
            .pods
            .iter()
            .find(|p| p.ip == self.node.ip && p.metadata.namespace == self.node.namespace);
        let labels = pod.map_or(&self.node.labels, |pod| &pod.metadata.labels);
        let mut targets = Vec::new();
        for service in &self.config.services {
            let selects = !service.selector.is_empty()
                && service.metadata.namespace == self.node.namespace
                && service
                    .selector
                    .iter()
                    .all(|(k, v)| labels.get(k) == Some(v));
            if !selects {
                continue;
            }
            for port in &service.ports {
                if let Some(target_port) = target_port(port, pod) {
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

fn target_port(port: &ServicePort, pod: Option<&Arc<Pod>>) -> Option<u32> {
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => pod?
            .ports
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, port)| *port),
    }
}

/// The Sidecar of a node: one for its labels, else one of its namespace, else one of the root namespace.
fn sidecar_of(config: &Config, node: &Node) -> Option<Arc<Sidecar>> {
    let of = |namespace: &str, own: bool| {
        config.sidecars.iter().find(move |s| {
            s.metadata.namespace == namespace
                && s.workload_labels.is_empty() != own
                && s.workload_labels
                    .iter()
                    .all(|(k, v)| node.labels.get(k) == Some(v))
        })
    };
    of(&node.namespace, true)
        .or_else(|| of(&node.namespace, false))
        .or_else(|| of(&config.mesh.root_namespace, false))
        .cloned()
}

/// Whether a host or wildcard pattern covers a host.
pub(super) fn host_matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => match host.strip_prefix('*') {
            Some(host_suffix) => host_suffix.ends_with(suffix),
            None => host.len() >= suffix.len() && host.ends_with(suffix),
        },
        None => pattern.eq_ignore_ascii_case(host),
    }
}

fn is_imported(hosts: &[ServerHost], namespace: &str, name: &str) -> bool {
    hosts
        .iter()
        .any(|h| (h.namespace == "*" || h.namespace == namespace) && host_matches(&h.host, name))
}

/// The services of an egress listener; one for a port has only services with that port, and of them only it.
fn imported_services(
    all: &[Arc<Service>],
    hosts: &[ServerHost],
    port: Option<u32>,
) -> Vec<Arc<Service>> {
    all.iter()
        .filter(|s| is_imported(hosts, &s.metadata.namespace, &s.host))
        .filter_map(|s| with_ports(s, |number| port.is_none_or(|port| port == number)))
        .collect()
}

/// A service with some of its ports; `None` if that leaves none.
fn with_ports(service: &Arc<Service>, keep: impl Fn(u32) -> bool) -> Option<Arc<Service>> {
    if service.ports.iter().all(|port| keep(port.port)) {
        return Some(service.clone());
    }
    let mut narrowed = Service::clone(service);
    narrowed.ports.retain(|port| keep(port.port));
    (!narrowed.ports.is_empty()).then(|| Arc::new(narrowed))
}

fn imported_virtual_services(
    all: &[Arc<VirtualService>],
    hosts: &[ServerHost],
) -> Vec<Arc<VirtualService>> {
    let imported = |vs: &&Arc<VirtualService>| {
        vs.hosts.iter().any(|host| {
            is_imported(hosts, &vs.metadata.namespace, host)
                || (host.starts_with('*') && hosts.iter().any(|h| host_matches(host, &h.host)))
        })
    };
    all.iter().filter(imported).cloned().collect()
}

/// Services of the egress listeners and those that their routes lead to, each with the ports that are used.
fn services_for_clusters(all: &[Arc<Service>], egress: &[Egress]) -> Vec<Arc<Service>> {
    let mut used: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for listener in egress {
        for service in &listener.services {
            used.entry(&service.host)
                .or_default()
                .extend(service.ports.iter().map(|port| port.port));
        }
        for route in listener.virtual_services.iter().flat_map(|vs| &vs.http) {
            let destinations = route.route.iter().map(|d| &d.destination);
            for destination in destinations.chain(route.mirrors.iter().map(|m| &m.destination)) {
                let Some(service) = all.iter().find(|s| s.host == destination.host) else {
                    continue;
                };
                // a listener for a port leads to that port; otherwise the route says which, or means all
                let port = listener.port.map(|(port, _)| port).or(destination.port);
                let ports = service
                    .ports
                    .iter()
                    .map(|p| p.port)
                    .filter(|p| port.is_none_or(|port| port == *p));
                used.entry(&service.host).or_default().extend(ports);
            }
        }
    }
    let narrowed = |service: &Arc<Service>| {
        let ports = used.get(service.host.as_str())?;
        with_ports(service, |port| ports.contains(&port))
    };
    all.iter().filter_map(narrowed).collect()
}
