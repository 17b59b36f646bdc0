//! Who we are, read from the node.

use std::sync::Arc;

use mesh_core::snapshot::NodeIdentity;
use mesh_proto::envoy::config::core::v3::Node;
use prost_types::{Struct, value::Kind};

/// The identity that Istio's conventions give a node: id `sidecar~IP~NAME.NAMESPACE~DOMAIN`, metadata
/// `WORKLOAD_NAME`, `NAMESPACE`, `CLUSTER_ID` and `LABELS`.
pub(super) fn identity(node: &Node, server_listener_template: &str) -> NodeIdentity {
    let empty = Struct::default();
    let metadata = node.metadata.as_ref().unwrap_or(&empty);
    let labels = nested(metadata, "LABELS").unwrap_or(&empty);
    let mut parts = node.id.split('~').skip(2);
    let pod = parts.next().unwrap_or_default();
    let dns_domain = parts.next().unwrap_or_default();

    let workload = text(metadata, "WORKLOAD_NAME").unwrap_or("unknown");
    let namespace = text(metadata, "NAMESPACE")
        .or_else(|| pod.rsplit_once('.').map(|(_, namespace)| namespace))
        .unwrap_or("unknown");
    let app = text(labels, "app");
    let version = text(labels, "version");
    let canonical_service = text(labels, "service.istio.io/canonical-name")
        .or_else(|| text(labels, "app.kubernetes.io/name"))
        .or(app)
        .unwrap_or(workload);
    let canonical_revision = text(labels, "service.istio.io/canonical-revision")
        .or_else(|| text(labels, "app.kubernetes.io/version"))
        .or(version)
        .unwrap_or("latest");

    let mut identity = NodeIdentity::default();
    identity.id = node.id.as_str().into();
    identity.service_cluster = node.cluster.as_str().into();
    identity.dns_domain = dns_domain.into();
    identity.workload = workload.into();
    identity.namespace = namespace.into();
    identity.canonical_service = canonical_service.into();
    identity.canonical_revision = canonical_revision.into();
    identity.app = app.unwrap_or("unknown").into();
    identity.version = version.unwrap_or("unknown").into();
    identity.cluster = Arc::from(text(metadata, "CLUSTER_ID").unwrap_or("unknown"));
    if let Some(locality) = &node.locality {
        identity.locality.region = locality.region.as_str().into();
        identity.locality.zone = locality.zone.as_str().into();
        identity.locality.sub_zone = locality.sub_zone.as_str().into();
    }
    identity.server_listener_template = server_listener_template.into();
    identity
}

/// Whether the node asks for gRPC's proxyless resources: then listeners are subscribed to by name.
pub(super) fn wants_grpc_resources(node: &Node) -> bool {
    node.metadata
        .as_ref()
        .and_then(|metadata| text(metadata, "GENERATOR"))
        == Some("grpc")
}

/// Says who we are to the control plane, unless the bootstrap did.
pub(super) fn add_user_agent(node: &mut Node) {
    use mesh_proto::envoy::config::core::v3::node::UserAgentVersionType::UserAgentVersion;
    if node.user_agent_name.is_empty() {
        node.user_agent_name = "proxyless".to_owned();
        node.user_agent_version_type = Some(UserAgentVersion(env!("CARGO_PKG_VERSION").to_owned()));
    }
}

fn text<'a>(fields: &'a Struct, name: &str) -> Option<&'a str> {
    match fields.fields.get(name)?.kind.as_ref()? {
        Kind::StringValue(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn nested<'a>(fields: &'a Struct, name: &str) -> Option<&'a Struct> {
    match fields.fields.get(name)?.kind.as_ref()? {
        Kind::StructValue(nested) => Some(nested),
        _ => None,
    }
}
