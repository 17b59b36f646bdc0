//! Listeners (`envoy.config.listener.v3`) and the connection manager.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::HeaderValue;
use ipnet::IpNet;

use super::{Provenance, RouteConfiguration};
use crate::filter::HttpFilterConfig;

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

/// `HttpConnectionManager`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionManagerConfig {
    /// `stat_prefix`.
    pub stat_prefix: Arc<str>,
    /// `codec_type`.
    pub codec: CodecType,
    /// `rds` or `route_config`.
    pub routes: RouteSource,
    /// `http_filters`, in order, ending with the router.
    pub http_filters: Vec<HttpFilterConfig>,
    /// `use_remote_address`; default false.
    pub use_remote_address: bool,
    /// `skip_xff_append`.
    pub skip_xff_append: bool,
    /// `xff_num_trusted_hops`.
    pub xff_num_trusted_hops: u32,
    /// `internal_address_config.cidr_ranges`.
    pub internal_address_ranges: Vec<IpNet>,
    /// `generate_request_id`; default true.
    pub generate_request_id: bool,
    /// `preserve_external_request_id`.
    pub preserve_external_request_id: bool,
    /// `always_set_request_id_in_response`.
    pub always_set_request_id_in_response: bool,
    /// `server_name`; default `envoy`.
    pub server_name: HeaderValue,
    /// `server_header_transformation`.
    pub server_header: ServerHeader,
    /// `via`; may be empty.
    pub via: Option<HeaderValue>,
    /// `normalize_path`; default false.
    pub normalize_path: bool,
    /// `merge_slashes`.
    pub merge_slashes: bool,
    /// `path_with_escaped_slashes_action`.
    pub escaped_slashes: EscapedSlashes,
    /// `strip_matching_host_port`, `strip_any_host_port`.
    pub strip_host_port: StripHostPort,
    /// `stream_idle_timeout`; default 5 min; zero: none.
    pub stream_idle_timeout: Duration,
    /// `request_headers_timeout`; zero: none.
    pub request_headers_timeout: Duration,
    /// `common_http_protocol_options.idle_timeout`; default 1 h; zero: none.
    pub idle_timeout: Duration,
    /// `common_http_protocol_options.max_stream_duration`; zero: none.
    pub max_stream_duration: Duration,
    /// `common_http_protocol_options.max_connection_duration`.
    pub max_connection_duration: Option<Duration>,
    /// `max_request_headers_kb`; default 60.
    pub max_request_headers_kb: u32,
    /// `upgrade_configs`: enabled upgrade types, lower case (`websocket`).
    pub upgrades: Vec<Box<str>>,
    /// `http_protocol_options.accept_http_10`.
    pub accept_http_10: bool,
    /// `http2_protocol_options.max_concurrent_streams`.
    pub max_concurrent_streams: Option<u32>,
    /// `tracing` is set: outbound requests say their route's operation in `x-envoy-decorator-operation`, inbound ones
    /// answer with it.
    pub tracing: bool,
    /// `suppress_envoy_headers` of the router filter.
    pub suppress_envoy_headers: bool,
    /// `respect_expected_rq_timeout` of the router filter.
    pub respect_expected_rq_timeout: bool,
    /// `proxy_100_continue`.
    pub proxy_100_continue: bool,
}

impl ConnectionManagerConfig {
    /// Envoy's defaults.
    pub fn new(stat_prefix: impl Into<Arc<str>>, routes: RouteSource) -> Self {
        Self {
            stat_prefix: stat_prefix.into(),
            codec: CodecType::Auto,
            routes,
            http_filters: Vec::new(),
            use_remote_address: false,
            skip_xff_append: false,
            xff_num_trusted_hops: 0,
            internal_address_ranges: Vec::new(),
            generate_request_id: true,
            preserve_external_request_id: false,
            always_set_request_id_in_response: false,
            server_name: HeaderValue::from_static("envoy"),
            server_header: ServerHeader::Overwrite,
            via: None,
            normalize_path: false,
            merge_slashes: false,
            escaped_slashes: EscapedSlashes::KeepUnchanged,
            strip_host_port: StripHostPort::No,
            stream_idle_timeout: Duration::from_secs(300),
            request_headers_timeout: Duration::ZERO,
            idle_timeout: Duration::from_secs(3600),
            max_stream_duration: Duration::ZERO,
            max_connection_duration: None,
            max_request_headers_kb: 60,
            upgrades: Vec::new(),
            accept_http_10: false,
            max_concurrent_streams: None,
            tracing: false,
            suppress_envoy_headers: false,
            respect_expected_rq_timeout: false,
            proxy_100_continue: false,
        }
    }
}

/// Where a connection manager's routes come from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RouteSource {
    /// `rds.route_config_name`.
    Rds(Arc<str>),
    /// `route_config`.
    Inline(Arc<RouteConfiguration>),
}

/// `HttpConnectionManager.CodecType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CodecType {
    /// `AUTO`: told apart by the first bytes.
    #[default]
    Auto,
    /// `HTTP1`.
    Http1,
    /// `HTTP2`: prior knowledge.
    Http2,
}

/// `ServerHeaderTransformation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerHeader {
    /// Always ours.
    #[default]
    Overwrite,
    /// Ours if the upstream sent none.
    AppendIfAbsent,
    /// Never touched.
    PassThrough,
}

/// `PathWithEscapedSlashesAction`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// Nothing is done.
    #[default]
    KeepUnchanged,
    /// 400.
    RejectRequest,
    /// Redirect to the unescaped path.
    UnescapeAndRedirect,
    /// `%2f` and `%5c` become slashes.
    UnescapeAndForward,
}

/// `strip_matching_host_port` and `strip_any_host_port`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StripHostPort {
    /// Neither.
    #[default]
    No,
    /// The port is cut if it is the listener's.
    Matching,
    /// Any port is cut.
    Any,
}
