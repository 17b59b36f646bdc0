use serde_json::{Value, json};

use super::objects::Object;
use crate::yaml::Mark;

/// How much a [`Finding`] matters, in istioctl's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Level {
    /// Good to know.
    Info,
    /// Something may not work as it is meant.
    Warning,
    /// Something does not work.
    Error,
}

impl Level {
    /// Istioctl's word.
    pub fn name(self) -> &'static str {
        match self {
            Level::Info => "Info",
            Level::Warning => "Warning",
            Level::Error => "Error",
        }
    }
}

/// What istioctl would say about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Istio's code, such as `IST0101`.
    pub code: &'static str,
    /// How much it matters.
    pub level: Level,
    /// `Kind namespace/name`.
    pub origin: String,
    /// `file:line`.
    pub reference: String,
    /// What is the matter.
    pub message: String,
}

impl Finding {
    /// With istioctl's keys: `code level origin reference message documentationUrl`.
    pub fn to_json(&self) -> Value {
        json!({
            "code": self.code,
            "level": self.level.name(),
            "origin": self.origin,
            "reference": self.reference,
            "message": self.message,
            "documentationUrl": format!(
                "https://istio.io/v1.30/docs/reference/config/analysis/{}/?ref=istioctl-analyze",
                self.code.to_lowercase()
            ),
        })
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Finding {
            code,
            origin,
            reference,
            message,
            ..
        } = self;
        write!(
            f,
            "{} [{code}] ({origin} {reference}) {message}",
            self.level.name()
        )
    }
}

/// Collects findings.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<Finding>,
}

impl Findings {
    /// About an object, at a place in it (its first line, if that is unknown).
    pub(super) fn add(
        &mut self,
        code: &'static str,
        object: &Object<'_>,
        at: Mark,
        message: impl std::fmt::Display,
    ) {
        let line = if at.line > 0 { at.line } else { object.line };
        let finding = Finding {
            code,
            level: level(code),
            origin: object.to_string(),
            reference: format!("{}:{line}", object.file),
            message: message.to_string(),
        };
        if !object.file.is_empty() {
            self.found.push(finding);
        }
    }

    /// About an object as a whole.
    pub(super) fn about(
        &mut self,
        code: &'static str,
        object: &Object<'_>,
        message: impl std::fmt::Display,
    ) {
        self.add(code, object, Mark::default(), message);
    }

    /// A reference of an object to something that is not there.
    pub(super) fn not_found(&mut self, object: &Object<'_>, at: Mark, kind: &str, name: &str) {
        self.add(
            "IST0101",
            object,
            at,
            format_args!("Referenced {kind} not found: {name:?}"),
        );
    }

    /// The worst first, then by code, object and place.
    pub(super) fn into_sorted(mut self) -> Vec<Finding> {
        self.found.sort_by(|a, b| {
            (b.level, a.code, &a.origin, &a.reference, &a.message).cmp(&(
                a.level,
                b.code,
                &b.origin,
                &b.reference,
                &b.message,
            ))
        });
        self.found
    }
}

/// The level that Istio gives to a code.
fn level(code: &str) -> Level {
    match code {
        "IST0102" | "IST0118" | "IST0131" | "IST0135" | "IST0136" | "IST0148" | "IST0164" => {
            Level::Info
        }
        "IST0101" | "IST0106" | "IST0109" | "IST0110" | "IST0111" | "IST0112" | "IST0126"
        | "IST0139" | "IST0145" | "IST0147" | "IST0149" | "IST0152" | "IST0153" | "IST0154"
        | "IST0159" | "IST0160" | "IST0161" | "IST0173" => Level::Error,
        _ => Level::Warning,
    }
}
