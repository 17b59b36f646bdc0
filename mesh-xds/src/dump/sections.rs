//! The sections of a config dump.

use std::time::{SystemTime, UNIX_EPOCH};

use mesh_proto::envoy::admin::v3::ClientResourceStatus;
use mesh_proto::envoy::config::bootstrap::v3::bootstrap::StaticResources;
use prost::Name;
use prost_types::Any;
use serde_json::{Map, Value, json};

use super::json::{any, message};
use crate::{
    ResourceKind,
    bootstrap::Bootstrap,
    store::{Entry, Good, Refused, ResourceStore},
    subscriber::Subscriber,
};

/// `BootstrapConfigDump`: the file as read, with the node as it is sent.
pub(super) fn bootstrap(bootstrap: &Bootstrap) -> Value {
    let mut proto = bootstrap.proto().clone();
    proto.node = Some(bootstrap.node().clone());
    section("BootstrapConfigDump", [("bootstrap", message(&proto))])
}

/// `ClustersConfigDump`.
pub(super) fn clusters(bootstrap: &Bootstrap, store: &ResourceStore) -> Value {
    let fixed = statics(bootstrap).map(|resources| &resources.clusters);
    let fixed = fixed
        .into_iter()
        .flatten()
        .map(|cluster| json!({"cluster": typed(cluster)}))
        .collect();
    let dynamic = store
        .entries(ResourceKind::Cluster)
        .map(|(_, entry)| state("cluster", entry))
        .collect();
    section(
        "ClustersConfigDump",
        [
            ("version_info", store.version(ResourceKind::Cluster).into()),
            ("static_clusters", Value::Array(fixed)),
            ("dynamic_active_clusters", Value::Array(dynamic)),
        ],
    )
}

/// `ListenersConfigDump`.
pub(super) fn listeners(bootstrap: &Bootstrap, store: &ResourceStore) -> Value {
    let fixed = statics(bootstrap).map(|resources| &resources.listeners);
    let fixed = fixed
        .into_iter()
        .flatten()
        .map(|listener| json!({"listener": typed(listener)}))
        .collect();
    let dynamic = store.entries(ResourceKind::Listener).map(|(name, entry)| {
        let mut listener = Map::new();
        listener.insert("name".to_owned(), (&**name).into());
        if let Some(good) = &entry.good {
            listener.insert("active_state".to_owned(), active("listener", good));
        }
        if let Some(refused) = &entry.refused {
            listener.insert("error_state".to_owned(), error(refused));
        }
        listener.insert("client_status".to_owned(), client_status(entry));
        Value::Object(listener)
    });
    section(
        "ListenersConfigDump",
        [
            ("version_info", store.version(ResourceKind::Listener).into()),
            ("static_listeners", Value::Array(fixed)),
            ("dynamic_listeners", Value::Array(dynamic.collect())),
        ],
    )
}

/// `RoutesConfigDump`.
pub(super) fn routes(store: &ResourceStore) -> Value {
    let dynamic = store
        .entries(ResourceKind::Route)
        .map(|(_, entry)| state("route_config", entry));
    section(
        "RoutesConfigDump",
        [("dynamic_route_configs", Value::Array(dynamic.collect()))],
    )
}

/// `EndpointsConfigDump`.
pub(super) fn endpoints(bootstrap: &Bootstrap, store: &ResourceStore) -> Value {
    let clusters = statics(bootstrap).map(|resources| &resources.clusters);
    let assignments = clusters
        .into_iter()
        .flatten()
        .filter_map(|cluster| cluster.load_assignment.as_ref());
    let fixed = assignments
        .map(|assignment| json!({"endpoint_config": typed(assignment)}))
        .collect();
    let dynamic = store
        .entries(ResourceKind::Endpoints)
        .map(|(_, entry)| state("endpoint_config", entry));
    section(
        "EndpointsConfigDump",
        [
            ("static_endpoint_configs", Value::Array(fixed)),
            ("dynamic_endpoint_configs", Value::Array(dynamic.collect())),
        ],
    )
}

/// `SecretsConfigDump`. Private keys are redacted.
pub(super) fn secrets(bootstrap: &Bootstrap, subscriber: &Subscriber) -> Value {
    let fixed = statics(bootstrap).map(|resources| &resources.secrets);
    let fixed = fixed
        .into_iter()
        .flatten()
        .map(|secret| json!({"name": secret.name, "secret": typed(secret)}))
        .collect();
    let of_control_plane = subscriber.store().entries(ResourceKind::Secret);
    let of_others = subscriber.secrets().entries();
    let dynamic = of_control_plane.chain(of_others.map(|(name, entry)| (&name.name, entry)));
    let (mut active, mut warming) = (Vec::new(), Vec::new());
    for (name, entry) in dynamic {
        let mut secret = state("secret", entry);
        secret["name"] = (&**name).into();
        match &entry.good {
            Some(_) => active.push(secret),
            None => warming.push(secret),
        }
    }
    section(
        "SecretsConfigDump",
        [
            ("static_secrets", Value::Array(fixed)),
            ("dynamic_active_secrets", Value::Array(active)),
            ("dynamic_warming_secrets", Value::Array(warming)),
        ],
    )
}

fn statics(bootstrap: &Bootstrap) -> Option<&StaticResources> {
    bootstrap.proto().static_resources.as_ref()
}

/// A section with its `@type`; empty fields are left out, as in protobuf's JSON.
fn section<const N: usize>(name: &str, fields: [(&str, Value); N]) -> Value {
    let mut section = Map::new();
    section.insert(
        "@type".to_owned(),
        format!("type.googleapis.com/envoy.admin.v3.{name}").into(),
    );
    for (name, value) in fields {
        if value != json!([]) && value != json!("") {
            section.insert(name.to_owned(), value);
        }
    }
    Value::Object(section)
}

/// A cluster, route configuration or assignment in its wrapper.
fn state(field: &str, entry: &Entry) -> Value {
    let mut fields = match entry.good.as_ref().map(|good| active(field, good)) {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    if let Some(refused) = &entry.refused {
        fields.insert("error_state".to_owned(), error(refused));
    }
    fields.insert("client_status".to_owned(), client_status(entry));
    Value::Object(fields)
}

fn active(field: &str, good: &Good) -> Value {
    let mut fields = Map::new();
    fields.insert("version_info".to_owned(), good.version.as_str().into());
    fields.insert(field.to_owned(), any(&good.raw));
    fields.insert("last_updated".to_owned(), timestamp(good.updated));
    Value::Object(fields)
}

fn error(refused: &Refused) -> Value {
    json!({
        "failed_configuration": any(&refused.raw),
        "last_update_attempt": timestamp(refused.at),
        "details": refused.error,
        "version_info": refused.version,
    })
}

fn client_status(entry: &Entry) -> Value {
    let status = match entry {
        Entry {
            refused: Some(_), ..
        } => ClientResourceStatus::Nacked,
        Entry { absent: true, .. } => ClientResourceStatus::DoesNotExist,
        Entry { good: Some(_), .. } => ClientResourceStatus::Acked,
        Entry { .. } => ClientResourceStatus::Requested,
    };
    status.as_str_name().into()
}

fn typed<M: prost::Message + Name>(message: &M) -> Value {
    any(&Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    })
}

fn timestamp(at: SystemTime) -> Value {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    // milliseconds, as Envoy
    let nanos = i32::try_from(since.subsec_millis() * 1_000_000).unwrap_or(0);
    prost_types::Timestamp { seconds, nanos }.to_string().into()
}
