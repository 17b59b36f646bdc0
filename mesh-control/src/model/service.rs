use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{DOMAIN, Metadata, Protocol};
use crate::yaml::{At, Fields, Value};

/// A Kubernetes Service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Service {
    pub(crate) metadata: Metadata,
    /// `NAME.NAMESPACE.svc.cluster.local`.
    pub(crate) host: String,
    pub(crate) cluster_ip: ClusterIp,
    pub(crate) ports: Vec<ServicePort>,
    pub(crate) selector: BTreeMap<String, String>,
    /// Of type ExternalName: another name for this host. Empty otherwise.
    pub(crate) external_name: String,
    pub(crate) traffic_distribution: Option<TrafficDistribution>,
    /// `internalTrafficPolicy: Local`: only endpoints on the client's node.
    pub(crate) is_node_local: bool,
}

/// Which endpoints a client prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrafficDistribution {
    /// PreferClose, PreferSameZone.
    SameZone,
    /// PreferSameNode.
    SameNode,
}

impl TrafficDistribution {
    /// The annotation `networking.istio.io/traffic-distribution`; `None`: not given, `Some(None)`: no preference.
    pub(crate) fn of_annotations(annotations: &BTreeMap<String, String>) -> Option<Option<Self>> {
        let text = annotations.get("networking.istio.io/traffic-distribution")?;
        match text.to_lowercase().as_str() {
            "" => None,
            "preferclose" | "prefersamezone" => Some(Some(TrafficDistribution::SameZone)),
            "prefersamenode" => Some(Some(TrafficDistribution::SameNode)),
            _ => Some(None),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClusterIp {
    /// Not given: known by its name only.
    Unset,
    /// `clusterIP: None`.
    Headless,
    Addresses(Vec<IpAddr>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServicePort {
    pub(crate) name: String,
    pub(crate) port: u32,
    pub(crate) target: TargetPort,
    pub(crate) protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TargetPort {
    Number(u32),
    Name(String),
}

impl Service {
    pub(crate) fn read(spec: Fields<'_>, metadata: Metadata) -> Self {
        let words = [
            ("ClusterIP", false),
            ("NodePort", false),
            ("LoadBalancer", false),
            ("ExternalName", true),
        ];
        let is_external_name = spec.get("type").and_then(|at| at.word(&words));
        let external_name = spec.string("externalName");
        if is_external_name == Some(true) && external_name.is_empty() {
            spec.at().refuse(
                "a Service of type ExternalName needs externalName",
                "add externalName",
            );
        }
        let distribution = spec.get("trafficDistribution").and_then(|at| {
            at.word(&[
                ("PreferClose", TrafficDistribution::SameZone),
                ("PreferSameZone", TrafficDistribution::SameZone),
                ("PreferSameNode", TrafficDistribution::SameNode),
            ])
        });
        let node_local = spec
            .get("internalTrafficPolicy")
            .and_then(|at| at.word(&[("Cluster", false), ("Local", true)]));
        let mut names = BTreeSet::new();
        let ports = spec.list("ports", |at| {
            let port = ServicePort::read(&at);
            if !names.insert(port.name.clone()) {
                at.refuse(
                    format_args!("port name {:?} is there twice", port.name),
                    "give every port its own name",
                );
            }
            port
        });
        let service = Service {
            host: format!("{}.{}.svc.{DOMAIN}", metadata.name, metadata.namespace),
            cluster_ip: cluster_ip(&spec),
            ports,
            selector: spec.string_map("selector"),
            external_name: if is_external_name == Some(true) {
                external_name
            } else {
                String::new()
            },
            traffic_distribution: distribution,
            is_node_local: node_local.unwrap_or(false),
            metadata,
        };
        spec.ignore(&[
            "externalIPs",
            "publishNotReadyAddresses",
            "externalTrafficPolicy",
            "ipFamilies",
            "ipFamilyPolicy",
            "sessionAffinity",
            "sessionAffinityConfig",
            "healthCheckNodePort",
            "loadBalancerIP",
            "loadBalancerClass",
            "loadBalancerSourceRanges",
            "allocateLoadBalancerNodePorts",
        ]);
        spec.finish_with(&[("port", "ports: [{port: …}]"), ("labels", "selector")]);
        service
    }
}

fn cluster_ip(spec: &Fields<'_>) -> ClusterIp {
    let mut texts: Vec<_> = spec
        .get("clusterIP")
        .into_iter()
        .map(|at| (at.clone(), at.string()))
        .collect();
    for at in spec
        .get("clusterIPs")
        .map(|at| at.items())
        .unwrap_or_default()
    {
        let text = at.string();
        if texts.iter().all(|(_, seen)| *seen != text) {
            texts.push((at, text));
        }
    }
    texts.retain(|(_, text)| !text.is_empty());
    if texts.iter().any(|(_, text)| text == "None") {
        return ClusterIp::Headless;
    }
    let mut addresses = Vec::new();
    for (at, text) in texts {
        match text.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => at.refuse(
                format_args!("{text:?} is no IP address"),
                "write an address, None, or nothing",
            ),
        }
    }
    if addresses.is_empty() {
        ClusterIp::Unset
    } else {
        ClusterIp::Addresses(addresses)
    }
}

impl ServicePort {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let name = fields.string("name");
        let port = fields.require("port").map_or(0, |at| u32::from(at.port()));
        let target = match fields.get("targetPort") {
            None => TargetPort::Number(port),
            Some(at) => match &at.node().value {
                Value::String(name) => TargetPort::Name(name.clone()),
                _ => TargetPort::Number(u32::from(at.port())),
            },
        };
        let transport = fields
            .get("protocol")
            .and_then(|at| at.word(&[("TCP", "TCP"), ("UDP", "UDP"), ("SCTP", "SCTP")]))
            .unwrap_or("TCP");
        let app_protocol = fields.string("appProtocol");
        fields.ignore(&["nodePort"]);
        fields.finish();
        ServicePort {
            protocol: Protocol::of_port(port, &name, transport, &app_protocol),
            name,
            port,
            target,
        }
    }
}
