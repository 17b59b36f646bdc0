use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use super::{Entry, Mark, Node, Value, parse_duration};
use crate::problem::{Problem, Severity};

/// Collects the problems of one document while it is read.
#[derive(Debug)]
pub struct Report {
    file: String,
    object: String,
    problems: RefCell<Vec<Problem>>,
    refused: Cell<bool>,
}

impl Report {
    /// For a document of `file` that holds `object` (`Kind namespace/name`, may be empty).
    pub fn new(file: &str, object: &str) -> Self {
        Report {
            file: file.to_owned(),
            object: object.to_owned(),
            problems: RefCell::default(),
            refused: Cell::new(false),
        }
    }

    /// A node of the document, by its path.
    pub fn at<'a>(&'a self, node: &'a Node, path: &str) -> At<'a> {
        At {
            report: self,
            node,
            mark: node.mark,
            path: path.to_owned(),
        }
    }

    /// Whether a problem refuses the object.
    pub fn is_refused(&self) -> bool {
        self.refused.get()
    }

    /// The problems, in the order of the file.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|p| p.line);
        problems
    }

    fn add(
        &self,
        severity: Severity,
        mark: Mark,
        field: &str,
        message: impl Display,
        suggestion: impl Display,
    ) {
        if severity == Severity::Refused {
            self.refused.set(true);
        }
        self.problems.borrow_mut().push(Problem {
            file: self.file.clone(),
            line: mark.line,
            column: mark.column,
            object: self.object.clone(),
            field: field.to_owned(),
            message: message.to_string(),
            suggestion: suggestion.to_string(),
            severity,
        });
    }
}

/// A node that is being read: the value, the path of its field and where problems go.
///
/// The readers below always return a value; a wrong one is reported, refuses the object and yields a default.
#[derive(Clone, Debug)]
pub struct At<'a> {
    report: &'a Report,
    node: &'a Node,
    mark: Mark,
    path: String,
}

impl<'a> At<'a> {
    /// The node itself.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Where the field is: its key in a mapping, otherwise its value.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// The path of the field.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reports a problem that refuses the object.
    pub fn refuse(&self, message: impl Display, suggestion: impl Display) {
        self.report.add(
            Severity::Refused,
            self.mark,
            &self.path,
            message,
            suggestion,
        );
    }

    /// Reports that this has no effect, as an error.
    pub fn without_effect(&self, message: impl Display, suggestion: impl Display) {
        self.report
            .add(Severity::Error, self.mark, &self.path, message, suggestion);
    }

    /// Reports something that deserves a look.
    pub fn warn(&self, message: impl Display, suggestion: impl Display) {
        self.report.add(
            Severity::Warning,
            self.mark,
            &self.path,
            message,
            suggestion,
        );
    }

    fn wrong_type(&self, wanted: &str) {
        let found = match &self.node.value {
            Value::Bool(b) => format!("is the boolean {b}"),
            Value::Int(n) => format!("is the number {n}"),
            Value::Float(n) => format!("is the number {n}"),
            Value::String(s) => format!("is the string {s:?}"),
            other => format!("is {}", other.kind()),
        };
        self.refuse(found, format_args!("it must be {wanted}"));
    }

