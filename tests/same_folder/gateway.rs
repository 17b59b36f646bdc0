//! One service with every kind of rule, called through a gateway and through a sidecar.

use crate::{
    side::{Case, Node, Sides},
    workloads::{Pod, Workloads},
};

/// (path, script of the upstream, headers).
type Asked = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const CASES: [Asked; 30] = [
    ("/plain", "200", &[]),
    ("/plain?a=b#c", "200", &[]),
    ("/plain/%2e%2e/x", "200", &[]),
    ("/plain/../a/./b", "200", &[]),
    ("/plain//double", "200", &[]),
    ("/plain", "404", &[]),
    ("/plain", "503", &[]),
    ("/plain", "reset", &[]),
    (
        "/plain",
        "200",
        &[
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-proto", "https"),
        ],
    ),
    (
        "/plain",
        "200",
        &[
            ("x-envoy-max-retries", "5"),
            ("x-envoy-upstream-rq-timeout-ms", "1"),
        ],
    ),
    (
        "/plain",
        "200",
        &[("x-request-id", "mine"), ("user-agent", "test")],
    ),
    ("/gone", "200", &[]),
    ("/gone/not", "200", &[]),
    ("/old/thing?q=1", "200", &[]),
    ("/elsewhere/x?q=1", "200", &[]),
    ("/rewritten/a/b?c", "200", &[]),
    ("/rewritten", "200", &[]),
    ("/re/word", "200", &[]),
    ("/re/word9", "200", &[]),
    (
        "/headers",
        "200",
        &[("x-set", "old"), ("x-add", "one"), ("x-gone", "bye")],
    ),
    ("/retried", "503,200", &[]),
    ("/retried", "reset,503,200", &[]),
    ("/retried", "503,503,503,503", &[]),
    ("/slow", "d200", &[]),
    ("/aborted", "200", &[]),
    ("/by-header", "200", &[("x-who", "jason")]),
    ("/by-header", "200", &[("x-who", "other")]),
    ("/by-query?debug=1", "200", &[]),
    ("/nowhere", "200", &[]),
    ("/unknown", "200", &[]),
];

async fn compare(node: Node, hosts: &[&'static str]) {
    let workloads = Workloads::start(&[Pod::http("shop", "v1", "shop")]).await;
    let rules = include_str!("shop.yaml").to_owned();
    let sides = Sides::start(node, &[("mesh-rules.yaml", rules)], workloads).await;
    let of_host = |host: &&'static str| {
        let host = *host;
        CASES.iter().map(move |&(path, script, headers)| Case {
            script,
            headers: headers.to_vec(),
            ..Case::get(node.ports[0], host, path)
        })
    };
    let cases: Vec<Case> = hosts.iter().flat_map(of_host).collect();
    sides.run_all(&cases).await;
}

#[tokio::test]
#[ignore = "needs istiod, needs Envoy: cargo verify"]
async fn a_gateway_answers_as_envoy_does() {
    let gateway = Node {
        kind: "router",
        name: "istio-ingressgateway",
        labels: "{istio: ingressgateway}",
        ports: &[8080],
    };
    compare(gateway, &["shop.example", "other.example"]).await;
}

#[tokio::test]
#[ignore = "needs istiod, needs Envoy: cargo verify"]
async fn a_sidecar_answers_as_envoy_does() {
    let sidecar = Node {
        kind: "sidecar",
        name: "caller",
        labels: "{app: caller}",
        ports: &[9080],
    };
    compare(
        sidecar,
        &["shop", "shop:9080", "shop.default.svc.cluster.local"],
    )
    .await;
}
