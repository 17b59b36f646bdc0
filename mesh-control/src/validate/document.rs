use serde_json::{Value, json};

use super::Judgement;
use crate::problem::{Problem, Severity};

/// What Istio's webhook says of one document, and what this control plane adds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// The file, as it was named.
    pub file: String,
    /// The first line of the object, from 1.
    pub line: u32,
    /// The kind as written; `None` if the document is not one of Istio's.
    pub kind: Option<String>,
    /// The namespace; the default one if none is written.
    pub namespace: String,
    /// The name; may be empty.
    pub name: String,
    /// Whether Istio accepts the document.
    pub accepted: bool,
    /// Everything that is wrong with it.
    pub problems: Vec<Problem>,
}

/// The verdicts on every document of a text, those of other kinds than Istio's included.
pub fn verdicts(text: &str, file: &str, default_namespace: &str) -> Vec<Verdict> {
    let file: std::sync::Arc<str> = file.into();
    let mut found = Vec::new();
    for document in crate::yaml::split(text) {
        let lines_before = document.lines_before;
        let read =
            crate::folder::read_document(document.text, lines_before, &file, default_namespace);
        let guessed = guess(document.text);
        for object in read {
            let problems = object.problems;
            let verdict = match object.istio {
                Some(judgement) => Verdict::of(&file, judgement, problems),
                None => Verdict {
                    file: file.to_string(),
                    line: lines_before + 1,
                    kind: guessed.clone().filter(|_| object.id.is_none()),
                    namespace: default_namespace.to_owned(),
                    name: String::new(),
                    accepted: problems.iter().all(|p| p.severity != Severity::Refused),
                    problems,
                },
            };
            found.push(verdict);
        }
    }
    found
}

/// The kind of a document that cannot be read, if it looks like one of Istio's.
fn guess(text: &str) -> Option<String> {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
            .map(|value| value.trim().trim_matches(['"', '\'']))
    };
    let (group, _) = value("apiVersion")?.split_once('/')?;
    (group.ends_with(".istio.io") && group != "install.istio.io")
        .then(|| value("kind").unwrap_or_default().to_owned())
}

impl Verdict {
    fn of(file: &str, judgement: Judgement, problems: Vec<Problem>) -> Self {
        Verdict {
            file: file.to_owned(),
            line: judgement.line,
            kind: Some(judgement.kind),
            namespace: judgement.namespace,
            name: judgement.name,
            accepted: judgement.accepted,
            problems,
        }
    }

    /// Whether somebody should correct the file: Istio refuses it, or drops a part of it.
    pub fn has_errors(&self) -> bool {
        !self.accepted || self.problems.iter().any(|p| severity(p) == "error")
    }

    /// As one line of JSON: `file line kind namespace name accepted problems`.
    pub fn to_json(&self) -> Value {
        let problem = |p: &Problem| {
            json!({
                "severity": severity(p),
                "code": p.code,
                "field": p.field,
                "line": p.line,
                "column": p.column,
                "message": p.message,
                "suggestion": p.suggestion,
            })
        };
        json!({
            "file": self.file,
            "line": self.line,
            "kind": self.kind.as_deref().unwrap_or_default(),
            "namespace": self.namespace,
            "name": self.name,
            "accepted": self.accepted,
            "problems": self.problems.iter().map(problem).collect::<Vec<_>>(),
        })
    }
}

/// What Istio accepts and this control plane cannot use deserves a look; the file is right.
fn severity(problem: &Problem) -> &'static str {
    match problem.severity {
        Severity::Warning => "warning",
        Severity::Refused if problem.code == UNSUPPORTED => "warning",
        Severity::Error | Severity::Refused => "error",
    }
}

/// The code of what Istio accepts and this control plane refuses.
pub(crate) const UNSUPPORTED: &str = "unsupported";
