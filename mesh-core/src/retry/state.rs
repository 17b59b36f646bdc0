//! The retry state of one request.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, StatusCode};

use super::{RetryOn, back_off, back_off::BackOff};
use crate::{
    Entropy,
    head::RequestHead,
    matcher::HeaderMatcher,
    model::RetryPolicy,
    outcome::{Outcome, ResetReason},
    regex::Scratch,
};

/// The retry state of one request. Allocates only for `x-envoy-retriable-*` request headers.
#[derive(Clone, Debug)]
pub struct RetryState {
    on: RetryOn,
    remaining: u32,
    /// Retries so far.
    retries: u32,
    back_off: BackOff,
    /// What headers of the request add to the policy; few do.
    named: Option<Box<Named>>,
    clock: Option<fn() -> SystemTime>,
}

/// What a request's own headers name as retriable.
#[derive(Clone, Debug)]
struct Named {
    /// `x-envoy-retriable-status-codes`.
    status_codes: Vec<u16>,
    /// `x-envoy-retriable-header-names`.
    header_names: Vec<HeaderName>,
}

/// What to do with an attempt's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryDecision {
    /// Deliver it.
    Deliver,
    /// It would be retried, but `num_retries` are used up: deliver it with URX.
    LimitExceeded,
    /// Retry after this wait, if the breaker's retry permit can be had; otherwise deliver it with UO.
    Retry {
        /// The back-off.
        after: Duration,
        /// The response asked for that wait (`rate_limited_retry_back_off`).
        asked: bool,
    },
}

impl RetryState {
    /// State for a request; None if nothing about it is retriable. Reads `x-envoy-retry-on`, `x-envoy-retry-grpc-on`,
    /// `x-envoy-max-retries`, `x-envoy-retriable-status-codes`, `x-envoy-retriable-header-names`; the caller removes
    /// them before forwarding.
    pub fn new(policy: Option<&RetryPolicy>, head: &RequestHead<'_>) -> Option<Self> {
        // Nearly no request has one of them: one look at the names is cheaper than five lookups.
        let asks = head
            .headers
            .keys()
            .any(|name| is_retry_header(name.as_str()));
        Self::of(policy, head, asks, false)
    }

    /// The same for a request that is hedged: it has attempts of its own even if nothing about it is retriable, as long
    /// as something would be (Envoy `RetryStateImpl::create`).
    pub fn hedging(policy: Option<&RetryPolicy>, head: &RequestHead<'_>) -> Option<Self> {
        Self::of(policy, head, true, true)
    }

    /// The same for a request that is known to have no `x-envoy-*` header.
    pub fn configured(policy: Option<&RetryPolicy>, head: &RequestHead<'_>) -> Option<Self> {
        Self::of(policy, head, false, false)
    }

    fn of(
        policy: Option<&RetryPolicy>,
        head: &RequestHead<'_>,
        asks: bool,
        hedges: bool,
    ) -> Option<Self> {
        let header = |name: &str| match asks {
            true => head.headers.get(name)?.to_str().ok(),
            false => None,
        };
        let mut on = policy.map(|policy| policy.retry_on).unwrap_or_default();
        if let Some(value) = header("x-envoy-retry-on") {
            on = on | RetryOn::of_header(value, RetryOn::HTTP);
        }
        if let Some(value) = header("x-envoy-retry-grpc-on") {
            on = on | RetryOn::of_header(value, RetryOn::GRPC);
        }
        if on.is_empty() {
            return None;
        }
        if !policy.is_none_or(|policy| is_retriable_request(policy, head)) {
            if !hedges {
                return None;
            }
            on = RetryOn::default();
        }
        let max_retries = header("x-envoy-max-retries").and_then(|v| v.trim().parse::<u64>().ok());
        Some(Self {
            on,
            remaining: match max_retries {
                Some(max) => u32::try_from(max).unwrap_or(u32::MAX),
                None => policy.map_or(1, |policy| policy.num_retries),
            },
            retries: 0,
            back_off: BackOff::new(policy),
            named: asks.then(|| {
                Box::new(Named {
                    status_codes: list(header("x-envoy-retriable-status-codes")),
                    header_names: list(header("x-envoy-retriable-header-names")),
                })
            }),
            clock: None,
        })
    }

    /// Sets the wall clock by which `rate_limited_retry_back_off` understands a `UNIX_TIMESTAMP`; it is read for
    /// nothing else. Without one such headers say nothing, and the back-off is the usual one.
    #[must_use]
    pub fn with_wall_clock(mut self, clock: fn() -> SystemTime) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Decides on one outcome. `headers`: response headers, where there are some. `sent`: whether any byte of the
    /// request left on any attempt (`reset-before-request`).
    pub fn decide(
        &mut self,
        policy: Option<&RetryPolicy>,
        outcome: Outcome,
        headers: Option<&HeaderMap>,
        sent: bool,
        entropy: &mut dyn Entropy,
    ) -> RetryDecision {
        if !self.would_retry(policy, outcome, headers, sent) {
            return RetryDecision::Deliver;
        }
        let clock = self.clock;
        self.count(entropy, |entropy| {
            let policy = policy?.rate_limited_back_off.as_ref()?;
            back_off::rate_limited(policy, headers?, clock, entropy)
        })
    }

