//! Routes (`envoy.config.route.v3`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::{
    Criteria, Fraction, HashPolicy, HeaderOperations, InternalRedirectPolicy, MirrorPolicy,
    Provenance, RetryPolicy,
};
use crate::{
    filter::FilterOverride,
    head::{ConnectionInfo, RequestHead},
    matcher::{CookieMatcher, HeaderMatcher, MatchedHeader, QueryParameterMatcher},
    metadata::{DynamicMetadata, MetadataMatcher},
    rate_limit::RateLimit,
    regex::{Regex, Scratch},
    route::{HeaderFormat, PathTemplate, SubstitutionFormat},
};

/// `RouteConfiguration`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RouteConfiguration {
    /// `name`.
    pub name: Arc<str>,
    /// `virtual_hosts`, in order.
    pub virtual_hosts: Vec<VirtualHost>,
    /// Header operations of this level.
    pub headers: HeaderOperations,
    /// `internal_only_headers`: taken off requests of external peers.
    pub internal_only_headers: Vec<HeaderName>,
    /// `most_specific_header_mutations_wins`; default false.
    pub most_specific_header_mutations_wins: bool,
    /// `ignore_path_parameters_in_path_matching`: segments end at their first `;`, for all specifiers but templates.
    pub ignore_path_parameters_in_path_matching: bool,
    /// `ignore_port_in_host_matching`; default false.
    pub ignore_port_in_host_matching: bool,
    /// `request_mirror_policies`: of virtual hosts and routes without their own.
    pub mirrors: Vec<MirrorPolicy>,
    /// Per-filter configuration of this level.
    pub filter_overrides: FilterOverrides,
}

/// `VirtualHost`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct VirtualHost {
    /// `name`.
    pub name: Arc<str>,
    /// `domains`, lower case; `*` is the catch-all.
    pub domains: Vec<String>,
    /// `routes`, in order; first match wins.
    pub routes: Vec<Arc<Route>>,
    /// `virtual_clusters`, in order.
    pub virtual_clusters: Vec<VirtualCluster>,
    /// `rate_limits`: what a local rate limit makes of requests.
    pub rate_limits: Vec<RateLimit>,
    /// `require_tls`.
    pub require_tls: RequireTls,
    /// Header operations of this level.
    pub headers: HeaderOperations,
    /// `hedge_policy.hedge_on_per_try_timeout`: used by routes without a hedge policy of their own.
    pub hedge_on_per_try_timeout: Option<bool>,
    /// `retry_policy`: used by routes without their own.
    pub retry_policy: Option<Arc<RetryPolicy>>,
    /// `include_request_attempt_count`; default false.
    pub include_request_attempt_count: bool,
    /// `include_attempt_count_in_response`; default false.
    pub include_attempt_count_in_response: bool,
    /// `include_is_timeout_retry_header`: retries say whether they follow a per-try timeout
    /// (`x-envoy-is-timeout-retry`); default false.
    pub include_is_timeout_retry_header: bool,
    /// `request_body_buffer_limit` (or `per_request_buffer_limit_bytes`); None: the connection's limit.
    pub request_body_buffer_limit: Option<u64>,
    /// `request_mirror_policies`: of routes without their own.
    pub mirrors: Vec<MirrorPolicy>,
    /// Per-filter configuration of this level.
    pub filter_overrides: FilterOverrides,
    /// Where it came from.
    pub provenance: Provenance,
}

impl VirtualHost {
    /// The virtual cluster that a request counts for: the first that matches, else `other`. None: there are none.
    pub fn virtual_cluster(&self, head: &RequestHead<'_>, scratch: &mut Scratch) -> Option<&str> {
        const CATCH_ALL: &str = "other";
        let found = self
            .virtual_clusters
            .iter()
            .find(|cluster| cluster.headers.iter().all(|m| m.matches(head, scratch)));
        match found {
            Some(cluster) => Some(&cluster.name),
            None => (!self.virtual_clusters.is_empty()).then_some(CATCH_ALL),
        }
    }
}

/// `VirtualCluster`: a name for some of a virtual host's requests. It changes no answer.
#[derive(Clone, Debug)]
pub struct VirtualCluster {
    /// `name`.
    pub name: Arc<str>,
    /// `headers`.
    pub headers: Vec<HeaderMatcher>,
}

