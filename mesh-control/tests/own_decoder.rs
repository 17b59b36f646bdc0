//! Everything that this control plane emits is taken by our own subscriber, and what it ignores of it is known.

mod support;

use std::path::Path;

use mesh_control::ControlPlane;
use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use mesh_proto::envoy::service::discovery::v3::DiscoveryResponse;
use mesh_xds::decode_resource;
use prost::Name;
use support::{Client, bookinfo, copy_of, decode, node, open, write_status};

const PODS: [(&str, &str, &str, &str, u16); 4] = [
    ("productpage", "v1", "127.9.0.1", "http", 9080),
    ("details", "v1", "127.9.0.2", "http", 9080),
    ("reviews", "v1", "127.9.0.4", "http", 9080),
    ("inventory", "v1", "127.9.0.8", "grpc", 9090),
];

/// What our data plane does not do yet, and no answer depends on.
const IGNORED: [&str; 4] = [
    "tracing: not supported yet",
    "filter_disabled: not supported yet",
    "respect_dns_ttl: not supported yet",
    "gRPC statistics are not supported yet",
];

/// What our decoder says of everything that a node gets.
async fn problems(
    control: &ControlPlane,
    kind: &str,
    ip: &str,
    name: &str,
    labels: &[(&str, &str)],
) -> Vec<String> {
    let mut client = Client::new(control, node(kind, ip, name, labels));
    let mut found = Vec::new();
    let mut judge = |response: &DiscoveryResponse| {
        for any in &response.resources {
            let decoded = decode_resource(any);
            let name = decoded.name.as_deref().unwrap_or("?").to_owned();
            found.extend(
                decoded
                    .resource
                    .err()
                    .map(|problems| format!("{name}: refused: {problems}")),
            );
            let new = |warning: &&String| !IGNORED.iter().any(|field| warning.contains(field));
            found.extend(
                decoded
                    .warnings
                    .iter()
                    .filter(new)
                    .map(|warning| format!("{name}: {warning}")),
            );
        }
        assert!(!response.resources.is_empty());
    };
    client.subscribe::<Cluster>(&[]);
    let clusters = client.response().await;
    judge(&clusters);
    client.subscribe::<Listener>(&[]);
    let listeners = client.response().await;
    judge(&listeners);
    assert_eq!(listeners.type_url, Listener::type_url());
    let eds: Vec<String> = decode::<Cluster>(&clusters)
        .into_iter()
        .filter(|c| c.eds_cluster_config.is_some())
        .map(|c| c.name)
        .collect();
    client.subscribe::<ClusterLoadAssignment>(&eds.iter().map(String::as_str).collect::<Vec<_>>());
    judge(&client.response().await);
    client.subscribe::<RouteConfiguration>(&["80", "9080", "9081", "9090", "7000", "http.8080"]);
    judge(&client.response().await);
    found
}

async fn check(folder: &Path) {
    let folder = copy_of(folder);
    write_status(folder.path(), &PODS);
    let control = open(folder.path());
    let mut found = problems(
        &control,
        "sidecar",
        "127.9.0.1",
        "productpage",
        &[("app", "productpage")],
    )
    .await;
    found.extend(
        problems(
            &control,
            "sidecar",
            "127.9.0.8",
            "inventory",
            &[("app", "inventory")],
        )
        .await,
    );
    found.extend(
        problems(
            &control,
            "router",
            "127.9.0.9",
            "gateway",
            &[("istio", "ingressgateway")],
        )
        .await,
    );
    found.sort();
    found.dedup();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test]
async fn bookinfo_is_understood() {
    check(&bookinfo()).await;
}

#[tokio::test]
async fn every_rule_is_understood() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rules")).await;
}
