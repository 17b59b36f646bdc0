//! Listeners at run time: which filter chain a connection takes (Envoy `filter_chain_manager_impl.cc`).

use std::{net::SocketAddr, sync::Arc};

use crate::{
    filter::FilterChain,
    model::{
        ConnectionManagerConfig, FilterChainConfig, ListenerConfig, TcpProxyConfig,
        TrafficDirection,
    },
    route::RouteTable,
    snapshot::{ChainIndex, ClusterIndex},
    stats::{ManagerStats, RequestMetrics},
};

/// A listener of one snapshot.
#[derive(Debug)]
pub struct Listener {
    config: Arc<ListenerConfig>,
    /// By place in `filter_chains`, then the default chain.
    terminals: Vec<Terminal>,
}

/// What a chain ends in, resolved.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Terminal {
    /// HTTP: the chain's place in the snapshot.
    Http(ChainIndex),
    /// TCP to one cluster.
    Tcp {
        /// The configuration.
        config: Arc<TcpProxyConfig>,
        /// The cluster's slot.
        cluster: ClusterIndex,
    },
}

/// What the listener filters found out about a connection.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Detected<'a> {
    /// The destination (after `original_dst`).
    pub destination: SocketAddr,
    /// The peer.
    pub source: SocketAddr,
    /// `tls` or `raw_buffer`.
    pub transport_protocol: &'a str,
    /// From ALPN, or `http/1.1`, `h2c` from the HTTP inspector.
    pub application_protocols: &'a [&'a str],
    /// SNI; empty: none.
    pub server_name: &'a str,
}

impl<'a> Detected<'a> {
    /// A plaintext connection of which nothing else is known.
    pub fn plaintext(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            destination,
            source,
            transport_protocol: "raw_buffer",
            application_protocols: &[],
            server_name: "",
        }
    }
}

impl Listener {
    /// The configuration.
    pub fn config(&self) -> &Arc<ListenerConfig> {
        &self.config
    }

    /// The chain for a connection, and what it ends in; None: no chain matches, the connection is closed (NR).
    /// Criteria in Envoy's order, the most specific value of each first.
    pub fn find_chain(&self, detected: &Detected<'_>) -> Option<(&FilterChainConfig, &Terminal)> {
        let _ = (detected, &self.terminals);
        todo!()
    }
}

/// A connection manager, compiled for one chain.
#[derive(Debug)]
pub struct HttpChain {
    pub(crate) listener: Arc<str>,
    pub(crate) direction: TrafficDirection,
    pub(crate) manager: Arc<ConnectionManagerConfig>,
    pub(crate) filters: FilterChain,
    pub(crate) routes: Option<Arc<RouteTable>>,
    pub(crate) stats: Arc<ManagerStats>,
    pub(crate) unrouted: [Arc<RequestMetrics>; 2],
}

impl HttpChain {
    /// The listener's name.
    pub fn listener(&self) -> &Arc<str> {
        &self.listener
    }

    /// Inbound or outbound.
    pub fn direction(&self) -> TrafficDirection {
        self.direction
    }

    /// The connection manager's configuration.
    pub fn manager(&self) -> &Arc<ConnectionManagerConfig> {
        &self.manager
    }

    /// The HTTP filters.
    pub fn filters(&self) -> &FilterChain {
        &self.filters
    }

    /// The route table; None: the route configuration has not come (404 `route_configuration_not_found`).
    pub fn routes(&self) -> Option<&Arc<RouteTable>> {
        self.routes.as_ref()
    }

    /// Envoy's counters of the connection manager.
    pub fn stats(&self) -> &Arc<ManagerStats> {
        &self.stats
    }

    /// Istio's request metrics for requests that reached no cluster (outbound), or for all requests (inbound: this
    /// workload is the destination); by protocol (`grpc`).
    pub fn request_metrics(&self, grpc: bool) -> &Arc<RequestMetrics> {
        &self.unrouted[usize::from(grpc)]
    }
}