/// `VirtualHost.TlsRequirementType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequireTls {
    /// No requirement.
    #[default]
    None,
    /// Plaintext requests from external peers are redirected to https.
    ExternalOnly,
    /// All plaintext requests are redirected to https.
    All,
}

/// `Route`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Route {
    /// `name`; may be empty.
    pub name: Arc<str>,
    /// `match`.
    pub matcher: RouteMatch,
    /// What to do.
    pub action: RouteAction,
    /// Header operations of this level.
    pub headers: HeaderOperations,
    /// `request_body_buffer_limit` (or `per_request_buffer_limit_bytes`); None: the virtual host's.
    pub request_body_buffer_limit: Option<u64>,
    /// Per-filter configuration of this level.
    pub filter_overrides: FilterOverrides,
    /// `decorator.operation`: the span's name; None also where `decorator.propagate` is false.
    pub decorator: Option<HeaderValue>,
    /// `stat_prefix`; may be empty.
    pub stat_prefix: Arc<str>,
    /// `metadata`.
    pub metadata: DynamicMetadata,
    /// Where it came from.
    pub provenance: Provenance,
}

/// `RouteMatch`. All parts must hold.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RouteMatch {
    /// The path specifier.
    pub path: PathMatcher,
    /// `case_sensitive` for prefix, path and path_separated_prefix.
    pub case_insensitive: bool,
    /// `headers`.
    pub headers: Vec<HeaderMatcher>,
    /// `query_parameters`.
    pub query_parameters: Vec<QueryParameterMatcher>,
    /// `cookies`.
    pub cookies: Vec<CookieMatcher>,
    /// `grpc`: only requests with gRPC's content-type.
    pub grpc: bool,
    /// `runtime_fraction.default_value`.
    pub runtime_fraction: Option<Fraction>,
    /// `tls_context`.
    pub tls_context: Option<TlsContextMatch>,
    /// `filter_state` has matchers: nothing here sets filter state, so the route never matches.
    pub filter_state: bool,
    /// `dynamic_metadata`.
    pub dynamic_metadata: Vec<MetadataMatcher>,
}

/// `RouteMatch.TlsContextMatchOptions`, about the peer's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsContextMatch {
    /// `presented`; None: either.
    pub presented: Option<bool>,
    /// `validated`; None: either.
    pub validated: Option<bool>,
}

impl TlsContextMatch {
    /// Whether it holds for the peer of a connection.
    pub fn holds(self, connection: &ConnectionInfo) -> bool {
        let tls = connection.tls.as_deref();
        let presented = tls.is_some_and(|tls| tls.peer.is_some());
        let validated = presented && tls.is_some_and(|tls| tls.peer_validated);
        self.presented.is_none_or(|wanted| wanted == presented)
            && self.validated.is_none_or(|wanted| wanted == validated)
    }
}

/// The path specifier of a [`RouteMatch`]; matched against the path without query and fragment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PathMatcher {
    /// `prefix`.
    Prefix(Box<str>),
    /// `path`: the whole path.
    Path(Box<str>),
    /// `path_separated_prefix`: the prefix, then the end or `/`.
    PathSeparatedPrefix(Box<str>),
    /// `safe_regex`: the whole path.
    Regex(Regex),
    /// `path_match_policy`: a path template.
    Template(PathTemplate),
    /// `connect_matcher`: CONNECT requests.
    Connect,
}

impl Default for PathMatcher {
    fn default() -> Self {
        Self::Prefix("/".into())
    }
}

/// What a matched route does.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum RouteAction {
    /// `route`.
    Forward(Box<Forward>),
    /// `redirect`.
    Redirect(Box<Redirect>),
    /// `direct_response`.
    DirectResponse(DirectResponse),
    /// `non_forwarding_action`: the server in this process answers (gRFC A36).
    #[default]
    NonForwarding,
}

