//! What the rules of `tests/data/rules` become, kept as JSON. That it is what istiod makes of them is checked by
//! `tests/istiod.rs`; here it is held without istiod.
//!
//! `MESH_GOLDEN=write cargo test -p mesh-control --test golden` writes the files anew.

mod support;

use std::path::{Path, PathBuf};

use mesh_control::ControlPlane;
use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use prost::{Message, Name};
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;
use support::{Client, copy_of, node, open, write_status};

const PODS: [(&str, &str, &str, &str, u16); 3] = [
    ("productpage", "v1", "127.9.0.1", "http", 9080),
    ("reviews", "v1", "127.9.0.4", "http", 9080),
    ("reviews", "v2", "127.9.0.5", "http", 9080),
];

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn json<M: Message + Name>(message: &M) -> Value {
    let descriptor = mesh_proto::descriptor_pool()
        .get_message_by_name(&M::full_name())
        .unwrap();
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).unwrap();
    let options = SerializeOptions::new().use_proto_field_name(true);
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .unwrap()
}

/// Compares with the file, or writes it.
fn check(name: &str, values: Vec<Value>) {
    let file = data().join(format!("golden/{name}.json"));
    let text = serde_json::to_string_pretty(&Value::Array(values)).unwrap() + "\n";
    if std::env::var_os("MESH_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    let different = golden.lines().zip(text.lines()).position(|(a, b)| a != b);
    let shown = different.map(|line| (line + 1, golden.lines().nth(line), text.lines().nth(line)));
    assert!(
        golden == text,
        "{} differs, first at (line, golden, now) {shown:?}",
        file.display()
    );
}

fn rules() -> (tempfile::TempDir, ControlPlane) {
    let folder = copy_of(&data().join("rules"));
    write_status(folder.path(), &PODS);
    let control = open(folder.path());
    (folder, control)
}

fn client(control: &ControlPlane) -> Client {
    Client::new(
        control,
        node(
            "sidecar",
            "127.9.0.1",
            "productpage",
            &[("app", "productpage"), ("version", "v1")],
        ),
    )
}

#[tokio::test]
async fn routes() {
    let (_folder, control) = rules();
    let routes: Vec<RouteConfiguration> = client(&control).fetch(&["9080"]).await;
    check("routes-9080", routes.iter().map(json).collect());
}

#[tokio::test]
async fn clusters() {
    let (_folder, control) = rules();
    let clusters: Vec<Cluster> = client(&control).fetch(&[]).await;
    let kept = clusters
        .iter()
        .filter(|c| c.name.contains("reviews") || c.name.starts_with("inbound"));
    check("clusters", kept.map(json).collect());
}

#[tokio::test]
async fn listeners() {
    let (_folder, control) = rules();
    let listeners: Vec<Listener> = client(&control).fetch(&[]).await;
    let kept = [
        "0.0.0.0_9080",
        "10.96.0.14_5432",
        "10.96.0.15_7000",
        "virtualOutbound",
    ];
    check(
        "listeners",
        listeners
            .iter()
            .filter(|l| kept.contains(&l.name.as_str()))
            .map(json)
            .collect(),
    );
}

#[tokio::test]
async fn endpoints() {
    let (_folder, control) = rules();
    let names = [
        "outbound|9080||reviews.default.svc.cluster.local",
        "outbound|9080|v1|reviews.default.svc.cluster.local",
        "outbound|9080|v3|reviews.default.svc.cluster.local",
    ];
    let endpoints: Vec<ClusterLoadAssignment> = client(&control).fetch(&names).await;
    check("endpoints", endpoints.iter().map(json).collect());
}
