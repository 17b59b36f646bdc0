//! Envoy's v3 bootstrap: YAML or JSON.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use mesh_core::model::{Secret, SecretName, SecretSource};
use mesh_proto::{
    descriptor_pool,
    envoy::config::{bootstrap::v3 as proto, cluster::v3::Cluster},
};
use prost::Message;
use prost_reflect::DynamicMessage;

use super::{Bootstrap, InvalidBootstrap, ads_target, node, yaml_options};
use crate::{
    assemble::Fixed,
    decode::{self, socket_address, supported},
    graph::References,
    problems::Problems,
    store::ResourceStore,
};

const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";

/// What Envoy's flags say about the node; they win over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeOverrides {
    /// `--service-node`.
    pub service_node: Option<String>,
    /// `--service-cluster`.
    pub service_cluster: Option<String>,
}

/// Reads the text.
pub(super) fn read(text: &str, overrides: &NodeOverrides) -> Result<Bootstrap, InvalidBootstrap> {
    let mut message = parse(text)?;
    apply_overrides(&mut message, overrides);
    let mut p = Problems::default();
    supported::check(&mut p, BOOTSTRAP, &message.encode_to_vec());

    let empty = Default::default();
    let resources = message.static_resources.as_ref().unwrap_or(&empty);
    let mut ads = message.dynamic_resources.as_ref().and_then(|dynamic| {
        p.field("dynamic_resources", |p| {
            ads_target::from_envoy(p, dynamic, &resources.clusters)
        })
    });
    let mut node = message.node.clone().unwrap_or_default();
    if ads.is_some() && (node.id.is_empty() || node.cluster.is_empty()) {
        p.error_at("node", "id and cluster must be set for a control plane, here or by --service-node and --service-cluster");
    }
    if let Some(target) = &mut ads {
        target.subscribe_as(&node);
    }
    let (listeners, clusters, secrets) = p.field("static_resources", |p| {
        let secrets = static_secrets(p, resources);
        let listeners = static_listeners(p, resources);
        let clusters = static_clusters(p, resources, control_plane_clusters(&message));
        if ads.is_none() && p.is_ok() {
            refuse_references(p, &listeners, &clusters);
        }
        if p.is_ok() {
            refuse_unknown_secrets(p, &listeners, &clusters, &secrets);
        }
        if !ads.as_ref().is_some_and(|target| target.all_clusters) {
            warn_of_unknown_clusters(p, &listeners, resources);
        }
        (listeners, clusters, secrets)
    });
    let admin = p.field("admin", |p| {
        let address = message.admin.as_ref()?.address.as_ref()?;
        p.field("address", |p| socket_address(p, address))
    });
    if !p.is_ok() {
        return Err(InvalidBootstrap::from_problems(text, &p));
    }
    node::add_user_agent(&mut node);
    let mut identity = node::identity(&node, "");
    if let Some(manager) = &message.cluster_manager {
        identity.local_cluster = manager.local_cluster_name.as_str().into();
    }
    Ok(Bootstrap {
        fixed: Fixed {
            node: Arc::new(identity),
            listeners,
            clusters,
            secrets,
        },
        node,
        ads,
        admin,
        warnings: p.warnings().iter().map(ToString::to_string).collect(),
        proto: message,
    })
}

fn parse(text: &str) -> Result<proto::Bootstrap, InvalidBootstrap> {
    if text.trim().is_empty() {
        return Err(InvalidBootstrap::whole("the bootstrap is empty"));
    }
    let descriptor = descriptor_pool()
        .get_message_by_name(BOOTSTRAP)
        .ok_or_else(|| InvalidBootstrap::whole("the descriptor of the bootstrap is missing"))?;
    let read =
        serde_saphyr::with_deserializer_from_str_with_options(text, yaml_options(), |yaml| {
            DynamicMessage::deserialize(descriptor, yaml)
        });
    let message = read.map_err(|error| InvalidBootstrap::from_yaml(text, &error))?;
    message
        .transcode_to()
        .map_err(|error| InvalidBootstrap::whole(error.to_string()))
}

fn apply_overrides(message: &mut proto::Bootstrap, overrides: &NodeOverrides) {
    if let Some(id) = &overrides.service_node {
        message.node.get_or_insert_default().id.clone_from(id);
    }
    if let Some(cluster) = &overrides.service_cluster {
        message
            .node
            .get_or_insert_default()
            .cluster
            .clone_from(cluster);
    }
}

fn static_listeners(
    p: &mut Problems,
    resources: &proto::bootstrap::StaticResources,
) -> Vec<Arc<mesh_core::model::ListenerConfig>> {
    p.each("listeners", &resources.listeners, |p, listener| {
        decode::listener(p, listener).map(Arc::new)
    })
}

