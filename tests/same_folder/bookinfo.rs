//! The demo's own folder and each of its scenarios, as the gateway and as a sidecar meet them.

use std::path::{Path, PathBuf};

use crate::{
    side::{Case, Node, Sides, Transcript},
    workloads::{Pod, Workloads},
};

const GATEWAY: Node = Node {
    kind: "router",
    name: "istio-ingressgateway",
    labels: "{istio: ingressgateway}",
    ports: &[8080],
};
const PRODUCTPAGE: Node = Node {
    kind: "sidecar",
    name: "productpage",
    labels: "{app: productpage, version: v1}",
    ports: &[9080, 9090],
};

/// Where the split leads is chance: both versions of it have one name.
const PODS: [Pod; 7] = [
    Pod::http("productpage", "v1", "productpage"),
    Pod::http("details", "v1", "details"),
    Pod::http("reviews", "v1", "reviews"),
    Pod::http("reviews", "v2", "reviews-v2"),
    Pod::http("reviews", "v3", "reviews"),
    Pod::http("ratings", "v1", "ratings"),
    Pod {
        port: "grpc",
        ..Pod::http("inventory", "v1", "inventory")
    },
];

/// Sockets for the sidecar, since nothing is captured here.
const SOCKETS: &str = "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: sockets}
spec:
  workloadSelector: {labels: {app: productpage}}
  egress:
  - {port: {number: 9080, name: http, protocol: HTTP}, bind: BIND, captureMode: NONE, hosts: [./*]}
  - {port: {number: 9090, name: grpc, protocol: GRPC}, bind: BIND, captureMode: NONE, hosts: [./*]}
";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/bookinfo")
}

/// The folder's files, with a scenario's objects in the place of those of the same name.
fn files(scenario: Option<&str>) -> Vec<(&'static str, String)> {
    const FILES: [&str; 7] = [
        "details.yaml",
        "gateway.yaml",
        "inventory.yaml",
        "productpage.yaml",
        "ratings.yaml",
        "reviews.yaml",
        "rules.yaml",
    ];
    let there = std::fs::read_dir(folder()).expect("the example");
    let there = there.filter(|entry| entry.as_ref().is_ok_and(|e| e.path().is_file()));
    assert_eq!(there.count(), FILES.len(), "a file is not read");
    let read = |path: PathBuf| std::fs::read_to_string(path).expect("readable");
    let mut files: Vec<_> = FILES.map(|name| (name, read(folder().join(name)))).into();
    if let Some(scenario) = scenario {
        let text = read(folder().join("scenarios").join(scenario));
        let name = text
            .lines()
            .find(|line| line.starts_with("  name: "))
            .expect("an object has a name");
        let rules = &mut files[FILES.len() - 1].1;
        let kept: Vec<&str> = rules
            .split("---\n")
            .filter(|document| {
                !(document.contains("kind: VirtualService") && document.contains(name))
            })
            .collect();
        *rules = kept.join("---\n");
        files.push(("scenario.yaml", text));
    }
    files.push(("sockets.yaml", SOCKETS.to_owned()));
    files
}

async fn compare(node: Node, scenario: Option<&str>, cases: &[Case]) -> Vec<Transcript> {
    let workloads = Workloads::start(&PODS).await;
    let sides = Sides::start(node, &files(scenario), workloads).await;
    sides.run_all(cases).await
}

/// What productpage and the services behind it ask of each other.
fn calls() -> Vec<Case> {
    let mut cases = Vec::new();
    for (host, path) in [
        ("details:9080", "/details/0"),
        ("reviews:9080", "/reviews/0"),
        ("ratings:9080", "/ratings/0"),
        (
            "productpage.default.svc.cluster.local:9080",
            "/productpage?u=normal",
        ),
    ] {
        for script in ["200", "404", "503,200"] {
            for user in [None, Some("jason"), Some("anna")] {
                cases.push(Case {
                    headers: user.map(|user| ("end-user", user)).into_iter().collect(),
                    script,
                    ..Case::get(9080, host, path)
                });
            }
        }
    }
    cases.push(Case {
        method: "POST",
        headers: vec![("content-type", "application/grpc"), ("te", "trailers")],
        ..Case::get(9090, "inventory:9090", "/inventory.v1.Inventory/Stock")
    });
    cases
}

fn statuses(transcripts: &[Transcript]) -> Vec<u16> {
    let answers = transcripts.iter().flat_map(|t| &t.answer);
    answers.map(|answer| answer.status).collect()
}

#[tokio::test]
#[ignore = "needs istiod, needs Envoy: cargo verify"]
async fn its_gateway() {
    let mut cases = Vec::new();
    for path in [
        "/productpage",
        "/productpage?u=test",
        "/productpage/",
        "/static/bootstrap.css",
        "/login",
        "/logout",
        "/api/v1/products/0/ratings",
        "/",
        "/nowhere",
    ] {
        for (method, script) in [("GET", "200"), ("POST", "302"), ("GET", "503,200")] {
            cases.push(Case {
                method,
                script,
                ..Case::get(8080, "bookinfo.example", path)
            });
        }
    }
    let answered = statuses(&compare(GATEWAY, None, &cases).await);
    assert!(
        [200, 302, 404]
            .iter()
            .all(|status| answered.contains(status))
    );
}

#[tokio::test]
#[ignore = "needs istiod, needs Envoy: cargo verify"]
async fn its_sidecar() {
    let answered = statuses(&compare(PRODUCTPAGE, None, &calls()).await);
    assert!(answered.iter().filter(|status| **status == 200).count() > 12);
}

#[tokio::test]
#[ignore = "needs istiod, needs Envoy: cargo verify"]
async fn its_even_split() {
    compare(PRODUCTPAGE, Some("reviews-50-50.yaml"), &calls()).await;
}

#[tokio::test]
#[ignore = "needs istiod, needs Envoy: cargo verify"]
async fn its_version_for_jason() {
    let transcripts = compare(PRODUCTPAGE, Some("reviews-jason-v2.yaml"), &calls()).await;
    let black = transcripts.iter().flat_map(|t| &t.answer);
    let black = black.filter(|answer| answer.header("x-upstream") == Some("reviews-v2"));
    assert_eq!(black.count(), 3, "jason's calls of reviews");
}

#[tokio::test]
#[ignore = "needs istiod, needs Envoy: cargo verify"]
async fn its_failing_ratings() {
    let transcripts = compare(PRODUCTPAGE, Some("ratings-abort.yaml"), &calls()).await;
    let aborted = transcripts.iter().flat_map(|t| &t.answer);
    let aborted = aborted.filter(|answer| answer.body == "fault filter abort");
    assert_eq!(aborted.count(), 9, "all calls of ratings");
}

/// Half of the calls, by chance, are late: what comes is the same.
#[tokio::test]
#[ignore = "needs istiod, needs Envoy: cargo verify"]
async fn its_slow_ratings() {
    let calls: Vec<Case> = calls()
        .into_iter()
        .filter(|case| case.host.starts_with("ratings") && case.headers.is_empty())
        .collect();
    compare(PRODUCTPAGE, Some("ratings-delay.yaml"), &calls).await;
}
