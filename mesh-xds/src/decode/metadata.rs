//! What Istio writes into `metadata`: the object behind a resource, its service, its workload.

use std::sync::Arc;

use mesh_core::{
    metadata::{MetadataStruct, MetadataValue},
    model::{IstioService, Provenance},
};
use mesh_proto::envoy::config::core::v3::Metadata;
use prost_types::{Struct, value::Kind};

use super::any::MAX_DEPTH;

/// What the embedded control plane adds: `file`, `line` and `object`.
const PROVENANCE: &str = "mesh.provenance";

/// `filter_metadata`, as matchers read it.
pub(super) fn filter_metadata(metadata: Option<&Metadata>) -> mesh_core::metadata::DynamicMetadata {
    let mut model = mesh_core::metadata::DynamicMetadata::default();
    for (namespace, fields) in metadata.iter().flat_map(|m| &m.filter_metadata) {
        model.merge(namespace, struct_value(fields, 0));
    }
    model
}

/// A struct by itself: the template of a JSON format.
pub(super) fn struct_of(fields: &Struct) -> MetadataStruct {
    struct_value(fields, 0)
}

/// Deeper values are dropped: no matcher reaches them, and the stack is finite.
fn struct_value(fields: &Struct, depth: usize) -> MetadataStruct {
    let known = fields.fields.iter().filter_map(|(name, value)| {
        let value = metadata_value(value.kind.as_ref()?, depth)?;
        Some((name.as_str().into(), value))
    });
    known.collect()
}

fn metadata_value(kind: &Kind, depth: usize) -> Option<MetadataValue> {
    if depth > MAX_DEPTH {
        return None;
    }
    Some(match kind {
        Kind::NullValue(_) => MetadataValue::Null,
        Kind::NumberValue(number) => MetadataValue::Number(*number),
        Kind::StringValue(text) => MetadataValue::String(text.as_str().into()),
        Kind::BoolValue(value) => MetadataValue::Bool(*value),
        Kind::StructValue(fields) => MetadataValue::Struct(struct_value(fields, depth + 1)),
        Kind::ListValue(list) => MetadataValue::List(
            list.values
                .iter()
                .filter_map(|value| metadata_value(value.kind.as_ref()?, depth + 1))
                .collect(),
        ),
    })
}

/// The object that a resource was made from: as the embedded control plane writes it, else `istio.config`, a path of
/// the Kubernetes API.
pub(super) fn provenance(metadata: Option<&Metadata>) -> Provenance {
    let mut provenance = Provenance::default();
    provenance.object = match text(metadata, PROVENANCE, "object") {
        Some(object) => Some(object.into()),
        None => text(metadata, "istio", "config").map(|path| object_name(path).into()),
    };
    let line = match value(metadata, PROVENANCE, "line") {
        Some(Kind::NumberValue(line)) => format!(":{line}"),
        _ => String::new(),
    };
    provenance.place =
        text(metadata, PROVENANCE, "file").map(|file| format!("{file}{line}").into());
    provenance
}

/// `/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews` is `VirtualService default/reviews`.
fn object_name(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    let [.., "namespaces", namespace, kind, name] = parts.as_slice() else {
        return path.to_owned();
    };
    let kind: String = kind
        .split('-')
        .map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_uppercase().chain(letters).collect::<String>())
                .unwrap_or_default()
        })
        .collect();
    format!("{kind} {namespace}/{name}")
}

/// `istio.services[0]` of a cluster.
pub(super) fn service(metadata: Option<&Metadata>) -> Option<IstioService> {
    let Kind::ListValue(services) = value(metadata, "istio", "services")? else {
        return None;
    };
    let Some(Kind::StructValue(first)) = &services.values.first()?.kind else {
        return None;
    };
    let mut service = IstioService::default();
    service.host = member(first, "host")?.into();
    service.name = member(first, "name").unwrap_or_default().into();
    service.namespace = member(first, "namespace").unwrap_or_default().into();
    Some(service)
}

/// `istio.workload` of an endpoint.
pub(super) fn workload(metadata: Option<&Metadata>) -> Option<Arc<str>> {
    text(metadata, "istio", "workload").map(Arc::from)
}

/// `envoy.lb.hash_key` of an endpoint.
pub(super) fn hash_key(metadata: Option<&Metadata>) -> Option<Arc<str>> {
    text(metadata, "envoy.lb", "hash_key").map(Arc::from)
}

/// `envoy.lb.canary` of an endpoint.
pub(super) fn is_canary(metadata: Option<&Metadata>) -> bool {
    let canary = value(metadata, "envoy.lb", "canary");
    matches!(canary, Some(Kind::BoolValue(true)))
}

fn text<'a>(metadata: Option<&'a Metadata>, filter: &str, name: &str) -> Option<&'a str> {
    match value(metadata, filter, name)? {
        Kind::StringValue(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn value<'a>(metadata: Option<&'a Metadata>, filter: &str, name: &str) -> Option<&'a Kind> {
    metadata?
        .filter_metadata
        .get(filter)?
        .fields
        .get(name)?
        .kind
        .as_ref()
}

fn member<'a>(fields: &'a Struct, name: &str) -> Option<&'a str> {
    match fields.fields.get(name)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_as_their_authors_do() {
        let name =
            object_name("/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews");
        assert_eq!(name, "VirtualService default/reviews");
        assert_eq!(object_name("elsewhere"), "elsewhere");
    }
}
