//! Configuration and a node to xDS resources, as istiod would emit them for that node.
//!
//! The same names, order, shapes and defaults as istiod under the environment and mesh configuration with
//! which a stock Envoy accepts its resources (no Istio extensions, no TLS).

mod access_log;
mod address;
mod authorization;
mod cluster;
mod connection_manager;
mod describe;
mod endpoints;
mod filter_chain;
mod gateway;
mod gateway_servers;
mod hash_policy;
mod imports;
mod inbound;
mod inbound_cluster;
mod jwt_authn;
mod listener;
mod listener_filters;
mod load_balancer;
mod locality;
mod metadata;
mod mutual_tls;
mod network_filters;
mod node;
mod outlier_detection;
mod patch;
mod policies;
mod resilience;
mod route;
mod route_action;
mod route_match;
mod scope;
mod server_tls;
mod tls;
mod tracing_tags;
mod traffic_policy;
mod upstream_tls;
mod virtual_host;

use std::sync::{Arc, OnceLock};

use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;

use crate::config::Config;
use crate::model::PatchContext;
pub(crate) use node::{InvalidNode, Node, NodeKind};
use patch::{Group, Patches};
use scope::Scope;

/// Translates for one node and one configuration.
#[derive(Debug)]
pub(crate) struct Translator {
    config: Arc<Config>,
    node: Arc<Node>,
    /// Made when something is asked for.
    scope: OnceLock<Scope>,
    patches: OnceLock<Patches>,
}

impl Translator {
    pub(crate) fn new(config: Arc<Config>, node: Arc<Node>) -> Self {
        Translator {
            config,
            node,
            scope: OnceLock::new(),
            patches: OnceLock::new(),
        }
    }

    fn scope(&self) -> &Scope {
        self.scope
            .get_or_init(|| Scope::new(self.config.clone(), self.node.clone()))
    }

    /// The EnvoyFilters' patches for the node.
    fn patches(&self) -> &Patches {
        self.patches.get_or_init(|| Patches::of(self.scope()))
    }

    /// Whether, of what nodes other than gateways are sent, only the routes may differ from those of `earlier` where nothing
    /// but HTTP routes of VirtualServices changed: those may lead to services that the node would not see otherwise.
    pub(crate) fn differs_only_in_routes(&self, earlier: &Translator) -> bool {
        self.node.kind == NodeKind::Sidecar && self.scope().has_services_of(earlier.scope())
    }

    pub(crate) fn listeners(&self) -> Vec<Listener> {
        let group = |context, can_grow| Group { context, can_grow };
        let (inbound, outbound) = (PatchContext::SidecarInbound, PatchContext::SidecarOutbound);
        let groups = match self.node.kind {
            NodeKind::Router => vec![(
                group(PatchContext::Gateway, true),
                gateway::listeners(self.scope()),
            )],
            NodeKind::Sidecar => {
                let mut bound = inbound::listeners(self.scope());
                let virtual_inbound = bound.remove(0);
                let virtual_outbound = listener::virtual_outbound(self.scope());
                vec![
                    (group(outbound, true), listener::outbound(self.scope())),
                    (group(outbound, false), vec![virtual_outbound]),
                    (group(inbound, false), vec![virtual_inbound]),
                    (group(inbound, true), bound),
                ]
            }
        };
        let mut all = Vec::new();
        for (group, mut listeners) in groups {
            access_log::add(self.scope(), &mut listeners);
            if !self.patches().is_empty() {
                listeners = patch::listeners(self.patches(), group, listeners);
            }
            all.extend(listeners);
        }
        all
    }

    pub(crate) fn clusters(&self) -> Vec<Cluster> {
        cluster::clusters(self.scope()).patched(self.scope(), self.patches())
    }

    /// A route configuration by name; an unknown one is empty, as istiod answers.
    pub(crate) fn route(&self, name: &str) -> RouteConfiguration {
        let mut routes = match self.node.kind {
            NodeKind::Router => gateway::route_configuration(self.scope(), name),
            NodeKind::Sidecar => virtual_host::route_configuration(self.scope(), name),
        };
        patch::route_configuration(self.scope(), self.patches(), &mut routes);
        routes
    }

    /// The endpoints of a cluster by name; `None` if there is no such cluster of type EDS.
    pub(crate) fn endpoints(&self, cluster: &str) -> Option<ClusterLoadAssignment> {
        endpoints::assignment(self.scope(), cluster)
    }
}

/// Name of the cluster for a service's port.
pub(crate) fn outbound_cluster(port: u32, subset: &str, host: &str) -> String {
    format!("outbound|{port}|{subset}|{host}")
}
