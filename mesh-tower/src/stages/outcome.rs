//! How an attempt ended, and what follows: outlier detection, retry, or the answer.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use mesh_core::{
    cluster::InFlight,
    flags::ResponseFlag,
    local_reply::LocalReply,
    model::RetryPolicy,
    outcome::{Outcome, ResetReason},
    retry::RetryDecision,
    stats::ResponseOrigin,
};

use crate::{
    clock::Moment, entropy::ThreadEntropy, error::TransportError, limits::Expired, stream::Stream,
};

use super::router::ALTERNATIVE;

const HEALTH_CHECK_FAIL: HeaderName =
    HeaderName::from_static("x-envoy-immediate-health-check-fail");

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The answer is what the attempt gave.
    Deliver,
    /// Another attempt when the stream's wait is over.
    Retry,
    /// A redirect is followed: the stream begins anew ([`Stream::begin_again`]).
    Redirect,
    /// Nothing: another attempt may do better.
    Wait,
}

impl Stream {
    /// An attempt ended. `can_replay`: the request's body can be sent again.
    pub(crate) fn attempt_ended(
        &mut self,
        outcome: Outcome,
        headers: Option<&HeaderMap>,
        can_replay: bool,
        now: Moment,
    ) -> Decision {
        self.keep_connection();
        if let Some(ready) = self.pool_ready.take() {
            ready.recycle();
        }
        let by_caller = self.progress.as_ref().is_some_and(|p| p.failed());
        if by_caller {
            // The caller's own body broke the attempt off: nobody else's fault, and nothing to send again.
            return Decision::Deliver;
        }
        self.observe(outcome, now);
        if let Some(headers) = headers {
            self.hear_of_health(headers, now);
        }
        self.count_attempt(outcome);
        if !can_replay {
            self.abandon_retries();
        }
        let hedging = self.kept.as_mut().and_then(|kept| kept.hedging.take());
        let (decision, refused) = match hedging {
            Some(hedging) if hedging.retried => {
                (Decision::Deliver, self.would_retry(outcome, headers))
            }
            _ => self.retry_or_deliver(outcome, headers, now),
        };
        if let (Decision::Deliver, Outcome::Response { status, .. }, Some(headers)) =
            (decision, outcome, headers)
            && self.follows(status, headers, can_replay)
        {
            return Decision::Redirect;
        }
        let answer = self.status_of(outcome);
        if decision == Decision::Deliver && hedging.is_some_and(|hedging| hedging.others) {
            match outcome {
                Outcome::Response { .. } if refused => return Decision::Wait,
                Outcome::Reset(_) => {
                    self.count_answer(answer, false);
                    return Decision::Wait;
                }
                _ => {}
            }
        }
        match (decision, &self.seen.cluster) {
            (Decision::Deliver, _) if outcome == Outcome::MaxDuration => {}
            (Decision::Deliver, _) => self.count_answer(answer, headers.is_some_and(is_canary)),
            (Decision::Retry, Some(cluster)) if matches!(outcome, Outcome::Response { .. }) => {
                cluster.stats().responses.record_retried(answer);
            }
            _ => {}
        }
        decision
    }

    fn retry_or_deliver(
        &mut self,
        outcome: Outcome,
        headers: Option<&HeaderMap>,
        now: Moment,
    ) -> (Decision, bool) {
        match self.decide(outcome, headers) {
            None => (Decision::Deliver, false),
            Some(decision) => self.follow(decision, outcome == Outcome::PerTryTimeout, false, now),
        }
    }

    /// The per-try timeout of an attempt that goes on: whether another is made beside it.
    pub(crate) fn hedge(&mut self, can_replay: bool, now: Moment) -> bool {
        self.sent = true;
        self.observe(Outcome::PerTryTimeout, now);
        // Only how long an attempt may last at all holds for it any more.
        self.keep_connection();
        self.pool_ready = None;
        self.limits.per_try_over = true;
        if !can_replay {
            self.abandon_retries();
        }
        let Some(retry) = self.retry.as_mut() else {
            return false;
        };
        retry.permit = None;
        let decision = retry.state.hedge(&mut ThreadEntropy);
        let (decision, _) = self.follow(decision, true, true, now);
        decision == Decision::Retry
    }

