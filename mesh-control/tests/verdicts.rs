//! Our verdicts on Istio's objects against Istio's own: every document of the Istio module, and mutations of them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mesh_control::{Verdict, verdicts};
use mesh_testkit::{mutation, random::Random};
#[derive(Clone, Debug)]
struct Expected {
    file: String,
    document: usize,
    kind: String,
    accepted: bool,
    reason: String,
    text: String,
}

impl Expected {
    fn read(line: &str) -> Self {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        Expected {
            file: text("file"),
            document: line["document"].as_u64().unwrap() as usize,
            kind: text("kind"),
            accepted: line["accepted"].as_bool().unwrap(),
            reason: text("reason"),
            text: text("text"),
        }
    }
}

/// What Istio says of every Istio document in files.
fn istio(files: &[PathBuf]) -> Vec<Expected> {
    let program =
        std::env::var("MESH_ISTIOD").expect("MESH_ISTIOD names the program (run by cargo verify)");
    let mut child = Command::new(program)
        .arg("-verdicts")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let names: String = files
        .iter()
        .map(|file| format!("{}\n", file.display()))
        .collect();
    let writer = std::thread::spawn(move || to.write_all(names.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(Expected::read)
        .filter(|expected| !expected.reason.starts_with("unknown kind"))
        .collect()
}

/// The folder of the Istio module from which the oracle is built.
fn module() -> PathBuf {
    let output = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", "istio.io/istio"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/oracles/istiod"))
        .output()
        .expect("go is there (run by cargo verify)");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn yaml_files(folder: &Path, to: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            yaml_files(&path, to);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            to.push(path);
        }
    }
}

fn corpus() -> Vec<Expected> {
    let mut files = Vec::new();
    yaml_files(&module(), &mut files);
    let mut found = istio(&files);
    // templates
    found.retain(|expected| !expected.text.contains("{{"));
    found
}

/// Ours on the same text; an object of Istio, or of what looks like one.
fn ours(expected: &Expected) -> Option<Verdict> {
    let mut found = verdicts(&expected.text, "x.yaml", "default");
    found.retain(|verdict| verdict.kind.is_some());
    found.into_iter().next()
}

#[derive(Default)]
struct Count {
    same: usize,
    of: usize,
    accepted: usize,
}

/// Compares; gives the counts by kind, and the texts of the differences.
fn compare(all: &[Expected]) -> (BTreeMap<String, Count>, Vec<String>) {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let mut differences = Vec::new();
    for expected in all {
        let found = ours(expected);
        let accepted = found.as_ref().is_some_and(|verdict| verdict.accepted);
        let count = counts.entry(expected.kind.clone()).or_default();
        count.of += 1;
        count.accepted += usize::from(expected.accepted);
        if accepted == expected.accepted {
            count.same += 1;
        } else {
            let problems: Vec<_> = found
                .iter()
                .flat_map(|v| &v.problems)
                .map(ToString::to_string)
                .collect();
            differences.push(format!(
                "{}:{}: Istio says {} {}, we say {accepted} {problems:#?}\n{}",
                expected.file, expected.document, expected.accepted, expected.reason, expected.text
            ));
        }
        // a refusal has a place
        if let Some(verdict) = found.filter(|verdict| !verdict.accepted) {
            assert!(
                verdict.problems.iter().any(|p| p.line > 0),
                "no place: {:#?}\n{}",
                verdict.problems,
                expected.text
            );
        }
    }
    (counts, differences)
}

fn show(counts: &BTreeMap<String, Count>) {
    let total = |f: fn(&Count) -> usize| counts.values().map(f).sum::<usize>();
    for (kind, count) in counts {
        println!(
            "{kind:24} {:5} of {:5} ({} accepted)",
            count.same, count.of, count.accepted
        );
    }
    println!(
        "all {} of {} ({} accepted)",
        total(|c| c.same),
        total(|c| c.of),
        total(|c| c.accepted)
    );
}

#[test]
#[ignore = "needs istiod: cargo verify"]
fn every_document_of_the_istio_module_has_istios_verdict() {
    let all = corpus();
    assert!(all.len() > 700, "{}", all.len());
    let (counts, differences) = compare(&all);
    show(&counts);
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.join("\n---\n")
    );
}

#[test]
#[ignore = "needs istiod: cargo verify"]
fn mutated_documents_have_istios_verdict() {
    let cases = Random::cases(4_000);
    let mut random = Random::new(Random::seed());
    let sources: Vec<_> = corpus()
        .into_iter()
        .filter(|expected| !expected.kind.is_empty())
        .collect();
    let mut text = String::new();
    for _ in 0..cases {
        let source = &sources[random.below(sources.len())];
        let mut document = source.text.clone();
        for _ in 0..=random.below(2) {
            document = mutation::of_line(&document, &mut random);
        }
        text.push_str(&document);
        text.push_str("\n---\n");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mutated.yaml");
    std::fs::write(&file, text).unwrap();
    let all = istio(&[file]);
    let (counts, differences) = compare(&all);
    show(&counts);
    assert!(
        differences.is_empty(),
        "{} of {} differ:\n{}",
        differences.len(),
        all.len(),
        differences.join("\n---\n")
    );
}
