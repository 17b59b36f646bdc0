use std::collections::BTreeSet;

use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::core::v3::TransportSocket;
use mesh_proto::envoy::config::core::v3::transport_socket::ConfigType;

use super::super::scope::Scope;
use super::{Patches, merge, outbound, value};
use crate::model::{ApplyTo, ClusterMatch, Patch, PatchContext, PatchOperation};

/// A node's clusters, in the groups in which they are patched.
pub(in super::super) struct Clusters {
    /// Of services.
    pub(in super::super) services: Vec<Cluster>,
    /// For what no service claims.
    pub(in super::super) special: Vec<Cluster>,
    /// To the workload itself.
    pub(in super::super) inbound: Vec<Cluster>,
}

impl Clusters {
    /// All of them, patched.
    pub(in super::super) fn patched(self, scope: &Scope, patches: &Patches) -> Vec<Cluster> {
        let Clusters {
            services,
            special,
            inbound,
        } = self;
        if patches.is_empty() {
            return services.into_iter().chain(special).chain(inbound).collect();
        }
        let context = outbound(scope);
        let patched = |clusters: Vec<Cluster>, context: PatchContext| {
            let one = move |mut cluster: Cluster| {
                apply(patches, context, scope, &mut cluster).then_some(cluster)
            };
            clusters.into_iter().filter_map(one).collect::<Vec<_>>()
        };
        let mut all = patched(services, context);
        let mut others = patched(special, context);
        others.extend(patches.added(ApplyTo::Cluster, context));
        if context == PatchContext::SidecarOutbound {
            others.extend(patched(inbound, PatchContext::SidecarInbound));
            others.extend(patches.added(ApplyTo::Cluster, PatchContext::SidecarInbound));
        }
        // the same name twice is one cluster, the first one
        let mut names = BTreeSet::new();
        others.retain(|cluster: &Cluster| names.insert(cluster.name.clone()));
        all.extend(others);
        all
    }
}

/// Merges what is to be merged; whether the cluster is still there.
fn apply(patches: &Patches, context: PatchContext, scope: &Scope, cluster: &mut Cluster) -> bool {
    for patch in patches.of_object(ApplyTo::Cluster, context) {
        if !is_meant(patch.cluster.as_ref(), scope, &cluster.name) {
            continue;
        }
        if patch.operation == PatchOperation::Remove {
            return false;
        }
        if patch.operation.is_merge() && !merge_transport_socket(cluster, patch) {
            merge::into(cluster, patch);
        }
    }
    true
}

fn is_meant(matched: Option<&ClusterMatch>, scope: &Scope, name: &str) -> bool {
    let Some(matched) = matched else {
        return true;
    };
    if !matched.name.is_empty() {
        return matched.name == name;
    }
    let parts: Vec<&str> = name.split('|').collect();
    let (direction, port, subset, host) = match parts[..] {
        [direction, port, subset, host, ..] => (direction, port, subset, host),
        _ => ("", "", "", ""),
    };
    let is_service = |service: &str| match direction {
        "inbound" => {
            let hosts = hosts(scope, port.parse().unwrap_or_default());
            match hosts.is_empty() {
                true => service == host,
                false => hosts.iter().any(|host| host == service),
            }
        }
        _ => service == host,
    };
    (matched.subset.is_empty() || matched.subset == subset)
        && (matched.service.is_empty() || is_service(&matched.service))
        && (matched.port == 0 || port.parse() == Ok(matched.port))
}

/// The services that a port of the workload belongs to.
fn hosts(scope: &Scope, port: u32) -> Vec<String> {
    let targets = scope.targets().into_iter();
    targets
        .filter(|target| target.target_port == port)
        .map(|target| target.service.host.clone())
        .collect()
}

/// Merges a patch with a transport socket into the one of the same name, and nothing else; false if it has none.
fn merge_transport_socket(cluster: &mut Cluster, patch: &Patch) -> bool {
    let Some(socket) = value::<Cluster>(patch).and_then(|cluster| cluster.transport_socket) else {
        return false;
    };
    let of_name = |own: &&mut TransportSocket| own.name == socket.name;
    let own = if cluster.transport_socket_matches.is_empty() {
        cluster.transport_socket.as_mut().filter(of_name)
    } else {
        let matches = cluster.transport_socket_matches.iter_mut();
        let own = matches
            .filter_map(|matched| matched.transport_socket.as_mut())
            .find(of_name);
        // one of its own beside them would not be valid
        if own.is_none() {
            return true;
        }
        own
    };
    match own {
        None => cluster.transport_socket = Some(socket),
        Some(own) => merge_socket(own, &socket),
    }
    true
}

/// Merges the configuration of one transport socket into that of another one.
pub(super) fn merge_socket(own: &mut TransportSocket, other: &TransportSocket) {
    if let (Some(ConfigType::TypedConfig(own)), Some(ConfigType::TypedConfig(other))) =
        (&mut own.config_type, &other.config_type)
        && let Some(merged) = merge::any(own, other)
    {
        *own = merged;
    }
}
