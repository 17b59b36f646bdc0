//! Merging messages as Istio merges them (`pkg/proto/merge`): as protobuf does, but durations are replaced.

use mesh_proto::descriptor_pool;
use prost::{Message, Name};
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};
use prost_types::Any;

use crate::model::{Patch, PatchOperation};

/// Merges a patch's message into another one of its type.
pub(super) fn into<M: Message + Name + Default>(target: &mut M, patch: &Patch) {
    let Some(value) = &patch.value else {
        return;
    };
    let replaces = patch.operation == PatchOperation::MergeAndReplaceList;
    let encoded = Any {
        type_url: M::type_url(),
        value: target.encode_to_vec(),
    };
    if let Some(merged) = merged(&encoded, value, replaces)
        && let Ok(merged) = M::decode(merged.value.as_slice())
    {
        *target = merged;
    }
}

/// Two values of one type merged; `None` if their types differ or are not known.
pub(super) fn any(target: &Any, value: &Any) -> Option<Any> {
    merged(target, value, false)
}

fn merged(target: &Any, value: &Any, replaces: bool) -> Option<Any> {
    let mut message = decoded(target)?;
    let other = decoded(value)?;
    if message.descriptor() != other.descriptor() {
        return None;
    }
    merge(&mut message, &other, replaces);
    Some(Any {
        type_url: target.type_url.clone(),
        value: message.encode_to_vec(),
    })
}

fn decoded(any: &Any) -> Option<DynamicMessage> {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    let descriptor = descriptor_pool().get_message_by_name(name)?;
    DynamicMessage::decode(descriptor, any.value.as_slice()).ok()
}

/// `replaces`: lists replace lists, at every depth, instead of being added to them.
fn merge(target: &mut DynamicMessage, source: &DynamicMessage, replaces: bool) {
    for (field, value) in source.fields() {
        match value {
            Value::List(items) => {
                if let Value::List(list) = target.get_field_mut(&field) {
                    if replaces {
                        list.clear();
                    }
                    list.extend(items.iter().cloned());
                }
            }
            Value::Map(entries) => {
                if let Value::Map(map) = target.get_field_mut(&field) {
                    map.extend(
                        entries
                            .iter()
                            .map(|(key, value)| (key.clone(), value.clone())),
                    );
                }
            }
            Value::Message(message)
                if message.descriptor().full_name() != "google.protobuf.Duration" =>
            {
                if let Value::Message(inner) = target.get_field_mut(&field) {
                    merge(inner, message, replaces);
                }
            }
            value => target.set_field(&field, value.clone()),
        }
    }
}
