//! The chain of filters of a connection manager, and what of it belongs to a stream.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;

use super::{
    BufferConfig, CsrfPolicy, FaultConfig, FilterContext, FilterKind, FilterOverride, FilterStates,
    FilterSurroundings, FilterVerdict, HeaderMutationConfig, HttpFilter, HttpFilterConfig,
    JwtAuthnConfig, LocalRateLimit, RequestBodyFilters, ResponseContext, RouteFilters,
    body::BodyFilter,
    buffer, cors, csrf, fault,
    header_mutation::{self, HeaderMutationOverride},
    jwt_authn, local_rate_limit,
    rbac::{self, RbacFilter},
};
use crate::{local_reply::LocalReply, model::FilterOverrides, route::FormatContext};

/// The chain of one connection manager, compiled: only filters that can do something are in it.
#[derive(Clone, Debug, Default)]
pub struct FilterChain {
    filters: Arc<[Filter]>,
    surroundings: FilterSurroundings,
    formats: bool,
    wants_response_data: bool,
    /// Somebody may read what RBAC filters write down.
    metadata_is_read: bool,
}

#[derive(Debug)]
pub(super) struct Filter {
    pub(super) name: Arc<str>,
    pub(super) kind: Kind,
    disabled: bool,
}

/// Our own filters are told apart by a match instead of a call through a table.
#[derive(Debug)]
pub(super) enum Kind {
    Buffer(BufferConfig),
    Cors,
    Csrf(Arc<CsrfPolicy>),
    Fault(Arc<FaultConfig>),
    HeaderMutation(Arc<HeaderMutationConfig>),
    JwtAuthn(Arc<JwtAuthnConfig>),
    LocalRateLimit(Arc<LocalRateLimit>, FilterSurroundings),
    Rbac(RbacFilter),
    Custom(Arc<dyn HttpFilter>),
}

impl Kind {
    /// None: nothing to do for any request.
    fn of(kind: &FilterKind, surroundings: &FilterSurroundings) -> Option<Self> {
        Some(match kind {
            // The decoder has said that gRPC statistics are not written yet.
            FilterKind::Router | FilterKind::GrpcStats | FilterKind::Ignored(_) => return None,
            FilterKind::Buffer(buffer) => Self::Buffer(*buffer),
            FilterKind::Cors => Self::Cors,
            FilterKind::Csrf(policy) => Self::Csrf(Arc::clone(policy)),
            FilterKind::Fault(fault) => Self::Fault(Arc::clone(fault)),
            FilterKind::HeaderMutation(config) => Self::HeaderMutation(Arc::clone(config)),
            FilterKind::JwtAuthn(config) => Self::JwtAuthn(Arc::clone(config)),
            FilterKind::LocalRateLimit(limit) => {
                limit.resolve(&surroundings.unscoped);
                Self::LocalRateLimit(Arc::clone(limit), surroundings.clone())
            }
            FilterKind::Rbac(config) => Self::Rbac(RbacFilter::new(config, &surroundings.stats)),
            FilterKind::Custom(filter) => Self::Custom(Arc::clone(filter)),
        })
    }
}

/// What the chain wants.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChainVerdict {
    /// All filters passed.
    Continue,
    /// Wait, then [`FilterChain::resume`] with [`Resume::DelayOver`].
    Delay {
        /// Which filter.
        at: usize,
        /// How long.
        duration: Duration,
    },
    /// Read the request's body to its end, then [`FilterChain::resume`] with [`Resume::Buffered`]; or answer
    /// [`FilterChain::too_large`].
    Buffer {
        /// Which filter.
        at: usize,
        /// How many bytes it may have.
        max: u64,
    },
    /// Find the route again, then [`FilterChain::resume`] with [`Resume::RouteFound`].
    FindRoute {
        /// Which filter.
        at: usize,
    },
    /// A filter answered.
    Reply(Box<LocalReply>),
}

/// From where a chain goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resume {
    /// From the start.
    Start,
    /// With this filter, whose delay is over.
    DelayOver(usize),
    /// Behind this filter, which waited for the body of so many bytes.
    Buffered(usize, u64),
    /// Behind this filter, which cleared the route.
    RouteFound(usize),
}

impl FilterChain {
    /// Compiles the chain of a connection manager, with statistics of its own.
    pub fn compile(filters: &[HttpFilterConfig]) -> Self {
        Self::within(filters, FilterSurroundings::default())
    }

