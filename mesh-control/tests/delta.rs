//! Incremental ADS: what a client is sent is the difference to what it has.

mod support;

use std::collections::BTreeMap;

use mesh_control::{ControlPlane, DeltaResponses};
use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use mesh_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_testkit::random::Random;
use prost::Name;
use support::{Client, bookinfo, copy_of, node, open, write_status};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

const PODS: [(&str, &str, &str, &str, u16); 3] = [
    ("productpage", "v1", "127.9.0.1", "http", 9080),
    ("details", "v1", "127.9.0.2", "http", 9080),
    ("reviews", "v1", "127.9.0.4", "http", 9080),
];
const DETAILS: &str = "outbound|9080||details.default.svc.cluster.local";
const NOBODY: &str = "outbound|9080||nobody.default.svc.cluster.local";

fn productpage() -> core::Node {
    node(
        "sidecar",
        "127.9.0.1",
        "productpage-v1",
        &[("app", "productpage"), ("version", "v1")],
    )
}

struct DeltaClient {
    requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    responses: DeltaResponses<UnboundedReceiverStream<DeltaDiscoveryRequest>>,
    node: Option<core::Node>,
}

impl DeltaClient {
    fn new(control: &ControlPlane) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        DeltaClient {
            requests,
            responses: control.delta_stream(UnboundedReceiverStream::new(receiver)),
            node: Some(productpage()),
        }
    }

    fn send(&mut self, request: DeltaDiscoveryRequest) {
        let node = self.node.take();
        self.requests
            .send(DeltaDiscoveryRequest { node, ..request })
            .unwrap();
    }

    fn subscribe<M: Name>(&mut self, names: &[&str]) {
        self.send(DeltaDiscoveryRequest {
            type_url: M::type_url(),
            resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        });
    }

    /// The response that is due now, which is accepted.
    fn ready(&mut self) -> Option<DeltaDiscoveryResponse> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let next =
            tokio_stream::Stream::poll_next(std::pin::Pin::new(&mut self.responses), &mut context);
        let std::task::Poll::Ready(Some(response)) = next else {
            return None;
        };
        let response = response.unwrap();
        self.send(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        });
        Some(response)
    }

    fn fetch<M: Name>(&mut self, names: &[&str]) -> DeltaDiscoveryResponse {
        self.subscribe::<M>(names);
        let response = self.ready().unwrap();
        assert_eq!(response.type_url, M::type_url());
        response
    }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|r| r.name.as_str()).collect()
}

#[tokio::test]
async fn only_what_is_different_is_sent() {
    let folder = copy_of(&bookinfo());
    write_status(folder.path(), &PODS);
    let control = open(folder.path());
    let mut client = DeltaClient::new(&control);
    let clusters = client.fetch::<Cluster>(&[]);
    assert!(names(&clusters).contains(&DETAILS), "{clusters:?}");
    let endpoints = client.fetch::<ClusterLoadAssignment>(&[DETAILS, NOBODY]);
    assert_eq!(names(&endpoints), [DETAILS]);
    assert_eq!(endpoints.removed_resources, [NOBODY]);
    assert!(client.ready().is_none());

    // a changed cluster, and with it its endpoints, which it waits for
    let rules = folder.path().join("rules.yaml");
    let text = std::fs::read_to_string(&rules).unwrap();
    let edited = text.replace("connectTimeout: 1s", "connectTimeout: 2s");
    assert_ne!(text, edited);
    std::fs::write(&rules, &edited).unwrap();
    control.reload();
    let changed = client.ready().unwrap();
    assert_eq!(names(&changed), [DETAILS]);
    assert!(changed.removed_resources.is_empty());
    assert_eq!(names(&client.ready().unwrap()), [DETAILS]);
    assert!(client.ready().is_none());

    // another pod: only endpoints, and only those
    let mut pods = PODS.to_vec();
    pods.push(("details", "v1", "127.9.0.3", "http", 9080));
    write_status(folder.path(), &pods);
    control.reload();
    let endpoints = client.ready().unwrap();
    assert_eq!(endpoints.type_url, ClusterLoadAssignment::type_url());
    assert_eq!(names(&endpoints), [DETAILS]);
    assert!(client.ready().is_none());

    // without its service the cluster is gone
    let details = folder.path().join("details.yaml");
    let text = std::fs::read_to_string(&details).unwrap();
    std::fs::write(
        &details,
        text.replace("kind: Service\n", "kind: ConfigMap\n"),
    )
    .unwrap();
    control.reload();
    let gone = client.ready().unwrap();
    assert!(
        gone.removed_resources.iter().any(|name| name == DETAILS),
        "{gone:?}"
    );
}

