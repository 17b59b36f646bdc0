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
    /// The workload's.
    pub(crate) namespace: Arc<str>,
    /// What a certificate of the workload names after the trust domain: `ns/NAMESPACE/sa/ACCOUNT`; empty if it has none.
    pub(crate) identity: Arc<str>,
    /// The label `security.istio.io/tlsMode`; `istio` where a sidecar takes mutual TLS.
    pub(crate) tls_mode: Arc<str>,
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
    pub(super) namespace: Arc<str>,
    pub(super) identity: Arc<str>,
    pub(super) tls_mode: Arc<str>,
}

/// Of endpoints that take only what is sent to them.
pub(crate) const TLS_DISABLED: &str = "disabled";
const TLS_MODE: &str = "security.istio.io/tlsMode";

impl Origin {
    pub(super) fn pod(pod: &Pod, locality: String) -> Self {
        let labels = &pod.metadata.labels;
        Origin {
            workload: workload_text(&pod.workload, &pod.metadata.namespace, labels).into(),
            labels: Arc::new(augment(labels, CLUSTER_ID, &locality, &pod.node)),
            locality,
            node: pod.node.clone(),
            weight: 1,
            namespace: pod.metadata.namespace.as_str().into(),
            identity: identity(&pod.metadata.namespace, &pod.service_account),
            tls_mode: labels
                .get(TLS_MODE)
                .map_or(TLS_DISABLED, String::as_str)
                .into(),
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
            namespace: namespace.into(),
            identity: match workload.service_account.as_str() {
                "" => Arc::default(),
                account => identity(namespace, account),
            },
            tls_mode: match workload.labels.get(TLS_MODE) {
                Some(mode) => mode.as_str().into(),
                None if workload.service_account.is_empty() => TLS_DISABLED.into(),
                None => "istio".into(),
            },
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
            namespace: Arc::default(),
            identity: Arc::default(),
            tls_mode: TLS_DISABLED.into(),
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
            namespace: self.namespace.clone(),
            identity: self.identity.clone(),
            tls_mode: self.tls_mode.clone(),
        }
    }
}

fn identity(namespace: &str, account: &str) -> Arc<str> {
    format!("ns/{namespace}/sa/{account}").into()
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
