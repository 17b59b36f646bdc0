//! Names and words that must not occur.

use crate::sources::Source;

/// Modules named for no concept collect what belongs elsewhere.
const MODULES: [&str; 9] = [
    "common", "helper", "helpers", "manager", "misc", "shared", "stuff", "util", "utils",
];

/// Folders of one machine, and hosts that serve packages: a clone must work
/// anywhere, with whatever registries its tools are set up for.
const PLACES: [&str; 12] = [
    "/home/",
    "/root/",
    "/Users/",
    "/work/",
    "proxy.golang.org",
    "sum.golang.org",
    "goproxy.",
    "pypi.org",
    "pythonhosted.org",
    "index.crates.io",
    "static.crates.io",
    "artifactory",
];

/// Code that is not there yet.
const UNFINISHED: [&str; 2] = ["todo!(", "unimplemented!("];

/// All of mesh-xds decides, without clock, environment, threads or I/O, but for
/// what joins it to the world. A `clippy.toml` would hold for both.
const PURE: &str = "mesh-xds/src/";
const JOINS: [&str; 4] = [
    "mesh-xds/src/agent",
    "mesh-xds/src/bootstrap",
    "mesh-xds/src/data_source",
    "mesh-xds/src/transport",
];
const IMPURE: [&str; 8] = [
    "Instant::now",
    "SystemTime::now",
    "std::env",
    "std::fs",
    "std::net::Tcp",
    "std::thread",
    "tokio::",
    "tonic::",
];

/// Crates without any unsafe code of their own.
const SAFE: [&str; 2] = ["mesh-core", "mesh-xds"];
const LIBRARIES: [&str; 6] = [
    "mesh-core",
    "mesh-xds",
    "mesh-tower",
    "mesh-control",
    "mesh-testkit",
    "proxyless",
];

/// Every place where a rule of this file is broken.
pub(super) fn breaches(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        // This file names what it looks for.
        if source.path.ends_with("xtask/src/rules/words.rs") {
            continue;
        }
        lines_with(
            source,
            &PLACES,
            "not in a file that others clone",
            &mut found,
        );
        if source.is_rust() {
            module_name(&source.path, &mut found);
            lines_with(
                source,
                &UNFINISHED,
                "nothing exists before it works",
                &mut found,
            );
            let joins = JOINS.iter().any(|part| source.path.starts_with(part));
            if source.path.starts_with(PURE) && !joins {
                pure(source, &mut found);
            }
        }
    }
    for name in LIBRARIES {
        attribute(sources, name, "#![deny(missing_docs)]", &mut found);
    }
    for name in SAFE {
        attribute(sources, name, "#![forbid(unsafe_code)]", &mut found);
    }
    found
}

fn lines_with(source: &Source, words: &[&str], why: &str, found: &mut Vec<String>) {
    for (at, line) in source.text.lines().enumerate() {
        for word in words.iter().filter(|word| line.contains(**word)) {
            found.push(format!("{}:{}: `{word}`: {why}", source.path, at + 1));
        }
    }
}

fn module_name(path: &str, found: &mut Vec<String>) {
    let parts = path.trim_end_matches(".rs").split('/');
    for part in parts.filter(|part| MODULES.contains(part)) {
        found.push(format!("{path}: `{part}` names no concept"));
    }
}

/// As clippy's bans in mesh-core: what follows the first test module, and test
/// files, may read the clock to have a time to begin with.
fn pure(source: &Source, found: &mut Vec<String>) {
    let code = source.text.split("#[cfg(test)]\nmod ").next();
    let code = Source {
        path: source.path.clone(),
        text: code.unwrap_or_default().to_owned(),
    };
    let of_tests = code.text.contains("#[test]") || code.path.contains("/tests/");
    if !of_tests {
        let why = "this part only decides; take it as an argument";
        lines_with(&code, &IMPURE, why, found);
    }
}

fn attribute(sources: &[Source], name: &str, attribute: &str, found: &mut Vec<String>) {
    let path = format!("{name}/src/lib.rs");
    let root = sources.iter().find(|source| source.path == path);
    if !root.is_some_and(|root| root.text.contains(attribute)) {
        found.push(format!("{path}: `{attribute}` is missing"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_in(path: &str, text: &str) -> Vec<String> {
        let source = Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let mut found = breaches(&[source]);
        found.retain(|breach| !breach.ends_with("is missing"));
        found
    }

    #[test]
    fn each_breach_has_its_place() {
        assert_eq!(
            found_in("a/b.toml", "x\npath = \"/home/me\""),
            ["a/b.toml:2: `/home/`: not in a file that others clone"]
        );
        assert_eq!(
            found_in("tests/common/mod.rs", ""),
            ["tests/common/mod.rs: `common` names no concept"]
        );
    }

    #[test]
    fn deciding_parts_do_not_read_the_clock_but_their_tests_do() {
        let code = "fn a() { Instant::now(); }\n";
        assert_eq!(found_in("mesh-xds/src/ads/mod.rs", code).len(), 1);
        assert_eq!(found_in("mesh-xds/src/transport/mod.rs", code).len(), 0);
        let test = format!("fn b() {{}}\n#[cfg(test)]\nmod tests {{\n{code}}}");
        assert_eq!(found_in("mesh-xds/src/ads/mod.rs", &test).len(), 0);
    }

    #[test]
    fn a_library_without_its_attributes_is_a_breach() {
        let mut found = Vec::new();
        attribute(&[], "mesh-core", "#![deny(missing_docs)]", &mut found);
        assert_eq!(
            found,
            ["mesh-core/src/lib.rs: `#![deny(missing_docs)]` is missing"]
        );
    }
}
