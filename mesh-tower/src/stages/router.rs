//! The router: a reply, or a cluster with the policies of its route.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, request};
use mesh_core::{
    head::RequestHead,
    listener::HttpChain,
    local_reply::LocalReply,
    model::{Forward, RouteAction},
    retry::RetryState,
    route::{CompiledRoute, FormatContext, RouteIndex, cluster_not_found},
    timeout::{GrpcTimeoutHeader, Timeouts, format_grpc_timeout},
};

use super::{Step, head::no_route};
use crate::{
    clock::Moment,
    entropy::ThreadEntropy,
    head_copy::HeadCopy,
    numbers::number,
    stream::{Position, Retry, Stream},
};

pub(super) const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
pub(super) const IS_TIMEOUT_RETRY: HeaderName = HeaderName::from_static("x-envoy-is-timeout-retry");
const ALTERNATIVE_STATS: HeaderName = HeaderName::from_static("x-envoy-upstream-alt-stat-name");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const HEDGE: HeaderName = HeaderName::from_static("x-envoy-hedge-on-per-try-timeout");

/// Headers that tell the router something and go no further; the first only if it was read.
const CONSUMED: [HeaderName; 10] = [
    HeaderName::from_static("x-envoy-upstream-rq-timeout-ms"),
    HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms"),
    HeaderName::from_static("x-envoy-upstream-rq-timeout-alt-response"),
    HeaderName::from_static("x-envoy-retry-on"),
    HeaderName::from_static("x-envoy-retry-grpc-on"),
    HeaderName::from_static("x-envoy-max-retries"),
    HeaderName::from_static("x-envoy-retriable-status-codes"),
    HeaderName::from_static("x-envoy-retriable-header-names"),
    HEDGE,
    HeaderName::from_static("x-envoy-upstream-stream-duration-ms"),
];

/// What a request's own headers say, besides timeouts.
#[derive(Default)]
struct Asked {
    /// `x-envoy-expected-rq-timeout-ms` was read instead of `x-envoy-upstream-rq-timeout-ms`.
    respects_expected: bool,
    /// `x-envoy-upstream-stream-duration-ms`, even 0: the cluster's has no say.
    says_duration: bool,
    /// `x-envoy-upstream-alt-stat-name`.
    alternative_stats: Option<HeaderValue>,
}

impl Stream {
    /// After the filters: what the route says.
    pub(super) fn decide_route(&mut self, parts: &mut request::Parts, now: Moment) -> Step {
        let Some(chain) = self.seen.chain.clone() else {
            return Step::Reply(no_route("route_not_found"));
        };
        chain.stats().rq_total.inc();
        let Some(table) = chain.routes() else {
            chain.stats().no_route.inc();
            self.keep_for_filters(parts, &chain);
            return Step::Reply(no_route("route_configuration_not_found"));
        };
        let Some((at, route)) = self.route.and_then(|at| Some((at, table.route(at)?))) else {
            chain.stats().no_route.inc();
            self.keep_for_filters(parts, &chain);
            return Step::Reply(no_route("route_not_found"));
        };
        self.limits.routed = Some(now);
        match route.forward() {
            Some(forward) => match self.forward(parts, now, &chain, at, route, forward) {
                Ok(()) => {
                    self.position = Position::Attempt;
                    Step::Attempt
                }
                Err(reply) => Step::Reply(reply),
            },
            None => self.answer(parts, &chain, at, route),
        }
    }

    /// A route that does not forward.
    fn answer(
        &mut self,
        parts: &mut request::Parts,
        chain: &HttpChain,
        at: RouteIndex,
        route: &CompiledRoute,
    ) -> Step {
        let counter = match &route.config().action {
            RouteAction::Redirect(_) => &chain.stats().rq_redirect,
            RouteAction::DirectResponse(_) => &chain.stats().rq_direct_response,
            _ => {
                // The application answers, if it is here (gRFC A36).
                if self.application.is_none() {
                    return Step::Reply(no_route("non_forwarding_action"));
                }
                return match self.finalize(parts, chain, at, route) {
                    Ok(()) => {
                        self.position = Position::Attempt;
                        Step::Attempt
                    }
                    Err(reply) => Step::Reply(reply),
                };
            }
        };
        counter.inc();
        let reply = {
            let mut cx = self.format_context();
            cx.head = RequestHead::of(parts);
            route.reply(&self.view(parts), &cx)
        };
        // A path that no URI can hold is seen as it came.
        let _ = route.rewrite_redirected(parts, self.suppresses_envoy_headers());
        self.keep(parts, route);
        Step::Reply(reply.map_or_else(|| no_route("route_not_found"), Box::new))
    }

