//! What a configuration refers to: which names have to be subscribed to, and whether all of them have come.
//!
//! gRFC A74: a configuration is published only when every route configuration, assignment and secret that it reaches has come
//! or is known not to exist, so that no half of an update is ever in force.

use std::{collections::BTreeSet, sync::Arc};

use mesh_core::model::{
    CertificateSource, ClusterConfig, ClusterDiscovery, ClusterSpecifier, CommonTls,
    ConnectionManagerConfig, ListenerConfig, MirrorCluster, MirrorPolicy, NetworkFilter,
    RouteAction, RouteConfiguration, RouteSource, SecretName, SecretSource, ValidationSource,
};

use crate::{Resource, ResourceKind, store::ResourceStore};

/// Names that are referred to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct References {
    /// Clusters that routes and TCP proxies name.
    pub(crate) clusters: BTreeSet<Arc<str>>,
    /// Route configurations that listeners name.
    pub(crate) routes: BTreeSet<Arc<str>>,
    /// Assignments that clusters name.
    pub(crate) endpoints: BTreeSet<Arc<str>>,
    /// Secrets of the control plane that transport sockets name.
    pub(crate) secrets: BTreeSet<Arc<str>>,
    /// Secrets that they name of others.
    pub(crate) foreign_secrets: BTreeSet<SecretName>,
}

impl References {
    /// Everything that the static resources and the store refer to.
    pub(crate) fn of(
        store: &ResourceStore,
        listeners: &[Arc<ListenerConfig>],
        clusters: &[Arc<ClusterConfig>],
    ) -> Self {
        let mut references = Self::default();
        for listener in listeners {
            references.add_listener(listener);
        }
        for cluster in clusters {
            references.add_cluster(cluster);
        }
        for resource in ResourceKind::ALL
            .into_iter()
            .flat_map(|kind| store.good(kind))
        {
            match resource {
                Resource::Listener(listener) => references.add_listener(listener),
                Resource::Route(routes) => references.add_routes(routes),
                Resource::Cluster(cluster) => references.add_cluster(cluster),
                Resource::Endpoints(_) | Resource::Secret { .. } => {}
            }
        }
        references
    }

    fn add_listener(&mut self, listener: &ListenerConfig) {
        if let Some(manager) = &listener.api_listener {
            self.add_manager(manager);
        }
        for chain in listener
            .filter_chains
            .iter()
            .chain(&listener.default_filter_chain)
        {
            if let Some(socket) = &chain.transport_socket {
                self.add_tls(&socket.common);
            }
            match &chain.terminal {
                NetworkFilter::Http(manager) => self.add_manager(manager),
                NetworkFilter::Tcp(proxy) => {
                    self.clusters.extend(proxy.clusters().cloned());
                }
                _ => {}
            }
        }
    }

    fn add_manager(&mut self, manager: &ConnectionManagerConfig) {
        match &manager.routes {
            RouteSource::Rds(name) => {
                self.routes.insert(Arc::clone(name));
            }
            RouteSource::Inline(routes) => self.add_routes(routes),
            _ => {}
        }
    }

    fn add_routes(&mut self, config: &RouteConfiguration) {
        self.add_mirrors(&config.mirrors);
        for host in &config.virtual_hosts {
            self.add_mirrors(&host.mirrors);
        }
        for route in config.virtual_hosts.iter().flat_map(|host| &host.routes) {
            let RouteAction::Forward(forward) = &route.action else {
                continue;
            };
            self.add_mirrors(&forward.mirrors);
            match &forward.cluster {
                ClusterSpecifier::Cluster(name) => {
                    self.clusters.insert(Arc::clone(name));
                }
                ClusterSpecifier::Weighted(clusters) => {
                    let named = clusters.iter().filter(|c| c.cluster_header.is_none());
                    self.clusters
                        .extend(named.map(|cluster| Arc::clone(&cluster.name)));
                }
                // known only when a request comes
                _ => {}
            }
        }
    }

    fn add_mirrors(&mut self, mirrors: &[MirrorPolicy]) {
        for mirror in mirrors {
            if let MirrorCluster::Name(name) = &mirror.cluster {
                self.clusters.insert(Arc::clone(name));
            }
        }
    }

    fn add_cluster(&mut self, cluster: &ClusterConfig) {
        self.add_mirrors(&cluster.http.mirrors);
        if let ClusterDiscovery::Eds(name) = &cluster.discovery {
            self.endpoints.insert(Arc::clone(name));
        }
        let matches = cluster.transport_socket_matches.iter();
        let sockets = matches.filter_map(|entry| entry.socket.as_ref());
        for socket in sockets.chain(&cluster.transport_socket) {
            self.add_tls(&socket.common);
        }
    }

    fn add_tls(&mut self, tls: &CommonTls) {
        for certificate in &tls.certificates {
            if let CertificateSource::Secret(name) = certificate {
                self.add_secret(name);
            }
        }
        if let ValidationSource::Secret(name) | ValidationSource::Combined(_, name) =
            &tls.validation
        {
            self.add_secret(name);
        }
    }

    fn add_secret(&mut self, name: &SecretName) {
        match name.source {
            SecretSource::Ads => self.secrets.insert(Arc::clone(&name.name)),
            _ => self.foreign_secrets.insert(name.clone()),
        };
    }

    /// The first name that has neither come nor is known not to exist.
    pub(crate) fn missing<'a>(
        &'a self,
        store: &ResourceStore,
    ) -> Option<(ResourceKind, &'a Arc<str>)> {
        let routes = self.routes.iter().map(|name| (ResourceKind::Route, name));
        let endpoints = self
            .endpoints
            .iter()
            .map(|name| (ResourceKind::Endpoints, name));
        let secrets = self.secrets.iter().map(|name| (ResourceKind::Secret, name));
        // an entry is in force, refused or absent
        routes
            .chain(endpoints)
            .chain(secrets)
            .find(|(kind, name)| store.entry(*kind, name).is_none())
    }
}

#[cfg(test)]
mod tests {
    use mesh_core::{
        matcher::MatchedHeader,
        model::{Forward, Route, VirtualHost, WeightedCluster},
    };

    use super::*;

    #[test]
    fn a_cluster_that_a_header_names_is_no_reference() {
        let mut by_header = WeightedCluster::new("".into(), 1);
        by_header.cluster_header = Some(MatchedHeader::Authority);
        let clusters = vec![WeightedCluster::new("a".into(), 1), by_header];
        let mut route = Route::default();
        let forward = Forward::to(ClusterSpecifier::Weighted(clusters));
        route.action = RouteAction::Forward(Box::new(forward));
        let mut host = VirtualHost::default();
        host.routes.push(Arc::new(route));
        let mut config = RouteConfiguration::default();
        config.virtual_hosts.push(host);
        let mut references = References::default();
        references.add_routes(&config);
        assert_eq!(references.clusters, BTreeSet::from([Arc::from("a")]));
    }
}
