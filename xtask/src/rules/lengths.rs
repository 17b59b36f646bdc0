//! Files that a reader can hold in mind.

use crate::sources::Source;

/// No file is longer.
const MOST: usize = 800;
/// Longer files are listed: each should read well in spite of it.
const LONG: usize = 500;
/// At least half of all files are at most this long.
const MEDIAN: usize = 250;
/// An example fits on a screen.
const EXAMPLE: usize = 60;

/// Files that are too long; prints the long ones and the median.
pub(super) fn breaches(sources: &[Source]) -> Vec<String> {
    let mut lengths: Vec<_> = sources
        .iter()
        .filter(|source| source.is_rust())
        .map(|source| (source.text.lines().count(), source.path.as_str()))
        .collect();
    lengths.sort_unstable();
    let median = lengths.get(lengths.len() / 2).map_or(0, |(n, _)| *n);
    println!("{} files, median {median} lines", lengths.len());
    let mut found = Vec::new();
    for (n, path) in &lengths {
        if path.starts_with("examples/") && *n > EXAMPLE {
            found.push(format!(
                "{path}: {n} lines; an example has at most {EXAMPLE}"
            ));
        }
    }
    for (n, path) in lengths.iter().rev().take_while(|(n, _)| *n > LONG) {
        if *n > MOST {
            found.push(format!("{path}: {n} lines; at most {MOST}"));
        } else {
            println!("long: {path}: {n} lines");
        }
    }
    if median > MEDIAN {
        found.push(format!(
            "the median file has {median} lines; at most {MEDIAN}"
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, lines: usize) -> Source {
        Source {
            path: path.to_owned(),
            text: "x\n".repeat(lines),
        }
    }

    #[test]
    fn generated_files_may_be_long() {
        let sources = [
            source("mesh-proto/src/generated/a.rs", 9000),
            source("a.rs", 800),
            source("b.rs", 10),
            source("c.rs", 10),
        ];
        assert_eq!(breaches(&sources), Vec::<String>::new());
    }

    #[test]
    fn an_example_is_short() {
        let found = breaches(&[source("examples/client.rs", 61), source("a.rs", 61)]);
        assert_eq!(
            found,
            ["examples/client.rs: 61 lines; an example has at most 60"]
        );
    }

    #[test]
    fn a_long_file_and_a_high_median_are_breaches() {
        let found = breaches(&[source("a.rs", 801)]);
        assert_eq!(
            found,
            [
                "a.rs: 801 lines; at most 800",
                "the median file has 801 lines; at most 250"
            ]
        );
    }
}