#[tokio::test]
async fn who_comes_back_is_sent_what_it_lacks() {
    let folder = copy_of(&bookinfo());
    let control = open(folder.path());
    let first = DeltaClient::new(&control).fetch::<Cluster>(&[]);
    let mut has: std::collections::HashMap<String, String> = first
        .resources
        .iter()
        .map(|r| (r.name.clone(), r.version.clone()))
        .collect();
    has.remove(DETAILS);
    has.insert("left over".to_owned(), "1".to_owned());
    let mut again = DeltaClient::new(&control);
    again.send(DeltaDiscoveryRequest {
        type_url: Cluster::type_url(),
        initial_resource_versions: has,
        ..Default::default()
    });
    let second = again.ready().unwrap();
    assert_eq!(names(&second), [DETAILS]);
    assert_eq!(second.removed_resources, ["left over"]);
    // asked for again, it is sent again; a type without any news is answered at first
    again.subscribe::<Cluster>(&[DETAILS]);
    assert_eq!(names(&again.ready().unwrap()), [DETAILS]);
    let empty = again.fetch::<RouteConfiguration>(&[]);
    assert_eq!((names(&empty).len(), empty.removed_resources.len()), (0, 0));
}

#[tokio::test]
async fn a_refusal_is_in_the_status() {
    let folder = copy_of(&bookinfo());
    let control = open(folder.path());
    let mut client = DeltaClient::new(&control);
    let response = client.fetch::<Listener>(&[]);
    assert!(client.ready().is_none());
    let synced = |control: &ControlPlane| control.status()[0].types[0].is_synced();
    assert!(synced(&control));
    client.send(DeltaDiscoveryRequest {
        type_url: Listener::type_url(),
        response_nonce: response.nonce,
        error_detail: Some(mesh_proto::google::rpc::Status {
            code: 13,
            message: "no".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    });
    assert!(client.ready().is_none());
    assert!(!synced(&control));
    assert_eq!(control.status()[0].types[0].nack.as_deref(), Some("no"));
}

/// What it has after any edits is what it would be sent afresh.
#[tokio::test]
async fn after_many_edits_a_client_has_what_a_new_one_gets() {
    let folder = copy_of(&bookinfo());
    write_status(folder.path(), &PODS);
    let control = open(folder.path());
    let rules = folder.path().join("rules.yaml");
    let text = std::fs::read_to_string(&rules).unwrap();
    let documents: Vec<&str> = text.split("\n---\n").collect();
    let mut client = DeltaClient::new(&control);
    client.subscribe::<Cluster>(&[]);
    client.subscribe::<ClusterLoadAssignment>(&[DETAILS, NOBODY]);
    client.subscribe::<Listener>(&[]);
    client.subscribe::<RouteConfiguration>(&["9080"]);
    let mut random = Random::new(7);
    let mut has: BTreeMap<String, BTreeMap<String, prost_types::Any>> = BTreeMap::new();
    for _ in 0..60 {
        let kept: Vec<&str> = documents
            .iter()
            .copied()
            .filter(|_| random.chance(70))
            .collect();
        let timeout = format!("connectTimeout: {}s", 1 + random.below(3));
        let text = kept.join("\n---\n").replace("connectTimeout: 1s", &timeout);
        std::fs::write(&rules, text).unwrap();
        let pods = &PODS[..random.below(PODS.len() + 1)];
        write_status(folder.path(), pods);
        control.reload();
        loop {
            // a task that never waits is no longer given anything
            tokio::task::yield_now().await;
            let Some(response) = client.ready() else {
                break;
            };
            let of_type = has.entry(response.type_url).or_default();
            for resource in response.resources {
                of_type.insert(resource.name, resource.resource.unwrap());
            }
            for name in response.removed_resources {
                of_type.remove(&name);
            }
        }
    }
    let mut fresh = Client::new(&control, productpage());
    macro_rules! check {
        ($($kind:ident $name:ident $names:expr;)*) => {$(
            let expected: Vec<$kind> = fresh.fetch(&$names).await;
            let expected: BTreeMap<String, $kind> =
                expected.into_iter().map(|r| (r.$name.clone(), r)).collect();
            let found: BTreeMap<String, $kind> = has[&$kind::type_url()]
                .iter()
                .map(|(name, any)| (name.clone(), any.to_msg().unwrap()))
                .collect();
            for (name, resource) in &expected {
                assert_eq!(found.get(name), Some(resource), "{name}");
            }
            assert_eq!(found.len(), expected.len());
        )*};
    }
    check! {
        Cluster name [];
        ClusterLoadAssignment cluster_name [DETAILS, NOBODY];
        Listener name [];
        RouteConfiguration name ["9080"];
    }
}