    /// Compiles the chain of a connection manager; its filters count in the statistics of `surroundings`.
    pub fn within(filters: &[HttpFilterConfig], surroundings: FilterSurroundings) -> Self {
        let compile = |config: &HttpFilterConfig| {
            Some(Filter {
                name: Arc::clone(&config.name),
                kind: Kind::of(&config.kind, &surroundings)?,
                disabled: config.disabled,
            })
        };
        let filters: Arc<[_]> = filters.iter().filter_map(compile).collect();
        let any = |f: fn(&Kind) -> bool| filters.iter().any(|filter| f(&filter.kind));
        Self {
            formats: any(|kind| matches!(kind, Kind::HeaderMutation(_))),
            wants_response_data: any(
                |kind| matches!(kind, Kind::Custom(filter) if filter.wants_response_data()),
            ),
            metadata_is_read: any(|kind| match kind {
                Kind::Custom(_) => true,
                Kind::Rbac(filter) => [&filter.config.rules, &filter.config.shadow_rules]
                    .into_iter()
                    .flatten()
                    .any(|rules| rules.reads_metadata(rbac::METADATA)),
                _ => false,
            }),
            filters,
            surroundings,
        }
    }

    /// The same chain, whose filters write down all that Envoy's do: for those whose access log or header formats read
    /// dynamic metadata. RBAC filters then allocate per request.
    pub fn with_metadata(mut self) -> Self {
        self.metadata_is_read = true;
        self
    }

    /// Merges per-route configuration by position in the chain. `levels`: from the most to the least specific
    /// (weighted cluster, route, virtual host, route configuration); the first that names a filter wins. CORS policies
    /// are merged field by field, header mutations one after the other, as Envoy does.
    pub fn merge(&self, levels: &[&FilterOverrides]) -> RouteFilters {
        RouteFilters::merge(&self.filters, levels)
    }

