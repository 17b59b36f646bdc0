//! The messages of Istio's objects and of Envoy's configuration, as `tests/oracles/istiod` prints them.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;

use crate::yaml::json_name;

static ISTIO: &str = include_str!("schema/istio.txt");
static ENVOY: &str = include_str!("schema/envoy.txt");

/// Messages and enums by their full names.
#[derive(Debug)]
pub(crate) struct Schema {
    messages: FxHashMap<&'static str, Message>,
    enums: FxHashMap<&'static str, Vec<EnumValue>>,
}

#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) name: &'static str,
    pub(crate) fields: Vec<Field>,
}

#[derive(Debug)]
pub(crate) struct Field {
    /// The name in protobuf, such as `http_match`.
    pub(crate) proto_name: &'static str,
    /// The name in JSON, such as `httpMatch`.
    pub(crate) json_name: String,
    pub(crate) shape: Shape,
    /// Of the fields with the same number one can be set.
    pub(crate) oneof: Option<u8>,
    pub(crate) deprecated: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    One(Type),
    List(Type),
    Map { keys: Type, values: Type },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    I32,
    I64,
    U32,
    U64,
    Float,
    Text,
    Bytes,
    Message(&'static str),
    Enum(&'static str),
}

#[derive(Debug)]
pub(crate) struct EnumValue {
    pub(crate) name: &'static str,
    pub(crate) deprecated: bool,
}

impl Schema {
    /// That of Istio's objects.
    pub(crate) fn istio() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| Schema::parse(ISTIO))
    }

    /// That of Envoy's configuration, with every type that an `Any` may hold.
    pub(crate) fn envoy() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| Schema::parse(ENVOY))
    }

    pub(crate) fn message(&self, name: &str) -> Option<&Message> {
        self.messages.get(name)
    }

    pub(crate) fn enum_values(&self, name: &str) -> &[EnumValue] {
        self.enums.get(name).map_or(&[], Vec::as_slice)
    }

    fn parse(text: &'static str) -> Schema {
        let mut schema = Schema {
            messages: FxHashMap::default(),
            enums: FxHashMap::default(),
        };
        let mut message: Option<Message> = None;
        let mut values: Option<&'static str> = None;
        for line in text.lines() {
            if let Some(line) = line.strip_prefix(' ') {
                if let Some(name) = values {
                    let mut words = line.split(' ');
                    schema.enums.entry(name).or_default().push(EnumValue {
                        name: words.next().unwrap_or_default(),
                        deprecated: line.ends_with(" !"),
                    });
                } else if let Some(message) = &mut message {
                    message.fields.extend(Field::parse(line));
                }
                continue;
            }
            schema.add(message.take());
            values = line.strip_suffix(" #");
            if values.is_none() {
                message = Some(Message {
                    name: line,
                    fields: Vec::new(),
                });
            }
        }
        schema.add(message);
        schema
    }

    fn add(&mut self, message: Option<Message>) {
        if let Some(message) = message {
            self.messages.insert(message.name, message);
        }
    }
}

impl Message {
    /// The field that a document calls `name`: either of its two names is taken.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields
            .iter()
            .find(|field| field.json_name == name || field.proto_name == name)
    }
}

impl Field {
    fn parse(line: &'static str) -> Option<Field> {
        let mut words = line.split(' ');
        let (name, json_name) = match words.next()?.split_once('=') {
            Some((name, json)) => (name, json.to_owned()),
            None => {
                let name = line.split(' ').next()?;
                (name, json_name(name))
            }
        };
        let shape = Shape::parse(words.next()?)?;
        let (mut oneof, mut deprecated) = (None, false);
        for word in words {
            match word.strip_prefix('@') {
                Some(number) => oneof = number.parse().ok(),
                None => deprecated |= word == "!",
            }
        }
        Some(Field {
            proto_name: name,
            json_name,
            shape,
            oneof,
            deprecated,
        })
    }
}

impl Shape {
    fn parse(word: &'static str) -> Option<Shape> {
        if let Some(item) = word.strip_prefix('*') {
            return Some(Shape::List(Type::parse(item)?));
        }
        Some(match word.split_once('>') {
            Some((keys, values)) => Shape::Map {
                keys: Type::parse(keys)?,
                values: Type::parse(values)?,
            },
            None => Shape::One(Type::parse(word)?),
        })
    }
}

impl Type {
    fn parse(word: &'static str) -> Option<Type> {
        Some(match word {
            "bool" => Type::Bool,
            "i32" => Type::I32,
            "i64" => Type::I64,
            "u32" => Type::U32,
            "u64" => Type::U64,
            "f32" | "f64" => Type::Float,
            "string" => Type::Text,
            "bytes" => Type::Bytes,
            _ => match word.strip_prefix('.') {
                Some(name) => Type::Message(name),
                None => Type::Enum(word.strip_prefix('#')?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_understood() {
        for (text, schema) in [(ISTIO, Schema::istio()), (ENVOY, Schema::envoy())] {
            let fields: usize = schema.messages.values().map(|m| m.fields.len()).sum();
            let values: usize = schema.enums.values().map(Vec::len).sum();
            let lines = text.lines().filter(|line| line.starts_with(' ')).count();
            assert_eq!(fields + values, lines);
            for message in schema.messages.values() {
                for field in &message.fields {
                    let (Shape::One(of) | Shape::List(of) | Shape::Map { values: of, .. }) =
                        field.shape;
                    match of {
                        Type::Message(name) => assert!(schema.message(name).is_some(), "{name}"),
                        Type::Enum(name) => assert!(!schema.enum_values(name).is_empty(), "{name}"),
                        _ => {}
                    }
                }
            }
        }
    }

    #[test]
    fn fields_have_two_names() {
        let outlier = Schema::istio()
            .message("istio.networking.v1alpha3.OutlierDetection")
            .unwrap();
        let field = outlier.field("consecutive5xxErrors").unwrap();
        assert_eq!(field.proto_name, "consecutive_5xx_errors");
        assert!(outlier.field("consecutive_5xx_errors").is_some());
        assert!(outlier.field("consecutiveErrors").unwrap().deprecated);
    }
}
