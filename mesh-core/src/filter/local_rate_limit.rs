//! The local rate limit (Envoy `source/extensions/filters/http/local_ratelimit/local_ratelimit.cc`).

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{FilterContext, FilterStates, FilterSurroundings, FilterVerdict, holds};
use crate::{
    flags::ResponseFlag,
    head::RequestHead,
    local_reply::LocalReply,
    model::{
        AppendAction, ClusterSpecifier, Fraction, HeaderAddition, HeaderMutations, Route,
        RouteAction,
    },
    rate_limit::{Descriptor, DescriptorContext, Limited, Limiter, RateLimit, TokenBucket},
    regex::Scratch,
    route::HeaderFormat,
    stats::{Counter, UnscopedStats},
};

/// `envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`, with its buckets: they live as long as the
/// resource that they came in.
#[derive(Debug)]
#[non_exhaustive]
pub struct LocalRateLimit {
    /// `stat_prefix`.
    pub stat_prefix: Box<str>,
    /// `filter_enabled`; unset: never.
    pub enabled: Option<Fraction>,
    /// `filter_enforced`, of those for which the filter is enabled; unset: never.
    pub enforced: Option<Fraction>,
    /// `status`; default 429.
    pub status: StatusCode,
    /// `response_headers_to_add`, of answers that the filter gives.
    pub response_headers: HeaderMutations,
    /// `request_headers_to_add_when_not_enforced`.
    pub request_headers: HeaderMutations,
    /// `stage`: which of a route's `rate_limits` are read.
    pub stage: u32,
    /// `rate_limits`: read instead of the route's.
    pub rate_limits: Vec<RateLimit>,
    /// `vh_rate_limits`.
    pub virtual_host: VirtualHostRateLimits,
    /// `local_rate_limit_per_downstream_connection`.
    pub per_connection: bool,
    /// `enable_x_ratelimit_headers`: `x-ratelimit-limit`, `-remaining` and `-reset` of all responses.
    pub answers_headers: bool,
    /// `enable_retry_after_header`.
    pub answers_retry_after: bool,
    /// `rate_limited_as_resource_exhausted`: gRPC status 8 instead of 14.
    pub resource_exhausted: bool,
    limiter: Arc<Limiter>,
    counters: OnceLock<Counters>,
}

/// `VhRateLimitsOptions`: when the virtual host's `rate_limits` are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VirtualHostRateLimits {
    /// Where the route has none.
    #[default]
    Override,
    /// Besides the route's.
    Include,
    /// Never.
    Ignore,
}

/// `PREFIX.http_local_rate_limit.…`
#[derive(Debug)]
struct Counters {
    enabled: Arc<Counter>,
    enforced: Arc<Counter>,
    ok: Arc<Counter>,
    rate_limited: Arc<Counter>,
    shadow_mode: Arc<Counter>,
}

impl LocalRateLimit {
    /// Never enabled, with these buckets.
    pub fn new(stat_prefix: &str, limiter: Limiter) -> Self {
        Self {
            stat_prefix: stat_prefix.into(),
            enabled: None,
            enforced: None,
            status: StatusCode::TOO_MANY_REQUESTS,
            response_headers: HeaderMutations::default(),
            request_headers: HeaderMutations::default(),
            stage: 0,
            rate_limits: Vec::new(),
            virtual_host: VirtualHostRateLimits::Override,
            per_connection: false,
            answers_headers: false,
            answers_retry_after: false,
            resource_exhausted: false,
            limiter: Arc::new(limiter),
            counters: OnceLock::new(),
        }
    }

    /// Finds the counters; takes a lock, so only for when configuration arrives.
    pub(super) fn resolve(&self, stats: &UnscopedStats) {
        self.counters.get_or_init(|| {
            let prefix = &self.stat_prefix;
            let counter = |name| stats.counter(&format!("{prefix}.http_local_rate_limit.{name}"));
            Counters {
                enabled: counter("enabled"),
                enforced: counter("enforced"),
                ok: counter("ok"),
                rate_limited: counter("rate_limited"),
                shadow_mode: counter("shadow_mode"),
            }
        });
    }

    fn count(&self, counter: impl FnOnce(&Counters) -> &Counter) {
        if let Some(counters) = self.counters.get() {
            counter(counters).inc();
        }
    }

    /// Whether an answer's headers are computed from the request.
    pub(super) fn response_reads_request(&self) -> bool {
        let mut added = self.response_headers.add.iter();
        added.any(|addition| addition.value.reads_request())
    }

    fn reads_descriptors(&self) -> bool {
        !self.limiter.config().descriptors.is_empty()
    }

    fn check(&self, service_cluster: &str, cx: &mut FilterContext<'_>) -> Limited {
        let (connection, now) = (cx.connection, cx.now);
        // The first limiter of a connection stays the connection's.
        let limiter = match self.per_connection && !connection.in_process {
            true => connection
                .rate_limiter
                .get_or_init(|| Arc::new(Limiter::new(self.limiter.config().clone()))),
            false => &self.limiter,
        };
        match self.reads_descriptors() {
            true => limiter.check(&self.descriptors(service_cluster, cx), now),
            false => limiter.check(&[], now),
        }
    }

