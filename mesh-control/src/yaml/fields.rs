use std::cell::RefCell;
use std::collections::BTreeMap;

use super::at::At;
use super::spelling::nearest;
use super::{Entry, Value};
use crate::problem::Severity;

/// The fields of a mapping, asked for by name; [`finish`](Fields::finish) reports what nobody asked for.
#[derive(Debug)]
pub struct Fields<'a> {
    at: At<'a>,
    entries: &'a [Entry],
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(at: At<'a>, entries: &'a [Entry]) -> Self {
        Fields {
            at,
            entries,
            known: RefCell::default(),
        }
    }

    /// The mapping itself.
    pub fn at(&self) -> &At<'a> {
        &self.at
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether there is a field other than those.
    pub(crate) fn has_any_but(&self, names: &[&str]) -> bool {
        self.entries
            .iter()
            .any(|entry| !names.contains(&entry.key.as_str()))
    }

    /// Whether one of those fields is there.
    pub(crate) fn has_any_of(&self, names: &[&str]) -> bool {
        self.entries
            .iter()
            .any(|entry| names.contains(&entry.key.as_str()))
    }

    /// A field; `None` if it is missing or null.
    pub fn get(&self, name: &'static str) -> Option<At<'a>> {
        self.known.borrow_mut().push(name);
        let entry = self.entries.iter().find(|e| e.key == name)?;
        (entry.value.value != Value::Null).then(|| self.at.child(entry))
    }

    /// A field that must be there.
    pub fn require(&self, name: &'static str) -> Option<At<'a>> {
        let found = self.get(name);
        if found.is_none() {
            self.at.refuse(
                format_args!("field {name} is missing"),
                format_args!("add {name}"),
            );
        }
        found
    }

    /// A string field; empty if missing.
    pub fn string(&self, name: &'static str) -> String {
        self.get(name).map(|at| at.string()).unwrap_or_default()
    }

    /// A list field read item by item; empty if missing.
    pub fn list<T>(&self, name: &'static str, mut read: impl FnMut(At<'a>) -> T) -> Vec<T> {
        match self.get(name) {
            Some(at) => at.items().into_iter().map(&mut read).collect(),
            None => Vec::new(),
        }
    }

    /// A list of strings; empty if missing.
    pub fn strings(&self, name: &'static str) -> Vec<String> {
        self.get(name).map(|at| at.strings()).unwrap_or_default()
    }

    /// A mapping of strings; empty if missing.
    pub fn string_map(&self, name: &'static str) -> BTreeMap<String, String> {
        self.get(name).map(|at| at.string_map()).unwrap_or_default()
    }

    /// Fields that are right but do nothing here, in silence.
    pub fn ignore(&self, names: &[&'static str]) {
        self.known.borrow_mut().extend_from_slice(names);
    }

    /// Fields that Istio honours and we do not yet: using one refuses the object.
    pub fn unsupported(&self, names: &[&'static str], suggestion: &str) {
        for name in names {
            if let Some(at) = self.get(name) {
                at.refuse("is not supported yet", suggestion);
            }
        }
    }

    /// Reports every field that was not asked for.
    pub fn finish(self) {
        self.finish_with(&[]);
    }

    /// Like [`finish`](Fields::finish); `right` names what is meant by known mistakes: (wrong name, right path).
    pub fn finish_with(self, right: &[(&str, &str)]) {
        let known = self.known.take();
        for entry in self.entries {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let at = self.at.child(entry);
            let suggestion = match right.iter().find(|(wrong, _)| *wrong == entry.key) {
                Some((_, right)) => format!("write {right}"),
                None => match nearest(&entry.key, &known) {
                    Some(name) => format!("did you mean {name}?"),
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
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Node, Report};
    use super::*;

    fn problems(text: &str, read: impl Fn(At<'_>)) -> Vec<String> {
        let node = Node::parse(text, 0).unwrap();
        let report = Report::new("f.yaml", "Kind default/x");
        read(report.at(&node, ""));
        report
            .into_problems()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn unknown_fields_name_the_right_one() {
        let seen = problems("tcp: 1\nhosst: a\nzzzzzzz: 1\n", |at| {
            let fields = at.fields();
            fields.get("hosts");
            fields.finish_with(&[("tcp", "connectionPool.tcp")]);
        });
        assert_eq!(
            seen,
            [
                "f.yaml:1:1: Kind default/x: tcp: unknown field, it has no effect; write connectionPool.tcp",
                "f.yaml:2:1: Kind default/x: hosst: unknown field, it has no effect; did you mean hosts?",
                "f.yaml:3:1: Kind default/x: zzzzzzz: unknown field, it has no effect; known here: hosts",
            ]
        );
    }

    #[test]
    fn wrong_types_say_what_is_right() {
        let seen = problems("a: x\nb: 5\nc: {d: [1.5]}\n", |at| {
            let fields = at.fields();
            fields.get("a").unwrap().number(10);
            fields.get("b").unwrap().duration();
            fields.get("c").unwrap().fields().strings("d");
        });
        assert_eq!(
            seen,
            [
                "f.yaml:1:1: Kind default/x: a: is the string \"x\"; it must be a whole number from 0 to 10",
                "f.yaml:2:1: Kind default/x: b: is the number 5; it must be a duration such as 10s, 1.5s or 200ms",
                "f.yaml:3:9: Kind default/x: c.d[0]: is the number 1.5; it must be a string: put it in quotes",
            ]
        );
    }
}
