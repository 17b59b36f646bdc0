//! What is wrong with a resource, every place at once, with field paths.

use std::{borrow::Cow, fmt};

/// One step of a field path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A field by its name in the .proto file.
    Field(Cow<'static, str>),
    /// An element of a list.
    Index(usize),
    /// An entry of a map.
    Key(String),
}

/// One finding: where and what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    pub(crate) at: Vec<Step>,
    message: String,
}

impl Problem {
    /// The field path, for example `filter_chains[0].filters[1].typed_config`; empty: the resource as a whole.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.at {
            match step {
                Step::Field(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
                Step::Index(at) => path.push_str(&format!("[{at}]")),
                Step::Key(key) => path.push_str(&format!("[{key:?}]")),
            }
        }
        path
    }

    /// What is wrong, and where known what would be right.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{}: {}", self.path(), self.message),
        }
    }
}

/// All findings of one resource: errors, which refuse it, and warnings, which say what is ignored in it.
///
/// Displays as its errors, separated by `; `.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    at: Vec<Step>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Problems {
    /// What refuses the resource, in the order of its fields.
    pub fn errors(&self) -> &[Problem] {
        &self.errors
    }

    /// What is accepted without effect.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Whether nothing refuses the resource.
    pub fn is_ok(&self) -> bool {
        self.errors.is_empty()
    }

    /// One error about the resource as a whole.
    pub(crate) fn of(message: impl Into<String>) -> Self {
        let mut problems = Self::default();
        problems.error(message);
        problems
    }

    /// Runs `f` one field deeper.
    pub(crate) fn field<R>(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        f: impl FnOnce(&mut Self) -> R,
    ) -> R {
        self.step(Step::Field(name.into()), f)
    }

    /// Runs `f` one list element deeper.
    pub(crate) fn index<R>(&mut self, at: usize, f: impl FnOnce(&mut Self) -> R) -> R {
        self.step(Step::Index(at), f)
    }

    /// Runs `f` one map entry deeper.
    pub(crate) fn key<R>(&mut self, key: &str, f: impl FnOnce(&mut Self) -> R) -> R {
        self.step(Step::Key(key.to_owned()), f)
    }

    fn step<R>(&mut self, step: Step, f: impl FnOnce(&mut Self) -> R) -> R {
        self.at.push(step);
        let result = f(self);
        self.at.pop();
        result
    }

    /// Each element of a list under its index; None where `f` gave none.
    pub(crate) fn each<T, R>(
        &mut self,
        name: &'static str,
        list: &[T],
        mut f: impl FnMut(&mut Self, &T) -> Option<R>,
    ) -> Vec<R> {
        self.field(name, |p| {
            let decoded = list
                .iter()
                .enumerate()
                .map(|(at, item)| p.index(at, |p| f(p, item)));
            decoded.collect::<Vec<_>>().into_iter().flatten().collect()
        })
    }

    /// Records an error here.
    pub(crate) fn error(&mut self, message: impl Into<String>) {
        let problem = Problem {
            at: self.at.clone(),
            message: message.into(),
        };
        self.errors.push(problem);
    }

    /// Records an error at a field of this place.
    pub(crate) fn error_at(&mut self, name: &'static str, message: impl Into<String>) {
        self.field(name, |p| p.error(message));
    }

    /// Records a warning here.
    pub(crate) fn warn(&mut self, message: impl Into<String>) {
        let problem = Problem {
            at: self.at.clone(),
            message: message.into(),
        };
        self.warnings.push(problem);
    }

    /// The index of the list element that is being looked at; None: none is.
    pub(crate) fn last_index(&self) -> Option<usize> {
        match self.at.last() {
            Some(Step::Index(at)) => Some(*at),
            _ => None,
        }
    }

    /// How many steps deep this place is.
    pub(crate) fn depth(&self) -> usize {
        self.at.len()
    }

    /// Runs `f` for its value alone: what it finds is dropped.
    pub(crate) fn ignoring_errors<R>(&self, f: impl FnOnce(&mut Self) -> R) -> R {
        f(&mut Self::default())
    }

    /// Turns errors that change no answer into warnings that say what follows from them.
    pub(crate) fn warn_instead(&mut self, consequence: &str, harmless: impl Fn(&str) -> bool) {
        let errors = std::mem::take(&mut self.errors).into_iter();
        let (warned, refused): (Vec<_>, Vec<_>) = errors.partition(|p| harmless(&p.message));
        self.errors = refused;
        self.warnings
            .extend(warned.into_iter().map(|problem| Problem {
                message: format!("{}; {consequence}", problem.message),
                ..problem
            }));
    }

    /// Takes over what was found apart, below this place.
    pub(crate) fn absorb(&mut self, other: Self) {
        let below = |at: &[Step], problem: Problem| Problem {
            at: at.iter().cloned().chain(problem.at).collect(),
            message: problem.message,
        };
        self.errors
            .extend(other.errors.into_iter().map(|e| below(&self.at, e)));
        self.warnings
            .extend(other.warnings.into_iter().map(|w| below(&self.at, w)));
    }

    /// The value, or an error that it must be set.
    pub(crate) fn require<T>(&mut self, name: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.error_at(name, "must be set");
        }
        value
    }

    /// The text, or an error that it must not be empty.
    pub(crate) fn require_text<'a>(
        &mut self,
        name: &'static str,
        value: &'a str,
    ) -> Option<&'a str> {
        if value.is_empty() {
            self.error_at(name, "must not be empty");
            return None;
        }
        Some(value)
    }

    /// The value of a fallible conversion, or its error here.
    pub(crate) fn check<T, E: fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.error(error.to_string())).ok()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.errors.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_in_envoys_messages() {
        let mut p = Problems::default();
        p.field("filter_chains", |p| {
            p.index(2, |p| {
                p.error_at("name", "must be set");
                p.field("typed_per_filter_config", |p| {
                    p.key("a.b", |p| p.warn("ignored"))
                });
            });
        });
        p.error("whole");
        assert_eq!(p.to_string(), "filter_chains[2].name: must be set; whole");
        assert_eq!(
            p.warnings()[0].to_string(),
            "filter_chains[2].typed_per_filter_config[\"a.b\"]: ignored"
        );
        assert!(!p.is_ok());
    }
}
