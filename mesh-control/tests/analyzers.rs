//! Our findings against those of istioctl's analyzers, on their own test data.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mesh_control::analyze;

/// Files that are analysed together, and a mesh configuration: those of Istio's own tests that have more than one.
const TOGETHER: [&str; 9] = [
    "injection common/sidecar-injector-enabled-nsbydefault",
    "injection-with-mismatched-sidecar common/sidecar-injector-configmap",
    "injection-image-distroless common/sidecar-injector-configmap mesh=common/meshconfig",
    "injection-image-distroless-no-meshconfig common/sidecar-injector-configmap",
    "injection-with-mismatched-sidecar sidecar-injector-configmap-absolute-override",
    "injection-with-mismatched-sidecar sidecar-injector-configmap-absolute-override \
     sidecar-injector-configmap-with-revision-canary",
    "virtualservice_dupmatches virtualservice_overlappingmatches",
    "serviceentry-missing-addresses-protocol mesh=serviceentry-missing-addresses-protocol-mesh-cfg",
    "telemetry-lightstep mesh=telemetry-lightstep-meshconfig",
];

fn test_data() -> PathBuf {
    let output = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", "istio.io/istio"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/oracles/istiod"))
        .output()
        .expect("go is there (run by cargo verify)");
    Path::new(String::from_utf8(output.stdout).unwrap().trim())
        .join("pkg/config/analysis/analyzers/testdata")
}

/// Every case: its files, and a mesh configuration.
fn cases(data: &Path) -> Vec<(Vec<PathBuf>, Option<PathBuf>)> {
    let mut alone: Vec<_> = std::fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    alone.sort();
    let mut cases: Vec<_> = alone.into_iter().map(|path| (vec![path], None)).collect();
    for line in TOGETHER {
        let (mut files, mut mesh) = (Vec::new(), None);
        for word in line.split_whitespace() {
            match word.strip_prefix("mesh=") {
                Some(name) => mesh = Some(data.join(format!("{name}.yaml"))),
                None => files.push(data.join(format!("{word}.yaml"))),
            }
        }
        cases.push((files, mesh));
    }
    cases
}

/// What istioctl finds: code and object.
fn istioctl(cases: &[(Vec<PathBuf>, Option<PathBuf>)]) -> Vec<BTreeSet<(String, String)>> {
    let program =
        std::env::var("MESH_ISTIOD").expect("MESH_ISTIOD names the program (run by cargo verify)");
    let mut child = Command::new(program)
        .arg("-analyze")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines: String = cases
        .iter()
        .map(|(files, mesh)| {
            let mut words: Vec<String> = files
                .iter()
                .map(|file| file.display().to_string())
                .collect();
            words.extend(mesh.iter().map(|mesh| format!("mesh={}", mesh.display())));
            words.join(" ") + "\n"
        })
        .collect();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let found = text.lines().map(|line| {
        let all: Vec<serde_json::Value> = serde_json::from_str(line).unwrap();
        let pair = |f: &serde_json::Value| {
            (
                f["code"].as_str().unwrap().to_owned(),
                f["origin"].as_str().unwrap_or_default().to_owned(),
            )
        };
        all.iter().map(pair).collect()
    });
    found.collect()
}

fn ours(files: &[PathBuf], mesh: Option<&PathBuf>) -> BTreeSet<(String, String)> {
    let texts: Vec<_> = files
        .iter()
        .map(|file| {
            (
                file.display().to_string(),
                std::fs::read_to_string(file).unwrap(),
            )
        })
        .collect();
    let mesh = mesh.map(|mesh| std::fs::read_to_string(mesh).unwrap());
    let analysis = analyze(&texts, mesh.as_deref(), "");
    assert_eq!(analysis.unreadable, []);
    let findings = analysis.findings.into_iter();
    findings.map(|f| (f.code.to_owned(), f.origin)).collect()
}

#[test]
#[ignore = "needs istiod: cargo verify"]
fn findings_are_those_of_istioctl() {
    let cases = cases(&test_data());
    assert!(cases.len() > 90, "{}", cases.len());
    let (mut same, mut missed, mut invented) = (0, Vec::new(), Vec::new());
    for ((files, mesh), expected) in cases.iter().zip(istioctl(&cases)) {
        let found = ours(files, mesh.as_ref());
        let name = files[0].file_stem().unwrap().display().to_string();
        same += found.intersection(&expected).count();
        let line = |(code, object): &(String, String)| format!("{name}: {code} {object}");
        missed.extend(expected.difference(&found).map(line));
        invented.extend(found.difference(&expected).map(line));
    }
    println!(
        "{same} the same, {} missed, {} invented",
        missed.len(),
        invented.len()
    );
    assert!(
        missed.is_empty() && invented.is_empty(),
        "missed:\n{}\ninvented:\n{}",
        missed.join("\n"),
        invented.join("\n")
    );
}
