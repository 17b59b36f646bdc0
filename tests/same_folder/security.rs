//! Random AuthorizationPolicies and RequestAuthentications, at a gateway and before an application.

mod policies;
mod tokens;

use mesh_testkit::random::Random;

use crate::{
    side::{Case, Node, Sides},
    workloads::{Pod, Workloads},
};

/// Requests of each folder.
const CASES: usize = 260;
const FOLDERS: u64 = 2;
/// Policies are for one host each, so that many do not hide each other.
pub(super) const HOSTS: usize = 40;

const PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/b",
    "/a/b/c",
    "/a?x=/secret",
    "/x/secret",
    "/a//b",
    "/a/../b",
    "/a/%2e%2e/b",
    "/a%2Fb",
    "/A/B",
    "/admin",
    "/admin/x",
    "/b/1/d",
    "/a/b;c",
];
const GATEWAY: Node = Node {
    kind: "router",
    name: "istio-ingressgateway",
    labels: "{istio: ingressgateway, app: shop}",
    ports: &[8080],
};
const SIDECAR: Node = Node {
    kind: "sidecar",
    name: "shop",
    labels: "{app: shop}",
    ports: &[8080],
};
const GATEWAY_YAML: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gate}
spec:
  selector: {istio: ingressgateway}
  servers: [{bind: BIND, port: {number: 8080, name: http, protocol: HTTP}, hosts: [\"*\"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [\"*\"]
  gateways: [gate]
  http:
  - match: [{headers: {\"@request.auth.claims.groups\": {exact: admin}}}]
    route: [{destination: {host: shop}, headers: {request: {set: {x-route: admin}}}}]
  - match: [{headers: {\"@request.auth.claims[deep][n]\": {prefix: x}}}]
    route: [{destination: {host: shop}, headers: {request: {set: {x-route: deep}}}}]
  - route: [{destination: {host: shop}}]
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, clusterIP: 10.96.5.1, ports: [{name: http, port: 80, targetPort: 9080}]}
";
const SIDECAR_YAML: &str = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: shop}
spec:
  workloadSelector: {labels: {app: shop}}
  ingress:
  - {port: {number: 8080, name: http, protocol: HTTP}, bind: BIND, captureMode: NONE, defaultEndpoint: \"127.0.0.1:PORT\"}
  egress: [{hosts: [\"./*\"]}]
";

fn case(random: &mut Random) -> Case {
    let mut headers: Vec<(&'static str, &'static str)> = Vec::new();
    let mut path = (*random.one(PATHS)).to_owned();
    if random.chance(70) {
        let token = tokens::token(random);
        match random.below(8) {
            0..=3 => headers.push(("authorization", format!("Bearer {token}").leak())),
            4 => headers.push(("x-jwt", token.leak())),
            5 => headers.push(("x-jwt", format!("Token {token}").leak())),
            6 => headers.push(("cookie", format!("a=b; session={token}").leak())),
            _ => {
                let sign = if path.contains('?') { '&' } else { '?' };
                path = format!("{path}{sign}token={token}");
            }
        }
    }
    if random.chance(40) {
        headers.push(("x-user", *random.one(&["a", "bb", "xc", "d", ""])));
    }
    if random.chance(10) {
        headers.push(("x-user", *random.one(&["a", "e"])));
    }
    if random.chance(30) {
        let client = *random.one(&["10.1.2.3", "9.9.9.9", "10.1.2.3, 9.9.9.9", "127.0.0.1"]);
        headers.push(("x-forwarded-for", client));
    }
    // what a claim would have been copied to is not the client's to say
    if random.chance(20) {
        headers.push(("x-sub", "forged"));
    }
    if random.chance(20) {
        headers.push(("origin", "https://a.example"));
        headers.push(("access-control-request-method", "GET"));
    }
    let host: &'static str = policies::host(random.below(HOSTS)).leak();
    Case {
        method: random.one::<&str>(&["GET", "GET", "POST", "PUT", "DELETE", "OPTIONS"]),
        headers,
        ..Case::get(8080, host, path.leak())
    }
}

/// All answers are the same, and there are enough of each kind for that to mean something.
async fn compare(node: Node, yaml: &str) {
    let seed = Random::seed();
    println!("MESH_SEED={seed}");
    let (mut allowed, mut denied, mut unauthenticated) = (0, 0, 0);
    for folder in 0..FOLDERS {
        let mut random = Random::new(seed.wrapping_add(folder));
        let (workloads, port) = match node.kind {
            "router" => (
                Workloads::start(&[Pod::http("shop", "v1", "shop")]).await,
                0,
            ),
            _ => Workloads::application().await,
        };
        let files = [
            ("node.yaml", yaml.replace("PORT", &port.to_string())),
            ("policies.yaml", policies::policies(&mut random)),
            ("tokens.yaml", tokens::authentications(&mut random)),
        ];
        let sides = Sides::start(node, &files, workloads).await;
        let cases: Vec<Case> = (0..CASES).map(|_| case(&mut random)).collect();
        for transcript in sides.run_all(&cases).await {
            match transcript.answer.map(|answer| answer.status) {
                Ok(200) => allowed += 1,
                Ok(403) => denied += 1,
                Ok(401) => unauthenticated += 1,
                _ => {}
            }
        }
    }
    println!("{allowed} allowed, {denied} denied, {unauthenticated} not authenticated");
    assert!(allowed > 80 && denied > 80 && unauthenticated > 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs istiod, needs Envoy: cargo verify"]
async fn a_gateway_allows_what_envoy_allows() {
    compare(GATEWAY, GATEWAY_YAML).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs istiod, needs Envoy: cargo verify"]
async fn a_sidecar_allows_what_envoy_allows() {
    compare(SIDECAR, SIDECAR_YAML).await;
}
