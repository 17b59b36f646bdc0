//! What a machine must have before anything else makes sense.

use crate::args::{Need, Options};
use crate::process;

/// A program that the checks start.
struct Tool {
    name: &'static str,
    need: Option<Need>,
    works: fn() -> bool,
    install: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "git",
        need: None,
        works: || process::works("git", &["--version"]),
        install: "apt-get install git",
    },
    Tool {
        name: "rustfmt",
        need: None,
        works: || process::works("cargo", &["fmt", "--version"]),
        install: "rustup component add rustfmt",
    },
    Tool {
        name: "clippy",
        need: None,
        works: || process::works("cargo", &["clippy", "--version"]),
        install: "rustup component add clippy",
    },
    Tool {
        name: "a C compiler",
        need: None,
        works: || process::works("cc", &["--version"]),
        install: "apt-get install gcc libc6-dev",
    },
    Tool {
        name: "python3 with venv and pip",
        need: Some(Need::Envoy),
        works: || process::works("python3", &["-c", "import venv, ensurepip"]),
        install: "apt-get install python3-venv python3-pip, or leave Envoy out: --without envoy",
    },
    Tool {
        name: "Go 1.26 or newer",
        need: Some(Need::Go),
        works: || process::works("go", &["version"]),
        install: "https://go.dev/doc/install, or leave istiod out: --without go",
    },
    Tool {
        name: "valgrind",
        need: Some(Need::Valgrind),
        works: || process::works("valgrind", &["--version"]),
        install: "apt-get install valgrind, or leave instruction counts out: --without valgrind",
    },
];

/// What is missing and how to get it; empty if all is there.
pub(crate) fn missing(options: &Options) -> Vec<String> {
    TOOLS
        .iter()
        .filter(|tool| tool.need.is_none_or(|need| options.with(need)))
        .filter(|tool| !(tool.works)())
        .map(|tool| format!("{} is missing: {}", tool.name, tool.install))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_not_missed() {
        let options = Options {
            without: vec![Need::Envoy, Need::Go, Need::Valgrind],
            only: vec![],
        };
        let words = ["python3", "Go ", "valgrind"];
        for line in missing(&options) {
            assert!(!words.iter().any(|word| line.starts_with(word)), "{line}");
        }
    }
}
