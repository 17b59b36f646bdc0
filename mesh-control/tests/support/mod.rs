//! A folder in a temporary directory, and a client of its control plane.

#![allow(dead_code, unreachable_pub, reason = "every test file uses its part")]

use std::path::Path;

use mesh_control::{ControlPlane, Options, Responses};
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use prost::Name;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// The folder `examples/bookinfo` of this repository.
pub fn bookinfo() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo")
}

/// A copy of a folder, without its subfolders.
pub fn copy_of(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

/// Reports pods and endpoints as the local runner does: (service, version, address, port name, port).
pub fn write_status(folder: &Path, pods: &[(&str, &str, &str, &str, u16)]) {
    let status = folder.join(".status");
    std::fs::create_dir_all(&status).unwrap();
    let mut text = String::new();
    for (service, version, address, port_name, port) in pods {
        let name = format!("{service}-{version}-{}", address.replace('.', "-"));
        text.push_str(&format!(
            "---
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  labels: {{app: {service}, version: {version}, pod-template-hash: abc}}
  ownerReferences:
  - {{apiVersion: apps/v1, kind: ReplicaSet, name: {service}-{version}-abc, controller: true, uid: x}}
spec: {{containers: [{{name: app}}]}}
status:
  phase: Running
  podIP: {address}
  conditions: [{{type: Ready, status: \"True\"}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}
  labels: {{kubernetes.io/service-name: {service}}}
addressType: IPv4
endpoints:
- addresses: [{address}]
  conditions: {{ready: true}}
  targetRef: {{kind: Pod, name: {name}, namespace: default}}
ports:
- {{name: {port_name}, port: {port}, protocol: TCP}}
"
        ));
    }
    std::fs::write(status.join("pods.yaml"), text).unwrap();
}

fn text(value: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    }
}

/// A node as istiod knows it.
pub fn node(kind: &str, ip: &str, name: &str, labels: &[(&str, &str)]) -> core::Node {
    let labels = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), text(v)))
        .collect();
    let fields = [
        ("NAMESPACE".to_owned(), text("default")),
        ("ISTIO_VERSION".to_owned(), text("1.31.0")),
        ("CLUSTER_ID".to_owned(), text("Kubernetes")),
        ("MESH_ID".to_owned(), text("cluster.local")),
        ("SERVICE_ACCOUNT".to_owned(), text("default")),
        ("INSTANCE_IPS".to_owned(), text(ip)),
        (
            "LABELS".to_owned(),
            Value {
                kind: Some(Kind::StructValue(Struct { fields: labels })),
            },
        ),
    ];
    core::Node {
        id: format!("{kind}~{ip}~{name}.default~default.svc.cluster.local"),
        metadata: Some(Struct {
            fields: fields.into(),
        }),
        ..Default::default()
    }
}

/// A node per pod of a folder's files, in their order: a gateway by its label `istio`, else a sidecar. Pods are
/// written with `metadata: {name: …, namespace: …, labels: {…}}` on one line.
pub fn nodes_of_pods(folder: &Path) -> Vec<core::Node> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    let text: Vec<_> = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    text.iter()
        .flat_map(|text| text.split("\n---\n"))
        .filter(|document| document.lines().any(|line| line == "kind: Pod"))
        .map(node_of_pod)
        .collect()
}

fn node_of_pod(pod: &str) -> core::Node {
    let metadata = pod
        .lines()
        .find(|line| line.starts_with("metadata: {"))
        .unwrap();
    let value = |text: &str, key: &str| {
        let (_, rest) = text.split_once(&format!("{key}: "))?;
        let end = rest.find([',', '}']).unwrap_or(rest.len());
        Some(rest[..end].to_owned())
    };
    let labels = metadata
        .split_once("labels: {")
        .map_or("", |(_, rest)| rest);
    let labels: Vec<(&str, &str)> = labels
        .trim_end_matches('}')
        .split(", ")
        .filter_map(|label| label.split_once(": "))
        .collect();
    let kind = match labels.iter().any(|(k, _)| *k == "istio") {
        true => "router",
        false => "sidecar",
    };
    let name = value(metadata, "name").unwrap();
    let namespace = value(metadata, "namespace").unwrap_or_else(|| "default".to_owned());
    let ip = value(pod, "podIP").unwrap();
    let mut node = node(kind, &ip, &name, &labels);
    node.id = format!("{kind}~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local");
    if let Some(metadata) = &mut node.metadata {
        metadata
            .fields
            .insert("NAMESPACE".to_owned(), text(&namespace));
        if let Some(name) = value(pod, "nodeName") {
            metadata.fields.insert("NODE_NAME".to_owned(), text(&name));
        }
    }
    node
}

/// A client on a stream of the control plane, in process.
pub struct Client {
    requests: mpsc::UnboundedSender<DiscoveryRequest>,
    responses: Responses<UnboundedReceiverStream<DiscoveryRequest>>,
    node: Option<core::Node>,
    nonces: std::collections::HashMap<String, String>,
}

