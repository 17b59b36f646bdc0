//! Where in a YAML or JSON text a field path points to.

use std::fmt;

use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

use crate::problems::Step;

/// Line and column, from 1.
pub(super) type Place = (u64, u64);

/// A text's shape: keys and places, no values.
pub(super) struct Places(Spanned<Node>);

enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Leaf,
}

impl Places {
    /// Reads the text; None if it is not YAML.
    pub(super) fn of(text: &str) -> Option<Self> {
        serde_saphyr::from_str_with_options(text, super::yaml_options())
            .ok()
            .map(Self)
    }

    /// The place of the deepest part of `path` that the text has.
    pub(super) fn find(&self, path: &[Step]) -> Option<Place> {
        let mut place = self.0.referenced;
        let mut node = &self.0.value;
        for step in path {
            let next = match (step, node) {
                (Step::Index(at), Node::List(list)) => {
                    list.get(*at).map(|item| (item.referenced, &item.value))
                }
                (Step::Field(name), Node::Map(map)) => entry(map, name),
                (Step::Key(name), Node::Map(map)) => entry(map, name),
                _ => None,
            };
            let Some((at, value)) = next else { break };
            place = at;
            node = value;
        }
        let known = place != serde_saphyr::Location::UNKNOWN;
        known.then(|| (place.line(), place.column()))
    }
}

impl Places {
    /// The place of the first key `name` that is not before `from`.
    pub(super) fn find_key(&self, name: &str, from: Place) -> Option<Place> {
        let mut found = None;
        visit_keys(&self.0.value, &mut |key, place| {
            if key == name && place >= from && found.is_none_or(|found| place < found) {
                found = Some(place);
            }
        });
        found
    }
}

fn visit_keys(node: &Node, visit: &mut impl FnMut(&str, Place)) {
    match node {
        Node::Map(map) => {
            for (key, value) in map {
                visit(&key.value, (key.referenced.line(), key.referenced.column()));
                visit_keys(&value.value, visit);
            }
        }
        Node::List(list) => list.iter().for_each(|item| visit_keys(&item.value, visit)),
        Node::Leaf => {}
    }
}

fn entry<'a>(
    map: &'a [(Spanned<String>, Spanned<Node>)],
    name: &str,
) -> Option<(serde_saphyr::Location, &'a Node)> {
    let found = map.iter().find(|(key, _)| same_name(&key.value, name))?;
    Some((found.0.referenced, &found.1.value))
}

/// `lower_snake` and `lowerCamel` are the same field.
fn same_name(key: &str, name: &str) -> bool {
    let plain = |text: &str| {
        text.bytes()
            .filter(|b| *b != b'_')
            .map(|b| b.to_ascii_lowercase())
            .collect::<Vec<_>>()
    };
    key == name || plain(key) == plain(name)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;

        macro_rules! leaf {
            ($($method:ident: $type:ty),*) => {
                $(fn $method<E>(self, _: $type) -> Result<Node, E> {
                    Ok(Node::Leaf)
                })*
            };
        }

        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            leaf!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str, visit_bytes: &[u8]);

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Leaf)
            }

            fn visit_none<E>(self) -> Result<Node, E> {
                Ok(Node::Leaf)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
                IgnoredAny::deserialize(deserializer).map(|_| Node::Leaf)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = seq.next_element()? {
                    list.push(item);
                }
                Ok(Node::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Map(entries))
            }
        }

        deserializer.deserialize_any(NodeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(steps: &[&str]) -> Vec<Step> {
        steps
            .iter()
            .map(|step| match step.parse() {
                Ok(at) => Step::Index(at),
                Err(_) => Step::Field((*step).to_owned().into()),
            })
            .collect()
    }

    #[test]
    fn finds_keys_items_and_the_deepest_known_part() {
        let text = "admin: {}\nstaticResources:\n  clusters:\n  - name: a\n  - name: b\n    connect_timeout: 1s\n";
        let places = Places::of(text).unwrap();
        let find = |steps: &[&str]| places.find(&path(steps));
        assert_eq!(find(&["admin"]), Some((1, 1)));
        assert_eq!(
            find(&["static_resources", "clusters", "1", "connect_timeout"]),
            Some((6, 5))
        );
        assert_eq!(
            find(&["static_resources", "clusters", "1", "lb_policy"]),
            Some((5, 5))
        );
        assert_eq!(find(&["static_resources", "listeners"]), Some((2, 1)));
    }

    #[test]
    fn reads_json_too() {
        let places = Places::of("{\n  \"admin\": {\n    \"address\": null\n  }\n}").unwrap();
        assert_eq!(places.find(&path(&["admin", "address"])), Some((3, 5)));
    }
}
