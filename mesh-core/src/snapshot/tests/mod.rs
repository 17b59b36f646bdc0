mod build;
mod outbound;

use std::{net::SocketAddr, sync::Arc};

use super::*;
use crate::model::{
    ClusterDiscovery, ClusterSpecifier, ConnectionManagerConfig, EndpointConfig, FilterChainConfig,
    Forward, LocalityEndpoints, NetworkFilter, Route, RouteAction, RouteSource, TcpProxyConfig,
    TrafficDirection, VirtualHost,
};

/// Chance that does not matter.
struct Any;

impl Entropy for Any {
    fn next_u64(&mut self) -> u64 {
        4
    }
}

fn build(config: &ConfigSet, previous: &Snapshot) -> Snapshot {
    Snapshot::build(config.clone(), previous, &mut Any)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn eds(name: &str) -> Arc<ClusterConfig> {
    let discovery = ClusterDiscovery::Eds(name.into());
    Arc::new(ClusterConfig::new(name, discovery))
}

fn assignment(name: &str, addresses: &[&str]) -> Arc<ClusterLoadAssignment> {
    let endpoints = addresses
        .iter()
        .map(|text| EndpointConfig::new(address(text)))
        .collect();
    Arc::new(ClusterLoadAssignment {
        cluster_name: name.into(),
        localities: vec![LocalityEndpoints {
            weight: Some(1),
            endpoints,
            ..LocalityEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    })
}

/// A route configuration with a virtual host for each list of domains, all forwarding to `cluster`.
fn routes(name: &str, hosts: &[&[&str]], cluster: &str) -> Arc<RouteConfiguration> {
    let forward = Forward::to(ClusterSpecifier::Cluster(cluster.into()));
    let route = Arc::new(Route {
        action: RouteAction::Forward(Box::new(forward)),
        ..Route::default()
    });
    let virtual_hosts = hosts
        .iter()
        .map(|domains| VirtualHost {
            name: domains[0].into(),
            domains: domains.iter().map(|domain| (*domain).into()).collect(),
            routes: vec![Arc::clone(&route)],
            ..VirtualHost::default()
        })
        .collect();
    Arc::new(RouteConfiguration {
        name: name.into(),
        virtual_hosts,
        ..RouteConfiguration::default()
    })
}

fn http(route: &str) -> FilterChainConfig {
    let routes = RouteSource::Rds(route.into());
    let manager = ConnectionManagerConfig::new("m", routes);
    FilterChainConfig::new(NetworkFilter::Http(Arc::new(manager)))
}

fn tcp(cluster: &str) -> FilterChainConfig {
    let proxy = TcpProxyConfig::new("t", cluster);
    FilterChainConfig::new(NetworkFilter::Tcp(Arc::new(proxy)))
}

fn listener(
    name: &str,
    bind: &str,
    direction: TrafficDirection,
    chains: Vec<FilterChainConfig>,
) -> ListenerConfig {
    let mut listener = ListenerConfig::new(name);
    listener.address = Some(address(bind));
    listener.direction = direction;
    listener.filter_chains = chains;
    listener
}

fn api(name: &str, route: &str) -> ListenerConfig {
    let NetworkFilter::Http(manager) = http(route).terminal else {
        unreachable!()
    };
    let mut listener = ListenerConfig::new(name);
    listener.api_listener = Some(manager);
    listener
}

fn set(
    listeners: Vec<ListenerConfig>,
    routes: Vec<Arc<RouteConfiguration>>,
    clusters: Vec<Arc<ClusterConfig>>,
    endpoints: Vec<Arc<ClusterLoadAssignment>>,
) -> ConfigSet {
    ConfigSet {
        node: Arc::new(NodeIdentity {
            dns_domain: "default.svc.cluster.local".into(),
            ..NodeIdentity::default()
        }),
        listeners: listeners.into_iter().map(Arc::new).collect(),
        routes: routes.into_iter().map(|r| (r.name.clone(), r)).collect(),
        clusters: clusters.into_iter().map(|c| (c.name.clone(), c)).collect(),
        endpoints: endpoints
            .into_iter()
            .map(|e| (e.cluster_name.clone(), e))
            .collect(),
        ..ConfigSet::default()
    }
}
