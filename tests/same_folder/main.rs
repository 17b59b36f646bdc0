//! The same folder of Istio and Kubernetes YAML through our control plane, to a real Envoy and to mesh-proxy as
//! sidecars: the same answers, and the same requests at the upstreams.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use mesh_control::{ControlPlane, Options};
use mesh_testkit::{
    address::OwnAddress,
    exchange::{Answer, send},
    process::{Program, Proxy},
    random::Random,
    upstream::{CASE, SCRIPT, Seen, Upstream},
};
use tokio::net::TcpListener;

const CASES: usize = 400;
const PODS: [(&str, &str); 4] = [
    ("reviews", "v1"),
    ("reviews", "v2"),
    ("details", "v1"),
    ("ratings", "v1"),
];

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

fn upstream_yaml(pods: &[(&str, &str, SocketAddr)]) -> String {
    let mut text = String::new();
    for (service, ip) in [("reviews", 1), ("details", 2), ("ratings", 3)] {
        text.push_str(&format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {service}}}\nspec:\n  clusterIP: 10.96.0.{ip}\n  selector: \
             {{app: {service}}}\n  ports: [{{name: http, port: 9080, targetPort: 9080}}]\n"
        ));
    }
    for (service, version, address) in pods {
        let (name, ip) = (format!("{service}-{version}"), address.ip());
        text.push_str(&format!(
            "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {service}, version: {version}}}}}
spec: {{containers: [{{name: app}}]}}
status: {{phase: Running, podIP: {ip}, conditions: [{{type: Ready, status: \"True\"}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
endpoints:
- addresses: [{ip}]
  conditions: {{ready: true}}
  targetRef: {{kind: Pod, name: {name}, namespace: default}}
ports: [{{name: http, port: {}, protocol: TCP}}]
",
            address.port()
        ));
    }
    text
}

fn bootstrap(own: &OwnAddress, xds: SocketAddr, admin: SocketAddr) -> String {
    let ip = own.ip();
    let address = |a: SocketAddr| {
        format!(
            "{{socket_address: {{address: {}, port_value: {}}}}}",
            a.ip(),
            a.port()
        )
    };
    format!(
        "node:
  id: sidecar~{ip}~client.default~default.svc.cluster.local
  cluster: client.default
  metadata: {{NAMESPACE: default, CLUSTER_ID: Kubernetes, ISTIO_VERSION: 1.31.0, LABELS: {{app: client}}, BIND_INSTANCE_IP: \"true\"}}
admin: {{address: {}}}
dynamic_resources:
  ads_config: {{api_type: GRPC, transport_api_version: V3, grpc_services: [{{envoy_grpc: {{cluster_name: xds}}}}]}}
  lds_config: {{ads: {{}}, resource_api_version: V3}}
  cds_config: {{ads: {{}}, resource_api_version: V3}}
static_resources:
  clusters:
  - name: xds
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: xds
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {}}}}}]}}]
",
        address(admin),
        address(xds)
    )
}

/// A sidecar with a control plane of its own: only the address that it binds differs.
struct Side {
    _folder: tempfile::TempDir,
    proxy: Proxy,
    own: OwnAddress,
}

impl Side {
    async fn start(program: Program, pods: &str) -> Self {
        let own = OwnAddress::claim();
        let folder = tempfile::tempdir().unwrap();
        let rules = include_str!("rules.yaml").replace("BIND", &own.ip().to_string());
        std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
        std::fs::write(folder.path().join("pods.yaml"), pods).unwrap();
        let control = ControlPlane::open(folder.path(), Options::default()).unwrap();
        assert!(control.problems().is_empty(), "{:?}", control.problems());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let xds = listener.local_addr().unwrap();
        tokio::spawn(async move { control.serve(listener, std::future::pending()).await });
        let admin = own.with_port(15000);
        let proxy = Proxy::start(program, &bootstrap(&own, xds, admin), admin).await;
        let side = Self {
            _folder: folder,
            proxy,
            own,
        };
        side.listening().await;
        side
    }

