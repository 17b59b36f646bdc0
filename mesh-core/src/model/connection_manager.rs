//! The connection manager (`envoy.extensions.filters.network.http_connection_manager.v3`).

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, uri::Scheme};
use ipnet::IpNet;

use super::RouteConfiguration;
use crate::{access_log::AccessLog, filter::HttpFilterConfig, local_reply::LocalReplyConfig};

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
    /// `original_ip_detection_extensions`, in order; the first that finds an address decides. Without any, and without
    /// `use_remote_address`, the last element of `x-forwarded-for` does.
    pub original_ip_detection: Vec<OriginalIpDetection>,
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
    /// `strip_trailing_host_dot`.
    pub strip_trailing_host_dot: bool,
    /// `common_http_protocol_options.headers_with_underscores_action`.
    pub headers_with_underscores: UnderscoresAction,
    /// `common_http_protocol_options.max_headers_count`; default 100.
    pub max_headers_count: u32,
    /// `scheme_header_transformation.scheme_to_overwrite`.
    pub scheme_to_overwrite: Option<Scheme>,
    /// `stream_idle_timeout`; default 5 min; zero: none.
    pub stream_idle_timeout: Duration,
    /// `request_headers_timeout`; zero: none.
    pub request_headers_timeout: Duration,
    /// `delayed_close_timeout`; default 1 s; zero: a connection that ends is not waited for.
    pub delayed_close_timeout: Duration,
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
    /// `http_protocol_options.default_host_for_http_10`: the host of HTTP/1.0 requests that name none.
    pub default_host_for_http_10: Option<HeaderValue>,
    /// `http_protocol_options.enable_trailers`: trailers pass on HTTP/1.1 connections; otherwise they are dropped.
    pub http1_trailers: bool,
    /// `http2_protocol_options.allow_connect`: extended CONNECT (RFC 8441).
    pub http2_allow_connect: bool,
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
    /// `forward_client_cert_details` and `set_current_client_cert_details`.
    pub forward_client_cert: ForwardClientCert,
    /// `local_reply_config`; None: replies made here stay as they are.
    pub local_reply: Option<Box<LocalReplyConfig>>,
    /// `access_log`.
    pub access_logs: Arc<Vec<AccessLog>>,
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
            original_ip_detection: Vec::new(),
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
            strip_trailing_host_dot: false,
            headers_with_underscores: UnderscoresAction::Allow,
            max_headers_count: 100,
            scheme_to_overwrite: None,
            stream_idle_timeout: Duration::from_secs(300),
            request_headers_timeout: Duration::ZERO,
            delayed_close_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(3600),
            max_stream_duration: Duration::ZERO,
            max_connection_duration: None,
            max_request_headers_kb: 60,
            upgrades: Vec::new(),
            accept_http_10: false,
            default_host_for_http_10: None,
            http1_trailers: false,
            forward_client_cert: ForwardClientCert::default(),
            http2_allow_connect: false,
            max_concurrent_streams: None,
            tracing: false,
            suppress_envoy_headers: false,
            respect_expected_rq_timeout: false,
            proxy_100_continue: false,
            local_reply: None,
            access_logs: Arc::default(),
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

/// `HttpProtocolOptions.HeadersWithUnderscoresAction`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnderscoresAction {
    /// They pass.
    #[default]
    Allow,
    /// A request that has one is refused: 400, or a reset of its HTTP/2 stream.
    RejectRequest,
    /// They are taken out.
    DropHeader,
}

/// An extension of `original_ip_detection_extensions`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OriginalIpDetection {
    /// `envoy.http.original_ip_detection.xff`.
    Xff {
        /// `xff_num_trusted_hops`.
        trusted_hops: u32,
        /// `xff_trusted_cidrs`: if not empty, the peer must be in one of them, and so must be every element of
        /// `x-forwarded-for` to the right of the client.
        trusted_ranges: Vec<IpNet>,
        /// `skip_xff_append`; default true.
        skip_append: bool,
    },
    /// `envoy.http.original_ip_detection.custom_header`.
    CustomHeader {
        /// `header_name`.
        name: HeaderName,
        /// `allow_extension_to_set_address_as_trusted`: the address may make the request internal.
        trusted: bool,
        /// `reject_with_status`: the answer if the header is not there or no address; None: the next extension is
        /// asked. A status that is no error counts as 403.
        reject: Option<StatusCode>,
    },
}

/// What `x-forwarded-client-cert` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardClientCert {
    /// `forward_client_cert_details`.
    pub mode: ForwardClientCertDetails,
    /// `set_current_client_cert_details`, in Envoy's order.
    pub details: Vec<ClientCertDetail>,
}

/// `ForwardClientCertDetails`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardClientCertDetails {
    /// `SANITIZE`: the header is removed.
    #[default]
    Sanitize,
    /// `FORWARD_ONLY`: it is left alone on connections with a client's certificate.
    ForwardOnly,
    /// `APPEND_FORWARD`: there the certificate is appended.
    AppendForward,
    /// `SANITIZE_SET`: there it says the certificate alone.
    SanitizeSet,
    /// `ALWAYS_FORWARD_ONLY`: it is left alone on every connection.
    AlwaysForwardOnly,
}

/// `SetCurrentClientCertDetails`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertDetail {
    /// `cert`.
    Cert,
    /// `chain`.
    Chain,
    /// `subject`.
    Subject,
    /// `uri`.
    Uri,
    /// `dns`.
    Dns,
}