    /// The route timeout ends an attempt beside the newest.
    pub(crate) fn count_route_timeout(&self) {
        self.seen.count_expired(Expired::Route);
        self.count_answer(self.status_of(Outcome::RouteTimeout), false);
    }

    /// Whether an attempt that was hedged would be retried otherwise.
    fn would_retry(&self, outcome: Outcome, headers: Option<&HeaderMap>) -> bool {
        let policy = self.retry_policy();
        let state = self.retry.as_ref().map(|retry| &retry.state);
        state.is_some_and(|state| state.would_retry(policy, outcome, headers, self.sent))
    }

    /// Does as was decided; and whether the retry that was due was refused. `beside`: the attempt goes on.
    fn follow(
        &mut self,
        decision: RetryDecision,
        after_timeout: bool,
        beside: bool,
        now: Moment,
    ) -> (Decision, bool) {
        let stats = self.seen.cluster.as_ref().map(|c| c.stats());
        match decision {
            RetryDecision::Retry { after, asked } => {
                let priority = self.priority();
                let permit = self
                    .seen
                    .cluster
                    .as_ref()
                    .and_then(|c| c.breaker(priority).retry());
                let Some(permit) = permit else {
                    if let Some(stats) = stats {
                        stats.upstream_rq_retry_overflow.inc();
                    }
                    self.seen.flags.set(ResponseFlag::UpstreamOverflow);
                    return (Decision::Deliver, true);
                };
                if let Some(stats) = stats {
                    stats.upstream_rq_retry.inc();
                    match asked {
                        true => stats.upstream_rq_retry_backoff_ratelimited.inc(),
                        false => stats.upstream_rq_retry_backoff_exponential.inc(),
                    }
                }
                let avoids = self
                    .retry_policy()
                    .is_some_and(|p| p.previous_hosts || p.previous_priorities.is_some());
                if let Some(retry) = &mut self.retry {
                    retry.permit = Some(permit);
                    retry.after_timeout = after_timeout;
                    if avoids && let Some(load) = &self.seen.in_flight {
                        let previous = retry.previous.get_or_insert_default();
                        previous.push(load.endpoint().clone());
                    }
                }
                if !beside {
                    self.seen.in_flight = None;
                    // The timers of the attempt that ended end with it.
                    self.limits.ready = None;
                }
                self.until = Some(now.after(after));
                (Decision::Retry, false)
            }
            RetryDecision::LimitExceeded => {
                if let Some(stats) = stats {
                    stats.upstream_rq_retry_limit_exceeded.inc();
                }
                self.seen
                    .flags
                    .set(ResponseFlag::UpstreamRetryLimitExceeded);
                (Decision::Deliver, true)
            }
            _ => {
                // Whatever came of it: nobody tries again.
                if self.attempts > 1
                    && let Some(stats) = stats
                {
                    stats.upstream_rq_retry_success.inc();
                }
                (Decision::Deliver, false)
            }
        }
    }

    /// The body outgrew the buffer: nobody tries again.
    #[cold]
    pub(crate) fn abandon_retries(&mut self) {
        let was_enabled = self.retry.take().is_some_and(|r| r.state.is_enabled());
        if let Some(cluster) = self.seen.cluster.as_ref().filter(|_| was_enabled) {
            cluster.stats().retry_or_shadow_abandoned.inc();
        }
    }

    fn decide(&mut self, outcome: Outcome, headers: Option<&HeaderMap>) -> Option<RetryDecision> {
        let retry = self.retry.as_mut()?;
        // The breaker's permit of the attempt that ended is free for the next.
        retry.permit = None;
        if matches!(outcome, Outcome::RouteTimeout) {
            return None;
        }
        let chain = self.seen.chain.as_ref();
        let route = chain.and_then(|chain| chain.routes()?.route(self.route?));
        let policy = route.and_then(|route| route.retry_policy());
        let (policy, entropy) = (policy.map(|p| &**p), &mut ThreadEntropy);
        let sent = self.sent;
        Some(retry.state.decide(policy, outcome, headers, sent, entropy))
    }

