//! The node of a program without a bootstrap: from the environment that Kubernetes' downward API gives, or from code.

use std::collections::BTreeMap;

use mesh_proto::envoy::config::core::v3::Node;
use prost_types::{Struct, Value, value::Kind};

/// Who a program is to the embedded control plane (feature `control`), which sends to each pod what is meant for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pod {
    /// The pod's name. Default: POD_NAME, else `local`.
    pub name: String,
    /// Its namespace: short names and rules of the mesh are taken from it. Default: POD_NAMESPACE, else `default`.
    pub namespace: String,
    /// Its address: the services that it is part of are found by it. Default: INSTANCE_IP, else 127.0.0.1.
    pub address: String,
    /// Its labels. Default: ISTIO_META_LABELS (`key=value`, comma-separated).
    pub labels: BTreeMap<String, String>,
    /// It is a gateway, configured by Gateway objects that select its labels. Default: false.
    pub gateway: bool,
}

impl Default for Pod {
    /// From the environment.
    fn default() -> Self {
        Self::of(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }
}

impl Pod {
    fn of(var: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            name: var("POD_NAME").unwrap_or_else(|| "local".into()),
            namespace: var("POD_NAMESPACE").unwrap_or_else(|| "default".into()),
            address: var("INSTANCE_IP").unwrap_or_else(|| "127.0.0.1".into()),
            labels: var("ISTIO_META_LABELS")
                .unwrap_or_default()
                .split(',')
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
                .collect(),
            gateway: false,
        }
    }

    pub(crate) fn node(&self) -> Node {
        let Self {
            name,
            namespace,
            address,
            labels,
            gateway,
        } = self;
        let labels = labels.iter().map(|(k, v)| (k.clone(), text(v))).collect();
        let fields = [
            ("NAME", text(name)),
            ("NAMESPACE", text(namespace)),
            ("INSTANCE_IPS", text(address)),
            ("CLUSTER_ID", text("Kubernetes")),
            (
                "LABELS",
                Value {
                    kind: Some(Kind::StructValue(Struct { fields: labels })),
                },
            ),
        ];
        let kind = if *gateway { "router" } else { "sidecar" };
        Node {
            id: format!("{kind}~{address}~{name}.{namespace}~{namespace}.svc.cluster.local"),
            cluster: format!("{name}.{namespace}"),
            metadata: Some(Struct {
                fields: fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            }),
            ..Node::default()
        }
    }
}

fn text(value: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_node() {
        let node = Pod::of(|name| match name {
            "POD_NAME" => Some("details-1".into()),
            "POD_NAMESPACE" => Some("shop".into()),
            "INSTANCE_IP" => Some("127.0.0.9".into()),
            "ISTIO_META_LABELS" => Some("app=details, version=v1".into()),
            _ => None,
        })
        .node();
        assert_eq!(
            node.id,
            "sidecar~127.0.0.9~details-1.shop~shop.svc.cluster.local"
        );
        let labels = node.metadata.unwrap().fields.remove("LABELS").unwrap();
        let Some(Kind::StructValue(labels)) = labels.kind else {
            panic!("labels are a struct")
        };
        assert_eq!(labels.fields["version"], text("v1"));
    }

    #[test]
    fn without_an_environment_there_is_a_local_node() {
        assert_eq!(
            Pod::of(|_| None).node().id,
            "sidecar~127.0.0.1~local.default~default.svc.cluster.local"
        );
    }
}