    /// Whether no filter is there that could do anything.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// The filters that run for a route, from `start`, with the route's configuration of each.
    fn enabled<'a>(
        &'a self,
        start: usize,
        route: Option<&'a RouteFilters>,
        fixed: Option<&'a [bool]>,
    ) -> impl DoubleEndedIterator<Item = (usize, &'a Filter, Option<&'a FilterOverride>)> {
        let filters = self.filters.get(start..).unwrap_or_default();
        filters.iter().enumerate().filter_map(move |(at, filter)| {
            let at = at + start;
            let fixed = fixed.and_then(|fixed| fixed.get(at).copied());
            let of_route = || route.and_then(|route| route.enabled(at));
            let enabled = fixed.or_else(of_route).unwrap_or(!filter.disabled);
            enabled.then(|| (at, filter, route.and_then(|route| route.config(at))))
        })
    }

    /// Runs the request hooks in order. `route`: the matched route's configuration.
    pub fn on_request_head(
        &self,
        states: &mut FilterStates,
        route: Option<&RouteFilters>,
        cx: &mut FilterContext<'_>,
    ) -> ChainVerdict {
        self.resume(Resume::Start, states, route, cx)
    }

    /// Runs the request hooks, on from where the chain stopped.
    pub fn resume(
        &self,
        from: Resume,
        states: &mut FilterStates,
        route: Option<&RouteFilters>,
        cx: &mut FilterContext<'_>,
    ) -> ChainVerdict {
        if self.filters.is_empty() {
            return ChainVerdict::Continue;
        }
        cx.metadata = states.rare_mut().and_then(|more| more.metadata.take());
        let verdict = self.run(from, states, route, cx);
        if let Some(metadata) = cx.metadata.take() {
            states.more().metadata = Some(metadata);
        }
        if let ChainVerdict::FindRoute { .. } = verdict
            && states.rare().is_none_or(|more| more.enabled.is_none())
        {
            let mut enabled: Box<[bool]> = self.filters.iter().map(|_| false).collect();
            for (at, _, _) in self.enabled(0, route, None) {
                enabled[at] = true;
            }
            states.more().enabled = Some(enabled);
        }
        verdict
    }

    fn run(
        &self,
        from: Resume,
        states: &mut FilterStates,
        route: Option<&RouteFilters>,
        cx: &mut FilterContext<'_>,
    ) -> ChainVerdict {
        let start = match from {
            Resume::Start => 0,
            Resume::DelayOver(at) => {
                let verdict = self.on_delay_over(at, states, route, cx);
                if let Some(verdict) = outcome(at, verdict, cx) {
                    return verdict;
                }
                at + 1
            }
            Resume::Buffered(at, length) => {
                buffer::on_buffered(cx, length);
                at + 1
            }
            Resume::RouteFound(at) => at + 1,
        };
        // Only a cleared route fixes which filters run; then the list is short-lived and rare.
        let fixed = states.rare().and_then(|more| more.enabled.clone());
        for (at, filter, config) in self.enabled(start, route, fixed.as_deref()) {
            let verdict = self.request_head(at, filter, config, states, cx);
            if let Some(verdict) = outcome(at, verdict, cx) {
                return verdict;
            }
        }
        ChainVerdict::Continue
    }

    fn request_head(
        &self,
        at: usize,
        filter: &Filter,
        config: Option<&FilterOverride>,
        states: &mut FilterStates,
        cx: &mut FilterContext<'_>,
    ) -> FilterVerdict {
        match (&filter.kind, config) {
            (Kind::Fault(_), Some(FilterOverride::Fault(fault))) | (Kind::Fault(fault), _) => {
                fault::on_request_head(fault, &self.surroundings.stats.fault, cx, states.slot(at))
            }
            (Kind::Cors, Some(FilterOverride::Cors(policy))) => {
                let mut origin = None;
                let slot = states.slot(at);
                let stats = &self.surroundings.stats.cors;
                let verdict = cors::on_request_head(policy, stats, cx, &mut origin, slot);
                if origin.is_some() {
                    states.more().origin = origin;
                }
                verdict
            }
            (Kind::Cors, _) => FilterVerdict::Continue,
            (Kind::Csrf(_), Some(FilterOverride::Csrf(policy))) | (Kind::Csrf(policy), _) => {
                csrf::on_request_head(policy, &self.surroundings.stats.csrf, cx)
            }
            (Kind::HeaderMutation(mutations), config) => {
                header_mutation::on_request_head(mutations, header_mutations(config), cx);
                FilterVerdict::Continue
            }
            (Kind::JwtAuthn(jwt), config) => {
                let route = match config {
                    Some(FilterOverride::JwtAuthn(route)) => Some(route),
                    _ => None,
                };
                jwt_authn::on_request_head(jwt, route, &self.surroundings.stats.jwt_authn, cx)
            }
            (
                Kind::LocalRateLimit(_, surroundings),
                Some(FilterOverride::LocalRateLimit(limit)),
            )
            | (Kind::LocalRateLimit(limit, surroundings), _) => {
                local_rate_limit::on_request_head(limit, surroundings, at, states, cx)
            }
            (Kind::Rbac(filter), config) => {
                let route = match config {
                    Some(FilterOverride::Rbac(route)) => Some(&**route),
                    _ => None,
                };
                rbac::on_request_head(filter, route, self.metadata_is_read, cx)
            }
            (Kind::Buffer(buffer), Some(FilterOverride::Buffer(over))) => {
                buffer::on_request_head(*buffer, Some(*over), cx)
            }
            (Kind::Buffer(buffer), _) => buffer::on_request_head(*buffer, None, cx),
            (Kind::Custom(filter), _) => filter.on_request_head(cx, config, states.slot(at)),
        }
    }

    fn on_delay_over(
        &self,
        at: usize,
        states: &mut FilterStates,
        route: Option<&RouteFilters>,
        cx: &mut FilterContext<'_>,
    ) -> FilterVerdict {
        let config = route.and_then(|route| route.config(at));
        match (self.filters.get(at).map(|filter| &filter.kind), config) {
            (Some(Kind::Fault(_)), Some(FilterOverride::Fault(fault)))
            | (Some(Kind::Fault(fault)), _) => {
                fault::on_delay_over(fault, &self.surroundings.stats.fault, cx, states.slot(at))
            }
            (Some(Kind::Custom(filter)), _) => filter.on_delay_over(cx, config, states.slot(at)),
            _ => FilterVerdict::Continue,
        }
    }

    /// The answer to a body that is longer than a filter keeps. `whole`: it was read to its end.
    pub fn too_large(whole: bool) -> LocalReply {
        buffer::too_large(whole)
    }

    /// What filters do to the request's body; None: nothing, as a rule. `format`: what formats of trailers read.
    pub fn request_body(
        &self,
        states: &mut FilterStates,
        route: Option<&RouteFilters>,
        format: &FormatContext<'_>,
    ) -> Option<RequestBodyFilters> {
        let fixed = states.rare().and_then(|more| more.enabled.clone());
        let mut filters = Vec::new();
        for (at, filter, config) in self.enabled(0, route, fixed.as_deref()) {
            match &filter.kind {
                Kind::Custom(filter) if filter.wants_request_body() => {
                    filters.push(BodyFilter::Custom(Arc::clone(filter), *states.slot(at)));
                }
                Kind::HeaderMutation(mutations) => {
                    let route = header_mutations(config);
                    if mutations.changes_request_trailers(route) {
                        filters.push(BodyFilter::Trailers(header_mutation::request_trailers(
                            mutations, route, format,
                        )));
                    }
                }
                _ => {}
            }
        }
        (!filters.is_empty()).then_some(RequestBodyFilters(filters))
    }

    /// Whether filters write header formats into responses: then [`ResponseContext::format`] must be there.
    pub fn formats(&self) -> bool {
        self.formats
    }

    /// Whether such a format reads the request's head, for a route.
    pub fn response_reads_request(&self, route: Option<&RouteFilters>) -> bool {
        self.enabled(0, route, None)
            .any(|(_, filter, config)| match &filter.kind {
                Kind::HeaderMutation(mutations) => {
                    mutations.response_reads_request(header_mutations(config))
                }
                Kind::LocalRateLimit(limit, _) => match config {
                    Some(FilterOverride::LocalRateLimit(limit)) => limit.response_reads_request(),
                    _ => limit.response_reads_request(),
                },
                _ => false,
            })
    }

    /// Runs the response hooks in reverse order.
    pub fn on_response_head(
        &self,
        states: &mut FilterStates,
        route: Option<&RouteFilters>,
        cx: &mut ResponseContext<'_>,
    ) {
        let fixed = states.rare().and_then(|more| more.enabled.clone());
        for (at, filter, config) in self.enabled(0, route, fixed.as_deref()).rev() {
            match (&filter.kind, config) {
                (Kind::Cors, Some(FilterOverride::Cors(policy))) => {
                    let slot = *states.slot(at);
                    let origin = states.rare().and_then(|more| more.origin.as_ref());
                    cors::on_response_head(policy, origin, slot, cx.headers);
                }
                (Kind::HeaderMutation(mutations), config) => {
                    let route = header_mutations(config);
                    header_mutation::on_response_head(mutations, route, cx);
                    let trailers = header_mutation::response_trailers(mutations, route, cx);
                    if !trailers.is_empty() {
                        states.more().trailers.extend(trailers);
                    }
                }
                (Kind::LocalRateLimit(..), _) => {
                    let buckets = states.rare().map(|more| &more.buckets);
                    let mut buckets = buckets.into_iter().flatten();
                    if let Some((_, bucket)) = buckets.find(|(of, _)| *of == at) {
                        local_rate_limit::on_response_head(bucket, cx.headers, cx.now);
                    }
                }
                (Kind::Custom(filter), _) => {
                    let status = cx.status;
                    filter.on_response_head(status, cx.headers, config, states.slot(at));
                }
                _ => {}
            }
        }
    }

    fn custom(&self) -> impl DoubleEndedIterator<Item = (usize, &Arc<dyn HttpFilter>)> {
        self.filters
            .iter()
            .enumerate()
            .filter_map(|(at, filter)| match &filter.kind {
                Kind::Custom(filter) => Some((at, filter)),
                _ => None,
            })
    }

    /// Whether any filter wants [`HttpFilter::on_response_data`].
    pub fn wants_response_data(&self) -> bool {
        self.wants_response_data
    }

    /// A chunk of an upstream's body passed.
    pub fn on_response_data(&self, states: &mut FilterStates, data: &[u8]) {
        for (at, filter) in self.custom().rev() {
            if filter.wants_response_data() {
                filter.on_response_data(data, states.slot(at));
            }
        }
    }

    /// Runs the trailer hooks in reverse order.
    pub fn on_response_trailers(&self, states: &mut FilterStates, trailers: &mut HeaderMap) {
        for (at, filter) in self.custom().rev() {
            filter.on_response_trailers(trailers, states.slot(at));
        }
        if let Some(more) = states.rare() {
            header_mutation::apply(&more.trailers, trailers);
        }
    }

    /// Ends the stream's states.
    pub fn on_complete(&self, states: &mut FilterStates) {
        for (at, filter) in self.filters.iter().enumerate() {
            match &filter.kind {
                Kind::Fault(_) => {
                    fault::on_complete(&self.surroundings.stats.fault, states.slot(at))
                }
                Kind::Custom(filter) => filter.on_complete(states.slot(at)),
                _ => {}
            }
        }
    }
}

/// What one filter's verdict means for the chain; None: on to the next filter.
fn outcome(at: usize, verdict: FilterVerdict, cx: &mut FilterContext<'_>) -> Option<ChainVerdict> {
    let cleared = std::mem::take(&mut cx.route_cleared);
    match verdict {
        FilterVerdict::Continue => cleared.then_some(ChainVerdict::FindRoute { at }),
        FilterVerdict::Delay(duration) => Some(ChainVerdict::Delay { at, duration }),
        FilterVerdict::Buffer(max) => Some(ChainVerdict::Buffer { at, max }),
        FilterVerdict::Reply(reply) => Some(ChainVerdict::Reply(reply)),
    }
}

fn header_mutations(config: Option<&FilterOverride>) -> Option<&HeaderMutationOverride> {
    match config {
        Some(FilterOverride::HeaderMutation(route)) => Some(route),
        _ => None,
    }
}
