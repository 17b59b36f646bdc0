//! HTTP filters and their chain.
//!
//! Filters are synchronous, pure and shared by all streams; what one needs to remember of a stream is one word in its
//! slot. The chain belongs to the connection manager and runs with or without a route, over local replies too.

mod chain;
mod cors;
mod fault;
#[cfg(test)]
mod tests;

pub use chain::{ChainVerdict, FilterChain, FilterStates, RouteFilters};
pub use cors::CorsPolicy;
pub use fault::{FaultAbort, FaultConfig};

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, StatusCode, request};

use crate::{
    Entropy, flags::ResponseFlags, head::ConnectionInfo, local_reply::LocalReply, model::Fraction,
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

    /// Whether [`Self::on_data`] is called at all; false spares every chunk of every body the call.
    fn wants_data(&self) -> bool {
        false
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

/// Whether a request falls into a fraction. Draws only where the answer is open; unset: never.
fn holds(fraction: Option<Fraction>, entropy: &mut dyn Entropy) -> bool {
    match fraction {
        None => false,
        Some(fraction) if fraction.numerator == 0 => false,
        Some(fraction) if fraction.numerator >= fraction.denominator => true,
        Some(fraction) => fraction.holds(entropy.next_u64()),
    }
}
