//! Redirects of the upstream that are followed here: the request begins anew, with what it has so far.

use std::sync::Arc;

use http::{HeaderMap, StatusCode, request};
use mesh_core::{
    Entropy, downstream,
    filter::FilterStates,
    flags::ResponseFlags,
    local_reply::LocalReply,
    model::InternalRedirectPolicy,
    route::{CompiledRoute, FollowedRedirects, Found, NextRequest, NotFollowed},
};

use super::{
    Step,
    router::{ATTEMPT_COUNT, IS_TIMEOUT_RETRY},
    with_scratch,
};
use crate::{
    clock::Moment,
    entropy::ThreadEntropy,
    limits::Limits,
    numbers::number,
    stream::{LedTo, Position, Stream},
};

impl Stream {
    /// The policy of the route, where it has one.
    pub(crate) fn internal_redirects(&self) -> Option<&InternalRedirectPolicy> {
        self.forward_action()?.internal_redirects.as_ref()
    }

    /// Whether the response is a redirect that is followed; then the next request waits in `kept`.
    pub(super) fn follows(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        can_replay: bool,
    ) -> bool {
        let Some(sent) = self.kept.as_ref().and_then(|kept| kept.sent_head.as_ref()) else {
            return false;
        };
        if !self
            .internal_redirects()
            .is_some_and(|policy| policy.is_redirect(status))
        {
            return false;
        }
        let sent = sent.decode();
        self.limits.update(self.progress.as_deref());
        let is_complete = self.is_empty || self.limits.complete.is_some();
        let next = match sent.filter(|_| is_complete && can_replay) {
            Some(sent) => self.next_request(sent, status, headers),
            None => None,
        };
        let stats = self.seen.cluster.as_ref().map(|cluster| cluster.stats());
        if let Some(stats) = stats {
            match next.is_some() {
                true => stats.upstream_internal_redirect_succeeded_total.inc(),
                false => stats.upstream_internal_redirect_failed_total.inc(),
            }
        }
        let Some(next) = next else { return false };
        self.kept.get_or_insert_default().next = Some((next.parts, next.drops_body));
        true
    }

    fn next_request(
        &mut self,
        mut sent: request::Parts,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<NextRequest> {
        if self.attempts > 1 {
            self.write_retry_headers(&mut sent);
        }
        let mut followed = std::mem::take(&mut self.kept.get_or_insert_default().followed);
        let mut found = None;
        let next = self.checked_redirect(sent, status, headers, &mut followed, &mut found);
        let kept = self.kept.get_or_insert_default();
        (kept.followed, kept.led_to) = (followed, found);
        if let (Err(why), Some(chain)) = (&next, &self.seen.chain) {
            let stats = chain.stats();
            match why {
                NotFollowed::BadLocation => stats.passthrough_internal_redirect_bad_location.inc(),
                NotFollowed::UnsafeScheme => {
                    stats.passthrough_internal_redirect_unsafe_scheme.inc();
                }
                NotFollowed::TooMany => {
                    stats.passthrough_internal_redirect_too_many_redirects.inc();
                }
                NotFollowed::NoRoute => stats.passthrough_internal_redirect_no_route.inc(),
                _ => stats.passthrough_internal_redirect_predicate.inc(),
            }
        }
        next.ok()
    }

    fn checked_redirect(
        &self,
        sent: request::Parts,
        status: StatusCode,
        headers: &HeaderMap,
        followed: &mut FollowedRedirects,
        to: &mut Option<LedTo>,
    ) -> Result<NextRequest, NotFollowed> {
        let (Some(table), Some(at)) = (self.table(), self.route) else {
            return Err(NotFollowed::NoRoute);
        };
        let policy = self.internal_redirects().ok_or(NotFollowed::NoRoute)?;
        let info = self.connection.info();
        let next = policy.next_request(sent, status, headers, info, followed)?;
        let found = with_scratch(|scratch| table.find(&self.view(&next.parts), scratch));
        let route = |at| table.route(at);
        let name = |route: &CompiledRoute| Arc::clone(&route.config().name);
        let by_name = |name: &str| self.snapshot.cluster_by_name(name);
        let cluster = |route: &CompiledRoute| {
            let selected = route.select_cluster(&self.view(&next.parts), &by_name)?;
            self.snapshot.cluster(selected.cluster).cloned()
        };
        let target = match found {
            Found::Route(at) => route(at),
            _ => None,
        };
        let to = to.insert(LedTo {
            route_name: target.map(name).unwrap_or_default(),
            cluster: target.and_then(cluster),
        });
        if found == Found::NoRoute {
            return Err(NotFollowed::NoRoute);
        }
        let from = route(at).map(name).unwrap_or_default();
        policy.accepts(&next, &from, &to.route_name, followed)?;
        Ok(next)
    }

    /// What retries have said of themselves is in the head that is redirected.
    fn write_retry_headers(&self, parts: &mut request::Parts) {
        let host = self.table().and_then(|t| t.virtual_host(self.route?));
        if host.is_some_and(|host| host.include_request_attempt_count) {
            parts
                .headers
                .insert(ATTEMPT_COUNT, number(self.attempts.into()));
        }
        if host.is_some_and(|host| host.include_is_timeout_retry_header)
            && let Some(retry) = &self.retry
        {
            let after_timeout = match retry.after_timeout {
                true => http::HeaderValue::from_static("true"),
                false => http::HeaderValue::from_static("false"),
            };
            parts.headers.insert(IS_TIMEOUT_RETRY, after_timeout);
        }
    }

    /// Begins anew: the head of the next request, and whether it has no body. None cannot happen.
    pub(crate) fn begin_again(&mut self, now: Moment) -> Option<(request::Parts, bool)> {
        let (parts, drops_body) = self.kept.as_mut()?.next.take()?;
        self.is_empty |= drops_body;
        let caller = self.limits.caller();
        self.limits = Limits::new(caller);
        self.limits.begin(now, true);
        if let Some(chain) = self.seen.chain.clone() {
            if !chain.filters().is_empty() {
                chain.filters().on_complete(&mut self.seen.states);
            }
            self.seen.again(&chain, self.downstream_version, now);
            let manager = chain.manager();
            self.limits
                .of_manager(manager.max_stream_duration, manager.stream_idle_timeout);
        }
        self.seen.states = FilterStates::default();
        self.seen.flags = ResponseFlags::NONE;
        self.seen.cluster = None;
        self.seen.in_flight = None;
        self.random = ThreadEntropy.next_u64();
        self.route = None;
        self.selected = None;
        self.retry = None;
        self.pool_ready = None;
        self.until = None;
        self.outside = None;
        self.attempts = 0;
        self.sent = false;
        self.mirrored = false;
        self.asks = true;
        self.is_head = parts.method == http::Method::HEAD;
        if let Some(kept) = &mut self.kept {
            kept.head = None;
            kept.led_to = None;
            kept.connected = None;
            // As in Envoy, which does not look for the client again.
            kept.remote = None;
            kept.cookies.clear();
            kept.alternative_stats = None;
            kept.sent_head = None;
            kept.tee = None;
        }
        self.position = Position::Redirected;
        Some((parts, drops_body))
    }

    /// The connection manager's part of the second time.
    pub(super) fn redirected(&mut self, parts: &mut request::Parts) -> Result<(), Step> {
        let Some(chain) = &self.seen.chain else {
            return Ok(());
        };
        let checked = downstream::on_redirected(chain.manager(), parts, self.connection.info());
        checked.map_err(|reply: Box<LocalReply>| Step::Reply(reply))
    }
}
