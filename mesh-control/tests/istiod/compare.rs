//! Everything that a node gets, from both, field by field.

use std::collections::BTreeSet;
use std::path::Path;

use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use prost::{Message, Name};
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;

use crate::oracle::Istiod;
use crate::support::{Client, open};

/// Everything of a node, as JSON by name.
struct Dump(Vec<(String, Value)>);

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

/// Names of the route configurations that listeners refer to.
fn rds_names(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map
                .get("rds")
                .and_then(|rds| rds.get("route_config_name"))
                .and_then(Value::as_str)
            {
                names.insert(name.to_owned());
            }
            map.values().for_each(|v| rds_names(v, names));
        }
        Value::Array(items) => items.iter().for_each(|v| rds_names(v, names)),
        _ => {}
    }
}

async fn dump(
    mut listeners: Vec<Listener>,
    mut clusters: Vec<Cluster>,
    routes: impl AsyncFnOnce(Vec<String>) -> Vec<RouteConfiguration>,
    endpoints: impl AsyncFnOnce(Vec<String>) -> Vec<ClusterLoadAssignment>,
) -> Dump {
    // istiod's order is that of a Go map
    listeners.sort_by(|a, b| a.name.cmp(&b.name));
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    let mut all = Vec::new();
    let mut rds = BTreeSet::new();
    for listener in &listeners {
        let value = json(listener);
        rds_names(&value, &mut rds);
        all.push((format!("LDS {}", listener.name), value));
    }
    let mut eds = Vec::new();
    for cluster in &clusters {
        if let Some(config) = &cluster.eds_cluster_config {
            eds.push(config.service_name.clone());
        }
        all.push((format!("CDS {}", cluster.name), json(cluster)));
    }
    // nothing is answered to a subscription to nothing
    let mut routes = if rds.is_empty() {
        Vec::new()
    } else {
        routes(rds.into_iter().collect()).await
    };
    routes.sort_by(|a, b| a.name.cmp(&b.name));
    all.extend(routes.iter().map(|r| (format!("RDS {}", r.name), json(r))));
    let mut endpoints = if eds.is_empty() {
        Vec::new()
    } else {
        endpoints(eds).await
    };
    endpoints.sort_by(|a, b| a.cluster_name.cmp(&b.cluster_name));
    for assignment in &mut endpoints {
        for locality in &mut assignment.endpoints {
            locality
                .lb_endpoints
                .sort_by_key(|e| format!("{:?}", e.host_identifier));
        }
    }
    all.extend(
        endpoints
            .iter()
            .map(|e| (format!("EDS {}", e.cluster_name), json(e))),
    );
    Dump(all)
}

/// Takes out of our resources what is ours on purpose.
fn without_ours(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(without_ours);
            let is_inbound = map
                .get("name")
                .and_then(Value::as_str)
                .is_some_and(|name| name.starts_with("inbound|"));
            let Some(Value::Object(metadata)) = map.get_mut("metadata") else {
                return;
            };
            let Some(Value::Object(filters)) = metadata.get_mut("filter_metadata") else {
                return;
            };
            // where a route comes from, for explanations
            filters.remove("mesh.provenance");
            if let Some(Value::Object(istio)) = filters.get_mut("istio") {
                // labels of metrics: istiod sends them too, but PILOT_ENABLE_TELEMETRY_LABEL=false turns them off
                // together with the extensions that a stock Envoy lacks
                istio.remove("services");
                istio.remove("workload");
                // with them off, istiod's inbound clusters have nowhere to put the rule that they come from
                if is_inbound {
                    istio.remove("config");
                }
                if istio.is_empty() {
                    filters.remove("istio");
                }
            }
            if filters.is_empty() {
                metadata.remove("filter_metadata");
                // istiod's endpoints have empty metadata then, its clusters none
                if map.contains_key("connect_timeout") {
                    map.remove("metadata");
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_ours),
        _ => {}
    }
}

/// Orders what Go's maps leave without an order.
fn normalise(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for key in ["query_parameters", "dynamic_metadata"] {
                if let Some(Value::Array(items)) = map.get_mut(key) {
                    items.sort_by_key(|item| item["name"].to_string() + &item["path"].to_string());
                }
            }
            map.values_mut().for_each(normalise);
        }
        Value::Array(items) => items.iter_mut().for_each(normalise),
        _ => {}
    }
}

fn differences(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let path = format!("{path}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => differences(&path, a, b, found),
                    (Some(a), None) => found.push(format!("{path}: only ours has {a}")),
                    (None, Some(b)) => found.push(format!("{path}: only istiod has {b}")),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{i}]"), a, b, found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{path}: ours {a}, istiod {b}")),
    }
}

fn compare(what: &str, ours: Dump, theirs: Dump) -> Vec<String> {
    let mut found = Vec::new();
    let names = |dump: &Dump| {
        dump.0
            .iter()
            .map(|(name, _)| name.clone())
            .collect::<BTreeSet<_>>()
    };
    let (our_names, their_names) = (names(&ours), names(&theirs));
    for name in our_names.symmetric_difference(&their_names) {
        let side = if our_names.contains(name) {
            "ours"
        } else {
            "istiod"
        };
        found.push(format!("{what}: {name}: only {side} has it"));
    }
    for (name, mut value) in ours.0 {
        let Some((_, mut other)) = theirs.0.iter().find(|(n, _)| *n == name).cloned() else {
            continue;
        };
        without_ours(&mut value);
        normalise(&mut value);
        normalise(&mut other);
        differences(&format!("{what}: {name}: "), &value, &other, &mut found);
    }
    found
}

pub(crate) async fn compare_node(folder: &Path, istiod: &Istiod, node: core::Node) -> Vec<String> {
    let control = open(folder);
    let refused: Vec<_> = control
        .problems()
        .into_iter()
        .filter(|problem| problem.severity != mesh_control::Severity::Warning)
        .collect();
    assert_eq!(refused, []);
    let fresh = || Client::new(&control, node.clone());
    let listeners = fresh().fetch(&[]).await;
    let clusters = fresh().fetch(&[]).await;
    let ours = dump(
        listeners,
        clusters,
        async |names: Vec<String>| {
            fresh()
                .fetch(&names.iter().map(String::as_str).collect::<Vec<_>>())
                .await
        },
        async |names: Vec<String>| {
            fresh()
                .fetch(&names.iter().map(String::as_str).collect::<Vec<_>>())
                .await
        },
    )
    .await;
    let theirs = dump(
        istiod.fetch(&node, &[]).await,
        istiod.fetch(&node, &[]).await,
        async |names: Vec<String>| istiod.fetch_each(&node, &names).await,
        async |names: Vec<String>| istiod.fetch(&node, &names).await,
    )
    .await;
    compare(&node.id, ours, theirs)
}
