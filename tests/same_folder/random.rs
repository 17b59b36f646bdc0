//! A sidecar, with random requests over `rules.yaml`.

use mesh_testkit::random::Random;

use crate::{
    side::{Case, Node, Sides},
    workloads::{Pod, Workloads},
};

const CASES: usize = 400;
const PODS: [Pod; 4] = [
    Pod::http("reviews", "v1", "reviews-v1"),
    Pod::http("reviews", "v2", "reviews-v2"),
    Pod::http("details", "v1", "details-v1"),
    Pod::http("ratings", "v1", "ratings-v1"),
];
const CLIENT: Node = Node {
    kind: "sidecar",
    name: "client",
    labels: "{app: client}",
    ports: &[9080],
};

const HOSTS: &[&str] = &[
    "reviews:9080",
    "reviews",
    "reviews.default.svc.cluster.local:9080",
    "details:9080",
    "ratings:9080",
    "ratings.default",
];
const PATHS: &[&str] = &[
    "/",
    "/reviews/0",
    "/nobody",
    "/old/1?q=1",
    "/moved/x?y=1",
    "/gone",
    "/gone/1",
    "/retried",
    "/fail",
    "/grpc/S/M",
    "/late",
    "/cors",
    "//a/../b",
];

fn random_case(random: &mut Random) -> Case {
    let mut headers = Vec::new();
    if random.chance(30) {
        headers.push(("end-user", *random.one(&["jason", "anna"])));
    }
    if random.chance(30) {
        headers.push((
            "origin",
            *random.one(&["https://a.example", "https://b.test", "https://c.example"]),
        ));
        headers.push(("access-control-request-method", "GET"));
    }
    if random.chance(20) {
        headers.push(("x-gone", "1"));
    }
    if random.chance(20) {
        headers.push(("content-type", "application/grpc"));
    }
    // What istiod's default policy does not retry, and what the rule does; a late one runs into the timeout.
    let path = *random.one(PATHS);
    let scripts: &[&str] = match path {
        "/late" => &["d200"],
        "/retried" => &["500,200", "reset,503,200", "503", "200"],
        _ => &["200", "200", "404", "500"],
    };
    Case {
        method: random.one::<&str>(&["GET", "GET", "OPTIONS", "HEAD"]),
        headers,
        script: random.one::<&str>(scripts),
        ..Case::get(9080, random.one::<&str>(HOSTS), path)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs istiod, needs Envoy: cargo verify"]
async fn a_sidecar_does_with_random_requests_as_envoy_does() {
    let seed = Random::seed();
    println!("MESH_SEED={seed}");
    let mut random = Random::new(seed);
    let rules = include_str!("rules.yaml").to_owned();
    let workloads = Workloads::start(&PODS).await;
    let sides = Sides::start(CLIENT, &[("rules.yaml", rules)], workloads).await;
    let cases: Vec<Case> = (0..CASES).map(|_| random_case(&mut random)).collect();
    sides.run_all(&cases).await;
}
