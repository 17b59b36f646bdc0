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
mod network_filters;
mod node;
mod outlier_detection;
mod policies;
mod resilience;
mod route;
mod route_action;
mod route_match;
mod scope;
mod tracing_tags;
mod traffic_policy;
mod virtual_host;

use std::sync::{Arc, OnceLock};

use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;

use crate::config::Config;
pub(crate) use node::{InvalidNode, Node, NodeKind};
use scope::Scope;

/// Translates for one node and one configuration.
#[derive(Debug)]
pub(crate) struct Translator {
    config: Arc<Config>,
    node: Arc<Node>,
    /// Made when something is asked for.
    scope: OnceLock<Scope>,
}

impl Translator {
    pub(crate) fn new(config: Arc<Config>, node: Arc<Node>) -> Self {
        Translator {
            config,
            node,
            scope: OnceLock::new(),
        }
    }

    fn scope(&self) -> &Scope {
        self.scope
            .get_or_init(|| Scope::new(self.config.clone(), self.node.clone()))
    }

    pub(crate) fn listeners(&self) -> Vec<Listener> {
        let mut listeners = match self.node.kind {
            NodeKind::Router => gateway::listeners(self.scope()),
            NodeKind::Sidecar => {
                let mut listeners = listener::outbound(self.scope());
                listeners.push(listener::virtual_outbound(self.scope()));
                listeners.extend(inbound::listeners(self.scope()));
                listeners
            }
        };
        access_log::add(self.scope(), &mut listeners);
        listeners
    }

    pub(crate) fn clusters(&self) -> Vec<Cluster> {
        cluster::clusters(self.scope())
    }

    /// A route configuration by name; an unknown one is empty, as istiod answers.
    pub(crate) fn route(&self, name: &str) -> RouteConfiguration {
        match self.node.kind {
            NodeKind::Router => gateway::route_configuration(self.scope(), name),
            NodeKind::Sidecar => virtual_host::route_configuration(self.scope(), name),
        }
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
