//! What `/config_dump` said, as JSON: field names may be those of the .proto files or of JSON.

use mesh_proto::descriptor_pool;
use prost_reflect::{Kind, MessageDescriptor};
use serde_json::{Map, Value};

use crate::Error;

/// `envoy.admin.v3.ConfigDump`.
#[derive(Debug)]
pub(crate) struct Dump(Vec<Value>);

impl Dump {
    pub(crate) fn parse(text: &[u8]) -> Result<Dump, Error> {
        let root: Value = serde_json::from_slice(text)
            .map_err(|error| format!("this is no config dump: {error}"))?;
        Ok(Dump::new(root))
    }

    pub(crate) fn new(root: Value) -> Dump {
        match root {
            Value::Object(mut root) => match root.remove("configs") {
                Some(Value::Array(configs)) => Dump(configs),
                _ => Dump(Vec::new()),
            },
            _ => Dump(Vec::new()),
        }
    }

    /// Whether it has any section, so that it is one.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The section of this type, such as `ClustersConfigDump`.
    pub(crate) fn section(&self, kind: &str) -> Result<&Value, Error> {
        let name = format!("envoy.admin.v3.{kind}");
        let is_it = |config: &&Value| type_name(config) == Some(name.as_str());
        self.0
            .iter()
            .find(is_it)
            .ok_or_else(|| format!("config dump has no configuration type {name}").into())
    }

    /// Resources of a section: in each of the lists, what lies at the path in each element.
    pub(crate) fn resources(
        &self,
        kind: &str,
        lists: &[(&str, &[&str])],
    ) -> Result<Vec<Value>, Error> {
        let section = self.section(kind)?;
        let mut resources = Vec::new();
        for (list, path) in lists {
            for element in items(field(section, list)) {
                let resource = path.iter().fold(element, |value, name| field(value, name));
                if !resource.is_null() {
                    resources.push(resource.clone());
                }
            }
        }
        Ok(resources)
    }
}

/// A field by its name in the .proto file; null if it is not there.
pub(crate) fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    const NULL: &Value = &Value::Null;
    value
        .get(name)
        .or_else(|| value.get(json_name(name)))
        .unwrap_or(NULL)
}

/// A field's text; empty if it is not there.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    field(value, name).as_str().unwrap_or_default()
}

/// A number, which JSON may write as a string.
pub(crate) fn number(value: &Value, name: &str) -> u64 {
    match field(value, name) {
        Value::String(text) => text.parse().unwrap_or_default(),
        value => value.as_u64().unwrap_or_default(),
    }
}

/// A list's elements; none if it is not there.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn json_name(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        name + letters.as_str()
    })
}

fn type_name(value: &Value) -> Option<&str> {
    value.get("@type")?.as_str()?.rsplit('/').next()
}

/// With the fields' JSON names, as istioctl prints messages; what is of an unknown type stays as it is.
pub(crate) fn with_json_names(value: &Value) -> Value {
    match type_name(value).and_then(|name| descriptor_pool().get_message_by_name(name)) {
        Some(descriptor) => renamed(value, &descriptor),
        None => value.clone(),
    }
}

fn renamed(value: &Value, descriptor: &MessageDescriptor) -> Value {
    match (descriptor.full_name(), value) {
        ("google.protobuf.Any", value) => with_json_names(value),
        (name, value) if name.starts_with("google.protobuf.") => value.clone(),
        (_, Value::Object(fields)) => {
            let mut object = Map::new();
            for (name, value) in fields {
                let known = descriptor
                    .get_field_by_name(name)
                    .or_else(|| descriptor.get_field_by_json_name(name));
                let Some(known) = known else {
                    object.insert(name.clone(), value.clone());
                    continue;
                };
                let element = match known.kind() {
                    Kind::Message(message) if known.is_map() => {
                        match message.map_entry_value_field().kind() {
                            Kind::Message(message) => Some(message),
                            _ => None,
                        }
                    }
                    Kind::Message(message) => Some(message),
                    _ => None,
                };
                let value = match (element, value) {
                    (None, value) => value.clone(),
                    (Some(message), Value::Array(values)) if known.is_list() => values
                        .iter()
                        .map(|value| renamed(value, &message))
                        .collect(),
                    (Some(message), Value::Object(entries)) if known.is_map() => {
                        let entry =
                            |(key, value): (&String, _)| (key.clone(), renamed(value, &message));
                        Value::Object(entries.iter().map(entry).collect())
                    }
                    (Some(message), value) => renamed(value, &message),
                };
                object.insert(known.json_name().to_owned(), value);
            }
            Value::Object(object)
        }
        _ => value.clone(),
    }
}

/// A resource as istioctl prints it: with JSON names and without its type, which the question named.
pub(crate) fn printed(resource: &Value) -> Value {
    let mut value = with_json_names(resource);
    if let Value::Object(fields) = &mut value {
        fields.remove("@type");
    }
    value
}

/// The object that a resource comes from, `NAME.NAMESPACE`, from the metadata that istiod writes.
pub(crate) fn origin(resource: &Value) -> String {
    let metadata = field(field(resource, "metadata"), "filter_metadata");
    let Some(path) = metadata.get("istio").and_then(|istio| istio.get("config")) else {
        return String::new();
    };
    let path = path.as_str().unwrap_or_default();
    if !path.starts_with("/apis/networking.istio.io/") {
        return "<unknown>".to_owned();
    }
    match path.split('/').collect::<Vec<_>>()[..] {
        [_, _, _, _, _, namespace, _, name] => format!("{name}.{namespace}"),
        _ => String::new(),
    }
}

/// Parts of `outbound|80|v1|host`: host, subset, port, direction; other names are only themselves.
pub(crate) fn cluster_key(name: &str) -> (String, String, u32, String) {
    let parts: Vec<&str> = name.split('|').collect();
    match parts[..] {
        [direction, port, subset, host, ..] => (
            host.to_owned(),
            subset.to_owned(),
            port.parse().unwrap_or_default(),
            direction.to_owned(),
        ),
        _ => (name.to_owned(), String::new(), 0, String::new()),
    }
}
