//! A proxy on a control plane of its own, and the comparison of all four kinds.

use std::{net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use mesh_control::{ControlPlane, Options, Problem, Severity};
use mesh_testkit::{
    address::OwnAddress,
    exchange::{Answer, send},
    istiod::Istiod,
    process::{Program, Proxy},
    upstream::{CASE, SCRIPT, Seen},
};
use tokio::net::TcpListener;

use crate::workloads::Workloads;

/// What the proxies are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
    pub(crate) labels: &'static str,
    /// Where they take requests, all of them: each is waited for.
    pub(crate) ports: &'static [u16],
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) method: &'static str,
    pub(crate) port: u16,
    pub(crate) host: &'static str,
    pub(crate) path: &'static str,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) script: &'static str,
}

impl Case {
    pub(crate) fn get(port: u16, host: &'static str, path: &'static str) -> Self {
        Self {
            method: "GET",
            port,
            host,
            path,
            headers: Vec::new(),
            script: "200",
        }
    }

    fn request(&self, id: &str) -> Request<Full<Bytes>> {
        let method: Method = self.method.parse().expect("a method");
        let mut request = Request::builder()
            .method(method)
            .uri(self.path)
            .header("host", self.host)
            .header(CASE, id)
            .header(SCRIPT, self.script);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        request.body(Full::default()).expect("a request")
    }
}

/// What a case led to.
#[derive(Debug, PartialEq)]
pub(crate) struct Transcript {
    pub(crate) answer: Result<Answer, String>,
    seen: Vec<Seen>,
}

/// Who makes configuration of a folder.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Control {
    Istiod,
    Ours,
}

/// Istiod and our control plane, each with Envoy and with mesh-proxy, on the same folder.
pub(crate) struct Sides {
    /// The first is the judge.
    sides: [Side; 4],
    workloads: Workloads,
}

impl Sides {
    /// Starts all. `files` are the folder's, by name; `BIND` in them is the proxy's own address.
    pub(crate) async fn start(node: Node, files: &[(&str, String)], workloads: Workloads) -> Self {
        let pods = workloads.yaml();
        let side = |control, program| Side::start(control, program, node, files, &pods);
        let (a, b, c, d) = tokio::join!(
            side(Control::Istiod, Program::Envoy),
            side(Control::Istiod, Program::MeshProxy),
            side(Control::Ours, Program::Envoy),
            side(Control::Ours, Program::MeshProxy),
        );
        Self {
            sides: [a, b, c, d],
            workloads,
        }
    }

    /// Sends a case to all at once. What istiod and Envoy did, if the others did the same.
    pub(crate) async fn run(&self, n: usize, case: &Case) -> Result<Transcript, String> {
        let [a, b, c, d] = &self.sides;
        let (judge, b, c, d) = tokio::join!(
            a.run(case, n, &self.workloads),
            b.run(case, n, &self.workloads),
            c.run(case, n, &self.workloads),
            d.run(case, n, &self.workloads),
        );
        let others = self.sides[1..].iter().zip([b, c, d]);
        let told: String = others
            .filter(|(_, did)| *did != judge)
            .map(|(side, did)| format!("{}: {did:?}\n", side.name()))
            .collect();
        match told.as_str() {
            "" => Ok(judge),
            told => Err(format!(
                "case {n}: {case:?}\n{}: {judge:?}\n{told}",
                a.name()
            )),
        }
    }

    /// Sends all cases; none may differ. Returns what happened, in order.
    pub(crate) async fn run_all(&self, cases: &[Case]) -> Vec<Transcript> {
        let (mut same, mut different) = (Vec::new(), Vec::new());
        for (n, case) in cases.iter().enumerate() {
            match self.run(n, case).await {
                Ok(transcript) => same.push(transcript),
                Err(difference) => different.push(difference),
            }
        }
        let first: String = different.iter().take(3).map(String::as_str).collect();
        assert!(
            different.is_empty(),
            "{} of {} cases differ; the first:\n{first}\nlogs of mesh-proxy:\n{}\n{}",
            different.len(),
            cases.len(),
            self.sides[1].proxy.log(),
            self.sides[3].proxy.log()
        );
        same
    }
}

struct Side {
    _folder: tempfile::TempDir,
    _istiod: Option<Istiod>,
    control: Control,
    program: Program,
    proxy: Proxy,
    own: OwnAddress,
}