    pub(super) fn retry_policy(&self) -> Option<&RetryPolicy> {
        let route = self.table()?.route(self.route?)?;
        route.retry_policy().map(|p| &**p)
    }

    fn observe(&self, outcome: Outcome, now: Moment) {
        let (Some(cluster), Some(load)) = (&self.seen.cluster, &self.seen.in_flight) else {
            return;
        };
        if cluster.config().outlier_detection.is_none() {
            return;
        }
        let outcome = match outcome {
            Outcome::Reset(ResetReason::Overflow) => return,
            // A timeout while no connection was there says nothing of the endpoint.
            Outcome::RouteTimeout | Outcome::PerTryTimeout if self.limits.ready.is_none() => return,
            // It was told of the per-try timeout.
            Outcome::RouteTimeout if self.limits.per_try_over => return,
            Outcome::RouteTimeout | Outcome::PerTryTimeout if self.limits.alternative_response => {
                Outcome::AlternativeTimeout
            }
            outcome => outcome,
        };
        cluster.observe(load.endpoint(), outcome, now.instant(), &mut ThreadEntropy);
    }

    /// `x-envoy-immediate-health-check-fail`, of an endpoint that health checks ask.
    fn hear_of_health(&self, headers: &HeaderMap, now: Moment) {
        if let (Some(cluster), Some(load)) = (&self.seen.cluster, &self.seen.in_flight)
            && cluster.config().health_check.is_some()
            && headers.contains_key(HEALTH_CHECK_FAIL)
        {
            cluster.fail_immediately(load.endpoint(), now.instant());
        }
    }

    /// Counts why an attempt ended.
    fn count_attempt(&self, outcome: Outcome) {
        let Some(cluster) = &self.seen.cluster else {
            return;
        };
        let stats = cluster.stats();
        match outcome {
            Outcome::Reset(ResetReason::ProtocolError) => stats.upstream_cx_protocol_error.inc(),
            Outcome::Reset(ResetReason::RemoteReset) => stats.upstream_rq_rx_reset.inc(),
            _ => {}
        }
    }

