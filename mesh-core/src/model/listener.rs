//! Listeners (`envoy.config.listener.v3`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ipnet::IpNet;

use super::{ConnectionManagerConfig, Criteria, DownstreamTls, Provenance};
use crate::{access_log::AccessLog, rbac::ConnectionRbac};

/// `Listener`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenerConfig {
    /// `name`.
    pub name: Arc<str>,
    /// `address`; an API listener may have one that is not bound.
    pub address: Option<SocketAddr>,
    /// `additional_addresses`.
    pub additional_addresses: Vec<SocketAddr>,
    /// `api_listener.api_listener`: not bound, used by calls from inside the process (gRFC A27).
    pub api_listener: Option<Arc<ConnectionManagerConfig>>,
    /// `filter_chains`.
    pub filter_chains: Vec<FilterChainConfig>,
    /// `default_filter_chain`.
    pub default_filter_chain: Option<FilterChainConfig>,
    /// `listener_filters`, in order.
    pub listener_filters: Vec<ListenerFilter>,
    /// `listener_filters_timeout`; default 15 s; zero: none.
    pub listener_filters_timeout: Duration,
    /// `continue_on_listener_filters_timeout`.
    pub continue_on_listener_filters_timeout: bool,
    /// `bind_to_port`; default true. A captured listener is not bound; `virtualOutbound` hands connections to it.
    pub bind_to_port: bool,
    /// `use_original_dst`: connections are handed to the listener of their original destination.
    pub use_original_dst: bool,
    /// `traffic_direction`.
    pub direction: TrafficDirection,
    /// Where it came from.
    pub provenance: Provenance,
}

impl ListenerConfig {
    /// A listener with Envoy's defaults and no chain.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            address: None,
            additional_addresses: Vec::new(),
            api_listener: None,
            filter_chains: Vec::new(),
            default_filter_chain: None,
            listener_filters: Vec::new(),
            listener_filters_timeout: Duration::from_secs(15),
            continue_on_listener_filters_timeout: false,
            bind_to_port: true,
            use_original_dst: false,
            direction: TrafficDirection::Unspecified,
            provenance: Provenance::default(),
        }
    }
}

/// `TrafficDirection`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficDirection {
    /// `UNSPECIFIED`.
    #[default]
    Unspecified,
    /// `INBOUND`.
    Inbound,
    /// `OUTBOUND`.
    Outbound,
}

/// The listener filters that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenerFilter {
    /// `envoy.filters.listener.original_dst`.
    OriginalDst,
    /// `envoy.filters.listener.tls_inspector`.
    TlsInspector,
    /// `envoy.filters.listener.http_inspector`.
    HttpInspector,
}

/// `FilterChain`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FilterChainConfig {
    /// `name`; may be empty.
    pub name: Arc<str>,
    /// `filter_chain_match`.
    pub matcher: FilterChainMatch,
    /// The network filters before the terminal one, in order.
    pub filters: Arc<[ConnectionFilter]>,
    /// What the chain ends in.
    pub terminal: NetworkFilter,
    /// `transport_socket`; None: cleartext.
    pub transport_socket: Option<Arc<DownstreamTls>>,
    /// `transport_socket_connect_timeout`: how long a handshake may take. Default 15 s, where Envoy waits for ever.
    pub transport_socket_connect_timeout: Duration,
}

impl FilterChainConfig {
    /// A chain that matches everything.
    pub fn new(terminal: NetworkFilter) -> Self {
        Self {
            name: "".into(),
            matcher: FilterChainMatch::default(),
            filters: Arc::default(),
            terminal,
            transport_socket: None,
            transport_socket_connect_timeout: Duration::from_secs(15),
        }
    }
}