impl Client {
    pub fn new(control: &ControlPlane, node: core::Node) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        let responses = control.stream(UnboundedReceiverStream::new(receiver));
        Client {
            requests,
            responses,
            node: Some(node),
            nonces: std::collections::HashMap::new(),
        }
    }

    pub fn send(&mut self, request: DiscoveryRequest) {
        let request = DiscoveryRequest {
            node: self.node.take(),
            ..request
        };
        self.requests.send(request).unwrap();
    }

    pub fn subscribe<M: Name>(&mut self, names: &[&str]) {
        let resource_names = names.iter().map(|name| (*name).to_owned()).collect();
        self.send(DiscoveryRequest {
            type_url: M::type_url(),
            resource_names,
            ..Default::default()
        });
    }

    /// The next response, which must come without waiting for anything but the control plane itself.
    pub async fn response(&mut self) -> DiscoveryResponse {
        self.responses
            .next()
            .await
            .expect("stream ended")
            .expect("refused")
    }

    /// The next item, also if it is an error or the end.
    pub async fn item(&mut self) -> Option<Result<DiscoveryResponse, String>> {
        self.responses
            .next()
            .await
            .map(|item| item.map_err(|error| error.to_string()))
    }

    /// The next response, if one is due now.
    pub fn ready(&mut self) -> Option<DiscoveryResponse> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let next =
            tokio_stream::Stream::poll_next(std::pin::Pin::new(&mut self.responses), &mut context);
        match next {
            std::task::Poll::Ready(Some(response)) => Some(response.expect("refused")),
            _ => None,
        }
    }

    /// Changes the names of a subscription, with the last nonce that [`ack`](Self::ack) saw of the type.
    pub fn subscribe_again<M: Name>(&mut self, names: &[&str]) {
        let nonce = self.nonces.get(&M::type_url()).cloned();
        let resource_names = names.iter().map(|name| (*name).to_owned()).collect();
        self.send(DiscoveryRequest {
            type_url: M::type_url(),
            resource_names,
            response_nonce: nonce.unwrap_or_default(),
            ..Default::default()
        });
    }

    /// Whether nothing is to be sent now.
    pub fn is_quiet(&mut self) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let next =
            tokio_stream::Stream::poll_next(std::pin::Pin::new(&mut self.responses), &mut context);
        next.is_pending()
    }

    pub fn ack(&mut self, response: &DiscoveryResponse, names: &[&str]) {
        let nonce = response.nonce.clone();
        self.nonces.insert(response.type_url.clone(), nonce);
        self.answer(response, names, None);
    }

    pub fn nack(&mut self, response: &DiscoveryResponse, names: &[&str], message: &str) {
        self.answer(response, names, Some(message));
    }

    fn answer(&mut self, response: &DiscoveryResponse, names: &[&str], error: Option<&str>) {
        self.send(DiscoveryRequest {
            version_info: if error.is_some() {
                String::new()
            } else {
                response.version_info.clone()
            },
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
            error_detail: error.map(|message| mesh_proto::google::rpc::Status {
                code: 13,
                message: message.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        });
    }

    /// Subscribes and takes the resources of the first response.
    pub async fn fetch<M: prost::Message + Name + Default>(&mut self, names: &[&str]) -> Vec<M> {
        self.subscribe::<M>(names);
        let response = self.response().await;
        assert_eq!(response.type_url, M::type_url());
        self.ack(&response, names);
        decode(&response)
    }
}

/// The resources of a response.
pub fn decode<M: prost::Message + Name + Default>(response: &DiscoveryResponse) -> Vec<M> {
    response
        .resources
        .iter()
        .map(|any| any.to_msg().unwrap())
        .collect()
}

pub fn open(folder: &Path) -> ControlPlane {
    ControlPlane::open(folder, Options::default()).unwrap()
}

/// An Envoy bootstrap for a node that shares its machine with others.
pub fn bootstrap(
    kind: &str,
    ip: &str,
    name: &str,
    labels: &str,
    xds: std::net::SocketAddr,
    admin: std::net::SocketAddr,
    api_type: &str,
) -> String {
    format!(
        "node:
  id: {kind}~{ip}~{name}.default~default.svc.cluster.local
  cluster: {name}.default
  metadata: {{NAMESPACE: default, CLUSTER_ID: Kubernetes, ISTIO_VERSION: 1.31.0, LABELS: {labels}, BIND_INSTANCE_IP: \"true\"}}
admin: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}
dynamic_resources:
  ads_config: {{api_type: {api_type}, transport_api_version: V3, grpc_services: [{{envoy_grpc: {{cluster_name: xds}}}}]}}
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
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}}}]}}]
",
        admin.ip(),
        admin.port(),
        xds.ip(),
        xds.port()
    )
}

/// Serves ADS on an address of its own.
#[cfg(feature = "server")]
pub async fn serve(control: &ControlPlane) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let control = control.clone();
    tokio::spawn(async move { control.serve(listener, std::future::pending()).await });
    address
}
