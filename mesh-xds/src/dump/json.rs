//! Messages as JSON with the fields' names of the .proto files.

use mesh_proto::descriptor_pool;
use prost::Message;
use prost_reflect::{DynamicMessage, ReflectMessage, SerializeOptions, Value as Field};
use prost_types::Any;
use serde_json::{Map, Value};

/// Deep messages are cut: control planes must not be able to exhaust the stack.
const MAX_DEPTH: usize = 32;

/// An `Any` as JSON, with `@type`.
pub(super) fn any(any: &Any) -> Value {
    any_at(any, 0)
}

/// A generated message as JSON.
pub(super) fn message<M: Message + prost::Name>(message: &M) -> Value {
    let any = Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    };
    let mut json = self::any(&any);
    if let Value::Object(fields) = &mut json {
        fields.remove("@type");
    }
    json
}

fn any_at(any: &Any, depth: usize) -> Value {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    let descriptor = descriptor_pool()
        .get_message_by_name(name)
        .filter(|_| depth < MAX_DEPTH);
    let decoded = descriptor
        .and_then(|descriptor| DynamicMessage::decode(descriptor, any.value.as_slice()).ok());
    let mut object = Map::new();
    object.insert("@type".to_owned(), Value::String(any.type_url.clone()));
    match decoded {
        None => {
            object.insert("value".to_owned(), Value::String(base64(&any.value)));
        }
        Some(message) => match message_at(&message, depth) {
            Value::Object(fields) => object.extend(fields),
            value => {
                object.insert("value".to_owned(), value);
            }
        },
    }
    Value::Object(object)
}

/// Writes the fields one by one: the whole-message writer fails on any unknown `Any` inside.
fn message_at(message: &DynamicMessage, depth: usize) -> Value {
    let descriptor = message.descriptor();
    if descriptor.full_name() == "google.protobuf.Any" {
        return match message.transcode_to::<Any>() {
            Ok(inner) => any_at(&inner, depth + 1),
            Err(_) => Value::Null,
        };
    }
    if descriptor.full_name().starts_with("google.protobuf.") {
        return well_known(message);
    }
    let fields = message.fields().map(|(field, value)| {
        let json = match (value, field.kind().as_enum()) {
            (Field::EnumNumber(number), Some(kind)) => enumeration(kind, *number),
            (Field::List(list), Some(kind)) => {
                let numbers = list.iter().filter_map(Field::as_enum_number);
                Value::Array(numbers.map(|number| enumeration(kind, number)).collect())
            }
            (value, _) => field_at(value, depth),
        };
        let json = match is_sensitive(descriptor.full_name(), field.name()) {
            true => redacted(json),
            false => json,
        };
        (field.name().to_owned(), json)
    });
    Value::Object(fields.collect())
}

/// Private keys and what protects them (Envoy's `udpa.annotations.sensitive`).
fn is_sensitive(message: &str, field: &str) -> bool {
    let Some(name) = message.strip_prefix("envoy.extensions.transport_sockets.tls.v3.") else {
        return false;
    };
    matches!(
        (name, field),
        (
            "TlsCertificate",
            "private_key" | "pkcs12" | "password" | "private_key_provider"
        ) | ("TlsSessionTicketKeys", "keys")
            | ("GenericSecret", "secret" | "secrets")
    )
}

/// The same shape, without its texts (Envoy `MessageUtil::redact`).
fn redacted(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(redacted).collect(),
        Value::Object(fields) => fields.into_iter().map(|(k, v)| (k, redacted(v))).collect(),
        _ => "[redacted]".into(),
    }
}

fn enumeration(kind: &prost_reflect::EnumDescriptor, number: i32) -> Value {
    match kind.get_value(number) {
        Some(value) => Value::String(value.name().to_owned()),
        None => number.into(),
    }
}

fn field_at(value: &Field, depth: usize) -> Value {
    match value {
        Field::Bool(value) => (*value).into(),
        Field::I32(value) | Field::EnumNumber(value) => (*value).into(),
        Field::U32(value) => (*value).into(),
        // as protobuf's JSON: 64-bit integers are strings
        Field::I64(value) => value.to_string().into(),
        Field::U64(value) => value.to_string().into(),
        Field::F32(value) => number(f64::from(*value)),
        Field::F64(value) => number(*value),
        Field::String(text) => text.clone().into(),
        Field::Bytes(bytes) => base64(bytes).into(),
        Field::Message(message) => message_at(message, depth),
        Field::List(list) => Value::Array(list.iter().map(|item| field_at(item, depth)).collect()),
        Field::Map(map) => {
            let mut entries: Vec<_> = map
                .iter()
                .map(|(key, item)| (key_text(key), field_at(item, depth)))
                .collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
    }
}

fn number(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None => Value::String(value.to_string()),
    }
}

fn key_text(key: &prost_reflect::MapKey) -> String {
    use prost_reflect::MapKey;
    match key {
        MapKey::String(text) => text.clone(),
        MapKey::Bool(value) => value.to_string(),
        MapKey::I32(value) => value.to_string(),
        MapKey::I64(value) => value.to_string(),
        MapKey::U32(value) => value.to_string(),
        MapKey::U64(value) => value.to_string(),
    }
}

/// Durations, wrappers, structs.
fn well_known(message: &DynamicMessage) -> Value {
    let options = SerializeOptions::new().use_proto_field_name(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .unwrap_or(Value::Null)
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = ALPHABET
                .get((word >> (18 - 6 * at)) as usize & 63)
                .filter(|_| at <= chunk.len());
            text.push(letter.map_or('=', |letter| char::from(*letter)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        let texts = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }
}
