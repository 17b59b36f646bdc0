//! Listeners (`envoy.config.listener.v3`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ipnet::IpNet;

use super::{ConnectionManagerConfig, Provenance};

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
    /// What the chain's network filters do; the terminal one decides.
    pub terminal: NetworkFilter,
}

impl FilterChainConfig {
    /// A chain that matches everything.
    pub fn new(terminal: NetworkFilter) -> Self {
        Self {
            name: "".into(),
            matcher: FilterChainMatch::default(),
            terminal,
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
    /// `cluster`.
    pub cluster: Arc<str>,
    /// `idle_timeout`; default 1 h; zero: none.
    pub idle_timeout: Duration,
}

impl TcpProxyConfig {
    /// Proxies to the cluster with Envoy's defaults.
    pub fn new(stat_prefix: impl Into<Arc<str>>, cluster: impl Into<Arc<str>>) -> Self {
        Self {
            stat_prefix: stat_prefix.into(),
            cluster: cluster.into(),
            idle_timeout: Duration::from_secs(3600),
        }
    }
}
