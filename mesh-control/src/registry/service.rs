use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Endpoint;
use crate::model::{Protocol, TargetPort, TrafficDistribution};

/// The address of a service that has none.
pub(crate) const UNSPECIFIED: &str = "0.0.0.0";

/// A service as Istio sees it: a Kubernetes Service, or one host and address of a ServiceEntry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Service {
    pub(crate) host: String,
    /// Of the Kubernetes object; of a ServiceEntry the host.
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) origin: Origin,
    pub(crate) created: Option<String>,
    /// IP addresses or CIDR ranges, or the unspecified one; never empty.
    pub(crate) addresses: Vec<String>,
    pub(crate) ports: Vec<Port>,
    pub(crate) resolution: Resolution,
    /// MESH_EXTERNAL, ExternalName.
    pub(crate) is_external: bool,
    pub(crate) export_to: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// `None`: selects nothing, its endpoints are given.
    pub(crate) selector: Option<BTreeMap<String, String>>,
    /// Of type ExternalName.
    pub(crate) external_name: String,
    /// Other names for this service.
    pub(crate) aliases: Vec<String>,
    pub(crate) traffic_distribution: Option<TrafficDistribution>,
    pub(crate) is_node_local: bool,
    /// `subjectAltNames` of a ServiceEntry.
    pub(crate) subject_alt_names: Vec<String>,
    /// All endpoints of this name and namespace, of every port.
    pub(crate) endpoints: Arc<[Arc<Endpoint>]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    Kubernetes,
    Entry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// The proxy chooses an endpoint.
    ClientSide,
    /// All addresses of DNS names.
    Dns,
    /// The first address of a DNS name.
    DnsRoundRobin,
    /// The address that the client wanted.
    Passthrough,
    /// Another name for a service.
    Alias,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) port: u32,
    pub(crate) protocol: Protocol,
    /// On the workload.
    pub(crate) target: TargetPort,
}

impl Service {
    /// Where it stands among all: by age, then name, then namespace.
    pub(super) fn order(&self) -> (&Option<String>, Origin, &str, &str) {
        (&self.created, self.origin, &self.name, &self.namespace)
    }

    pub(crate) fn port(&self, number: u32) -> Option<&Port> {
        self.ports.iter().find(|p| p.port == number)
    }

    /// The address that listeners for it bind.
    pub(crate) fn address(&self) -> &str {
        self.addresses.first().map_or(UNSPECIFIED, String::as_str)
    }

    /// Whether it is seen from a namespace.
    pub(crate) fn is_visible(&self, namespace: &str) -> bool {
        self.is_public() || self.is_exported_by_name(namespace)
    }

    pub(crate) fn is_public(&self) -> bool {
        self.export_to.is_empty() || self.export_to.iter().any(|to| to == "*")
    }

    fn is_exported_by_name(&self, namespace: &str) -> bool {
        self.export_to.iter().all(|to| to != "~")
            && self
                .export_to
                .iter()
                .any(|to| to == namespace || (to == "." && self.namespace == namespace))
    }

    /// Endpoints of a port: by the port's number where an endpoint names it (endpoints of a ServiceEntry), else
    /// by the port's name. What clusters with endpoints of their own have.
    pub(crate) fn endpoints_by_port(&self, port: &Port) -> impl Iterator<Item = &Arc<Endpoint>> {
        let numbers: BTreeSet<u32> = self.ports.iter().map(|p| p.port).collect();
        self.endpoints
            .iter()
            .filter(move |endpoint| match endpoint.service_port {
                Some(number) => number == port.port && numbers.contains(&number),
                None => endpoint.port_name == port.name,
            })
    }

    /// With some of its ports; `None` if that leaves none.
    pub(crate) fn with_ports(self: &Arc<Self>, keep: impl Fn(u32) -> bool) -> Option<Arc<Service>> {
        if self.ports.iter().all(|port| keep(port.port)) {
            return Some(self.clone());
        }
        let mut narrowed = Service::clone(self);
        narrowed.ports.retain(|port| keep(port.port));
        (!narrowed.ports.is_empty()).then(|| Arc::new(narrowed))
    }
}
