//! What a big folder costs: 1,000 services with 10 pods each, and rules for every one. CPU time and memory, so never a
//! gate: `cargo bench -p mesh-control --bench scale`.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::path::Path;

use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use support::{Client, node, open};

const SERVICES: usize = 1000;
const PODS: usize = 10;

fn service(i: usize, ready: bool) -> String {
    let mut text = format!(
        "apiVersion: v1
kind: Service
metadata: {{name: svc-{i}}}
spec: {{clusterIP: 10.96.{}.{}, selector: {{app: svc-{i}}}, ports: [{{name: http, port: 9080, targetPort: 9080}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: svc-{i}}}
spec:
  host: svc-{i}
  trafficPolicy: {{outlierDetection: {{consecutive5xxErrors: 5}}}}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: svc-{i}}}
spec:
  hosts: [svc-{i}]
  http:
  - match: [{{uri: {{prefix: /api}}, headers: {{end-user: {{exact: jason}}}}}}]
    route: [{{destination: {{host: svc-{i}, subset: v2}}}}]
    timeout: 5s
  - route: [{{destination: {{host: svc-{i}, subset: v1}}, weight: 90}}, {{destination: {{host: svc-{i}, subset: v2}}, weight: 10}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: svc-{i}, labels: {{kubernetes.io/service-name: svc-{i}}}}}
addressType: IPv4
ports: [{{name: http, port: 9080, protocol: TCP}}]
endpoints:
",
        i / 250,
        i % 250 + 1
    );
    let address = |pod: usize| format!("10.{}.{}.{}", 1 + i / 250, i % 250, pod + 1);
    for pod in 0..PODS {
        let _ = writeln!(
            text,
            "- {{addresses: [{}], conditions: {{ready: {}}}, targetRef: {{kind: Pod, name: svc-{i}-{pod}, namespace: default}}}}",
            address(pod),
            ready || pod > 0
        );
    }
    for pod in 0..PODS {
        let _ = write!(
            text,
            "---
apiVersion: v1
kind: Pod
metadata: {{name: svc-{i}-{pod}, labels: {{app: svc-{i}, version: v{}, pod-template-hash: 5d6f7c8b9}}}}
spec: {{nodeName: node-{}, serviceAccountName: default, containers: [{{name: app, image: example/app:1.0, ports: [{{containerPort: 9080}}]}}]}}
status: {{phase: Running, podIP: {}, conditions: [{{type: Ready, status: \"True\"}}]}}
",
            1 + pod % 2,
            pod % 5,
            address(pod)
        );
    }
    text
}

fn write_folder(folder: &Path) -> usize {
    let mut size = 0;
    for i in 0..SERVICES {
        let text = service(i, true);
        size += text.len();
        std::fs::write(folder.join(format!("svc-{i}.yaml")), text).unwrap();
    }
    size
}

/// Nanoseconds that this thread has run.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let first = text.split(' ').next().unwrap();
    first.parse::<f64>().unwrap() / 1e6
}

fn peak_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024
}

/// A sidecar that has everything; the names of its endpoints.
async fn sync(control: &mesh_control::ControlPlane, i: usize) -> Client {
    let name = format!("svc-{i}-0");
    let address = format!("10.{}.{}.1", 1 + i / 250, i % 250);
    let app = format!("svc-{i}");
    let labels = [("app", app.as_str())];
    let mut client = Client::new(control, node("sidecar", &address, &name, &labels));
    let clusters: Vec<Cluster> = client.fetch(&[]).await;
    let eds: Vec<&str> = clusters
        .iter()
        .filter(|c| c.eds_cluster_config.is_some())
        .map(|c| c.name.as_str())
        .collect();
    assert_eq!(eds.len(), 3 * SERVICES);
    let endpoints: Vec<ClusterLoadAssignment> = client.fetch(&eds).await;
    assert_eq!(endpoints.len(), eds.len());
    let listeners: Vec<Listener> = client.fetch(&[]).await;
    assert!(listeners.len() > 2);
    let routes: Vec<RouteConfiguration> = client.fetch(&["9080"]).await;
    assert!(routes[0].virtual_hosts.len() > SERVICES);
    client
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let size = write_folder(folder.path());
    println!("{size} bytes of YAML");
    let start = cpu();
    let control = open(folder.path());
    let opened = cpu();
    let mut first = sync(&control, 0).await;
    let full = cpu();
    println!(
        "read {:.0} ms, one sidecar {:.0} ms, peak {} MiB",
        opened - start,
        full - opened,
        peak_mib()
    );
    let mut second = sync(&control, 1).await;
    println!("one more sidecar {:.0} ms", cpu() - full);
    for i in [7, 8] {
        std::fs::write(
            folder.path().join(format!("svc-{i}.yaml")),
            service(i, false),
        )
        .unwrap();
        let before = cpu();
        control.reload();
        let reloaded = cpu();
        let response = first.response().await;
        let sent: usize = response.resources.iter().map(|any| any.value.len()).sum();
        let done = cpu();
        println!(
            "one endpoint: reload {:.1} ms, a sidecar {:.1} ms, {} resources, {sent} bytes",
            reloaded - before,
            done - reloaded,
            response.resources.len()
        );
        second.response().await;
    }
}