    /// A route that forwards, in Envoy's order: cluster, timeouts, attempt count, header operations, retry state.
    fn forward(
        &mut self,
        parts: &mut request::Parts,
        now: Moment,
        chain: &HttpChain,
        at: RouteIndex,
        route: &CompiledRoute,
        forward: &Forward,
    ) -> Result<(), Box<LocalReply>> {
        if self.application.is_none() {
            let cluster = self.selected.and_then(|s| self.snapshot.cluster(s.cluster));
            let Some(cluster) = cluster else {
                chain.stats().no_cluster.inc();
                self.keep(parts, route);
                return Err(Box::new(cluster_not_found(
                    forward.cluster_not_found_response_code,
                )));
            };
            let dropped = cluster.drops(chain.manager().suppress_envoy_headers, &mut ThreadEntropy);
            self.seen.cluster = Some(Arc::clone(cluster));
            if let Some(reply) = dropped {
                self.keep(parts, route);
                return Err(reply);
            }
        }
        let policy = route.retry_policy();
        // Most requests ask for nothing of their own: then nobody looks for what.
        let asked = match route.fixed_timeouts().filter(|_| !self.asks) {
            Some(timeouts) => {
                self.limits.of_fixed(timeouts);
                Asked::default()
            }
            None => self.read_timeouts(parts, chain, route, forward),
        };
        self.limits.hedges = match self.asks {
            true => asks_to_hedge(&parts.headers).unwrap_or(route.hedges()),
            false => route.hedges(),
        };
        if let Some(cluster) = &self.seen.cluster
            && let Some(duration) = cluster.config().http.max_stream_duration
            && !asked.says_duration
        {
            self.limits.of_cluster(duration);
        }
        self.write_timeout_headers(parts, now, Some(forward));
        if route.counts_attempts_in_request() {
            parts.headers.insert(ATTEMPT_COUNT, number(1));
        }
        self.finalize(parts, chain, at, route)?;
        if asked.alternative_stats.is_some() {
            self.kept.get_or_insert_default().alternative_stats = asked.alternative_stats;
        }
        // Header operations may ask too.
        let asks = self.asks || route.changes_request_headers();
        let policy = policy.map(|p| &**p);
        // The application is not called twice.
        let retry = match (&self.application, asks) {
            (Some(_), _) => None,
            (None, _) if self.limits.hedges => RetryState::hedging(policy, &RequestHead::of(parts)),
            (None, true) => RetryState::new(policy, &RequestHead::of(parts)),
            (None, false) => RetryState::configured(policy, &RequestHead::of(parts)),
        };
        let retry = retry.map(|state| state.with_wall_clock(SystemTime::now));
        if asks {
            for name in &CONSUMED[usize::from(asked.respects_expected)..] {
                parts.headers.remove(name);
            }
        }
        self.mirrored = self.has_mirrors(route);
        if forward.internal_redirects.is_some() && self.application.is_none() {
            self.kept.get_or_insert_default().sent_head = Some(HeadCopy::of(parts));
        }
        self.retry = retry.map(|state| Retry {
            state,
            head: HeadCopy::of(parts),
            permit: None,
            after_timeout: false,
            previous: None,
        });
        Ok(())
    }

    /// The timeouts where the request has a say.
    #[inline(never)]
    fn read_timeouts(
        &mut self,
        parts: &mut request::Parts,
        chain: &HttpChain,
        route: &CompiledRoute,
        forward: &Forward,
    ) -> Asked {
        let policy = route.retry_policy();
        let (per_try, per_try_idle) = policy.map_or_else(Default::default, |policy| {
            (policy.per_try_timeout, policy.per_try_idle_timeout)
        });
        let head = RequestHead::of(parts);
        let timeouts = Timeouts::of(forward, chain.manager(), per_try, per_try_idle, &head);
        self.limits.of_route(&timeouts);
        match timeouts.grpc_timeout {
            GrpcTimeoutHeader::Set(timeout) => {
                if let Ok(value) = HeaderValue::try_from(format_grpc_timeout(timeout)) {
                    parts.headers.insert(GRPC_TIMEOUT, value);
                }
            }
            GrpcTimeoutHeader::Remove => {
                parts.headers.remove(GRPC_TIMEOUT);
            }
            _ => {}
        }
        Asked {
            respects_expected: timeouts.respects_expected,
            says_duration: timeouts.upstream_duration.is_some(),
            alternative_stats: match self.asks {
                true => parts.headers.remove(ALTERNATIVE_STATS),
                false => None,
            },
        }
    }

