//! The dump, read back.

use std::time::{Duration, Instant, SystemTime};

use mesh_proto::{descriptor_pool, envoy::service::discovery::v3::DiscoveryResponse};
use prost::Message;
use prost_reflect::DynamicMessage;
use prost_types::Any;
use serde_json::Value;

use super::config_dump;
use crate::{Bootstrap, ResourceKind, subscriber::Subscriber};

const BOOTSTRAP: &str = "
node: {id: n, cluster: c, metadata: {A: 1}}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 15000}}}
dynamic_resources:
  lds_config: {ads: {}}
  cds_config: {ads: {}}
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services: [{google_grpc: {target_uri: '127.0.0.1:1', stat_prefix: x}}]
static_resources:
  clusters:
  - name: fixed
    load_assignment: {cluster_name: fixed, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]}
";

fn any(type_name: &str, yaml: &str) -> Any {
    let descriptor = descriptor_pool().get_message_by_name(type_name).unwrap();
    let message = serde_saphyr::with_deserializer_from_str(yaml, |yaml| {
        DynamicMessage::deserialize(descriptor, yaml)
    });
    Any {
        type_url: format!("type.googleapis.com/{type_name}"),
        value: message.unwrap().encode_to_vec(),
    }
}

fn cluster(yaml: &str) -> Any {
    any("envoy.config.cluster.v3.Cluster", yaml)
}

/// A dump after these clusters came, in two responses.
fn dump(first: &[Any], second: &[Any]) -> Value {
    let bootstrap = Bootstrap::from_envoy(BOOTSTRAP, &Default::default()).unwrap();
    let now = Instant::now();
    let mut subscriber = Subscriber::new(&bootstrap, now);
    subscriber.handle_open(now);
    while subscriber.poll_transmit().is_some() {}
    for (version, resources) in [("1", first), ("2", second)] {
        let response = DiscoveryResponse {
            version_info: version.into(),
            nonce: version.into(),
            resources: resources.to_vec(),
            type_url: ResourceKind::Cluster.type_url().into(),
            ..Default::default()
        };
        subscriber.handle_response(
            now,
            SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
            &response,
        );
    }
    config_dump(&bootstrap, &subscriber, true)
}

fn section<'a>(dump: &'a Value, name: &str) -> &'a Value {
    let url = format!("type.googleapis.com/envoy.admin.v3.{name}");
    let configs = dump["configs"].as_array().unwrap();
    configs
        .iter()
        .find(|config| config["@type"] == url)
        .unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn it_is_the_json_of_envoys_message() {
    let good = cluster(
        "{name: a, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}, connect_timeout: 0.250s}",
    );
    let dump = dump(std::slice::from_ref(&good), std::slice::from_ref(&good));
    let descriptor = descriptor_pool()
        .get_message_by_name("envoy.admin.v3.ConfigDump")
        .unwrap();
    let read = DynamicMessage::deserialize(descriptor, dump.clone())
        .unwrap_or_else(|e| panic!("{e}\n{dump:#}"));
    assert_eq!(read.fields().count(), 1);
    let bootstrap = &section(&dump, "BootstrapConfigDump")["bootstrap"];
    assert_eq!(
        bootstrap["admin"]["address"]["socket_address"]["port_value"],
        15_000
    );
    assert_eq!(bootstrap["node"]["metadata"]["A"].as_f64(), Some(1.0));
    let clusters = section(&dump, "ClustersConfigDump");
    assert_eq!(clusters["version_info"], "2");
    assert_eq!(clusters["static_clusters"][0]["cluster"]["name"], "fixed");
    let active = &clusters["dynamic_active_clusters"][0];
    assert_eq!(active["version_info"], "2");
    assert_eq!(active["last_updated"], "1970-01-01T00:00:01.500Z");
    assert_eq!(active["client_status"], "ACKED");
    assert_eq!(active["cluster"]["connect_timeout"], "0.250s");
    assert_eq!(active["cluster"]["type"], "EDS");
    let endpoints = section(&dump, "EndpointsConfigDump");
    assert_eq!(
        endpoints["static_endpoint_configs"][0]["endpoint_config"]["cluster_name"],
        "fixed"
    );
}

