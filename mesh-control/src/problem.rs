//! What is wrong in a file, where, and what would be right.

use std::fmt;

/// How much a [`Problem`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// The object is in force as written; something about it deserves a look.
    Warning,
    /// The object is in force, but this part of it has no effect (Istio drops it in silence).
    Error,
    /// The object is not in force; its last good version stays.
    Refused,
}

impl Severity {
    /// Whether somebody should correct the file.
    pub fn is_error(self) -> bool {
        self >= Severity::Error
    }
}

/// One thing that is wrong in a file.
///
/// Displayed as `file:line:column: object: field: what is wrong; what would be right`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Problem {
    /// The file, relative to the folder.
    pub file: String,
    /// Line in the file, from 1; 0 if the problem belongs to the whole file.
    pub line: u32,
    /// Column in the line, from 1; 0 if unknown.
    pub column: u32,
    /// `Kind namespace/name`; empty if the document could not be read so far.
    pub object: String,
    /// Path of the field, such as `spec.http[0].retries.attempts`; empty if it is the whole object.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What would be right; may be empty.
    pub suggestion: String,
    /// What it means for the object.
    pub severity: Severity,
    /// What sort of problem it is, in one word such as `unknown_field`.
    pub code: &'static str,
}

impl Problem {
    /// A problem of a whole file, refused.
    pub(crate) fn of_file(
        file: &str,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) -> Self {
        Problem {
            file: file.to_owned(),
            line: 0,
            column: 0,
            object: String::new(),
            field: String::new(),
            message: message.into(),
            suggestion: suggestion.into(),
            severity: Severity::Refused,
            code: "file",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        for part in [&self.object, &self.field] {
            if !part.is_empty() {
                write!(f, ": {part}")?;
            }
        }
        write!(f, ": {}", self.message)?;
        if !self.suggestion.is_empty() {
            write!(f, "; {}", self.suggestion)?;
        }
        Ok(())
    }
}
