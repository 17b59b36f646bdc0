//! The same folder through a real Envoy and through mesh-proxy, as gateways: same answers, same requests upstream.

mod support;

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use mesh_control::ControlPlane;
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

struct Gateway {
    proxy: Proxy,
    own: OwnAddress,
}

impl Gateway {
    async fn start(program: Program, xds: SocketAddr) -> Gateway {
        let own = OwnAddress::claim();
        let admin = own.with_port(15000);
        let ip = own.ip().to_string();
        let bootstrap = bootstrap(
            "router",
            &ip,
            "istio-ingressgateway",
            "{istio: ingressgateway}",
            xds,
            admin,
        );
        Gateway {
            proxy: Proxy::start(program, &bootstrap, admin).await,
            own,
        }
    }

    async fn ask(&self, case: &str, path: &str, script: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(path)
            .header("host", "shop.example")
            .header(CASE, case)
            .header(SCRIPT, script);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::new())).unwrap();
        send(self.own.with_port(8080), request)
            .await
            .unwrap_or_else(|error| panic!("{case} {path}: {error}\n{}", self.proxy.log()))
    }
}

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
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example]
  gateways: [web]
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
    timeout: 200ms
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

/// (path, script of the upstream, headers).
const CASES: [(&str, &str, &[(&str, &str)]); 30] = [
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
    ("/slow", "d1000", &[]),
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

#[tokio::test]
#[ignore = "needs Envoy: cargo verify"]
async fn a_gateway_answers_as_envoy_does() {
    let pod = OwnAddress::claim();
    let upstream = Upstream::start("shop", pod.with_port(9080)).await;
    let folder = folder(&pod.ip().to_string());
    let control: ControlPlane = open(folder.path());
    assert_eq!(control.problems(), []);
    let xds = serve(&control).await;
    let envoy = Gateway::start(Program::Envoy, xds).await;
    let ours = Gateway::start(Program::MeshProxy, xds).await;
    let mut differences = Vec::new();
    for (number, (path, script, headers)) in CASES.iter().enumerate() {
        let mut results = Vec::new();
        for (name, gateway) in [("envoy", &envoy), ("ours", &ours)] {
            let case = format!("{name}-{number}");
            let answer = stable(gateway.ask(&case, path, script, headers).await);
            let seen = stable_requests(upstream.take(&case), &case);
            results.push((answer, seen));
        }
        if results[0] != results[1] {
            differences.push(format!(
                "{path} {script} {headers:?}:\nenvoy {:?}\nours  {:?}",
                results[0], results[1]
            ));
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
