//! Which workloads take mutual TLS: PeerAuthentications of the mesh, the namespace and the workload, by istiod's
//! `ComposePeerAuthentication`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::scope::Scope;
use crate::config::Config;
use crate::model::{MtlsMode, PeerAuthentication};
use crate::registry::Endpoint;

/// What the policies of one workload come to.
#[derive(Debug)]
pub(super) struct WorkloadMtls {
    mode: MtlsMode,
    /// Ports with a mode of their own.
    pub(super) ports: BTreeMap<u32, MtlsMode>,
}

impl WorkloadMtls {
    /// Of the node itself.
    pub(super) fn of_node(scope: &Scope) -> Self {
        WorkloadMtls::of(&scope.config, &scope.node.namespace, &scope.labels)
    }

    fn of(config: &Config, namespace: &str, labels: &BTreeMap<String, String>) -> Self {
        let wider = of_namespace(config, namespace);
        let narrow = config.peer_authentications.iter().find(|policy| {
            let selector = &policy.target.selector;
            policy.metadata.namespace == namespace
                && namespace != config.mesh.root_namespace
                && !selector.is_empty()
                && selector.iter().all(|(k, v)| labels.get(k) == Some(v))
        });
        let Some(narrow) = narrow else {
            return WorkloadMtls {
                mode: wider,
                ports: BTreeMap::new(),
            };
        };
        let mode = narrow.mode.or(wider);
        let ports = narrow.ports.iter();
        WorkloadMtls {
            mode,
            ports: ports
                .map(|(port, of_port)| (*port, of_port.or(mode)))
                .collect(),
        }
    }

    pub(super) fn for_port(&self, port: u32) -> MtlsMode {
        self.ports.get(&port).copied().unwrap_or(self.mode)
    }
}

/// Of what no selector is narrower.
pub(super) fn of_namespace(config: &Config, namespace: &str) -> MtlsMode {
    let whole = |namespace: &str| -> Option<&Arc<PeerAuthentication>> {
        config
            .peer_authentications
            .iter()
            .find(|p| p.metadata.namespace == namespace && p.target.selector.is_empty())
    };
    // without identities nobody can offer it
    let default = match config.mesh.auto_mtls {
        true => MtlsMode::Permissive,
        false => MtlsMode::Disable,
    };
    let root = config.mesh.root_namespace.as_str();
    let of_mesh = match whole(root).map(|policy| policy.mode) {
        None => default,
        Some(mode) => mode.or(MtlsMode::Permissive),
    };
    match whole(namespace) {
        Some(policy) if namespace != root => policy.mode.or(of_mesh),
        _ => of_mesh,
    }
}

/// Whether an endpoint says that it takes mutual TLS, and its policies agree, as far as the node knows them: those of
/// its own namespace, of the mesh, and of namespaces whose services it sees.
pub(super) fn is_offered(scope: &Scope, endpoint: &Endpoint) -> bool {
    if *endpoint.tls_mode != *ISTIO {
        return false;
    }
    let (config, namespace) = (&scope.config, &*endpoint.namespace);
    let mode = match *namespace == *scope.node.namespace || scope.sees_services_of(namespace) {
        true => WorkloadMtls::of(config, namespace, &endpoint.labels).for_port(endpoint.port),
        false => of_namespace(config, &config.mesh.root_namespace),
    };
    mode != MtlsMode::Disable
}

/// The value of the label `security.istio.io/tlsMode` of workloads with a sidecar.
pub(super) const ISTIO: &str = "istio";
