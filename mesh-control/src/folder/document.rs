//! One document of a file: its objects, or what is wrong with it.

use std::sync::Arc;

use crate::model::{self, ObjectId, ReadObject};
use crate::problem::{Problem, Severity};
use crate::yaml::{Node, Value, split};

/// The objects of a document: one, or those of a `kind: List`.
pub(crate) fn read_document(
    text: &str,
    lines_before: u32,
    file: &Arc<str>,
    default_namespace: &str,
) -> Vec<ReadObject> {
    match Node::parse(text, lines_before) {
        Ok(node) => match list_items(&node) {
            Some(items) => items
                .iter()
                .map(|item| model::read(item.clone(), file, default_namespace))
                .collect(),
            None => vec![model::read(node, file, default_namespace)],
        },
        Err(error) => {
            let mut problem = Problem::of_file(
                file,
                format!("is no YAML: {}", error.message),
                "correct its syntax",
            );
            problem.line = error.mark.line.max(lines_before + 1);
            problem.column = error.mark.column;
            vec![ReadObject {
                id: None,
                object: None,
                problems: vec![problem],
                istio: None,
            }]
        }
    }
}

/// The items of what `kubectl get -o yaml` writes of several objects.
fn list_items(document: &Node) -> Option<&[Node]> {
    let is = |key: &str, value: &str| document.get(key).and_then(Node::as_str) == Some(value);
    if !is("kind", "List") || !is("apiVersion", "v1") {
        return None;
    }
    match document.get("items").map(|items| &items.value) {
        Some(Value::List(items)) => Some(items),
        _ => Some(&[]),
    }
}

/// What a document of a text is: an object, or problems; both if it is only partly right.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Validated {
    /// Which object, if that could be read and the document is no `List`.
    pub id: Option<ObjectId>,
    is_list: bool,
    /// The document's text.
    pub text: String,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

impl Validated {
    /// Whether a folder would put the object in force.
    pub fn is_accepted(&self) -> bool {
        (self.id.is_some() || self.is_list)
            && self
                .problems
                .iter()
                .all(|p| p.severity != Severity::Refused)
    }
}

/// Checks every document of a text as a folder would; `file` names it in problems.
pub fn validate_documents(text: &str, file: &str, default_namespace: &str) -> Vec<Validated> {
    let file: Arc<str> = file.into();
    let check = |document: crate::yaml::Document<'_>| {
        let mut read = read_document(
            document.text,
            document.lines_before,
            &file,
            default_namespace,
        );
        let is_list = Node::parse(document.text, 0).is_ok_and(|node| list_items(&node).is_some());
        Validated {
            id: match read.as_mut_slice() {
                [only] if !is_list => only.id.take(),
                _ => None,
            },
            is_list,
            text: document.text.to_owned(),
            problems: read.into_iter().flat_map(|read| read.problems).collect(),
        }
    };
    split(text).into_iter().map(check).collect()
}
