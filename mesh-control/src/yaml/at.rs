use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use super::fields::Fields;
use super::spelling::json_name;
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
        code: &'static str,
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
            code,
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
        self.report(Severity::Refused, "invalid", message, suggestion);
    }

    /// Reports that this has no effect, as an error.
    pub fn without_effect(&self, message: impl Display, suggestion: impl Display) {
        self.report(Severity::Error, "without_effect", message, suggestion);
    }

    /// Reports something that deserves a look.
    pub fn warn(&self, message: impl Display, suggestion: impl Display) {
        self.report(Severity::Warning, "warning", message, suggestion);
    }

    /// Reports a problem of a sort that `code` names.
    pub(crate) fn report(
        &self,
        severity: Severity,
        code: &'static str,
        message: impl Display,
        suggestion: impl Display,
    ) {
        let (mark, path) = (self.mark, &self.path);
        self.report
            .add(severity, code, mark, path, message, suggestion);
    }

    /// The same, at another place.
    pub(crate) fn marked(mut self, mark: Mark) -> Self {
        self.mark = mark;
        self
    }

    /// The value of a field in a mapping, by its name in JSON or in protobuf; `None` if it is missing or null. Nothing
    /// is reported.
    pub(crate) fn find(&self, name: &str) -> Option<At<'a>> {
        let Value::Map(entries) = &self.node.value else {
            return None;
        };
        let entry = entries.iter().find(|entry| entry.key == name).or_else(|| {
            entries
                .iter()
                .find(|entry| entry.key.contains('_') && json_name(&entry.key) == name)
        })?;
        (entry.value.value != Value::Null).then(|| self.child(entry))
    }

    /// Reports that the value is of another type than `wanted`.
    pub(crate) fn wrong_type(&self, wanted: &str) {
        let found = match &self.node.value {
            Value::Bool(b) => format!("is the boolean {b}"),
            Value::Int(n) => format!("is the number {n}"),
            Value::Float(n) => format!("is the number {n}"),
            Value::String(s) => format!("is the string {s:?}"),
            other => format!("is {}", other.kind()),
        };
        let wanted = format_args!("it must be {wanted}");
        self.report(Severity::Refused, "wrong_type", found, wanted);
    }

    /// The fields of a mapping.
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(self.clone(), self.map())
    }

    fn map(&self) -> &'a [Entry] {
        match &self.node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            _ => {
                self.wrong_type("a mapping");
                &[]
            }
        }
    }

    /// The value of an entry of this mapping.
    pub(super) fn child(&self, entry: &'a Entry) -> At<'a> {
        let path = match self.path.is_empty() {
            true => entry.key.clone(),
            false => format!("{}.{}", self.path, entry.key),
        };
        At {
            report: self.report,
            node: &entry.value,
            mark: entry.mark,
            path,
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
        self.map()
            .iter()
            .map(|entry| (entry.key.as_str(), self.child(entry)))
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

    /// A whole number of 32 bits; text of digits is taken too, as protobuf's JSON does.
    pub fn int32(&self) -> i32 {
        let number = match &self.node.value {
            Value::Int(n) => i32::try_from(*n).ok(),
            Value::String(s) => s.parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.wrong_type(&format!("a whole number from {} to {}", i32::MIN, i32::MAX));
        }
        number.unwrap_or_default()
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