    /// The fields of a mapping.
    pub fn fields(&self) -> Fields<'a> {
        let entries = match &self.node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => {
                self.wrong_type("a mapping");
                &[]
            }
        };
        Fields {
            at: self.clone(),
            entries,
            known: RefCell::default(),
        }
    }

    /// The items of a list.
    pub fn items(&self) -> Vec<At<'a>> {
        let items = match &self.node.value {
            Value::List(items) => items.as_slice(),
            Value::Null => &[],
            _ => {
                self.wrong_type("a list");
                &[]
            }
        };
        let item = |(i, node): (usize, &'a Node)| At {
            report: self.report,
            node,
            mark: node.mark,
            path: format!("{}[{i}]", self.path),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The entries of a mapping whose keys are data (labels, headers).
    pub fn entries(&self) -> Vec<(&'a str, At<'a>)> {
        let fields = self.fields();
        fields
            .entries
            .iter()
            .map(|e| (e.key.as_str(), fields.at_entry(e)))
            .collect()
    }

    /// A string.
    pub fn string(&self) -> String {
        match &self.node.value {
            Value::String(s) => s.clone(),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
                self.wrong_type("a string: put it in quotes");
                String::new()
            }
            _ => {
                self.wrong_type("a string");
                String::new()
            }
        }
    }

    /// A boolean.
    pub fn bool(&self) -> bool {
        match self.node.value {
            Value::Bool(b) => b,
            _ => {
                self.wrong_type("true or false");
                false
            }
        }
    }

    /// A whole number from 0 to `max`; text of digits is taken too, as protobuf's JSON does.
    pub fn number(&self, max: u32) -> u32 {
        self.try_number(max).unwrap_or_default()
    }

    fn try_number(&self, max: u32) -> Option<u32> {
        let number = match &self.node.value {
            Value::Int(n) => Some(*n),
            Value::String(s) => s.parse().ok(),
            _ => None,
        };
        let number = number
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n <= max);
        if number.is_none() {
            self.wrong_type(&format!("a whole number from 0 to {max}"));
        }
        number
    }

    /// A number with a fraction.
    pub fn float(&self) -> f64 {
        match &self.node.value {
            Value::Int(n) => *n as f64,
            Value::Float(n) => *n,
            Value::String(s) if s.parse::<f64>().is_ok() => s.parse().unwrap_or_default(),
            _ => {
                self.wrong_type("a number");
                0.0
            }
        }
    }

    /// A port, 1 to 65535.
    pub fn port(&self) -> u16 {
        let port = self
            .try_number(u32::from(u16::MAX))
            .and_then(|port| u16::try_from(port).ok());
        if port == Some(0) {
            self.refuse("0 is not a port", "ports go from 1 to 65535");
        }
        port.unwrap_or_default()
    }

    /// A duration such as `1h`, `1m`, `1s`, `1ms`.
    pub fn duration(&self) -> Duration {
        self.try_duration().unwrap_or_default()
    }

    fn try_duration(&self) -> Option<Duration> {
        let duration = self.node.as_str().and_then(parse_duration);
        if duration.is_none() {
            self.wrong_type("a duration such as 10s, 1.5s or 200ms");
        }
        duration
    }

    /// A duration of at least a millisecond, as Istio wants it.
    pub fn duration_from_1ms(&self) -> Duration {
        let duration = self.try_duration();
        if duration.is_some_and(|duration| duration < Duration::from_millis(1)) {
            self.refuse(
                "duration must be greater than 1ms",
                "write it with its unit, such as 500ms, or remove it",
            );
        }
        duration.unwrap_or_default()
    }

    /// A list of strings.
    pub fn strings(&self) -> Vec<String> {
        self.items().iter().map(At::string).collect()
    }

    /// A mapping of strings to strings.
    pub fn string_map(&self) -> BTreeMap<String, String> {
        self.entries()
            .into_iter()
            .map(|(key, at)| (key.to_owned(), at.string()))
            .collect()
    }

    /// One of some words.
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.node.as_str();
        let found = text
            .and_then(|t| words.iter().find(|(word, _)| *word == t))
            .map(|(_, value)| *value);
        if found.is_none() {
            let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.wrong_type(&format!("one of {}", all.join(", ")));
        }
        found
    }
}

/// The fields of a mapping, asked for by name; [`finish`](Fields::finish) reports what nobody asked for.
#[derive(Debug)]
pub struct Fields<'a> {
    at: At<'a>,
    entries: &'a [Entry],
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
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

    /// A field; `None` if it is missing or null.
    pub fn get(&self, name: &'static str) -> Option<At<'a>> {
        self.known.borrow_mut().push(name);
        let entry = self.entries.iter().find(|e| e.key == name)?;
        (entry.value.value != Value::Null).then(|| self.at_entry(entry))
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
            let at = self.at_entry(entry);
            let suggestion = match right.iter().find(|(wrong, _)| *wrong == entry.key) {
                Some((_, right)) => format!("write {right}"),
                None => match nearest(&entry.key, &known) {
                    Some(name) => format!("did you mean {name}?"),
                    None => format!("known here: {}", known.join(", ")),
                },
            };
            at.without_effect("unknown field, it has no effect", suggestion);
        }
    }

    fn at_entry(&self, entry: &'a Entry) -> At<'a> {
        let path = match self.at.path.is_empty() {
            true => entry.key.clone(),
            false => format!("{}.{}", self.at.path, entry.key),
        };
        At {
            report: self.at.report,
            node: &entry.value,
            mark: entry.mark,
            path,
        }
    }
}

/// The known name that a misspelt one most likely means.
fn nearest<'k>(wrong: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = |s: &str| s.replace(['_', '-'], "").to_lowercase();
    let wrong = plain(wrong);
    let (distance, name) = known
        .iter()
        .map(|name| (edit_distance(&wrong, &plain(name)), *name))
        .min()?;
    (distance <= wrong.len().div_ceil(4).min(3)).then_some(name)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
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
                "f.yaml:1: Kind default/x: tcp: unknown field, it has no effect; write connectionPool.tcp",
                "f.yaml:2: Kind default/x: hosst: unknown field, it has no effect; did you mean hosts?",
                "f.yaml:3: Kind default/x: zzzzzzz: unknown field, it has no effect; known here: hosts",
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
                "f.yaml:1: Kind default/x: a: is the string \"x\"; it must be a whole number from 0 to 10",
                "f.yaml:2: Kind default/x: b: is the number 5; it must be a duration such as 10s, 1.5s or 200ms",
                "f.yaml:3: Kind default/x: c.d[0]: is the number 1.5; it must be a string: put it in quotes",
            ]
        );
    }
}
