use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Where a node starts in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    /// Line from 1; 0 is unknown.
    pub line: u32,
    /// Column from 1; 0 is unknown.
    pub column: u32,
}

/// A YAML node with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it is.
    pub mark: Mark,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key is.
    pub mark: Mark,
    /// The value.
    pub value: Node,
}

/// The value of a [`Node`], typed as YAML's core schema (and so Kubernetes) reads it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    String(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Entry>),
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::String(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Why a text is no YAML.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) mark: Mark,
    pub(crate) message: String,
}

impl Node {
    /// Reads one document; `line_offset` lines stand before it in its file.
    pub(crate) fn parse(text: &str, line_offset: u32) -> Result<Node, SyntaxError> {
        let mut node: Node = serde_saphyr::from_str(text).map_err(|error| {
            let mark = error
                .location()
                .map_or(Mark::default(), |l| mark_of(l, line_offset));
            SyntaxError {
                mark,
                message: one_line(&error),
            }
        })?;
        node.move_down(line_offset);
        Ok(node)
    }

    /// The value under `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.value),
            _ => None,
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    /// `[2001:db8::]` is a list of one address to Kubernetes' reader of YAML, and of a mapping by YAML's own rules.
    fn as_address(&self) -> Option<String> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        let [entry] = entries.as_slice() else {
            return None;
        };
        let text = format!("{}:", entry.key);
        let is_address = entry.value.value == Value::Null
            && text.ends_with("::")
            && text.parse::<std::net::Ipv6Addr>().is_ok();
        is_address.then_some(text)
    }

    fn move_down(&mut self, lines: u32) {
        if lines == 0 {
            return;
        }
        self.mark.line += lines;
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|n| n.move_down(lines)),
            Value::Map(entries) => {
                for entry in entries {
                    entry.mark.line += lines;
                    entry.value.move_down(lines);
                }
            }
            _ => {}
        }
    }
}

fn mark_of(location: serde_saphyr::Location, line_offset: u32) -> Mark {
    Mark {
        line: u32::try_from(location.line()).unwrap_or(0) + line_offset,
        column: u32::try_from(location.column()).unwrap_or(0),
    }
}

/// The library's message without its snippet and without its own (document-relative) place.
fn one_line(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default().trim();
    let text = match first.strip_prefix("error: ") {
        Some(rest) => rest,
        None => first,
    };
    let text = match text
        .strip_prefix("line ")
        .and_then(|rest| rest.split_once(": "))
    {
        Some((_, rest)) => rest,
        None => text,
    };
    // advice for the caller of the library
    let text = text
        .split_once(", set DuplicateKeyPolicy")
        .map_or(text, |(text, _)| text);
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_owned(),
        None => text.to_owned(),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned {
            value: Raw(value),
            referenced,
            ..
        } = Spanned::<Raw>::deserialize(deserializer)?;
        Ok(Node {
            value,
            mark: mark_of(referenced, 0),
        })
    }
}

/// A value before its place is known.
struct Raw(Value);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor).map(Raw)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(mut item) = access.next_element::<Node>()? {
            if let Some(address) = item.as_address() {
                item.value = Value::String(address);
            }
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let mark = mark_of(key.referenced, 0);
            entries.push(Entry {
                key: key.value,
                mark,
                value: access.next_value()?,
            });
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_file() {
        let node = Node::parse("a: 1\nb:\n- c: true\n  d: \"x\"\n", 10).unwrap();
        let b = node.get("b").unwrap();
        let Value::List(items) = &b.value else {
            panic!("{b:?}")
        };
        let d = items[0].get("d").unwrap();
        assert_eq!(d.as_str(), Some("x"));
        assert_eq!(
            d.mark,
            Mark {
                line: 14,
                column: 6
            }
        );
        let Value::Map(entries) = &items[0].value else {
            panic!()
        };
        assert_eq!(
            entries[1].mark,
            Mark {
                line: 14,
                column: 3
            }
        );
        assert_eq!(node.get("a").unwrap().value, Value::Int(1));
    }

    #[test]
    fn types_follow_yaml() {
        let node = Node::parse("[~, yes please, 1.5, '1', -3, {}, v1]", 0).unwrap();
        let Value::List(items) = node.value else {
            panic!()
        };
        let addresses = Node::parse("[1.2.3.4, 2001:db8::]", 0).unwrap();
        let Value::List(addresses) = addresses.value else {
            panic!()
        };
        assert_eq!(addresses[1].as_str(), Some("2001:db8::"));
        let kinds: Vec<_> = items.iter().map(|n| n.value.kind()).collect();
        assert_eq!(
            kinds,
            [
                "nothing",
                "a string",
                "a number",
                "a string",
                "a number",
                "a mapping",
                "a string"
            ]
        );
    }

    #[test]
    fn syntax_errors_have_a_place() {
        let error = Node::parse("a:\n  b: [1, 2\nc: 3\n", 5).unwrap_err();
        assert!(error.mark.line >= 7, "{error:?}");
        assert!(!error.message.contains("line"), "{error:?}");
        let error = Node::parse("a: 1\na: 2\n", 0).unwrap_err();
        assert_eq!(error.mark.line, 2, "{error:?}");
    }
}