/// `RouteAction` (named after what it does; the proto's name is taken by the oneof).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Forward {
    /// The cluster specifier.
    pub cluster: ClusterSpecifier,
    /// `weighted_clusters.header_name`: a header whose number is used instead of the stream's random number.
    pub weighted_header: Option<HeaderName>,
    /// `weighted_clusters.use_hash_policy`: the hash of `hash_policy` is used instead of the stream's random number.
    pub weighted_by_hash: bool,
    /// `cluster_not_found_response_code`; default 503.
    pub cluster_not_found_response_code: StatusCode,
    /// `prefix_rewrite`, `regex_rewrite`, `path_rewrite_policy` or `path_rewrite`.
    pub path_rewrite: Option<PathRewrite>,
    /// `host_rewrite_literal`, `auto_host_rewrite`, `host_rewrite_header`, `host_rewrite_path_regex` or `host_rewrite`.
    pub host_rewrite: Option<HostRewrite>,
    /// `append_x_forwarded_host`.
    pub append_x_forwarded_host: bool,
    /// `timeout`; zero: none. Envoy's default is 15 s.
    pub timeout: Duration,
    /// `idle_timeout`: overrides the connection manager's stream_idle_timeout; zero disables.
    pub idle_timeout: Option<Duration>,
    /// `max_stream_duration`.
    pub max_stream_duration: Option<MaxStreamDuration>,
    /// `max_grpc_timeout` (deprecated; istiod emits it): None: grpc-timeout is not used; zero: without cap.
    pub max_grpc_timeout: Option<Duration>,
    /// `grpc_timeout_offset` (deprecated).
    pub grpc_timeout_offset: Option<Duration>,
    /// `hedge_policy.hedge_on_per_try_timeout`: a per-try timeout makes another attempt beside the one that it is over
    /// for; the first good answer is taken. None: there is no hedge policy.
    pub hedge_on_per_try_timeout: Option<bool>,
    /// `retry_policy`.
    pub retry_policy: Option<Arc<RetryPolicy>>,
    /// `priority`.
    pub priority: RoutingPriority,
    /// `upgrade_configs`: upgrade type (lower case) to enabled; None: the connection manager's.
    pub upgrades: Vec<(Box<str>, bool)>,
    /// `rate_limits`: what a local rate limit makes of requests.
    pub rate_limits: Vec<RateLimit>,
    /// `include_vh_rate_limits`: the virtual host's too.
    pub include_vh_rate_limits: bool,
    /// `metadata_match` of the route, and of each entry of its weighted clusters over it.
    pub metadata_match: MetadataMatch,
    /// `hash_policy`, in order: what ring hash and maglev choose by.
    pub hash_policies: Box<[HashPolicy]>,
    /// `request_mirror_policies`.
    pub mirrors: Vec<MirrorPolicy>,
    /// `internal_redirect_policy`; None: redirects go to the client.
    pub internal_redirects: Option<InternalRedirectPolicy>,
}

impl Forward {
    /// Forwards to the cluster, everything else as Envoy's defaults.
    pub fn to(cluster: ClusterSpecifier) -> Self {
        Self {
            cluster,
            weighted_header: None,
            weighted_by_hash: false,
            cluster_not_found_response_code: StatusCode::SERVICE_UNAVAILABLE,
            path_rewrite: None,
            host_rewrite: None,
            append_x_forwarded_host: false,
            timeout: Duration::from_secs(15),
            idle_timeout: None,
            max_stream_duration: None,
            max_grpc_timeout: None,
            grpc_timeout_offset: None,
            hedge_on_per_try_timeout: None,
            retry_policy: None,
            priority: RoutingPriority::Default,
            upgrades: Vec::new(),
            rate_limits: Vec::new(),
            include_vh_rate_limits: false,
            metadata_match: MetadataMatch::default(),
            hash_policies: Box::default(),
            mirrors: Vec::new(),
            internal_redirects: None,
        }
    }
}

/// `metadata_match`, `filter_metadata["envoy.lb"]`: which subset of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetadataMatch {
    /// The route's.
    pub route: Criteria,
    /// By place in `weighted_clusters`, merged over the route's; empty if no entry has its own.
    pub weighted: Vec<Criteria>,
}

impl MetadataMatch {
    /// The criteria for the cluster that was drawn: by place in `weighted_clusters`.
    pub fn of(&self, weighted: Option<u32>) -> &Criteria {
        let of_entry = weighted.and_then(|at| self.weighted.get(at as usize));
        of_entry.unwrap_or(&self.route)
    }
}

