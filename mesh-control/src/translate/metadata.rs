use std::collections::BTreeMap;

use mesh_proto::envoy::config::core::v3 as core;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

use crate::model::Metadata;

/// Where istiod puts the object that a resource comes from.
const ISTIO: &str = "istio";
/// Where we put its file and line.
pub(crate) const PROVENANCE: &str = "mesh.provenance";

fn text(value: impl Into<String>) -> Value {
    Value {
        kind: Some(Kind::StringValue(value.into())),
    }
}

/// `istio: {config: PATH}` as istiod writes it.
pub(super) fn of_object(kind: &str, metadata: &Metadata) -> core::Metadata {
    let path = format!(
        "/apis/{}/namespaces/{}/{kind}/{}",
        // whatever version was written, Istio keeps one
        metadata
            .api_version
            .split('/')
            .next()
            .map(|group| format!("{group}/v1"))
            .unwrap_or_default(),
        metadata.namespace,
        metadata.name
    );
    let fields = BTreeMap::from([("config".to_owned(), text(path))]);
    core::Metadata {
        filter_metadata: [(ISTIO.to_owned(), Struct { fields })].into(),
        ..Default::default()
    }
}

/// `istio: {config: PATH}` of the Sidecar that a node uses, which istiod says to be in the node's namespace.
pub(super) fn of_sidecar(name: &str, namespace: &str) -> core::Metadata {
    let path = format!("/apis/networking.istio.io/v1/namespaces/{namespace}/sidecar/{name}");
    let fields = BTreeMap::from([("config".to_owned(), text(path))]);
    core::Metadata {
        filter_metadata: [(ISTIO.to_owned(), Struct { fields })].into(),
        ..Default::default()
    }
}

/// Adds the subset that a cluster is for.
pub(super) fn with_subset(mut metadata: core::Metadata, subset: &str) -> core::Metadata {
    if let Some(istio) = metadata.filter_metadata.get_mut(ISTIO) {
        istio.fields.insert("subset".to_owned(), text(subset));
    }
    metadata
}

/// Tells Istio's own filter to leave the protocols alone that TLS offers.
pub(super) fn keep_alpn(metadata: &mut core::Metadata) {
    let istio = metadata
        .filter_metadata
        .entry(ISTIO.to_owned())
        .or_default();
    istio
        .fields
        .insert("alpn_override".to_owned(), text("false"));
}

/// Marks a cluster whose service is outside of the mesh.
pub(super) fn set_external(metadata: &mut core::Metadata) {
    let istio = metadata
        .filter_metadata
        .entry(ISTIO.to_owned())
        .or_default();
    istio.fields.insert(
        "external".to_owned(),
        Value {
            kind: Some(Kind::BoolValue(true)),
        },
    );
}

/// Adds file, line and object, for explanations. Not for clusters and listeners: there another line would
/// mean another resource, whose connections are drained.
pub(super) fn with_provenance(
    mut metadata: core::Metadata,
    kind: &str,
    of: &Metadata,
    line: u32,
) -> core::Metadata {
    let fields = BTreeMap::from([
        ("file".to_owned(), text(&*of.provenance.file)),
        (
            "line".to_owned(),
            Value {
                kind: Some(Kind::NumberValue(f64::from(line))),
            },
        ),
        (
            "object".to_owned(),
            text(format!("{kind} {}/{}", of.namespace, of.name)),
        ),
    ]);
    metadata
        .filter_metadata
        .insert(PROVENANCE.to_owned(), Struct { fields });
    metadata
}
