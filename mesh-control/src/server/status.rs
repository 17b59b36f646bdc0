use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mesh_proto::envoy::admin::v3::UpdateFailureState;
use mesh_proto::envoy::config::core::v3::Node;
use mesh_proto::envoy::service::discovery::v3::DiscoveryResponse;
use mesh_proto::envoy::service::status::v3::client_config::GenericXdsConfig;
use mesh_proto::envoy::service::status::v3::{ClientConfig, ConfigStatus};
use prost::{Message as _, Name as _};
use prost_types::value::Kind;
use prost_types::{Any, Struct, Value};

/// The type that `istioctl proxy-status` asks an istiod for: `ClientConfig`s of its clients.
pub(super) const SYNCZ: &str = "istio.io/debug/syncz";

/// What a connected client has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStatus {
    /// Its node id.
    pub node: String,
    /// The Kubernetes cluster that it says to be in.
    pub cluster_id: String,
    /// Its namespace.
    pub namespace: String,
    /// The version of Istio that it says to be of.
    pub istio_version: String,
    /// The types that it subscribed to.
    pub types: Vec<TypeStatus>,
}

/// What a client has of one resource type.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TypeStatus {
    /// The type's URL.
    pub type_url: String,
    /// Version last made for it; of an incremental stream the nonce of the last response.
    pub sent_version: String,
    /// Version, or nonce, that it last accepted; empty if none.
    pub acked_version: String,
    /// Why it refused the last version, if it did.
    pub nack: Option<String>,
}

impl ClientStatus {
    pub(super) fn of(node: &crate::translate::Node, types: Vec<TypeStatus>) -> Self {
        ClientStatus {
            node: node.id.clone(),
            cluster_id: node.cluster_id.clone(),
            namespace: node.namespace.clone(),
            istio_version: node.istio_version().to_owned(),
            types,
        }
    }
}

impl TypeStatus {
    /// Whether the client uses what was last made for it.
    pub fn is_synced(&self) -> bool {
        self.nack.is_none() && self.sent_version == self.acked_version
    }
}

/// The answer to [`SYNCZ`]: who is connected, and which types are in force there.
pub(super) fn syncz(clients: &[ClientStatus]) -> DiscoveryResponse {
    let resource = |client: &ClientStatus| Any {
        type_url: ClientConfig::type_url(),
        value: client_config(client).encode_to_vec(),
    };
    DiscoveryResponse {
        version_info: "1".to_owned(),
        type_url: SYNCZ.to_owned(),
        nonce: "1".to_owned(),
        resources: clients.iter().map(resource).collect(),
        ..Default::default()
    }
}

fn client_config(client: &ClientStatus) -> ClientConfig {
    let text = |value: &str| Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    };
    let fields = [
        ("CLUSTER_ID", &client.cluster_id),
        ("NAMESPACE", &client.namespace),
        ("ISTIO_VERSION", &client.istio_version),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), text(value)));
    let mut generic_xds_configs: Vec<_> = client.types.iter().map(generic_config).collect();
    generic_xds_configs.sort_by(|a, b| a.type_url.cmp(&b.type_url));
    ClientConfig {
        node: Some(Node {
            id: client.node.clone(),
            metadata: Some(Struct {
                fields: fields.into(),
            }),
            ..Default::default()
        }),
        generic_xds_configs,
        ..Default::default()
    }
}

fn generic_config(status: &TypeStatus) -> GenericXdsConfig {
    let config_status = match &status.nack {
        Some(_) => ConfigStatus::Error,
        None if status.sent_version.is_empty() => ConfigStatus::NotSent,
        None if status.is_synced() => ConfigStatus::Synced,
        None => ConfigStatus::Stale,
    };
    GenericXdsConfig {
        type_url: status.type_url.clone(),
        version_info: status.sent_version.clone(),
        config_status: config_status.into(),
        error_state: status.nack.as_ref().map(|details| UpdateFailureState {
            details: details.clone(),
            version_info: status.acked_version.clone(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The connected clients.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<BTreeMap<u64, ClientStatus>>);

impl Clients {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, ClientStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, id: u64, status: ClientStatus) {
        self.lock().insert(id, status);
    }

    pub(super) fn remove(&self, id: u64) {
        self.lock().remove(&id);
    }

    pub(crate) fn all(&self) -> Vec<ClientStatus> {
        self.lock().values().cloned().collect()
    }
}