    /// Decides whether another attempt is made beside one whose per-try timeout is over: whatever `retry_on` says (Envoy
    /// `shouldHedgeRetryPerTryTimeout`).
    pub fn hedge(&mut self, entropy: &mut dyn Entropy) -> RetryDecision {
        self.count(entropy, |_| None)
    }

    /// Whether the policy retries an outcome, if there are retries left.
    pub fn would_retry(
        &self,
        policy: Option<&RetryPolicy>,
        outcome: Outcome,
        headers: Option<&HeaderMap>,
        sent: bool,
    ) -> bool {
        match outcome {
            Outcome::Response { status, .. } => self.is_retriable_response(policy, status, headers),
            Outcome::Reset(reason) => self.on.holds_for_reset(reason, sent),
            Outcome::PerTryTimeout | Outcome::MaxDuration => {
                self.on.holds_for_reset(ResetReason::LocalReset, sent)
            }
            // The route timeout covers all attempts.
            Outcome::RouteTimeout | Outcome::AlternativeTimeout => false,
        }
    }

    /// One retry more, after the wait that the response asked for, or else the back-off.
    fn count(
        &mut self,
        entropy: &mut dyn Entropy,
        asked: impl FnOnce(&mut dyn Entropy) -> Option<Duration>,
    ) -> RetryDecision {
        let Some(remaining) = self.remaining.checked_sub(1) else {
            return RetryDecision::LimitExceeded;
        };
        self.remaining = remaining;
        self.retries += 1;
        let asked = asked(entropy);
        RetryDecision::Retry {
            after: asked.unwrap_or_else(|| self.back_off.next(entropy)),
            asked: asked.is_some(),
        }
    }

    /// Whether anything is retriable at all: a request that is hedged has a state even if nothing is.
    pub fn is_enabled(&self) -> bool {
        !self.on.is_empty()
    }

    /// Retries so far.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    fn is_retriable_response(
        &self,
        policy: Option<&RetryPolicy>,
        status: StatusCode,
        headers: Option<&HeaderMap>,
    ) -> bool {
        // Whatever was asked for: Envoy looks at it on answers to requests that are not gRPC too.
        let grpc_status = match self.on.intersects(RetryOn::GRPC) {
            true => headers.and_then(grpc_status),
            false => None,
        };
        let by_answer = self.on.holds_for_status(status, grpc_status)
            || (self.on.contains(RetryOn::RETRIABLE_STATUS_CODES)
                && self.has_status_code(policy, status.as_u16()))
            || (self.on.contains(RetryOn::RETRIABLE_HEADERS)
                && headers
                    .is_some_and(|headers| self.has_retriable_header(policy, status, headers)));
        let if_limited = self.on.contains(RetryOn::ENVOY_RATELIMITED);
        if by_answer == if_limited {
            // The header would change nothing, so that nobody looks for it.
            return by_answer;
        }
        // It comes from an upstream Envoy that wants less, so only who asked for it tries again.
        match headers.is_some_and(|headers| headers.contains_key("x-envoy-ratelimited")) {
            true => if_limited,
            false => by_answer,
        }
    }

    fn has_status_code(&self, policy: Option<&RetryPolicy>, status: u16) -> bool {
        policy.is_some_and(|policy| policy.retriable_status_codes.contains(&status))
            || self
                .named
                .as_ref()
                .is_some_and(|named| named.status_codes.contains(&status))
    }

    fn has_retriable_header(
        &self,
        policy: Option<&RetryPolicy>,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> bool {
        let mut scratch = Scratch::default();
        let mut matches =
            |matcher: &HeaderMatcher| matcher.matches_response_head(status, headers, &mut scratch);
        policy.is_some_and(|policy| policy.retriable_headers.iter().any(&mut matches))
            || self.named.as_ref().is_some_and(|named| {
                let names = &named.header_names;
                names.iter().any(|name| headers.contains_key(name))
            })
    }
}

fn is_retry_header(name: &str) -> bool {
    matches!(
        name,
        "x-envoy-retry-on"
            | "x-envoy-retry-grpc-on"
            | "x-envoy-max-retries"
            | "x-envoy-retriable-status-codes"
            | "x-envoy-retriable-header-names"
    )
}

/// `grpc-status`, by a look at the names: few responses have it, and that is cheaper than a lookup.
fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    let (_, value) = headers.iter().find(|(name, _)| {
        let name = name.as_str();
        name.len() == "grpc-status".len() && name == "grpc-status"
    })?;
    value.to_str().ok()?.parse().ok()
}

/// Whether the policy retries requests with this head at all.
fn is_retriable_request(policy: &RetryPolicy, head: &RequestHead<'_>) -> bool {
    let matchers = &policy.retriable_request_headers;
    if matchers.is_empty() {
        return true;
    }
    let mut scratch = Scratch::default();
    matchers.iter().any(|m| m.matches(head, &mut scratch))
}

/// The elements of a comma-separated list that can be read.
fn list<T: std::str::FromStr>(value: Option<&str>) -> Vec<T> {
    value
        .into_iter()
        .flat_map(|value| value.split(','))
        .filter_map(|element| element.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests;