    /// Ready says that configuration has come; the sockets follow.
    async fn listening(&self) {
        let listening = async {
            while tokio::net::TcpStream::connect(self.own.with_port(9080))
                .await
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(20), listening).await;
        assert!(
            done.is_ok(),
            "nobody listens on port 9080:\n{}",
            self.proxy.log()
        );
    }

    async fn run(
        &self,
        case: &Case,
        id: String,
        upstreams: &[Upstream],
    ) -> (Result<Answer, String>, Vec<Seen>) {
        let answer = send(self.own.with_port(9080), case.request(&id)).await;
        let seen = upstreams
            .iter()
            .flat_map(|upstream| upstream.take(&id))
            .map(normal_seen)
            .collect();
        (
            answer
                .map(|answer| normal_answer(answer, case.method))
                .map_err(|e| e.kind().to_string()),
            seen,
        )
    }
}

/// Times and ids differ; that a header is there does not.
fn blank(headers: &mut [(String, String)], names: &[&str]) {
    for (name, value) in headers {
        if names.contains(&name.as_str()) {
            value.clear();
        }
    }
}

fn normal_answer(mut answer: Answer, method: &str) -> Answer {
    // Envoy's HTTP/1 codec announces chunks on answers to HEAD without a length; hyper's does not.
    if method == "HEAD" {
        answer
            .headers
            .retain(|(name, _)| name != "transfer-encoding");
    }
    blank(
        &mut answer.headers,
        &["date", "x-envoy-upstream-service-time"],
    );
    answer
}

fn normal_seen(mut seen: Seen) -> Seen {
    blank(
        &mut seen.headers,
        &[CASE, "x-request-id", "x-envoy-expected-rq-timeout-ms"],
    );
    seen
}

#[derive(Debug)]
struct Case {
    method: &'static str,
    host: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
}

impl Case {
    fn random(random: &mut Random) -> Self {
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
        headers.push((SCRIPT, *random.one(scripts)));
        Self {
            method: *random.one(&["GET", "GET", "OPTIONS", "HEAD"]),
            host: *random.one(HOSTS),
            path,
            headers,
        }
    }

    fn request(&self, id: &str) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(self.method.parse::<Method>().unwrap())
            .uri(self.path);
        request = request.header("host", self.host).header(CASE, id);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        request.body(Full::default()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn a_folder_means_the_same_to_envoy_and_to_mesh_proxy() {
    let seed = Random::seed();
    println!("MESH_SEED={seed}");
    let mut random = Random::new(seed);
    let mut held = Vec::new();
    let mut pods = Vec::new();
    let mut upstreams = Vec::new();
    for (service, version) in PODS {
        let own = OwnAddress::claim();
        let upstream = Upstream::start(&format!("{service}-{version}"), own.with_port(9080)).await;
        pods.push((service, version, upstream.address()));
        upstreams.push(upstream);
        held.push(own);
    }
    let pods = upstream_yaml(&pods);
    let envoy = Side::start(Program::Envoy, &pods).await;
    let ours = Side::start(Program::MeshProxy, &pods).await;
    let mut different = Vec::new();
    for n in 0..CASES {
        let case = Case::random(&mut random);
        let theirs = envoy.run(&case, format!("e{n}"), &upstreams).await;
        let mine = ours.run(&case, format!("m{n}"), &upstreams).await;
        if theirs != mine {
            different.push(format!(
                "case {n}: {case:?}\nEnvoy: {theirs:?}\nmesh-proxy: {mine:?}\n"
            ));
        }
    }
    assert!(
        different.is_empty(),
        "{} of {CASES} cases differ (MESH_SEED={seed}); the first:\n{}\nlog of mesh-proxy:\n{}",
        different.len(),
        different
            .iter()
            .take(3)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n"),
        ours.proxy.log()
    );
}
