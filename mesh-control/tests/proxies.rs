//! The same folder through a real Envoy and through mesh-proxy, as gateway and as sidecar: same answers, same
//! requests upstream.

mod support;

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use mesh_testkit::address::OwnAddress;
use mesh_testkit::exchange::{Answer, send};
use mesh_testkit::process::{Program, Proxy};
use mesh_testkit::upstream::{CASE, SCRIPT, Seen, Upstream};
use support::{bootstrap, open, serve, write_status};

/// What differs between any two answers; the last is Envoy's tracing, which mesh-proxy accepts and lists as ignored.
const VOLATILE: [&str; 4] = [
    "date",
    "x-request-id",
    "x-envoy-upstream-service-time",
    "x-envoy-decorator-operation",
];

/// A proxy on the control plane, with an address of its own.
struct Running {
    proxy: Proxy,
    own: OwnAddress,
}

impl Running {
    async fn start(program: Program, node: &Node, xds: SocketAddr) -> Running {
        let own = OwnAddress::claim();
        let admin = own.with_port(15000);
        let ip = own.ip().to_string();
        let bootstrap = bootstrap(node.kind, &ip, node.name, node.labels, xds, admin);
        Running {
            proxy: Proxy::start(program, &bootstrap, admin).await,
            own,
        }
    }

    async fn ask(&self, port: u16, case: &str, host: &str, asked: &Case) -> Answer {
        let mut request = Request::get(asked.0)
            .header("host", host)
            .header(CASE, case)
            .header(SCRIPT, asked.1);
        for (name, value) in asked.2 {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::new())).unwrap();
        send(self.own.with_port(port), request)
            .await
            .unwrap_or_else(|error| panic!("{case} {}: {error}\n{}", asked.0, self.proxy.log()))
    }
}

struct Node {
    kind: &'static str,
    name: &'static str,
    labels: &'static str,
    /// Where it takes requests.
    port: u16,
}

/// (path, script of the upstream, headers).
type Case = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

fn stable(answer: Answer) -> (u16, Vec<(String, String)>, Bytes) {
    let headers = answer
        .headers
        .into_iter()
        .filter(|(name, _)| !VOLATILE.contains(&name.as_str()))
        .collect();
    (answer.status, headers, answer.body)
}

fn stable_requests(seen: Vec<Seen>, case: &str) -> Vec<(String, Vec<(String, String)>)> {
    let strip = |seen: Seen| {
        let headers = seen
            .headers
            .into_iter()
            .filter(|(name, value)| !VOLATILE.contains(&name.as_str()) && value != case);
        (seen.line, headers.collect())
    };
    seen.into_iter().map(strip).collect()
}

/// A service behind the gateway, with every kind of rule that the gateway applies.
const RULES: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shop}
  ports: [{name: http, port: 9080, targetPort: 9080}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*.example']}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: caller}
spec:
  workloadSelector: {labels: {app: caller}}
  egress:
  - port: {number: 9080, name: http, protocol: HTTP}
    bind: 0.0.0.0
    captureMode: NONE
    hosts: ['./*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example, shop]
  gateways: [web, mesh]
  http:
  - match: [{uri: {exact: /gone}}]
    directResponse: {status: 410, body: {string: gone}}
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new, redirectCode: 302}
  - match: [{uri: {prefix: /elsewhere}}]
    redirect: {authority: other.example, scheme: https}
  - match: [{uri: {prefix: /rewritten/}}]
    rewrite: {uri: /, authority: inner.example}
    route: [{destination: {host: shop}}]
  - match: [{uri: {regex: '/re/([a-z]+)'}}]
    rewrite: {uriRegexRewrite: {match: '/re/([a-z]+)', rewrite: '/word/\\1'}}
    route: [{destination: {host: shop}}]
  - match: [{uri: {prefix: /headers}}]
    headers:
      request: {set: {x-set: new}, add: {x-add: more}, remove: [x-gone]}
      response: {set: {x-answer: set}, remove: [x-upstream]}
    route: [{destination: {host: shop}}]
  - match: [{uri: {prefix: /retried}}]
    retries: {attempts: 2, retryOn: 'reset,503', backoff: 1ms}
    route: [{destination: {host: shop}}]
  - match: [{uri: {prefix: /slow}}]
    timeout: 50ms
    route: [{destination: {host: shop}}]
  - match: [{uri: {prefix: /aborted}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: shop}}]
  - match: [{uri: {prefix: /by-header}, headers: {x-who: {exact: jason}}}]
    directResponse: {status: 200, body: {string: jason}}
  - match: [{uri: {prefix: /by-query}, queryParams: {debug: {exact: '1'}}}]
    directResponse: {status: 200, body: {string: debug}}
  - match: [{uri: {prefix: /nowhere}}]
    route: [{destination: {host: nothing.example}}]
  - match: [{uri: {prefix: /by-}}, {uri: {prefix: /plain}}, {uri: {prefix: /a}}]
    route: [{destination: {host: shop}}]
";

const CASES: [Case; 30] = [
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

fn folder(pod: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mesh-rules.yaml"), RULES).unwrap();
    write_status(folder.path(), &[("shop", "v1", pod, "http", 9080)]);
    folder
}

/// Asks both proxies the same, one after the other.
async fn compare(node: Node, hosts: &[&str]) {
    let pod = OwnAddress::claim();
    let upstream = Upstream::start("shop", pod.with_port(9080)).await;
    let folder = folder(&pod.ip().to_string());
    let control = open(folder.path());
    assert_eq!(control.problems(), []);
    let xds = serve(&control).await;
    let envoy = Running::start(Program::Envoy, &node, xds).await;
    let ours = Running::start(Program::MeshProxy, &node, xds).await;
    let mut differences = Vec::new();
    for host in hosts {
        for (number, asked) in CASES.iter().enumerate() {
            let mut results = Vec::new();
            for (name, proxy) in [("envoy", &envoy), ("ours", &ours)] {
                let case = format!("{name}-{host}-{number}");
                let answer = stable(proxy.ask(node.port, &case, host, asked).await);
                results.push((answer, stable_requests(upstream.take(&case), &case)));
            }
            if results[0] != results[1] {
                differences.push(format!(
                    "{host} {asked:?}:\nenvoy {:?}\nours  {:?}",
                    results[0], results[1]
                ));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[tokio::test]
#[ignore = "needs Envoy: cargo verify"]
async fn a_gateway_answers_as_envoy_does() {
    let gateway = Node {
        kind: "router",
        name: "istio-ingressgateway",
        labels: "{istio: ingressgateway}",
        port: 8080,
    };
    compare(gateway, &["shop.example", "other.example"]).await;
}

#[tokio::test]
#[ignore = "needs Envoy: cargo verify"]
async fn a_sidecar_answers_as_envoy_does() {
    let sidecar = Node {
        kind: "sidecar",
        name: "caller",
        labels: "{app: caller}",
        port: 9080,
    };
    compare(
        sidecar,
        &["shop", "shop:9080", "shop.default.svc.cluster.local"],
    )
    .await;
}
