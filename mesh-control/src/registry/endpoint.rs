use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Pod, Workload};

/// The cluster that all workloads of a folder belong to.
pub(crate) const CLUSTER_ID: &str = "Kubernetes";

/// A place where a service's port is served.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Endpoint {
    /// An IP address, a DNS name, or the path of a socket if the port is 0.
    pub(crate) address: String,
    pub(crate) port: u32,
    /// The service port's name.
    pub(crate) port_name: String,
    /// The service port's number, where it is part of the endpoint.
    pub(crate) service_port: Option<u32>,
    /// The workload's, and where it is.
    pub(crate) labels: Arc<BTreeMap<String, String>>,
    /// `region/zone/subzone`.
    pub(crate) locality: String,
    /// At least 1.
    pub(crate) weight: u32,
    pub(crate) health: Health,
    /// `NAME;NAMESPACE;SERVICE;REVISION;CLUSTER`, which metrics take their labels from.
    pub(crate) workload: Arc<str>,
    /// The Kubernetes node.
    pub(crate) node: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Nobody watches it.
    Unknown,
    Healthy,
    Unhealthy,
    Terminating,
}

/// What of an endpoint its workload says.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) labels: Arc<BTreeMap<String, String>>,
    pub(super) locality: String,
    pub(super) workload: Arc<str>,
    pub(super) node: String,
    pub(super) weight: u32,
}

impl Origin {
    pub(super) fn pod(pod: &Pod, locality: String) -> Self {
        let labels = &pod.metadata.labels;
        Origin {
            workload: workload_text(&pod.workload, &pod.metadata.namespace, labels).into(),
            labels: Arc::new(augment(labels, CLUSTER_ID, &locality, &pod.node)),
            locality,
            node: pod.node.clone(),
            weight: 1,
        }
    }

    pub(super) fn workload(workload: &Workload, name: &str, namespace: &str) -> Self {
        let locality = match workload.locality.as_str() {
            "" => locality_label(&workload.labels).unwrap_or_default(),
            locality => locality.to_owned(),
        };
        Origin {
            workload: workload_text(name, namespace, &workload.labels).into(),
            labels: Arc::new(augment(&workload.labels, CLUSTER_ID, &locality, "")),
            locality,
            node: String::new(),
            weight: workload.weight.max(1),
        }
    }

    /// Of an address that belongs to no known workload.
    pub(super) fn unknown() -> Self {
        Origin {
            workload: format!(";;;;{CLUSTER_ID}").into(),
            labels: Arc::new(augment(&BTreeMap::new(), CLUSTER_ID, "", "")),
            locality: String::new(),
            node: String::new(),
            weight: 1,
        }
    }

    pub(super) fn endpoint(&self, address: &str, port: u32, port_name: &str) -> Endpoint {
        Endpoint {
            address: address.to_owned(),
            port,
            port_name: port_name.to_owned(),
            service_port: None,
            labels: self.labels.clone(),
            locality: self.locality.clone(),
            weight: self.weight,
            health: Health::Unknown,
            workload: self.workload.clone(),
            node: self.node.clone(),
        }
    }
}

pub(super) fn workload_text(
    name: &str,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> String {
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
    let service = service.unwrap_or_else(|| name.to_owned());
    format!("{name};{namespace};{service};{revision};{CLUSTER_ID}")
}

/// `region/zone/subzone` by a workload's labels; Istio writes dots there.
pub(crate) fn locality_label(labels: &BTreeMap<String, String>) -> Option<String> {
    let label = labels
        .get("topology.istio.io/locality")
        .or_else(|| labels.get("istio-locality"))?;
    match label.as_str() {
        "" => None,
        label if label.contains('/') => Some(label.to_owned()),
        label => Some(label.replace('.', "/")),
    }
}

/// Region, zone and subzone.
pub(crate) fn split_locality(text: &str) -> (&str, &str, &str) {
    let mut parts = text.split('/');
    let mut next = || parts.next().unwrap_or_default();
    (next(), next(), next())
}

/// Labels with where the workload is, as Istio adds it.
pub(crate) fn augment(
    labels: &BTreeMap<String, String>,
    cluster: &str,
    locality: &str,
    node: &str,
) -> BTreeMap<String, String> {
    let mut labels = labels.clone();
    let (region, zone, subzone) = split_locality(locality);
    for (name, value) in [
        ("topology.kubernetes.io/region", region),
        ("topology.kubernetes.io/zone", zone),
        ("topology.istio.io/subzone", subzone),
        ("topology.istio.io/cluster", cluster),
        ("kubernetes.io/hostname", node),
    ] {
        if !value.is_empty() {
            labels.insert(name.to_owned(), value.to_owned());
        }
    }
    labels
}
