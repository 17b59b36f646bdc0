//! Files of messages: YAML, JSON, text.

use std::fmt;

use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use prost::{Message, Name};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, Value};
use serde_json::Value as Json;

use super::schema;
use crate::{
    bootstrap::{InvalidBootstrap, yaml_options},
    problems::Problems,
};

/// Why a file of a route check is refused. Displays one finding per line: `FILE:LINE:COLUMN: field: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFile(InvalidBootstrap);

impl fmt::Display for InvalidFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for InvalidFile {}

impl InvalidFile {
    fn whole(name: &str, message: impl Into<String>) -> Self {
        Self::named(name, InvalidBootstrap::whole(message))
    }

    fn named(name: &str, invalid: InvalidBootstrap) -> Self {
        Self(invalid.in_file(name))
    }

    pub(super) fn from_problems((name, text): (&str, &str), problems: &Problems) -> Self {
        Self::named(name, InvalidBootstrap::from_problems(text, problems))
    }
}

/// A message of a file's text; the file's ending tells the form.
pub(super) fn message<M: Message + Default>(
    (name, text): (&str, &str),
    full_name: &str,
) -> Result<M, InvalidFile> {
    let descriptor = schema::pool()
        .and_then(|pool| pool.get_message_by_name(full_name))
        .ok_or_else(|| InvalidFile::whole(name, format!("no descriptor of {full_name}")))?;
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let message = match ending {
        "pb_text" | "textproto" | "txtpb" => DynamicMessage::parse_text_format(descriptor, text)
            .map_err(|error| InvalidFile::whole(name, error.to_string()))?,
        _ => from_yaml(name, descriptor, text)?,
    };
    message
        .transcode_to()
        .map_err(|error| InvalidFile::whole(name, error.to_string()))
}

fn from_yaml(
    name: &str,
    descriptor: MessageDescriptor,
    text: &str,
) -> Result<DynamicMessage, InvalidFile> {
    let read =
        serde_saphyr::with_deserializer_from_str_with_options(text, yaml_options(), |yaml| {
            DynamicMessage::deserialize(descriptor.clone(), yaml)
        });
    let error = match read {
        Ok(message) => return Ok(message),
        Err(error) => error,
    };
    // Durations may be written as messages; only then the text is read once more, without places.
    let again = serde_saphyr::from_str_with_options::<Json>(text, yaml_options())
        .ok()
        .and_then(|mut tree| {
            with_durations_as_text(&descriptor, &mut tree);
            DynamicMessage::deserialize(descriptor, tree).ok()
        });
    again.ok_or_else(|| InvalidFile::named(name, InvalidBootstrap::from_yaml(text, &error)))
}

/// `{seconds: 1, nanos: 500000000}`, which protobuf's own reader takes too, becomes `1.5s`.
fn with_durations_as_text(of: &MessageDescriptor, tree: &mut Json) {
    let Json::Object(fields) = tree else { return };
    for (name, value) in fields {
        let field = of
            .get_field_by_name(name)
            .or_else(|| of.get_field_by_json_name(name));
        let Some(Kind::Message(below)) = field.map(|field| field.kind()) else {
            continue;
        };
        match value {
            Json::Array(list) => {
                for item in list {
                    with_durations_as_text(&below, item);
                }
            }
            Json::Object(fields) if below.full_name() == "google.protobuf.Duration" => {
                let number = |name| fields.get(name).and_then(Json::as_i64).unwrap_or(0);
                *value = Json::String(format!("{}.{:09}s", number("seconds"), number("nanos")));
            }
            _ => with_durations_as_text(&below, value),
        }
    }
}

/// The fields that are set and that Envoy calls deprecated, each once, by message.
pub(super) fn deprecated_fields(routes: &RouteConfiguration) -> Vec<String> {
    let mut found = Vec::new();
    let message = schema::pool()
        .and_then(|pool| pool.get_message_by_name(&RouteConfiguration::full_name()))
        .and_then(|descriptor| {
            DynamicMessage::decode(descriptor, routes.encode_to_vec().as_slice()).ok()
        });
    if let Some(message) = message {
        collect_deprecated(&message, &mut found);
    }
    found
}

fn collect_deprecated(message: &DynamicMessage, found: &mut Vec<String>) {
    for (field, value) in message.fields() {
        let options = field.field_descriptor_proto().options.as_ref();
        if options.is_some_and(|options| options.deprecated()) {
            let name = field.full_name().to_owned();
            if !found.contains(&name) {
                found.push(name);
            }
        }
        match value {
            Value::Message(below) => collect_deprecated(below, found),
            Value::List(list) => {
                for below in list.iter().filter_map(Value::as_message) {
                    collect_deprecated(below, found);
                }
            }
            _ => {}
        }
    }
}
