//! Why a bootstrap is refused.

use std::fmt;

use serde_saphyr::MessageFormatter as _;

use super::place::{Place, Places};
use crate::problems::{Problem, Problems};

/// Everything that is wrong with a bootstrap. Displays one finding per line: `FILE:LINE:COLUMN: field: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidBootstrap {
    file: Option<String>,
    findings: Vec<(Option<Place>, String)>,
}

impl InvalidBootstrap {
    /// About the text as a whole.
    pub(crate) fn whole(message: impl Into<String>) -> Self {
        Self::at(None, message)
    }

    /// At one place.
    pub(crate) fn at(place: Option<Place>, message: impl Into<String>) -> Self {
        Self {
            file: None,
            findings: vec![(place, message.into())],
        }
    }

    /// A syntax error, or a field that the message does not have.
    pub(crate) fn from_yaml(text: &str, error: &serde_saphyr::Error) -> Self {
        let error = error.without_snippet();
        let place = error
            .location()
            .map(|location| (location.line(), location.column()));
        let message = serde_saphyr::DefaultMessageFormatter.format_message(error);
        match quoted(&message, "unrecognized field name '") {
            // the reader only knows where the mapping begins
            Some(field) => {
                let exact = Places::of(text)
                    .and_then(|places| places.find_key(field, place.unwrap_or((1, 1))));
                Self::at(exact.or(place), format!("unknown field {field}"))
            }
            None => Self::at(place, in_our_words(&message)),
        }
    }

    /// All errors of a decoder, each at the place that its field path has in the text.
    pub(crate) fn from_problems(text: &str, problems: &Problems) -> Self {
        let places = Places::of(text);
        let place = |problem: &Problem| places.as_ref().and_then(|places| places.find(&problem.at));
        let findings = problems
            .errors()
            .iter()
            .map(|e| (place(e), e.to_string()))
            .collect();
        Self {
            file: None,
            findings,
        }
    }

    /// Names the file.
    pub(crate) fn in_file(mut self, name: &str) -> Self {
        self.file = Some(name.to_owned());
        self
    }

    /// The findings: line and column (from 1) where known, and the message.
    pub fn findings(&self) -> impl Iterator<Item = (Option<(u64, u64)>, &str)> {
        self.findings
            .iter()
            .map(|(place, message)| (*place, message.as_str()))
    }
}

/// What stands in quotes after `prefix`.
fn quoted<'a>(message: &'a str, prefix: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(prefix)?;
    rest.split_once('\'').map(|(name, _)| name)
}

/// The parsers' words for what authors of a bootstrap get wrong most often, as an author would say it.
fn in_our_words(message: &str) -> String {
    if let Some(name) = quoted(message, "message '") {
        return format!("unknown extension type {name}");
    }
    if let Some(name) = quoted(message, "unrecognized enum value '") {
        return format!("unknown enum value {name}");
    }
    match message {
        "failed to parse duration" => "not a duration; write seconds, for example 0.25s".to_owned(),
        "invalid digit found in string" => "not a number".to_owned(),
        "expected mapping start" => "expected a mapping".to_owned(),
        other => {
            let other = other
                .strip_suffix(", set DuplicateKeyPolicy in Options if acceptable")
                .unwrap_or(other);
            other.to_owned()
        }
    }
}

impl fmt::Display for InvalidBootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (place, message)) in self.findings.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            if let Some(file) = &self.file {
                write!(f, "{file}:")?;
            }
            match (place, &self.file) {
                (Some((line, column)), _) => write!(f, "{line}:{column}: {message}")?,
                (None, Some(_)) => write!(f, " {message}")?,
                (None, None) => f.write_str(message)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for InvalidBootstrap {}