#[test]
fn resources_are_shown_as_they_came() {
    let sent = cluster(
        "{name: a, alt_stat_name: 'a;', lb_policy: LEAST_REQUEST, respect_dns_ttl: true, circuit_breakers: {thresholds: [{max_requests: 4294967295}]}, \
         metadata: {filter_metadata: {istio: {config: /x, list: [1, a, null, {b: true}]}}}}",
    );
    let dump = dump(std::slice::from_ref(&sent), std::slice::from_ref(&sent));
    let mut shown =
        section(&dump, "ClustersConfigDump")["dynamic_active_clusters"][0]["cluster"].clone();
    shown.as_object_mut().unwrap().remove("@type");
    let descriptor = descriptor_pool()
        .get_message_by_name("envoy.config.cluster.v3.Cluster")
        .unwrap();
    let read = DynamicMessage::deserialize(descriptor.clone(), shown).unwrap();
    // compared as messages: the order of a map's entries on the wire is free
    let came = DynamicMessage::decode(descriptor, sent.value.as_slice()).unwrap();
    assert_eq!(read, came);
}

#[test]
fn a_refused_resource_is_shown_beside_the_one_in_force() {
    let dump = dump(
        &[cluster("{name: a}")],
        &[
            cluster("{name: a, lb_policy: LOAD_BALANCING_POLICY_CONFIG}"),
            cluster("{name: b, lb_policy: LOAD_BALANCING_POLICY_CONFIG}"),
        ],
    );
    let clusters = section(&dump, "ClustersConfigDump");
    assert_eq!(clusters["version_info"], "1");
    let [a, b] = clusters["dynamic_active_clusters"]
        .as_array()
        .unwrap()
        .as_slice()
    else {
        panic!("{clusters:#}")
    };
    assert_eq!(
        (&a["version_info"], &a["client_status"]),
        (&"1".into(), &"NACKED".into())
    );
    assert_eq!(a["cluster"]["name"], "a");
    assert_eq!(
        a["error_state"]["details"],
        "load_balancing_policy: must be set because lb_policy is LOAD_BALANCING_POLICY_CONFIG"
    );
    assert_eq!(a["error_state"]["version_info"], "2");
    assert_eq!(
        b["error_state"]["failed_configuration"]["lb_policy"],
        "LOAD_BALANCING_POLICY_CONFIG"
    );
    assert!(b.get("cluster").is_none());
}

#[test]
fn an_unknown_extension_hides_nothing() {
    let mut sent = cluster("{name: a}");
    let unknown = Any {
        type_url: "type.googleapis.com/acme.Thing".into(),
        value: b"foo".to_vec(),
    };
    let filter = mesh_proto::envoy::config::cluster::v3::Cluster {
        filters: vec![mesh_proto::envoy::config::cluster::v3::Filter {
            name: "istio.metadata_exchange".into(),
            typed_config: Some(unknown),
            ..Default::default()
        }],
        ..Default::default()
    };
    sent.value.extend(filter.encode_to_vec());
    let dump = dump(std::slice::from_ref(&sent), std::slice::from_ref(&sent));
    let shown = &section(&dump, "ClustersConfigDump")["dynamic_active_clusters"][0]["cluster"];
    assert_eq!(shown["name"], "a");
    assert_eq!(
        shown["filters"][0]["typed_config"]["@type"],
        "type.googleapis.com/acme.Thing"
    );
    assert_eq!(shown["filters"][0]["typed_config"]["value"], "Zm9v");
}

#[test]
fn a_message_that_contains_itself_is_cut() {
    let mut nested = Any {
        type_url: "type.googleapis.com/acme.Leaf".into(),
        value: Vec::new(),
    };
    for _ in 0..200 {
        let inner = Any {
            type_url: "type.googleapis.com/google.protobuf.Any".into(),
            value: nested.encode_to_vec(),
        };
        nested = inner;
    }
    assert!(super::json::any(&nested).to_string().len() < 100_000);
}

#[test]
fn private_keys_are_not_dumped() {
    let identity = mesh_testkit::certificates::Authority::new("r").issue(&Default::default());
    let (chain, key) = (&identity.chain, &identity.key);
    let certificate = serde_json::json!({
        "certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key},
    });
    let context = serde_json::json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {"tls_certificates": [certificate]},
    });
    let yaml = serde_json::json!({"name": "a", "transport_socket": {"name": "tls", "typed_config": context}});
    let cluster = [cluster(&yaml.to_string())];
    let dump = dump(&cluster, &cluster).to_string();
    assert!(dump.contains("BEGIN CERTIFICATE"), "{dump}");
    let lines = || key.lines().filter(|line| !line.starts_with('-'));
    assert!(
        lines().count() > 0 && lines().all(|line| !dump.contains(line)),
        "{dump}"
    );
    assert!(
        dump.contains(r#""private_key":{"inline_string":"[redacted]"}"#),
        "{dump}"
    );
}
