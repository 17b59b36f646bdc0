//! HTTP filters and their chain.
//!
//! Filters are synchronous, pure and shared by all streams; what one needs to remember of a stream is one word in its
//! slot. The chain belongs to the connection manager and runs with or without a route, over local replies too.

mod body;
mod buffer;
mod chain;
mod context;
mod cors;
mod csrf;
mod fault;
mod header_mutation;
mod http_filter;
mod jwt_authn;
mod local_rate_limit;
mod query;
mod rbac;
mod route;
mod states;
mod surroundings;
#[cfg(test)]
mod tests;

pub use body::RequestBodyFilters;
pub use buffer::{BufferConfig, BufferOverride};
pub use chain::{ChainVerdict, FilterChain, Resume};
pub use context::{FilterContext, ResponseContext};
pub use cors::CorsPolicy;
pub use csrf::CsrfPolicy;
pub use fault::{FaultAbort, FaultConfig};
pub use header_mutation::{
    HeaderMutation, HeaderMutationConfig, HeaderMutationOverride, Mutations, QueryMutation,
};
pub use http_filter::{FilterVerdict, HttpFilter};
pub use jwt_authn::{
    JwtAuthnConfig, JwtAuthnOverride, Provider as JwtProvider, Requirement as JwtRequirement,
    Rule as JwtRule, RuleRequirement as JwtRuleRequirement, UnknownName,
};
pub use local_rate_limit::{LocalRateLimit, VirtualHostRateLimits};
pub(crate) use query::Query;
pub use rbac::RbacConfig;
pub use route::RouteFilters;
pub use states::FilterStates;
pub use surroundings::FilterSurroundings;

use std::{fmt::Debug, sync::Arc};

use crate::{Entropy, model::Fraction};

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
    /// `envoy.filters.http.buffer`.
    Buffer(BufferConfig),
    /// `envoy.filters.http.cors`: its policy comes from routes and virtual hosts.
    Cors,
    /// `envoy.filters.http.csrf`.
    Csrf(Arc<CsrfPolicy>),
    /// `envoy.filters.http.fault`.
    Fault(Arc<FaultConfig>),
    /// `envoy.filters.http.grpc_stats`.
    GrpcStats,
    /// `envoy.filters.http.header_mutation`.
    HeaderMutation(Arc<HeaderMutationConfig>),
    /// `envoy.filters.http.jwt_authn`.
    JwtAuthn(Arc<JwtAuthnConfig>),
    /// `envoy.filters.http.local_ratelimit`.
    LocalRateLimit(Arc<LocalRateLimit>),
    /// `envoy.filters.http.rbac`.
    Rbac(Arc<RbacConfig>),
    /// Known, without effect on answers, headers or standard metrics; the type URL.
    Ignored(Arc<str>),
    /// The application's own.
    Custom(Arc<dyn HttpFilter>),
}

/// Per-route configuration of one filter. Any but [`Self::Disabled`] turns on a filter that the connection manager has
/// disabled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FilterOverride {
    /// Of the buffer filter.
    Buffer(BufferOverride),
    /// The CORS policy; what it does not say comes from more general levels.
    Cors(Arc<CorsPolicy>),
    /// Replaces the CSRF policy.
    Csrf(Arc<CsrfPolicy>),
    /// Replaces the fault filter's configuration.
    Fault(Arc<FaultConfig>),
    /// Header mutations, besides those of the filter and of other levels.
    HeaderMutation(HeaderMutationOverride),
    /// Which requirement of the JWT filter applies.
    JwtAuthn(JwtAuthnOverride),
    /// Replaces the local rate limit, with buckets of its own.
    LocalRateLimit(Arc<LocalRateLimit>),
    /// `RBACPerRoute`: replaces the RBAC filter's configuration; without any, nothing is enforced.
    Rbac(Arc<RbacConfig>),
    /// `FilterConfig.disabled`.
    Disabled,
    /// `FilterConfig` with an empty configuration, or an optional one that is not known: on, as the filter says.
    Enabled,
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
