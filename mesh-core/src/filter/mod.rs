//! HTTP filters and their chain.
//!
//! Filters are synchronous, pure and shared by all streams; what one needs to remember of a stream is one word in its
//! slot. The chain belongs to the connection manager and runs with or without a route, over local replies too.

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, StatusCode, request};

use crate::{
    Entropy,
    flags::ResponseFlags,
    head::ConnectionInfo,
    local_reply::LocalReply,
    matcher::{HeaderMatcher, StringMatcher},
    model::{FilterOverrides, Fraction},
};

/// `HttpFilter` of a connection manager.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpFilterConfig {
    /// `name`: what per-route configuration refers to.
    pub name: Arc<str>,
    /// What it does.
    pub kind: FilterKind,
    /// `disabled`: off unless a route turns it on.
    pub disabled: bool,
}

impl HttpFilterConfig {
    /// An enabled filter.
    pub fn new(name: impl Into<Arc<str>>, kind: FilterKind) -> Self {
        Self {
            name: name.into(),
            kind,
            disabled: false,
        }
    }
}

/// The filters that we know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FilterKind {
    /// `envoy.filters.http.router`, always last.
    Router,
    /// `envoy.filters.http.fault`.
    Fault(Arc<FaultConfig>),
    /// `envoy.filters.http.cors`: its policy comes from routes and virtual hosts.
    Cors,
    /// `envoy.filters.http.grpc_stats`.
    GrpcStats,
    /// Known, without effect on answers, headers or standard metrics; the type URL.
    Ignored(Arc<str>),
    /// The application's own.
    Custom(Arc<dyn HttpFilter>),
}

/// Per-route configuration of one filter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FilterOverride {
    /// Replaces the fault filter's configuration.
    Fault(Arc<FaultConfig>),
    /// The CORS policy.
    Cors(Arc<CorsPolicy>),
    /// `FilterConfig.disabled`.
    Disabled,
}

/// `envoy.extensions.filters.http.fault.v3.HTTPFault`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FaultConfig {
    /// `delay.fixed_delay`.
    pub delay: Option<Duration>,
    /// `delay.percentage`.
    pub delay_fraction: Option<Fraction>,
    /// `delay.header_delay`.
    pub header_delay: bool,
    /// `abort`.
    pub abort: Option<FaultAbort>,
    /// `abort.percentage`.
    pub abort_fraction: Option<Fraction>,
    /// `upstream_cluster`: only for routes to it; empty: all.
    pub upstream_cluster: Box<str>,
    /// `headers`: only requests that match all.
    pub headers: Vec<HeaderMatcher>,
    /// `downstream_nodes`; empty: all.
    pub downstream_nodes: Vec<Box<str>>,
    /// `max_active_faults`.
    pub max_active_faults: Option<u32>,
}

/// `FaultAbort.error_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultAbort {
    /// `http_status`.
    Http(StatusCode),
    /// `grpc_status`.
    Grpc(u32),
    /// `header_abort`.
    Header,
}

/// `envoy.extensions.filters.http.cors.v3.CorsPolicy`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CorsPolicy {
    /// `allow_origin_string_match`.
    pub allow_origins: Vec<StringMatcher>,
    /// `allow_methods`.
    pub allow_methods: Option<HeaderValue>,
    /// `allow_headers`.
    pub allow_headers: Option<HeaderValue>,
    /// `expose_headers`.
    pub expose_headers: Option<HeaderValue>,
    /// `max_age`.
    pub max_age: Option<HeaderValue>,
    /// `allow_credentials`.
    pub allow_credentials: Option<bool>,
    /// `filter_enabled`; unset: always.
    pub filter_enabled: Option<Fraction>,
    /// `forward_not_matching_preflights`; default true.
    pub forward_not_matching_preflights: Option<bool>,
}

/// What a filter does next with a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum FilterVerdict {
    /// On to the next filter.
    Continue,
    /// Hold the request this long, then ask [`HttpFilter::on_delay_over`].
    Delay(Duration),
    /// Answer here.
    Reply(Box<LocalReply>),
}

/// What a filter sees.
#[allow(missing_debug_implementations)]
pub struct FilterContext<'a> {
    /// The request's head; absolute URI.
    pub parts: &'a mut request::Parts,
    /// The matched route's cluster name, if it forwards.
    pub cluster: Option<&'a str>,
    /// The downstream connection.
    pub connection: &'a ConnectionInfo,
    /// The stream's flags.
    pub flags: &'a mut ResponseFlags,
    /// Chance.
    pub entropy: &'a mut dyn Entropy,
    /// Now.
    pub now: Instant,
    /// Scratch memory for matching.
    pub scratch: &'a mut crate::regex::Scratch,
}