impl Side {
    async fn start(
        control: Control,
        program: Program,
        node: Node,
        files: &[(&str, String)],
        pods: &str,
    ) -> Self {
        let own = OwnAddress::claim();
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            let text = text.replace("BIND", &own.ip().to_string());
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        let status = folder.path().join(".status");
        std::fs::create_dir(&status).expect("made");
        std::fs::write(status.join("pods.yaml"), pods).expect("written");
        let (istiod, xds) = match control {
            Control::Istiod => {
                let istiod = Istiod::start(folder.path(), &[]).await;
                let address = istiod.address();
                (Some(istiod), address)
            }
            Control::Ours => (None, serve(folder.path()).await),
        };
        let admin = own.with_port(15000);
        let bootstrap = bootstrap(node, &own, xds, admin);
        let side = Self {
            _folder: folder,
            _istiod: istiod,
            control,
            program,
            proxy: Proxy::start(program, &bootstrap, admin).await,
            own,
        };
        for port in node.ports {
            side.listening(*port).await;
        }
        side
    }

    /// Ready says that configuration has come; the sockets follow.
    async fn listening(&self, port: u16) {
        let listening = async {
            while tokio::net::TcpStream::connect(self.own.with_port(port))
                .await
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(20), listening).await;
        assert!(
            done.is_ok(),
            "nobody listens on port {port}:\n{}",
            self.proxy.log()
        );
    }

    fn name(&self) -> String {
        format!("{:?} and {:?}", self.control, self.program)
    }

    /// Names a case for the upstreams, which count its attempts: nobody else in this process has the address.
    fn id(&self, n: usize) -> String {
        format!("{}-{n}", self.own.ip())
    }

    async fn run(&self, case: &Case, n: usize, workloads: &Workloads) -> Transcript {
        let id = self.id(n);
        let answer = send(self.own.with_port(case.port), case.request(&id)).await;
        Transcript {
            answer: answer
                .map(|answer| normal_answer(answer, case.method))
                .map_err(|e| e.kind().to_string()),
            seen: workloads.take(&id).into_iter().map(normal_seen).collect(),
        }
    }
}

/// Our control plane over a folder.
async fn serve(folder: &Path) -> SocketAddr {
    let control = ControlPlane::open(folder, Options::default()).expect("a folder");
    let problems = control.problems();
    let is_warning = |problem: &Problem| problem.severity == Severity::Warning;
    assert!(problems.iter().all(is_warning), "{problems:?}");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { control.serve(listener, std::future::pending()).await });
    address
}

/// Times and ids differ; that a header is there does not.
fn blank(headers: &mut [(String, String)], names: &[&str]) {
    for (name, value) in headers {
        if names.contains(&name.as_str()) {
            value.clear();
        }
    }
}

/// The header is Envoy's tracing, which mesh-proxy accepts and lists as ignored.
fn without_tracing(headers: &mut Vec<(String, String)>) {
    headers.retain(|(name, _)| name != "x-envoy-decorator-operation");
}

fn normal_answer(mut answer: Answer, method: &str) -> Answer {
    // Envoy's HTTP/1 codec announces chunks on answers to HEAD without a length; hyper's does not.
    if method == "HEAD" {
        answer
            .headers
            .retain(|(name, _)| name != "transfer-encoding");
    }
    without_tracing(&mut answer.headers);
    blank(
        &mut answer.headers,
        &["date", "x-envoy-upstream-service-time", "x-request-id"],
    );
    answer
}

fn normal_seen(mut seen: Seen) -> Seen {
    without_tracing(&mut seen.headers);
    blank(
        &mut seen.headers,
        &[
            CASE,
            "x-request-id",
            "x-envoy-expected-rq-timeout-ms",
            "grpc-timeout",
        ],
    );
    seen
}

fn bootstrap(node: Node, own: &OwnAddress, xds: SocketAddr, admin: SocketAddr) -> String {
    let Node {
        kind, name, labels, ..
    } = node;
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
  id: {kind}~{ip}~{name}.default~default.svc.cluster.local
  cluster: {name}.default
  metadata: {{NAMESPACE: default, CLUSTER_ID: Kubernetes, ISTIO_VERSION: 1.31.0, LABELS: {labels}, BIND_INSTANCE_IP: \"true\"}}
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
