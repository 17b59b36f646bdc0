//! Whether a document has the shape of its message, by the rules of Go's `jsonpb`, with which Istio reads it: unknown
//! fields are dropped, `null` is nothing, whole numbers may stand in quotes.

use super::scalar;
use super::schema::{Field, Message, Schema, Shape, Type};
use crate::problem::Severity;
use crate::yaml::{At, Value, nearest};

/// Reads a value as a message; reports what Istio refuses (an error) and what it drops (which has no effect).
pub(super) fn check(at: &At<'_>, schema: &'static Schema, message: &str) {
    let Some(message) = schema.message(message) else {
        return;
    };
    match &at.node().value {
        Value::Null => {}
        Value::Map(_) => check_fields(at, schema, message, &[]),
        _ => at.wrong_type("a mapping"),
    }
}

fn check_fields(at: &At<'_>, schema: &'static Schema, message: &Message, also_known: &[&str]) {
    let mut chosen: Vec<(u8, String)> = Vec::new();
    for (name, value) in at.entries() {
        let Some(field) = message.field(name) else {
            if !also_known.contains(&name) {
                unknown(&value, name, message);
            }
            continue;
        };
        if field.deprecated && value.node().value != Value::Null {
            value.report(
                Severity::Warning,
                "deprecated",
                format_args!("is deprecated"),
                super::replaced::instead_of(message.name, field.proto_name),
            );
        }
        if value.node().value == Value::Null && !is_any_value(field) {
            continue;
        }
        if let Some(oneof) = field.oneof {
            if let Some((_, other)) = chosen.iter().find(|(number, _)| *number == oneof) {
                value.report(
                    Severity::Error,
                    "exclusive_fields",
                    format_args!(
                        "only one of {other} and {name} can be set, the other has no effect"
                    ),
                    "keep one of them",
                );
            } else {
                chosen.push((oneof, name.to_owned()));
            }
        }
        check_shape(&value, schema, field.shape);
    }
}

fn is_any_value(field: &Field) -> bool {
    matches!(
        field.shape,
        Shape::One(Type::Message("google.protobuf.Value"))
    )
}

fn unknown(at: &At<'_>, name: &str, message: &Message) {
    let known: Vec<&str> = message.fields.iter().map(|f| &*f.json_name).collect();
    let suggestion = match super::replaced::meant_by(message.name, name) {
        Some(right) => format!("write {right}"),
        None => match nearest(name, &known) {
            Some(name) => format!("did you mean {name}?"),
            None if known.is_empty() => "remove it".to_owned(),
            None => format!("known here: {}", known.join(", ")),
        },
    };
    at.report(
        Severity::Error,
        "unknown_field",
        "unknown field, it has no effect",
        suggestion,
    );
}

fn check_shape(at: &At<'_>, schema: &'static Schema, shape: Shape) {
    match shape {
        Shape::One(of) => check_type(at, schema, of),
        Shape::List(of) => match &at.node().value {
            Value::List(_) => {
                for item in at.items() {
                    check_type(&item, schema, of);
                }
            }
            _ => at.wrong_type("a list"),
        },
        Shape::Map { keys, values } => match &at.node().value {
            Value::Map(_) => {
                for (key, value) in at.entries() {
                    if keys != Type::Text && !scalar::is_number_text(key, keys) {
                        value.report(
                            Severity::Refused,
                            "wrong_type",
                            format_args!("the key {key:?} is no number"),
                            "write a whole number",
                        );
                    }
                    check_type(&value, schema, values);
                }
            }
            _ => at.wrong_type("a mapping"),
        },
    }
}

fn check_type(at: &At<'_>, schema: &'static Schema, of: Type) {
    let value = &at.node().value;
    // Go leaves what it reads into as it is.
    if *value == Value::Null {
        return;
    }
    match of {
        Type::Bool if matches!(value, Value::Bool(_)) => {}
        Type::Bool => at.wrong_type("true or false"),
        Type::I32 | Type::I64 | Type::U32 | Type::U64 => {
            if scalar::integer(value, of).is_none() {
                let (low, high) = scalar::range(of);
                at.wrong_type(&format!("a whole number from {low} to {high}"));
            }
        }
        Type::Float if scalar::float(value).is_some() => {}
        Type::Float => at.wrong_type("a number"),
        Type::Text => match value {
            Value::String(_) => {}
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
                at.wrong_type("a string: put it in quotes");
            }
            _ => at.wrong_type("a string"),
        },
        Type::Bytes if value_as_base64(value) => {}
        Type::Bytes => at.wrong_type("bytes in base64"),
        Type::Enum(name) => check_enum(at, schema, name),
        Type::Message(name) => check_message(at, schema, name),
    }
}

