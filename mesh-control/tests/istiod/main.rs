//! The judge: the same folder through the real istiod and through this control plane, field by field.
//!
//! `MESH_ISTIOD` names the program of `tests/oracles/istiod`.

mod compare;
mod oracle;
mod random;
mod samples;
#[path = "../support/mod.rs"]
mod support;
mod taken;

use std::path::Path;
use std::process::Stdio;

use compare::compare_node;
use oracle::Istiod;
use support::{bookinfo, copy_of, node, write_status};
use tokio::process::Command;

/// Pods of every folder, with an address of their own each.
const PODS: [(&str, &str, &str, &str, u16); 9] = [
    ("productpage", "v1", "127.9.0.1", "http", 9080),
    ("details", "v1", "127.9.0.2", "http", 9080),
    ("details", "v1", "127.9.0.3", "http", 9080),
    ("reviews", "v1", "127.9.0.4", "http", 9080),
    ("reviews", "v2", "127.9.0.5", "http", 9080),
    ("reviews", "v3", "127.9.0.6", "http", 9080),
    ("ratings", "v1", "127.9.0.7", "http", 9080),
    ("inventory", "v1", "127.9.0.8", "grpc", 9090),
    ("crowd", "v1", "127.9.0.10", "http", 9080),
];

async fn compare_folder(source: &Path) {
    let folder = copy_of(source);
    write_status(folder.path(), &PODS);
    let istiod = Istiod::start(folder.path()).await;
    let mut found = Vec::new();
    for (kind, ip, name, labels) in [
        (
            "sidecar",
            "127.9.0.1",
            "productpage",
            vec![("app", "productpage"), ("version", "v1")],
        ),
        (
            "sidecar",
            "127.9.0.4",
            "reviews",
            vec![("app", "reviews"), ("version", "v1")],
        ),
        (
            "sidecar",
            "127.9.0.8",
            "inventory",
            vec![("app", "inventory"), ("version", "v1")],
        ),
        (
            "router",
            "127.9.0.9",
            "istio-ingressgateway",
            vec![("istio", "ingressgateway")],
        ),
    ] {
        found.extend(compare_node(folder.path(), &istiod, node(kind, ip, name, &labels)).await);
    }
    assert!(
        found.is_empty(),
        "{} differences:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[tokio::test]
#[ignore = "needs istiod: cargo verify"]
async fn bookinfo_is_what_istiod_makes_of_it() {
    compare_folder(&bookinfo()).await;
}

#[tokio::test]
#[ignore = "needs istiod: cargo verify"]
async fn every_rule_is_what_istiod_makes_of_it() {
    compare_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rules")).await;
}

#[tokio::test]
#[ignore = "needs istiod: cargo verify"]
async fn sidecars_are_what_istiod_makes_of_them() {
    compare_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sidecar")).await;
}

/// Folders of `tests/data/istiod`, each about one thing, with the pods that it needs in its files. Every pod is a
/// node; one with the label `istio` is a gateway.
async fn compare_data(name: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/istiod")
        .join(name);
    let folder = copy_of(&source);
    let istiod = Istiod::start(folder.path()).await;
    let found = compare_pods(folder.path(), &istiod).await;
    assert!(
        found.is_empty(),
        "{} differences:\n{}",
        found.len(),
        found.join("\n")
    );
}

async fn compare_pods(folder: &Path, istiod: &Istiod) -> Vec<String> {
    let mut found = Vec::new();
    for node in support::nodes_of_pods(folder) {
        found.extend(compare_node(folder, istiod, node).await);
    }
    found
}

macro_rules! folders {
    ($($name:ident)*) => {
        $(
            #[tokio::test]
            #[ignore = "needs istiod: cargo verify"]
            async fn $name() {
                compare_data(stringify!($name)).await;
            }
        )*
    };
}

folders! {
    service_entry
    workload_entry
    kubernetes
    locality
    sidecar_api
    virtual_service
    destination_rule
    gateway
    gateway_tls
    mesh_text
    mesh_json
    telemetry
    authorization
    request_authentication
    mutual_tls
    ingress
}

/// `MESH_SEED` repeats a run, `MESH_CASES` asks for more folders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs istiod: cargo verify"]
async fn random_folders_are_what_istiod_makes_of_them() {
    compare_random(100, random::folder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs istiod: cargo verify"]
async fn random_patches_are_what_istiod_makes_of_them() {
    compare_random(60, random::folder_with_patches).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs istiod: cargo verify"]
async fn random_gateway_apis_are_what_istiod_makes_of_them() {
    compare_random(60, random::folder_with_gateway_api).await;
}

async fn compare_random(cases: usize, make: fn(&mut mesh_testkit::random::Random) -> String) {
    let seed = mesh_testkit::random::Random::seed();
    let cases = mesh_testkit::random::Random::cases(cases);
    println!("MESH_SEED={seed} MESH_CASES={cases}");
    let next = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let next = next.clone();
        workers.spawn(async move {
            let mut found = Vec::new();
            loop {
                let case = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if case >= cases {
                    return found;
                }
                let mut random = mesh_testkit::random::Random::new(seed.wrapping_add(case as u64));
                let text = make(&mut random);
                let folder = tempfile::tempdir().unwrap();
                std::fs::write(folder.path().join("all.yaml"), &text).unwrap();
                if random.chance(50) {
                    let mesh = "enableAutoMtls: true\n";
                    std::fs::write(folder.path().join("mesh.yaml"), mesh).unwrap();
                }
                let istiod = Istiod::start(folder.path()).await;
                let differences = compare_pods(folder.path(), &istiod).await;
                if !differences.is_empty() {
                    let seed = seed.wrapping_add(case as u64);
                    found.push((seed, differences, text));
                }
            }
        });
    }
    let found: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    let told = found.iter().take(2).map(|(seed, differences, text)| {
        let first = &differences[..differences.len().min(8)];
        format!("MESH_SEED={seed}: {}\n{text}", first.join("\n"))
    });
    assert!(
        found.is_empty(),
        "{} of {cases} folders differ (seeds {:?}); the first:\n{}",
        found.len(),
        found.iter().map(|(seed, ..)| seed).collect::<Vec<_>>(),
        told.collect::<Vec<_>>().join("\n")
    );
}

/// What is wrong for istiod is wrong here, and the other way round, but for what is not supported yet.
#[tokio::test]
#[ignore = "needs istiod: cargo verify"]
async fn the_same_documents_are_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/validation");
    let program =
        std::env::var("MESH_ISTIOD").expect("MESH_ISTIOD names the program (run by cargo verify)");
    let output = Command::new(program)
        .arg("--check")
        .arg("--dir")
        .arg(&folder)
        .stdin(Stdio::null())
        .output();
    let output = output.await.unwrap();
    let mut theirs = std::collections::BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let Some((number, reason)) = line
            .strip_prefix("refused: cases.yaml:")
            .and_then(|rest| rest.split_once(": "))
        else {
            continue;
        };
        theirs.insert(number.parse::<usize>().unwrap(), reason.to_owned());
    }
    assert!(theirs.len() > 50, "istiod refused only {theirs:?}");
    let text = std::fs::read_to_string(folder.join("cases.yaml")).unwrap();
    let mut found = Vec::new();
    for (number, document) in (1..).zip(mesh_control::validate_documents(
        &text,
        "cases.yaml",
        "default",
    )) {
        // Envoy refuses these: 305 leaves a route without an action, and 600 and "a b" are out of bounds
        let stricter = [
            "305 is no redirect code",
            "is the number 600",
            "\"a b\" is no header name",
        ];
        let supported = document
            .problems
            .iter()
            .all(|p| !p.message.contains("not supported yet"));
        match (document.is_accepted(), theirs.get(&number)) {
            (true, Some(reason)) => found.push(format!(
                "only istiod refuses ({reason}):\n{}",
                document.text
            )),
            (false, None)
                if stricter
                    .iter()
                    .any(|part| document.problems[0].message.contains(part)) => {}
            (false, None) if supported => {
                found.push(format!(
                    "only we refuse ({}):\n{}",
                    document.problems[0], document.text
                ));
            }
            _ => {}
        }
    }
    assert!(
        found.is_empty(),
        "{} differences:\n{}",
        found.len(),
        found.join("\n")
    );
}