/// `RouteAction.MaxStreamDuration`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxStreamDuration {
    /// `max_stream_duration`; zero: none.
    pub max_stream_duration: Option<Duration>,
    /// `grpc_timeout_header_max`; zero: without cap.
    pub grpc_timeout_header_max: Option<Duration>,
    /// `grpc_timeout_header_offset`.
    pub grpc_timeout_header_offset: Option<Duration>,
}

/// `RoutingPriority`: which of a cluster's circuit breakers counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoutingPriority {
    /// `DEFAULT`.
    #[default]
    Default,
    /// `HIGH`.
    High,
}

/// Where a route forwards to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClusterSpecifier {
    /// `cluster`.
    Cluster(Arc<str>),
    /// `weighted_clusters`; the sum of weights is 1..=2^32-1.
    Weighted(Vec<WeightedCluster>),
    /// `cluster_header`: the header names the cluster.
    ClusterHeader(MatchedHeader),
}

/// `WeightedCluster.ClusterWeight`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WeightedCluster {
    /// `name`; empty with `cluster_header`.
    pub name: Arc<str>,
    /// `cluster_header`: the header names the cluster.
    pub cluster_header: Option<MatchedHeader>,
    /// `weight`.
    pub weight: u32,
    /// Header operations of this level.
    pub headers: HeaderOperations,
    /// `host_rewrite_literal`.
    pub host_rewrite_literal: Option<HeaderValue>,
    /// Per-filter configuration of this level.
    pub filter_overrides: FilterOverrides,
}

impl WeightedCluster {
    /// A weight without header operations.
    pub fn new(name: Arc<str>, weight: u32) -> Self {
        Self {
            name,
            cluster_header: None,
            weight,
            headers: HeaderOperations::default(),
            host_rewrite_literal: None,
            filter_overrides: Vec::new(),
        }
    }
}

/// How the path is rewritten.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PathRewrite {
    /// `prefix_rewrite`: the matched part is replaced.
    Prefix(Box<str>),
    /// `path_redirect` (redirects only): the whole path.
    Full(Box<str>),
    /// `regex_rewrite`, or `path_rewrite_policy`'s template: RE2 global replace on the path without query (`\1` names a
    /// group).
    Regex {
        /// `pattern.regex`.
        pattern: Regex,
        /// `substitution`.
        substitution: Box<str>,
    },
    /// `path_rewrite`: the path without query, with substitution operators.
    Format(HeaderFormat),
}

/// How the host is rewritten.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HostRewrite {
    /// `host_rewrite_literal`.
    Literal(HeaderValue),
    /// `auto_host_rewrite`: the endpoint's hostname.
    Auto,
    /// `host_rewrite_header`.
    Header(MatchedHeader),
    /// `host_rewrite_path_regex`: RE2 global replace on the path without query.
    PathRegex {
        /// `pattern.regex`.
        pattern: Regex,
        /// `substitution`.
        substitution: Box<str>,
    },
    /// `host_rewrite`: with substitution operators.
    Format(HeaderFormat),
}

/// `RedirectAction`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Redirect {
    /// `https_redirect` (as `https`) or `scheme_redirect`.
    pub scheme: Option<Box<str>>,
    /// `host_redirect`.
    pub host: Option<Box<str>>,
    /// `port_redirect`.
    pub port: Option<u16>,
    /// `path_redirect`, `prefix_rewrite`, `regex_rewrite` or `path_rewrite`.
    pub path: Option<PathRewrite>,
    /// `response_code`; default 301.
    pub response_code: StatusCode,
    /// `strip_query`.
    pub strip_query: bool,
}

/// `DirectResponseAction`.
#[derive(Clone, Debug)]
pub struct DirectResponse {
    /// `status`.
    pub status: StatusCode,
    /// `body`.
    pub body: Bytes,
    /// `body_format`: makes the body, from `body` as `%LOCAL_REPLY_BODY%`.
    pub body_format: Option<Box<SubstitutionFormat>>,
}

/// `typed_per_filter_config` of one level: filter name to its override.
pub type FilterOverrides = Vec<(Arc<str>, FilterOverride)>;