fn value_as_base64(value: &Value) -> bool {
    matches!(value, Value::String(text) if scalar::is_base64(text))
}

fn check_enum(at: &At<'_>, schema: &'static Schema, name: &str) {
    let values = schema.enum_values(name);
    let text = match &at.node().value {
        Value::String(text) => text,
        value if scalar::integer(value, Type::I32).is_some() => return,
        _ => return at.wrong_type(&one_of(values.iter().map(|v| v.name))),
    };
    match values.iter().find(|v| v.name == text) {
        Some(value) if value.deprecated => at.report(
            Severity::Warning,
            "deprecated",
            format_args!("{text} is deprecated"),
            super::replaced::instead_of(name, text),
        ),
        Some(_) => {}
        None => {
            let names: Vec<&str> = values.iter().map(|v| v.name).collect();
            let suggestion = match nearest(text, &names) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("write {}", one_of(names.iter().copied())),
            };
            at.report(
                Severity::Refused,
                "unknown_value",
                format_args!("unknown value {text:?}"),
                suggestion,
            );
        }
    }
}

fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("one of {}", names.collect::<Vec<_>>().join(", "))
}

fn check_message(at: &At<'_>, schema: &'static Schema, name: &str) {
    let wrapped = |of| check_type(at, schema, of);
    match name.strip_prefix("google.protobuf.") {
        Some("BoolValue") => wrapped(Type::Bool),
        Some("Int32Value") => wrapped(Type::I32),
        Some("Int64Value") => wrapped(Type::I64),
        Some("UInt32Value") => wrapped(Type::U32),
        Some("UInt64Value") => wrapped(Type::U64),
        Some("FloatValue" | "DoubleValue") => wrapped(Type::Float),
        Some("StringValue") => wrapped(Type::Text),
        Some("BytesValue") => wrapped(Type::Bytes),
        Some("Duration") => {
            let text = at.node().as_str();
            if text.and_then(scalar::duration).is_none() {
                at.wrong_type("a duration such as 10s, 1.5s or 200ms");
            }
        }
        Some("Timestamp") => {
            if !at.node().as_str().is_some_and(scalar::is_timestamp) {
                at.wrong_type("a time such as 2026-01-31T12:00:00Z");
            }
        }
        Some("Struct") if !matches!(at.node().value, Value::Map(_)) => at.wrong_type("a mapping"),
        Some("ListValue") if !matches!(at.node().value, Value::List(_)) => {
            at.wrong_type("a list");
        }
        Some("Struct" | "ListValue" | "Value") => {}
        Some("Any") => check_any(at, schema),
        _ => check(at, schema, name),
    }
}

fn check_any(at: &At<'_>, schema: &'static Schema) {
    let refuse = |at: &At<'_>, message: &dyn std::fmt::Display, suggestion: &str| {
        at.report(Severity::Refused, "unknown_type", message, suggestion);
    };
    if !matches!(at.node().value, Value::Map(_)) {
        return at.wrong_type("a mapping with @type");
    }
    let Some(url) = at.find("@type") else {
        return refuse(
            at,
            &"has no @type",
            "add \"@type\": type.googleapis.com/… and the fields of that message",
        );
    };
    let Some(text) = url.node().as_str() else {
        return url.wrong_type("a string");
    };
    let name = text.rsplit_once('/').map_or(text, |(_, name)| name);
    let Some(message) = schema.message(name) else {
        let hint = match name.contains(".v2.") {
            true => "write its v3 name",
            false => "write a type of Envoy 1.40",
        };
        return refuse(&url, &format_args!("{text} is no known type"), hint);
    };
    const WELL_KNOWN: [&str; 13] = [
        "Any",
        "BoolValue",
        "BytesValue",
        "Duration",
        "DoubleValue",
        "FloatValue",
        "Int32Value",
        "Int64Value",
        "ListValue",
        "StringValue",
        "Struct",
        "Timestamp",
        "UInt32Value",
    ];
    let well_known = name
        .strip_prefix("google.protobuf.")
        .is_some_and(|name| WELL_KNOWN.contains(&name) || name == "UInt64Value" || name == "Value");
    if !well_known {
        return check_fields(at, schema, message, &["@type"]);
    }
    match at.find("value") {
        Some(value) => check_message(&value, schema, message.name),
        None => refuse(at, &"has no value", "write what it holds under value"),
    }
}
