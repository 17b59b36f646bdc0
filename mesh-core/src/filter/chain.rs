//! The chain of filters of a connection manager, and what of it belongs to a stream.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode};

use super::{
    CorsPolicy, FaultConfig, FilterContext, FilterKind, FilterOverride, FilterVerdict, HttpFilter,
    HttpFilterConfig, cors, fault,
};
use crate::{local_reply::LocalReply, model::FilterOverrides, stats::ManagerStats};

/// The chain of one connection manager, compiled: only filters that can do something are in it.
#[derive(Clone, Debug, Default)]
pub struct FilterChain {
    filters: Arc<[Filter]>,
    stats: Arc<ManagerStats>,
}

#[derive(Debug)]
struct Filter {
    name: Arc<str>,
    kind: Kind,
    disabled: bool,
}

/// Our own filters are told apart by a match instead of a call through a table.
#[derive(Debug)]
enum Kind {
    Fault(Arc<FaultConfig>),
    Cors,
    Custom(Arc<dyn HttpFilter>),
}

/// Per-route configuration merged by position in the chain (most specific level wins).
#[derive(Clone, Debug, Default)]
pub struct RouteFilters {
    /// Empty if no filter has any.
    overrides: Box<[Option<FilterOverride>]>,
}

impl RouteFilters {
    fn of(&self, at: usize) -> Option<&FilterOverride> {
        self.overrides.get(at)?.as_ref()
    }

    /// Whether the route says nothing about any filter of the chain.
    pub fn is_empty(&self) -> bool {
        self.overrides.is_empty()
    }
}

/// How many filters have their word without an allocation.
const INLINE: usize = 4;

/// A stream's words, one per filter. The first four filters need no allocation.
#[derive(Debug, Default)]
pub struct FilterStates {
    slots: [u64; INLINE],
    more: Option<Box<MoreStates>>,
}

/// What few streams need: every stream carries only the place.
#[derive(Debug, Default)]
struct MoreStates {
    slots: Vec<u64>,
    /// The allowed `origin` of a CORS request, for its response.
    origin: Option<HeaderValue>,
}

impl FilterStates {
    fn origin(&self) -> Option<&HeaderValue> {
        self.more.as_ref()?.origin.as_ref()
    }