    fn descriptors<'a>(
        &'a self,
        service_cluster: &'a str,
        cx: &'a mut FilterContext<'_>,
    ) -> Vec<Descriptor<'a>> {
        let what = DescriptorContext {
            head: RequestHead::of(cx.parts),
            remote: cx.client.or(cx.connection.peer.map(|peer| peer.ip())),
            cluster: cx.cluster.or_else(|| named_cluster(cx.route?)),
            service_cluster,
            metadata: cx.metadata.as_deref(),
            route: cx.route.map(|route| &route.metadata),
        };
        let mut found = Vec::new();
        if !self.rate_limits.is_empty() {
            collect(self.rate_limits.iter(), &what, cx.scratch, &mut found);
            return found;
        }
        let Some(RouteAction::Forward(forward)) = cx.route.map(|route| &route.action) else {
            return found;
        };
        let of_stage = |limits: &'a [RateLimit]| {
            limits
                .iter()
                .filter(|limit| limit.stage == self.stage && !limit.disabled)
        };
        collect(
            of_stage(&forward.rate_limits),
            &what,
            cx.scratch,
            &mut found,
        );
        let with_host = match self.virtual_host {
            _ if forward.include_vh_rate_limits => true,
            VirtualHostRateLimits::Include => true,
            VirtualHostRateLimits::Ignore => false,
            VirtualHostRateLimits::Override => forward.rate_limits.is_empty(),
        };
        if with_host {
            collect(of_stage(cx.host_rate_limits), &what, cx.scratch, &mut found);
        }
        found
    }

    /// The answer to a request that is limited.
    fn refusal(&self, retry_after: Option<u64>) -> LocalReply {
        let text = "local_rate_limited";
        let mut reply = LocalReply::answer(self.status, text, text);
        reply.flag = Some(ResponseFlag::RateLimited);
        reply.grpc_status = self.resource_exhausted.then_some(8);
        if !self.response_headers.is_empty() {
            reply.additions.push(self.response_headers.clone());
        }
        if let Some(seconds) = retry_after
            && let Ok(value) = HeaderFormat::parse(seconds.to_string().as_bytes())
        {
            let mut addition = HeaderMutations::default();
            addition.add.push(HeaderAddition::new(
                http::header::RETRY_AFTER,
                value,
                AppendAction::AddIfAbsent,
            ));
            reply.additions.push(addition);
        }
        reply
    }
}

fn collect<'a>(
    limits: impl Iterator<Item = &'a RateLimit>,
    what: &DescriptorContext<'a>,
    scratch: &mut Scratch,
    found: &mut Vec<Descriptor<'a>>,
) {
    found.extend(limits.filter_map(|limit| limit.descriptor(what, scratch)));
}

/// What a route calls its cluster, though there may be none of that name.
fn named_cluster(route: &Route) -> Option<&str> {
    match &route.action {
        RouteAction::Forward(forward) => match &forward.cluster {
            ClusterSpecifier::Cluster(name) => Some(name),
            _ => Some(""),
        },
        _ => None,
    }
}

pub(super) fn on_request_head(
    config: &LocalRateLimit,
    surroundings: &FilterSurroundings,
    at: usize,
    states: &mut FilterStates,
    cx: &mut FilterContext<'_>,
) -> FilterVerdict {
    if !holds(config.enabled, cx.entropy) {
        return FilterVerdict::Continue;
    }
    config.count(|counters| &counters.enabled);
    let limited = config.check(&surroundings.service_cluster, cx);
    if let Some(bucket) = &limited.bucket
        && limited.answers_headers.unwrap_or(config.answers_headers)
    {
        states.more().buckets.push((at, Arc::clone(bucket)));
    }
    if limited.allowed {
        config.count(|counters| &counters.ok);
        return FilterVerdict::Continue;
    }
    config.count(|counters| &counters.rate_limited);
    if limited.shadow {
        config.count(|counters| &counters.shadow_mode);
        return FilterVerdict::Continue;
    }
    if !holds(config.enforced, cx.entropy) {
        cx.add_headers(&config.request_headers);
        return FilterVerdict::Continue;
    }
    config.count(|counters| &counters.enforced);
    let retry_after = limited
        .bucket
        .filter(|_| config.answers_retry_after && config.status == StatusCode::TOO_MANY_REQUESTS)
        .map(|bucket| bucket.reset_seconds(cx.now).max(1));
    FilterVerdict::Reply(Box::new(config.refusal(retry_after)))
}

/// Tells the client of the bucket that its request took from.
pub(super) fn on_response_head(
    bucket: &TokenBucket,
    headers: &mut HeaderMap,
    now: std::time::Instant,
) {
    let values = [
        ("x-ratelimit-limit", bucket.max_tokens()),
        ("x-ratelimit-remaining", bucket.remaining(now)),
        ("x-ratelimit-reset", bucket.reset_seconds(now)),
    ];
    for (name, value) in values {
        headers.append(HeaderName::from_static(name), HeaderValue::from(value));
    }
}