/// `FilterChainMatch`; empty parts match everything.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct FilterChainMatch {
    /// `destination_port`.
    pub destination_port: Option<u16>,
    /// `prefix_ranges` (of the destination address).
    pub prefix_ranges: Vec<IpNet>,
    /// `server_names`, lower case; `*.a` is a wildcard.
    pub server_names: Vec<Box<str>>,
    /// `transport_protocol`: `tls` or `raw_buffer`; empty: any.
    pub transport_protocol: Box<str>,
    /// `application_protocols`.
    pub application_protocols: Vec<Box<str>>,
    /// `direct_source_prefix_ranges`.
    pub direct_source_prefix_ranges: Vec<IpNet>,
    /// `source_type` is SAME_IP_OR_LOOPBACK (Some(true)) or EXTERNAL (Some(false)).
    pub source_local: Option<bool>,
    /// `source_prefix_ranges`.
    pub source_prefix_ranges: Vec<IpNet>,
    /// `source_ports`.
    pub source_ports: Vec<u16>,
}

/// A network filter before the terminal one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionFilter {
    /// `envoy.filters.network.rbac`.
    Rbac(Arc<ConnectionRbac>),
    /// `envoy.filters.network.sni_cluster`: the server name that the client asks for names the cluster.
    SniCluster,
}

/// The terminal network filter of a chain.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NetworkFilter {
    /// `HttpConnectionManager`.
    Http(Arc<ConnectionManagerConfig>),
    /// `TcpProxy`.
    Tcp(Arc<TcpProxyConfig>),
}

/// `TcpProxy`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpProxyConfig {
    /// `stat_prefix`.
    pub stat_prefix: Arc<str>,
    /// `cluster`; of `weighted_clusters` the first.
    pub cluster: Arc<str>,
    /// `weighted_clusters`; empty: only `cluster`.
    pub weighted: Vec<WeightedTcpCluster>,
    /// `metadata_match`, `filter_metadata["envoy.lb"]`: which subset of `cluster`.
    pub criteria: Criteria,
    /// `idle_timeout`; default 1 h; zero: none.
    pub idle_timeout: Duration,
    /// `max_downstream_connection_duration`.
    pub max_duration: Option<Duration>,
    /// `max_downstream_connection_duration_jitter_percentage`: how much longer a connection may live by chance.
    pub max_duration_jitter_percent: f64,
    /// `max_connect_attempts`; default 1.
    pub max_connect_attempts: u32,
    /// `access_log`.
    pub access_logs: Arc<Vec<AccessLog>>,
    /// `hash_policy` with `source_ip`: what ring hash and maglev choose by.
    pub hashes_source_ip: bool,
}

/// `TcpProxy.WeightedCluster.ClusterWeight`.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedTcpCluster {
    /// `name`.
    pub name: Arc<str>,
    /// `weight`; at least 1.
    pub weight: u32,
    /// `metadata_match`, merged over the proxy's.
    pub criteria: Criteria,
}

impl TcpProxyConfig {
    /// The clusters by name: one, or those with weights.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        let only = self.weighted.is_empty().then_some(&self.cluster);
        only.into_iter()
            .chain(self.weighted.iter().map(|c| &c.name))
    }

    /// The weighted cluster for a random number; None: there are no weights.
    pub fn draw(&self, random: u64) -> Option<usize> {
        let total: u64 = self.weighted.iter().map(|c| u64::from(c.weight)).sum();
        let mut left = random.checked_rem(total)?;
        self.weighted.iter().position(|cluster| {
            let weight = u64::from(cluster.weight);
            let is_it = left < weight;
            left = left.saturating_sub(weight);
            is_it
        })
    }

    /// Proxies to the cluster with Envoy's defaults.
    pub fn new(stat_prefix: impl Into<Arc<str>>, cluster: impl Into<Arc<str>>) -> Self {
        Self {
            stat_prefix: stat_prefix.into(),
            cluster: cluster.into(),
            weighted: Vec::new(),
            criteria: Criteria::new(),
            idle_timeout: Duration::from_secs(3600),
            max_duration: None,
            max_duration_jitter_percent: 0.0,
            max_connect_attempts: 1,
            access_logs: Arc::default(),
            hashes_source_ip: false,
        }
    }
}