    fn slot(&mut self, at: usize) -> &mut u64 {
        if at < INLINE {
            return &mut self.slots[at];
        }
        let at = at - INLINE;
        let more = &mut self.more.get_or_insert_default().slots;
        if more.len() <= at {
            more.resize(at + 1, 0);
        }
        &mut more[at]
    }
}

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
    /// Compiles the chain of a connection manager, with statistics of its own.
    pub fn compile(filters: &[HttpFilterConfig]) -> Self {
        Self::with_stats(filters, Arc::default())
    }

    /// Compiles the chain of a connection manager; its filters count in `stats`.
    pub fn with_stats(filters: &[HttpFilterConfig], stats: Arc<ManagerStats>) -> Self {
        let compile = |config: &HttpFilterConfig| {
            let kind = match &config.kind {
                // grpc_stats writes statistics by method only if told to, which nobody is yet.
                FilterKind::Router | FilterKind::GrpcStats | FilterKind::Ignored(_) => return None,
                FilterKind::Fault(fault) => Kind::Fault(Arc::clone(fault)),
                FilterKind::Cors => Kind::Cors,
                FilterKind::Custom(filter) => Kind::Custom(Arc::clone(filter)),
            };
            Some(Filter {
                name: Arc::clone(&config.name),
                kind,
                disabled: config.disabled,
            })
        };
        Self {
            filters: filters.iter().filter_map(compile).collect(),
            stats,
        }
    }

    /// Whether no filter is there that could do anything.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Merges per-route configuration by position in the chain. `levels`: from the most to the least specific
    /// (weighted cluster, route, virtual host, route configuration); the first that names a filter wins. CORS policies
    /// are merged field by field, as Envoy does.
    pub fn merge(&self, levels: &[&FilterOverrides]) -> RouteFilters {
        let overrides: Box<[_]> = self
            .filters
            .iter()
            .map(|filter| {
                let mut named = levels.iter().flat_map(|level| {
                    level
                        .iter()
                        .filter(|(name, _)| *name == filter.name)
                        .map(|(_, config)| config)
                });
                match named.next()? {
                    FilterOverride::Cors(policy) => {
                        let general = named.filter_map(|config| match config {
                            FilterOverride::Cors(policy) => Some(&**policy),
                            _ => None,
                        });
                        Some(FilterOverride::Cors(CorsPolicy::merge(policy, general)))
                    }
                    config => Some(config.clone()),
                }
            })
            .collect();
        if overrides.iter().all(Option::is_none) {
            return RouteFilters::default();
        }
        RouteFilters { overrides }
    }

    /// The filters that run for a route, from `start`, with the route's configuration of each.
    fn enabled<'a>(
        &'a self,
        start: usize,
        route: Option<&'a RouteFilters>,
    ) -> impl DoubleEndedIterator<Item = (usize, &'a Filter, Option<&'a FilterOverride>)> {
        let filters = self.filters.get(start..).unwrap_or_default();
        filters.iter().enumerate().filter_map(move |(at, filter)| {
            let at = at + start;
            match route.and_then(|route| route.of(at)) {
                Some(FilterOverride::Disabled) => None,
                None if filter.disabled => None,
                config => Some((at, filter, config)),
            }
        })
    }

    /// Runs the request hooks in order. `route`: the matched route's configuration.
    pub fn on_request_head(
        &self,
        states: &mut FilterStates,
        route: Option<&RouteFilters>,
        cx: &mut FilterContext<'_>,
    ) -> ChainVerdict {
        self.on_request_head_from(0, states, route, cx)
    }

    fn on_request_head_from(
        &self,
        start: usize,
        states: &mut FilterStates,
        route: Option<&RouteFilters>,
        cx: &mut FilterContext<'_>,
    ) -> ChainVerdict {
        for (at, filter, config) in self.enabled(start, route) {
            let verdict = match (&filter.kind, config) {
                (Kind::Fault(_), Some(FilterOverride::Fault(fault))) | (Kind::Fault(fault), _) => {
                    fault::on_request_head(fault, &self.stats.fault, cx, states.slot(at))
                }
                (Kind::Cors, Some(FilterOverride::Cors(policy))) => {
                    let mut origin = None;
                    let verdict = cors::on_request_head(policy, &self.stats.cors, cx, &mut origin);
                    if origin.is_some() {
                        states.more.get_or_insert_default().origin = origin;
                    }
                    verdict
                }
                (Kind::Cors, _) => FilterVerdict::Continue,
                (Kind::Custom(filter), _) => filter.on_request_head(cx, config, states.slot(at)),
            };
            match verdict {
                FilterVerdict::Continue => {}
                FilterVerdict::Delay(duration) => return ChainVerdict::Delay { at, duration },
                FilterVerdict::Reply(reply) => return ChainVerdict::Reply(reply),
            }
        }
        ChainVerdict::Continue
    }

    /// Goes on with filter `at` after its delay.
    pub fn on_delay_over(
        &self,
        at: usize,
        states: &mut FilterStates,
        route: Option<&RouteFilters>,
        cx: &mut FilterContext<'_>,
    ) -> ChainVerdict {
        let config = route.and_then(|route| route.of(at));
        let verdict = match (self.filters.get(at).map(|filter| &filter.kind), config) {
            (Some(Kind::Fault(_)), Some(FilterOverride::Fault(fault)))
            | (Some(Kind::Fault(fault)), _) => {
                fault::on_delay_over(fault, &self.stats.fault, cx, states.slot(at))
            }
            (Some(Kind::Custom(filter)), _) => filter.on_delay_over(cx, config, states.slot(at)),
            (Some(Kind::Cors) | None, _) => FilterVerdict::Continue,
        };
        match verdict {
            FilterVerdict::Continue => self.on_request_head_from(at + 1, states, route, cx),
            FilterVerdict::Delay(duration) => ChainVerdict::Delay { at, duration },
            FilterVerdict::Reply(reply) => ChainVerdict::Reply(reply),
        }
    }

    /// Runs the response hooks in reverse order.
    pub fn on_response_head(
        &self,
        states: &mut FilterStates,
        route: Option<&RouteFilters>,
        status: StatusCode,
        headers: &mut HeaderMap,
    ) {
        for (at, filter, config) in self.enabled(0, route).rev() {
            match (&filter.kind, config) {
                (Kind::Cors, Some(FilterOverride::Cors(policy))) => {
                    cors::on_response_head(policy, states.origin(), headers);
                }
                (Kind::Custom(filter), _) => {
                    filter.on_response_head(status, headers, config, states.slot(at));
                }
                (Kind::Cors | Kind::Fault(_), _) => {}
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

    /// Whether any filter wants [`HttpFilter::on_data`].
    pub fn wants_data(&self) -> bool {
        self.custom().any(|(_, filter)| filter.wants_data())
    }

    /// A chunk of a body passed.
    pub fn on_data(&self, states: &mut FilterStates, data: &[u8], response: bool) {
        for (at, filter) in self.custom().filter(|(_, filter)| filter.wants_data()) {
            filter.on_data(data, response, states.slot(at));
        }
    }

    /// Runs the trailer hooks in reverse order.
    pub fn on_response_trailers(&self, states: &mut FilterStates, trailers: &mut HeaderMap) {
        for (at, filter) in self.custom().rev() {
            filter.on_response_trailers(trailers, states.slot(at));
        }
    }

    /// Ends the stream's states.
    pub fn on_complete(&self, states: &mut FilterStates) {
        for (at, filter) in self.filters.iter().enumerate() {
            match &filter.kind {
                Kind::Fault(_) => fault::on_complete(&self.stats.fault, states.slot(at)),
                Kind::Cors => {}
                Kind::Custom(filter) => filter.on_complete(states.slot(at)),
            }
        }
    }
}