    /// Header operations and rewrites, once for all attempts.
    fn finalize(
        &mut self,
        parts: &mut request::Parts,
        chain: &HttpChain,
        at: RouteIndex,
        route: &CompiledRoute,
    ) -> Result<(), Box<LocalReply>> {
        if route.changes_request()
            && let Some(table) = chain.routes()
        {
            let mut cx = FormatContext::without_request(self.connection.info());
            cx.upstream_cluster = self.seen.cluster.as_ref().map(|c| &*c.config().name);
            cx.protocol = Some(self.downstream_version);
            self.name_route(&mut cx);
            cx.attempts = 1;
            let suppress = chain.manager().suppress_envoy_headers;
            table.finalize_request(at, self.selected.as_ref(), parts, &cx, suppress)?;
        }
        self.keep(parts, route);
        Ok(())
    }

    /// Keeps what the response's filters will read of a request that a filter answers.
    pub(super) fn keep_for_filters(&mut self, parts: &request::Parts, chain: &HttpChain) {
        let route = self.route.and_then(|at| chain.routes()?.route(at));
        match route {
            Some(route) => self.keep(parts, route),
            None => {
                if chain.filters().response_reads_request(None) || self.maps_replies() {
                    self.kept.get_or_insert_default().head = Some(head_of(parts));
                }
            }
        }
    }

    /// Keeps what the response's stages will read of the request; nothing with most configurations.
    fn keep(&mut self, parts: &request::Parts, route: &CompiledRoute) {
        if route.response_reads_request() || self.maps_replies() {
            self.kept.get_or_insert_default().head = Some(head_of(parts));
        }
        if self.always_answers_id() {
            self.keep_request_id(&parts.headers);
        }
    }

    /// Keeps what `local_reply_config` may read of a request that is answered here.
    #[inline]
    pub(crate) fn keep_for_mapper(&mut self, parts: &request::Parts) {
        if self.maps_replies() {
            self.kept.get_or_insert_default().head = Some(head_of(parts));
        }
    }

    /// Whether the connection manager maps replies, by what it reads of the request.
    pub(super) fn maps_replies(&self) -> bool {
        let chain = self.seen.chain.as_ref();
        chain.is_some_and(|chain| chain.manager().local_reply.is_some())
    }

    /// `always_set_request_id_in_response`.
    pub(super) fn always_answers_id(&self) -> bool {
        let chain = self.seen.chain.as_ref();
        chain.is_some_and(|chain| chain.manager().always_set_request_id_in_response)
    }

    pub(super) fn keep_request_id(&mut self, headers: &HeaderMap) {
        if let Some(id) = headers.get(REQUEST_ID) {
            self.kept.get_or_insert_default().request_id = Some(id.clone());
        }
    }

    /// `x-envoy-expected-rq-timeout-ms`, and `grpc-timeout` where the route rewrites it (Envoy `setTimeoutHeaders`).
    pub(super) fn write_timeout_headers(
        &self,
        parts: &mut request::Parts,
        now: Moment,
        forward: Option<&Forward>,
    ) {
        let Some(expected) = self.limits.expected(now) else {
            return;
        };
        if !self.suppresses_envoy_headers() {
            parts.headers.insert(EXPECTED_TIMEOUT, number(expected));
        }
        let rewrites = forward
            .is_some_and(|f| f.max_grpc_timeout.is_some() && f.max_stream_duration.is_none());
        if rewrites
            && self.seen.grpc
            && let Ok(value) =
                HeaderValue::try_from(format_grpc_timeout(Duration::from_millis(expected)))
        {
            parts.headers.insert(GRPC_TIMEOUT, value);
        }
    }

    /// The forwarding action of the route, if it has one.
    pub(super) fn forward_action(&self) -> Option<&Forward> {
        self.table()?.route(self.route?)?.forward()
    }
}

/// `x-envoy-hedge-on-per-try-timeout`; any other word than these says nothing.
fn asks_to_hedge(headers: &HeaderMap) -> Option<bool> {
    match headers.get(HEDGE)?.as_bytes() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

pub(super) fn head_of(parts: &request::Parts) -> (Method, Uri, HeaderMap) {
    (
        parts.method.clone(),
        parts.uri.clone(),
        parts.headers.clone(),
    )
}

/// The status of a route timeout whose request asked for an alternative response.
pub(super) const ALTERNATIVE: StatusCode = StatusCode::NO_CONTENT;