fn static_secrets(
    p: &mut Problems,
    resources: &proto::bootstrap::StaticResources,
) -> HashMap<SecretName, Secret> {
    let secrets = p.each("secrets", &resources.secrets, |p, value| {
        let name = SecretName {
            source: SecretSource::Static,
            name: value.name.as_str().into(),
        };
        Some((name, decode::secret(p, value)?))
    });
    secrets.into_iter().collect()
}

/// Clusters that carry the control plane may be reached by ways that requests cannot take (Unix sockets, DNS): such a
/// cluster is left out, with a warning, instead of being refused.
fn static_clusters(
    p: &mut Problems,
    resources: &proto::bootstrap::StaticResources,
    control_plane: BTreeSet<&str>,
) -> Vec<Arc<mesh_core::model::ClusterConfig>> {
    p.each("clusters", &resources.clusters, |p, cluster| {
        let mut found = Problems::default();
        let decoded = decode::cluster(&mut found, cluster);
        let special = control_plane.contains(cluster.name.as_str()) || has_pipe(cluster);
        match decoded {
            Some(decoded) if found.is_ok() => {
                p.absorb(found);
                Some(Arc::new(decoded))
            }
            _ if special => {
                p.warn(format!(
                    "cluster {:?} cannot take requests: {found}",
                    cluster.name
                ));
                None
            }
            _ => {
                p.absorb(found);
                None
            }
        }
    })
}

/// Without a control plane nothing may come from one.
fn refuse_references(
    p: &mut Problems,
    listeners: &[Arc<mesh_core::model::ListenerConfig>],
    clusters: &[Arc<mesh_core::model::ClusterConfig>],
) {
    let references = References::of(&ResourceStore::default(), listeners, clusters);
    for name in &references.routes {
        p.error_at("listeners", format!("route configuration {name:?} would come over ads, but dynamic_resources.ads_config is not set"));
    }
    for name in &references.secrets {
        p.error(format!(
            "secret {name:?} would come over ads, but dynamic_resources.ads_config is not set"
        ));
    }
    for name in &references.endpoints {
        p.error_at("clusters", format!("endpoints {name:?} would come over ads, but dynamic_resources.ads_config is not set"));
    }
}

/// Secrets without `sds_config` are those of the bootstrap.
fn refuse_unknown_secrets(
    p: &mut Problems,
    listeners: &[Arc<mesh_core::model::ListenerConfig>],
    clusters: &[Arc<mesh_core::model::ClusterConfig>],
    secrets: &HashMap<SecretName, Secret>,
) {
    let references = References::of(&ResourceStore::default(), listeners, clusters);
    for name in &references.foreign_secrets {
        if name.source == SecretSource::Static && !secrets.contains_key(name) {
            p.error_at(
                "secrets",
                format!(
                    "there is no secret {:?}, which is named without sds_config",
                    name.name
                ),
            );
        }
    }
}

/// Envoy refuses such routes in files unless `validate_clusters` is false; here they answer NC.
fn warn_of_unknown_clusters(
    p: &mut Problems,
    listeners: &[Arc<mesh_core::model::ListenerConfig>],
    resources: &proto::bootstrap::StaticResources,
) {
    let references = References::of(&ResourceStore::default(), listeners, &[]);
    let known: BTreeSet<&str> = resources
        .clusters
        .iter()
        .map(|cluster| cluster.name.as_str())
        .collect();
    p.field("listeners", |p| {
        for name in references
            .clusters
            .iter()
            .filter(|name| !known.contains(&***name))
        {
            p.warn(format!(
                "there is no cluster {name:?}; its routes answer 503"
            ));
        }
    });
}

fn control_plane_clusters(message: &proto::Bootstrap) -> BTreeSet<&str> {
    use mesh_proto::envoy::config::core::v3::grpc_service::TargetSpecifier::EnvoyGrpc;
    let dynamic = message.dynamic_resources.iter();
    let services = dynamic
        .filter_map(|d| d.ads_config.as_ref())
        .flat_map(|ads| &ads.grpc_services);
    services
        .filter_map(|service| match &service.target_specifier {
            Some(EnvoyGrpc(envoy)) => Some(envoy.cluster_name.as_str()),
            _ => None,
        })
        .collect()
}

fn has_pipe(cluster: &Cluster) -> bool {
    use mesh_proto::envoy::config::{
        core::v3::address::Address::Pipe, endpoint::v3::lb_endpoint::HostIdentifier::Endpoint,
    };
    let localities = cluster
        .load_assignment
        .iter()
        .flat_map(|assignment| &assignment.endpoints);
    localities
        .flat_map(|locality| &locality.lb_endpoints)
        .any(|endpoint| {
            let Some(Endpoint(endpoint)) = &endpoint.host_identifier else {
                return false;
            };
            let address = endpoint
                .address
                .as_ref()
                .and_then(|address| address.address.as_ref());
            matches!(address, Some(Pipe(_)))
        })
}