/// An HTTP filter. All hooks have a default that does nothing.
pub trait HttpFilter: Debug + Send + Sync {
    /// The request's head came. `config`: the route's own configuration, if it has one.
    fn on_request_head(
        &self,
        cx: &mut FilterContext<'_>,
        config: Option<&FilterOverride>,
        slot: &mut u64,
    ) -> FilterVerdict {
        let _ = (cx, config, slot);
        FilterVerdict::Continue
    }

    /// The delay asked for is over.
    fn on_delay_over(
        &self,
        cx: &mut FilterContext<'_>,
        config: Option<&FilterOverride>,
        slot: &mut u64,
    ) -> FilterVerdict {
        let _ = (cx, config, slot);
        FilterVerdict::Continue
    }

    /// The response's head, from upstream or local, on its way down.
    fn on_response_head(
        &self,
        status: StatusCode,
        headers: &mut HeaderMap,
        config: Option<&FilterOverride>,
        slot: &mut u64,
    ) {
        let _ = (status, headers, config, slot);
    }

    /// A chunk of the request's or the response's body passed.
    fn on_data(&self, data: &[u8], response: bool, slot: &mut u64) {
        let _ = (data, response, slot);
    }

    /// The response's trailers.
    fn on_response_trailers(&self, trailers: &mut HeaderMap, slot: &mut u64) {
        let _ = (trailers, slot);
    }

    /// The stream is over, however it ended; called exactly once.
    fn on_complete(&self, slot: &mut u64) {
        let _ = slot;
    }
}

/// The chain of one connection manager, compiled.
#[derive(Clone, Debug, Default)]
pub struct FilterChain {}

/// Per-route configuration merged by position in the chain (most specific level wins).
#[derive(Clone, Debug, Default)]
pub struct RouteFilters {}

/// A stream's words, one per filter. The first eight filters need no allocation.
#[derive(Debug, Default)]
pub struct FilterStates {}

/// What the chain wants.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChainVerdict {
    /// All filters passed.
    Continue,
    /// Wait, then call [`FilterChain::on_delay_over`] with `at`.
    Delay {
        /// Which filter.
        at: usize,
        /// How long.
        duration: Duration,
    },
    /// A filter answered.
    Reply(Box<LocalReply>),
}

impl FilterChain {
    /// Compiles the chain of a connection manager.
    pub fn compile(filters: &[HttpFilterConfig]) -> Self {
        let _ = filters;
        todo!()
    }

    /// Merges per-route configuration by position in the chain. `levels`: from the most to the least specific
    /// (weighted cluster, route, virtual host, route configuration); the first that names a filter wins.
    pub fn merge(&self, levels: &[&FilterOverrides]) -> RouteFilters {
        let _ = levels;
        todo!()
    }

    /// Runs the request hooks in order. `route`: the matched route's configuration.
    pub fn on_request_head(
        &self,
        states: &mut FilterStates,
        route: Option<&RouteFilters>,
        cx: &mut FilterContext<'_>,
    ) -> ChainVerdict {
        let _ = (states, route, cx);
        todo!()
    }

    /// Goes on with filter `at` after its delay.
    pub fn on_delay_over(
        &self,
        at: usize,
        states: &mut FilterStates,
        route: Option<&RouteFilters>,
        cx: &mut FilterContext<'_>,
    ) -> ChainVerdict {
        let _ = (at, states, route, cx);
        todo!()
    }

    /// Runs the response hooks in reverse order.
    pub fn on_response_head(
        &self,
        states: &mut FilterStates,
        route: Option<&RouteFilters>,
        status: StatusCode,
        headers: &mut HeaderMap,
    ) {
        let _ = (states, route, status, headers);
        todo!()
    }

    /// Whether any filter wants [`HttpFilter::on_data`].
    pub fn wants_data(&self) -> bool {
        todo!()
    }

    /// A chunk of a body passed.
    pub fn on_data(&self, states: &mut FilterStates, data: &[u8], response: bool) {
        let _ = (states, data, response);
        todo!()
    }

    /// Runs the trailer hooks in reverse order.
    pub fn on_response_trailers(&self, states: &mut FilterStates, trailers: &mut HeaderMap) {
        let _ = (states, trailers);
        todo!()
    }

    /// Ends the stream's states.
    pub fn on_complete(&self, states: &mut FilterStates) {
        let _ = states;
        todo!()
    }
}
