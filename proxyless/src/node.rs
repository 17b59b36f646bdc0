//! The node of a program without a bootstrap: from the environment that Kubernetes' downward API gives.

use std::collections::BTreeMap;

use mesh_proto::envoy::config::core::v3::Node;
use prost_types::{Struct, Value, value::Kind};

/// The node from POD_NAME, POD_NAMESPACE, INSTANCE_IP and ISTIO_META_LABELS (`key=value`, comma-separated); what is
/// not set is `local`, `default` and 127.0.0.1.
pub(crate) fn from_env() -> Node {
    node(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn node(var: impl Fn(&str) -> Option<String>) -> Node {
    let name = var("POD_NAME").unwrap_or_else(|| "local".into());
    let namespace = var("POD_NAMESPACE").unwrap_or_else(|| "default".into());
    let ip = var("INSTANCE_IP").unwrap_or_else(|| "127.0.0.1".into());
    let labels: BTreeMap<String, Value> = var("ISTIO_META_LABELS")
        .unwrap_or_default()
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), text(value.trim())))
        .collect();
    let fields = [
        ("NAME", text(&name)),
        ("NAMESPACE", text(&namespace)),
        ("INSTANCE_IPS", text(&ip)),
        ("CLUSTER_ID", text("Kubernetes")),
        (
            "LABELS",
            Value {
                kind: Some(Kind::StructValue(Struct { fields: labels })),
            },
        ),
    ];
    Node {
        id: format!("sidecar~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local"),
        cluster: format!("{name}.{namespace}"),
        metadata: Some(Struct {
            fields: fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        }),
        ..Node::default()
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
        let node = node(|name| match name {
            "POD_NAME" => Some("details-1".into()),
            "POD_NAMESPACE" => Some("shop".into()),
            "INSTANCE_IP" => Some("127.0.0.9".into()),
            "ISTIO_META_LABELS" => Some("app=details, version=v1".into()),
            _ => None,
        });
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
            node(|_| None).id,
            "sidecar~127.0.0.1~local.default~default.svc.cluster.local"
        );
    }
}
