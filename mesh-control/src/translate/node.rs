use std::collections::BTreeMap;

use mesh_proto::envoy::config::core::v3 as core;
use prost_types::value::Kind;

use crate::model::DOMAIN;

/// Who asks: what a control plane needs to know of a proxy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) kind: NodeKind,
    pub(crate) ip: String,
    pub(crate) namespace: String,
    /// `NAMESPACE.svc.cluster.local`.
    pub(crate) dns_domain: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) cluster_id: String,
    pub(crate) mesh_id: String,
    /// The Kubernetes node: metadata `NODE_NAME`.
    pub(crate) node_name: String,
    /// `region/zone/subzone`, as the node says.
    pub(crate) locality: String,
    /// Metadata `BIND_INSTANCE_IP: "true"` (ours): the node shares its machine with others, so what would listen
    /// on 0.0.0.0 listens on the node's own address.
    pub(crate) bind_instance_ip: bool,
    /// What it says of itself in words: the metadata that are strings.
    pub(crate) metadata: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Sidecar,
    Router,
}

/// Why a node cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidNode {
    #[error(
        "node id {0:?} is not of the form TYPE~IP~NAME.NAMESPACE~DNS-DOMAIN, such as sidecar~127.0.0.1~web.default~default.svc.cluster.local"
    )]
    Id(String),
    #[error("node type {0:?} is not supported; use sidecar or router")]
    Kind(String),
    #[error("GENERATOR {0:?} is not supported yet; leave it out to be served as a sidecar")]
    Generator(String),
}

impl Node {
    pub(crate) fn parse(node: &core::Node) -> Result<Node, InvalidNode> {
        let parts: Vec<&str> = node.id.split('~').collect();
        let [kind, ip, workload, dns_domain] = parts[..] else {
            return Err(InvalidNode::Id(node.id.clone()));
        };
        let kind = match kind {
            "sidecar" => NodeKind::Sidecar,
            "router" => NodeKind::Router,
            other => return Err(InvalidNode::Kind(other.to_owned())),
        };
        let text = |name: &str| metadata_text(node, name).unwrap_or_default().to_owned();
        let generator = text("GENERATOR");
        if !generator.is_empty() {
            return Err(InvalidNode::Generator(generator));
        }
        let namespace = match text("NAMESPACE") {
            given if !given.is_empty() => given,
            _ => workload
                .rsplit_once('.')
                .map_or("default", |(_, namespace)| namespace)
                .to_owned(),
        };
        let dns_domain = match dns_domain {
            "" => format!("{namespace}.svc.{DOMAIN}"),
            given => given.to_owned(),
        };
        let instance_ips = text("INSTANCE_IPS");
        let ip = match ip {
            "" => instance_ips
                .split(',')
                .next()
                .unwrap_or_default()
                .to_owned(),
            ip => ip.to_owned(),
        };
        Ok(Node {
            id: node.id.clone(),
            kind,
            ip,
            namespace,
            dns_domain,
            labels: metadata_labels(node),
            cluster_id: text("CLUSTER_ID"),
            mesh_id: text("MESH_ID"),
            node_name: text("NODE_NAME"),
            locality: locality(node),
            bind_instance_ip: text("BIND_INSTANCE_IP") == "true",
            metadata: metadata_words(node),
        })
    }

    /// `ISTIO_VERSION`; empty if it says none.
    pub(crate) fn istio_version(&self) -> &str {
        self.metadata
            .get("ISTIO_VERSION")
            .map_or("", String::as_str)
    }
}

fn locality(node: &core::Node) -> String {
    let Some(locality) = &node.locality else {
        return String::new();
    };
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    let given: Vec<_> = parts
        .iter()
        .take_while(|part| !part.is_empty())
        .map(|part| part.as_str())
        .collect();
    given.join("/")
}

fn metadata_field<'a>(node: &'a core::Node, name: &str) -> Option<&'a Kind> {
    node.metadata.as_ref()?.fields.get(name)?.kind.as_ref()
}

fn metadata_text<'a>(node: &'a core::Node, name: &str) -> Option<&'a str> {
    match metadata_field(node, name)? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

fn metadata_words(node: &core::Node) -> BTreeMap<String, String> {
    let fields = node.metadata.iter().flat_map(|metadata| &metadata.fields);
    let word = |(name, value): (&String, &prost_types::Value)| match &value.kind {
        Some(Kind::StringValue(word)) => Some((name.clone(), word.clone())),
        _ => None,
    };
    fields.filter_map(word).collect()
}

fn metadata_labels(node: &core::Node) -> BTreeMap<String, String> {
    let Some(Kind::StructValue(labels)) = metadata_field(node, "LABELS") else {
        return BTreeMap::new();
    };
    let text = |(name, value): (&String, &prost_types::Value)| match &value.kind {
        Some(Kind::StringValue(text)) => Some((name.clone(), text.clone())),
        _ => None,
    };
    labels.fields.iter().filter_map(text).collect()
}
