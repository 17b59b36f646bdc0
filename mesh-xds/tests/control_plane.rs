//! The embedded control plane as the server: over gRPC and in the same process.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener as StdListener},
    path::{Path, PathBuf},
    time::Duration,
};

use mesh_control::{ControlPlane, Options};
use mesh_core::snapshot::ConfigSet;
use mesh_xds::{
    Agent, AgentHandle, Bootstrap,
    bootstrap::NodeOverrides,
    subscriber::UpdateInfo,
    transport::{Grpc, InProcess, Transport},
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::mpsc,
    task::JoinHandle,
};

/// An agent that runs until dropped, and what it publishes.
struct Running {
    handle: AgentHandle,
    published: mpsc::UnboundedReceiver<(ConfigSet, UpdateInfo)>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    fn start<T: Transport + 'static>(bootstrap: Bootstrap, transport: T) -> Self {
        let (sender, published) = mpsc::unbounded_channel();
        let publish = move |config, info| {
            let _ = sender.send((config, info));
        };
        let agent = Agent::new(bootstrap, transport, publish);
        let handle = agent.handle();
        Self {
            handle,
            published,
            task: tokio::spawn(agent.run()),
        }
    }

    fn over_grpc(address: SocketAddr) -> Self {
        let bootstrap = bootstrap(address);
        let transport = Grpc::new(bootstrap.ads().expect("has a control plane").clone());
        Self::start(bootstrap, transport)
    }

    async fn next(&mut self) -> ConfigSet {
        match tokio::time::timeout(Duration::from_secs(30), self.published.recv()).await {
            Ok(published) => published.expect("the agent runs").0,
            Err(_) => panic!(
                "nothing is published; waiting for {:?}",
                self.handle.waiting_for()
            ),
        }
    }

    /// The first configuration that fits.
    async fn until(&mut self, fits: impl Fn(&ConfigSet) -> bool) -> ConfigSet {
        loop {
            let config = self.next().await;
            if fits(&config) {
                return config;
            }
        }
    }
}

fn bootstrap(address: SocketAddr) -> Bootstrap {
    let text = format!(
        "
node:
  id: sidecar~127.0.1.7~reviews-v1-abc.default~default.svc.cluster.local
  cluster: reviews.default
  metadata: {{NAMESPACE: default, LABELS: {{app: reviews, version: v1}}, INSTANCE_IPS: 127.0.1.7}}
dynamic_resources:
  lds_config: {{ads: {{}}, resource_api_version: V3}}
  cds_config: {{ads: {{}}, resource_api_version: V3}}
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services:
    - envoy_grpc:
        cluster_name: xds
        retry_policy: {{retry_back_off: {{base_interval: 0.01s, max_interval: 0.05s}}}}
static_resources:
  clusters:
  - name: xds
    type: STATIC
    http2_protocol_options: {{}}
    load_assignment:
      cluster_name: xds
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}}}]}}]
",
        address.ip(),
        address.port(),
    );
    Bootstrap::from_envoy(&text, &NodeOverrides::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn bookinfo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo")
}

fn open(dir: &Path) -> ControlPlane {
    ControlPlane::open(dir, Options::default()).expect("the folder can be read")
}

/// A server in a runtime of its own, which dies with all its connections, as a process does.
struct Server {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    fn start(control: &ControlPlane, address: &str) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = StdListener::bind(address).expect("the address is free");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let control = control.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            control
                .serve(listener, std::future::pending())
                .await
                .expect("the listener works");
        });
        Self {
            address,
            runtime: Some(runtime),
        }
    }
}

impl Server {
    /// Ends everything; then the address is free.
    async fn stop(mut self) {
        let runtime = self.runtime.take();
        tokio::task::spawn_blocking(move || drop(runtime))
            .await
            .expect("the runtime ends");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Nothing of what our own control plane sends may be refused.
fn refused(handle: &AgentHandle) -> Vec<String> {
    let dump = handle.config_dump(true);
    let mut details = Vec::new();
    collect(&dump, "details", &mut details);
    details
}

fn collect(value: &serde_json::Value, key: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                if name == key {
                    found.push(value.to_string());
                }
                collect(value, key, found);
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|item| collect(item, key, found)),
        _ => {}
    }
}

fn names<'a>(config: &'a ConfigSet, prefix: &str) -> BTreeSet<&'a str> {
    config
        .clusters
        .keys()
        .map(|name| &**name)
        .filter(|name| name.starts_with(prefix))
        .collect()
}

#[tokio::test]
async fn bookinfo_is_taken_whole_over_grpc() {
    let control = open(&bookinfo());
    let server = Server::start(&control, "127.0.0.1:0");
    let mut agent = Running::over_grpc(server.address);
    let config = agent.next().await;
    assert_eq!(refused(&agent.handle), Vec::<String>::new());
    assert_eq!(agent.handle.waiting_for(), None);
    let reviews = names(&config, "outbound|9080||reviews.");
    assert_eq!(
        reviews,
        BTreeSet::from(["outbound|9080||reviews.default.svc.cluster.local"])
    );
    let listeners: BTreeSet<_> = config
        .listeners
        .iter()
        .map(|listener| &*listener.name)
        .collect();
    for expected in ["0.0.0.0_9080", "virtualOutbound", "virtualInbound"] {
        assert!(
            listeners.contains(expected),
            "{expected} is not among {listeners:?}"
        );
    }
    assert!(config.routes.contains_key("9080"));
    let eds = config
        .endpoints
        .keys()
        .filter(|name| name.starts_with("outbound|"))
        .count();
    assert!(eds > 0, "no endpoints");
}

#[tokio::test]
async fn bookinfo_is_taken_whole_in_this_process() {
    let control = open(&bookinfo());
    let node = bootstrap("127.0.0.1:1".parse().unwrap()).node().clone();
    let transport = InProcess::new(move |requests| control.stream(requests));
    let mut agent = Running::start(Bootstrap::in_process(node), transport);
    let config = agent.next().await;
    assert_eq!(refused(&agent.handle), Vec::<String>::new());
    assert!(config.routes.contains_key("9080"));
}

#[tokio::test]
async fn an_edit_comes_through_and_a_restarted_control_plane_is_found_again() {
    const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: default}
spec: {selector: {app: x}, ports: [{name: http, port: 80}]}
";
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str| {
        let text = SERVICE.replace("NAME", name);
        std::fs::write(dir.path().join(format!("{name}.yaml")), text).expect("can be written");
    };
    let has = |name: &'static str| {
        move |config: &ConfigSet| {
            config
                .clusters
                .contains_key(&*format!("outbound|80||{name}.default.svc.cluster.local"))
        }
    };

    write("first");
    let control = open(dir.path());
    let server = Server::start(&control, "127.0.0.1:0");
    let address = server.address;
    let mut agent = Running::over_grpc(address);
    agent.until(has("first")).await;

    write("second");
    control.reload();
    agent.until(has("second")).await;

    server.stop().await;
    drop(control);
    write("third");
    let control = open(dir.path());
    let _server = Server::start(&control, &address.to_string());
    let config = agent.until(has("third")).await;
    assert!(has("first")(&config) && has("second")(&config));
}