    /// The status that an outcome counts as, if nobody tries again.
    fn status_of(&self, outcome: Outcome) -> StatusCode {
        match outcome {
            Outcome::Response { status, .. } => status,
            Outcome::RouteTimeout | Outcome::PerTryTimeout => {
                match self.limits.alternative_response {
                    true => ALTERNATIVE,
                    false => StatusCode::GATEWAY_TIMEOUT,
                }
            }
            Outcome::Reset(ResetReason::ProtocolError) => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Counts what the request is answered, where a cluster was to answer it (Envoy `chargeUpstreamCode`).
    pub(super) fn count_answer(&self, status: StatusCode, canary: bool) {
        let Some(cluster) = &self.seen.cluster else {
            return;
        };
        let responses = &cluster.stats().responses;
        let of_canary = |load: &InFlight| load.endpoint().is_canary();
        let origin = ResponseOrigin {
            internal: self.internal,
            canary: canary || self.seen.in_flight.as_ref().is_some_and(of_canary),
        };
        responses.record(status, origin);
        let named = self
            .kept
            .as_ref()
            .and_then(|k| k.alternative_stats.as_ref());
        if let Some(name) = named
            && let Ok(name) = name.to_str()
            && let Some(alternative) = responses.alternative(name)
        {
            alternative.record(status, origin);
        }
    }

    /// The reply to a limit.
    pub(crate) fn expired_reply(&self, expired: Expired) -> Box<LocalReply> {
        const TIMEOUT: StatusCode = StatusCode::GATEWAY_TIMEOUT;
        let ut = Some(ResponseFlag::UpstreamRequestTimeout);
        let request_is_complete = self.is_empty || self.limits.complete.is_some();
        // Before the request is complete the caller is the slow one.
        let by_caller = match request_is_complete {
            true => TIMEOUT,
            false => StatusCode::REQUEST_TIMEOUT,
        };
        let reply = match expired {
            Expired::Caller => return caller_deadline(),
            Expired::Route | Expired::PerTry | Expired::PerTryIdle
                if self.limits.alternative_response =>
            {
                let mut reply = LocalReply::answer(ALTERNATIVE, "", "response_timeout");
                reply.flag = ut;
                reply
            }
            Expired::Route => {
                LocalReply::failure(TIMEOUT, "upstream request timeout", ut, "response_timeout")
            }
            Expired::PerTry => {
                let details = "upstream_per_try_timeout";
                LocalReply::failure(TIMEOUT, "upstream request timeout", ut, details)
            }
            Expired::PerTryIdle => {
                let details = "upstream_per_try_idle_timeout";
                LocalReply::failure(TIMEOUT, "upstream request timeout", ut, details)
            }
            Expired::Duration => {
                let flag = Some(ResponseFlag::DurationTimeout);
                let details = "max_duration_timeout";
                let mut reply =
                    LocalReply::failure(by_caller, "downstream duration timeout", flag, details);
                reply.grpc_status = Some(4);
                reply
            }
            Expired::Attempt => {
                let flag = Some(ResponseFlag::UpstreamMaxStreamDurationReached);
                let details = "upstream_max_stream_duration_reached";
                let body = "upstream max stream duration reached";
                LocalReply::failure(by_caller, body, flag, details)
            }
            Expired::Idle => {
                let flag = Some(ResponseFlag::StreamIdleTimeout);
                LocalReply::failure(by_caller, "stream timeout", flag, "stream_idle_timeout")
            }
        };
        Box::new(reply)
    }

    /// The request's body outgrew the buffer while a retry waited, so that there is nothing to send again.
    pub(crate) fn outgrown(&mut self) -> Box<LocalReply> {
        self.retry = None;
        if let Some(cluster) = &self.seen.cluster {
            cluster.stats().retry_or_shadow_abandoned.inc();
        }
        Box::new(LocalReply::failure(
            StatusCode::INSUFFICIENT_STORAGE,
            "exceeded request buffer limit while retrying upstream",
            None,
            "request_payload_exceeded_retry_buffer_limit",
        ))
    }

    /// The reply to a reset (Envoy `Filter::onUpstreamReset`).
    pub(crate) fn reset_reply(&self, error: &TransportError) -> Box<LocalReply> {
        let reason = error.reason();
        let status = match reason {
            ResetReason::ProtocolError => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let retried = match self.attempts > 1 {
            true => "retried and the latest ",
            false => "",
        };
        let body = format!(
            "upstream connect error or disconnect/reset before headers. {retried}reset reason: {}",
            reason.as_str()
        );
        let separator = if error.detail().is_empty() { "" } else { "|" };
        let details = format!(
            "upstream_reset_before_response_started{{{}{separator}{}}}",
            reason.as_str(),
            error.detail()
        )
        .replace(' ', "_");
        let mut reply = LocalReply::failure(status, body, Some(reason.flag()), details);
        if reason == ResetReason::Overflow {
            let name = HeaderName::from_static("x-envoy-overloaded");
            reply.headers.push((name, HeaderValue::from_static("true")));
        }
        Box::new(reply)
    }
}

/// Whether the upstream says that it is a canary. Nearly no response does: looking at the names is cheaper than a lookup.
fn is_canary(headers: &HeaderMap) -> bool {
    headers.iter().any(|(name, value)| {
        let name = name.as_str();
        name.len() == "x-envoy-upstream-canary".len()
            && name == "x-envoy-upstream-canary"
            && value == "true"
    })
}

/// The caller's own deadline is over: nobody but the caller sees this reply.
pub(crate) fn caller_deadline() -> Box<LocalReply> {
    let flag = Some(ResponseFlag::DownstreamConnectionTermination);
    let status = StatusCode::GATEWAY_TIMEOUT;
    let mut reply = LocalReply::failure(status, "deadline exceeded", flag, "caller_deadline");
    reply.grpc_status = Some(4);
    Box::new(reply)
}
