//! `patch.value` as Envoy's message.

use mesh_proto::descriptor_pool;
use prost_reflect::{DeserializeOptions, DynamicMessage};
use prost_types::Any;

use crate::yaml::{At, Node, Value};

/// A value as Envoy's message; fields that it does not have are left out, as Istio leaves them out.
pub(super) fn message(at: &At<'_>, name: &str) -> Option<Any> {
    let known = descriptor_pool().get_message_by_name(name)?;
    if !has_known_types(at) {
        return None;
    }
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let json = json(at.node());
    match DynamicMessage::deserialize_with_options(known, json, &options) {
        Ok(message) => Some(Any {
            type_url: format!("type.googleapis.com/{name}"),
            value: prost::Message::encode_to_vec(&message),
        }),
        Err(error) => {
            let short = name.rsplit('.').next().unwrap_or(name);
            at.refuse(
                format_args!("is no {short}: {error}"),
                format_args!("write {name} as Envoy's documentation shows it"),
            );
            None
        }
    }
}

/// Reports each `@type` that nobody here knows.
fn has_known_types(at: &At<'_>) -> bool {
    let mut all = true;
    match &at.node().value {
        Value::List(_) => {
            for item in at.items() {
                all &= has_known_types(&item);
            }
        }
        Value::Map(_) => {
            for (key, at) in at.entries() {
                all &= match key {
                    "@type" => is_known_type(&at),
                    _ => has_known_types(&at),
                };
            }
        }
        _ => {}
    }
    all
}

fn is_known_type(at: &At<'_>) -> bool {
    let url = at.node().as_str().unwrap_or_default();
    let name = url.rsplit('/').next().unwrap_or_default();
    let is_known = descriptor_pool().get_message_by_name(name).is_some();
    if !is_known {
        at.refuse(
            format_args!("the type {url:?} is not supported yet"),
            "this mesh knows the types that docs/fields.md lists",
        );
    }
    is_known
}

fn json(node: &Node) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::Float(value) => Json::from(*value),
        Value::String(value) => Json::String(value.clone()),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => {
            let entry = |entry: &crate::yaml::Entry| (entry.key.clone(), json(&entry.value));
            Json::Object(entries.iter().map(entry).collect())
        }
    }
}
