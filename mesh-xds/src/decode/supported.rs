//! Which fields are understood. Whatever else is set in a resource is found here, by reflection, so that nothing is
//! ignored in silence: an error, unless the table says that it cannot change who is answered or allowed.

use mesh_proto::descriptor_pool;
use prost_reflect::{DynamicMessage, MapKey, ReflectMessage, Value};

use super::{
    any::MAX_DEPTH,
    supported_fields::{Treatment, treatment_of},
};
use crate::problems::Problems;

/// Google's well-known types are values: what uses them reads them whole.
fn is_value(message: &str) -> bool {
    message.starts_with("google.protobuf.")
}

/// Reports every field of `message` (named by its full name) that is set and not understood.
pub(crate) fn check(p: &mut Problems, full_name: &str, bytes: &[u8]) {
    if p.depth() > MAX_DEPTH {
        return p.error("is nested too deeply");
    }
    let Some(descriptor) = descriptor_pool().get_message_by_name(full_name) else {
        return;
    };
    match DynamicMessage::decode(descriptor, bytes) {
        Ok(message) => walk(p, &message),
        Err(error) => p.error(format!("cannot be read: {error}")),
    }
}

fn walk(p: &mut Problems, message: &DynamicMessage) {
    let descriptor = message.descriptor();
    let name = descriptor.full_name();
    if name == "google.protobuf.Any" {
        return walk_any(p, message);
    }
    if is_value(name) {
        return;
    }
    for unknown in message.unknown_fields() {
        p.warn(format!(
            "field number {} of {name} is not known; ignored",
            unknown.number()
        ));
    }
    for (field, value) in message.fields() {
        let kind = treatment_of(name, field.name());
        p.field(field.name().to_owned(), |p| match kind {
            Treatment::Understood => walk_value(p, value),
            Treatment::NoEffect => {}
            Treatment::Ignored => p.warn("not supported yet; ignored"),
            Treatment::Refused => p.error("not supported yet"),
        });
    }
}

fn walk_value(p: &mut Problems, value: &Value) {
    match value {
        Value::Message(message) => walk(p, message),
        Value::List(list) => {
            for (at, item) in list.iter().enumerate() {
                p.index(at, |p| walk_value(p, item));
            }
        }
        Value::Map(map) => {
            let mut entries: Vec<_> = map
                .iter()
                .map(|(key, value)| (key_text(key), value))
                .collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            for (key, item) in entries {
                p.key(&key, |p| walk_value(p, item));
            }
        }
        _ => {}
    }
}

/// An `Any` of a type that is in the table is looked into; any other is judged by whoever reads it.
fn walk_any(p: &mut Problems, any: &DynamicMessage) {
    let (Some(url), Some(value)) = (
        any.get_field_by_name("type_url"),
        any.get_field_by_name("value"),
    ) else {
        return;
    };
    let (Some(url), Some(bytes)) = (url.as_str(), value.as_bytes()) else {
        return;
    };
    let name = url.rsplit('/').next().unwrap_or(url);
    if super::supported_fields::is_listed(name) {
        check(p, name, bytes);
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::String(text) => text.clone(),
        MapKey::Bool(value) => value.to_string(),
        MapKey::I32(value) => value.to_string(),
        MapKey::I64(value) => value.to_string(),
        MapKey::U32(value) => value.to_string(),
        MapKey::U64(value) => value.to_string(),
    }
}

/// The names of all fields in the table that the descriptors do not have.
#[cfg(test)]
pub(super) fn unknown_names() -> Vec<String> {
    let mut unknown = Vec::new();
    for (message, fields) in super::supported_fields::all() {
        match descriptor_pool().get_message_by_name(message) {
            None => unknown.push(message.to_owned()),
            Some(descriptor) => unknown.extend(
                fields
                    .into_iter()
                    .filter(|field| descriptor.get_field_by_name(field).is_none())
                    .map(|field| format!("{message}.{field}")),
            ),
        }
    }
    unknown
}
