//! How long after an edit the last of 50 sidecars has it, from this control plane and from istiod. Wall clock, so never a
//! gate: `cargo bench -p mesh-control --all-features --bench push`, with MESH_ISTIOD as `cargo verify` sets it (without
//! it only our side is measured).
//!
//! Ours is counted from the writing of the file, istiod's from the command that gives it the object; istiod waits 100 ms
//! for more, as it does by default.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mesh_proto::envoy::{
    config::{
        cluster::v3::Cluster,
        endpoint::v3::ClusterLoadAssignment,
        listener::v3::Listener,
        route::v3::{RouteConfiguration, route, route_action},
    },
    service::discovery::v3::{
        DiscoveryRequest, DiscoveryResponse,
        aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
};
use mesh_testkit::istiod::Istiod;
use prost::Name;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

const CLIENTS: usize = 50;
const SERVICES: usize = 50;
const EDITS: u32 = 98;
/// Longer than any push takes.
const LOST: Duration = Duration::from_secs(20);

fn service(i: usize) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: svc-{i}}}
spec: {{clusterIP: 10.96.0.{}, selector: {{app: svc-{i}}}, ports: [{{name: http, port: 9080}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: svc-{i}, labels: {{app: svc-{i}, version: v1}}}}
spec: {{containers: [{{name: app, image: example/app:1.0}}]}}
status: {{phase: Running, podIP: 10.1.0.{}, conditions: [{{type: Ready, status: \"True\"}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: svc-{i}, labels: {{kubernetes.io/service-name: svc-{i}}}}}
addressType: IPv4
ports: [{{name: http, port: 9080, protocol: TCP}}]
endpoints:
- {{addresses: [10.1.0.{}], conditions: {{ready: true}}, targetRef: {{kind: Pod, name: svc-{i}, namespace: default}}}}
",
        i + 1,
        i + 1,
        i + 1
    )
}

/// The object that is edited: what a client must see is its weight.
fn rule(weight: u32) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: svc-0}}
spec:
  hosts: [svc-0]
  http:
  - route:
    - {{destination: {{host: svc-0}}, weight: {weight}}}
    - {{destination: {{host: svc-1}}, weight: {}}}
",
        100 - weight
    )
}

fn weight_of(response: &DiscoveryResponse) -> Option<u32> {
    let routes: Vec<RouteConfiguration> = support::decode(response);
    let mut hosts = routes.iter().flat_map(|table| &table.virtual_hosts);
    let host = hosts.find(|host| host.name.starts_with("svc-0."))?;
    let route::Action::Route(action) = host.routes.first()?.action.as_ref()? else {
        return None;
    };
    let Some(route_action::ClusterSpecifier::WeightedClusters(weighted)) =
        &action.cluster_specifier
    else {
        return None;
    };
    weighted.clusters.first()?.weight
}

/// A sidecar that holds everything; tells the weight that it was given, and when.
async fn client(address: SocketAddr, i: usize, seen: mpsc::UnboundedSender<(u32, Instant)>) {
    let channel = tonic::transport::Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut service =
        AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(64 << 20);
    let (requests, receiver) = mpsc::unbounded_channel();
    let app = format!("svc-{i}");
    let mut node = Some(support::node(
        "sidecar",
        &format!("10.1.0.{}", i + 1),
        &app,
        &[("app", app.as_str())],
    ));
    for (type_url, names) in [
        (Cluster::type_url(), vec![]),
        (Listener::type_url(), vec![]),
        (RouteConfiguration::type_url(), vec!["9080".to_owned()]),
    ] {
        let request = DiscoveryRequest {
            node: node.take(),
            type_url,
            resource_names: names,
            ..Default::default()
        };
        requests.send(request).unwrap();
    }
    let stream = UnboundedReceiverStream::new(receiver);
    let mut responses = service
        .stream_aggregated_resources(stream)
        .await
        .unwrap()
        .into_inner();
    let mut asked: Vec<String> = Vec::new();
    while let Ok(Some(response)) = responses.message().await {
        let now = Instant::now();
        let mut names = Vec::new();
        if response.type_url == RouteConfiguration::type_url() {
            names.push("9080".to_owned());
            if let Some(weight) = weight_of(&response) {
                let _ = seen.send((weight, now));
            }
        } else if response.type_url == ClusterLoadAssignment::type_url() {
            names.clone_from(&asked);
        }
        let acknowledged = DiscoveryRequest {
            type_url: response.type_url.clone(),
            version_info: response.version_info.clone(),
            response_nonce: response.nonce.clone(),
            resource_names: names,
            ..Default::default()
        };
        requests.send(acknowledged).unwrap();
        if response.type_url == Cluster::type_url() && asked.is_empty() {
            let clusters: Vec<Cluster> = support::decode(&response);
            asked = clusters
                .into_iter()
                .filter(|cluster| cluster.eds_cluster_config.is_some())
                .map(|cluster| cluster.name)
                .collect();
            let endpoints = DiscoveryRequest {
                type_url: ClusterLoadAssignment::type_url(),
                resource_names: asked.clone(),
                ..Default::default()
            };
            requests.send(endpoints).unwrap();
        }
    }
}

/// All clients of one control plane.
struct Clients(mpsc::UnboundedReceiver<(u32, Instant)>);

impl Clients {
    /// One after another, since istiod refuses more than 25 a second; each holds weight 1 in the end.
    async fn connect(address: SocketAddr) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        let mut clients = Clients(seen);
        for i in 0..CLIENTS {
            tokio::spawn(client(address, i, sender.clone()));
            clients.next_with(1).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        clients
    }

    /// When the next of them had this weight.
    async fn next_with(&mut self, weight: u32) -> Instant {
        loop {
            let next = tokio::time::timeout(LOST, self.0.recv()).await;
            match next.expect("every push arrives").expect("clients live") {
                (seen, at) if seen == weight => return at,
                _ => {}
            }
        }
    }

    /// When the last of them had this weight.
    async fn all_have(&mut self, weight: u32) -> Instant {
        let mut last = self.next_with(weight).await;
        for _ in 1..CLIENTS {
            last = last.max(self.next_with(weight).await);
        }
        last
    }
}

fn show(whose: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    println!(
        "{whose:7} {} edits, {CLIENTS} sidecars: median {:.1?}, p99 {:.1?}, longest {:.1?}",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn write(folder: &Path, weight: u32) -> PathBuf {
    let file = folder.join("rule.yaml");
    std::fs::write(&file, rule(weight)).unwrap();
    file
}

#[tokio::main]
async fn main() {
    let [ours, theirs] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    for folder in [&ours, &theirs] {
        let mut text = String::new();
        for i in 0..SERVICES {
            let _ = writeln!(text, "{}---", service(i));
        }
        std::fs::write(folder.path().join("services.yaml"), text).unwrap();
        write(folder.path(), 1);
    }
    let control = support::open(ours.path());
    let running = control.clone();
    tokio::spawn(async move { running.run().await });
    let mut of_ours = Clients::connect(support::serve(&control).await).await;
    let istiod = match std::env::var_os("MESH_ISTIOD") {
        Some(_) => Some(Istiod::start(theirs.path(), &["-debounce", "100ms"]).await),
        None => None,
    };
    let mut istiod = match istiod {
        Some(istiod) => {
            let clients = Clients::connect(istiod.address()).await;
            Some((istiod, clients))
        }
        None => None,
    };
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for edit in 1..=EDITS {
        let weight = 1 + edit;
        let start = Instant::now();
        write(ours.path(), weight);
        our_times.push(of_ours.all_have(weight).await - start);
        if let Some((istiod, clients)) = &mut istiod {
            let file = write(theirs.path(), weight);
            let start = Instant::now();
            istiod.command(&format!("apply {}", file.display())).await;
            their_times.push(clients.all_have(weight).await - start);
        }
    }
    show("ours", our_times);
    if !their_times.is_empty() {
        show("istiod", their_times);
    }
}
