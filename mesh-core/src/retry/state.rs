//! The retry state of one request.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::{RetryOn, back_off, back_off::BackOff};
use crate::{
    Entropy,
    head::RequestHead,
    matcher::{HeaderMatcher, MatchedHeader},
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
        Self::of(policy, head, asks)
    }

    /// The same for a request that is known to have no `x-envoy-*` header.
    pub fn configured(policy: Option<&RetryPolicy>, head: &RequestHead<'_>) -> Option<Self> {
        Self::of(policy, head, false)
    }

    fn of(policy: Option<&RetryPolicy>, head: &RequestHead<'_>, asks: bool) -> Option<Self> {
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
        if on.is_empty() || !policy.is_none_or(|policy| is_retriable_request(policy, head)) {
            return None;
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
        let retriable = match outcome {
            Outcome::Response {
                status,
                grpc_status,
            } => self.is_retriable_response(policy, status, grpc_status, headers),
            Outcome::Reset(reason) => self.on.holds_for_reset(reason, sent),
            Outcome::PerTryTimeout => self.on.holds_for_reset(ResetReason::LocalReset, sent),
            // The route timeout covers all attempts.
            Outcome::RouteTimeout => false,
        };
        if !retriable {
            return RetryDecision::Deliver;
        }
        let Some(remaining) = self.remaining.checked_sub(1) else {
            return RetryDecision::LimitExceeded;
        };
        self.remaining = remaining;
        self.retries += 1;
        let asked = headers.and_then(|headers| {
            let policy = policy?.rate_limited_back_off.as_ref()?;
            back_off::rate_limited(policy, headers, self.clock, entropy)
        });
        RetryDecision::Retry {
            after: asked.unwrap_or_else(|| self.back_off.next(entropy)),
        }
    }

    /// Retries so far.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    fn is_retriable_response(
        &self,
        policy: Option<&RetryPolicy>,
        status: StatusCode,
        grpc_status: Option<u32>,
        headers: Option<&HeaderMap>,
    ) -> bool {
        let by_answer = self.on.holds_for_status(status, grpc_status)
            || (self.on.contains(RetryOn::RETRIABLE_STATUS_CODES)
                && self.has_status_code(policy, status.as_u16()))
            || (self.on.contains(RetryOn::RETRIABLE_HEADERS)
                && headers.is_some_and(|headers| self.has_retriable_header(policy, headers)));
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

    fn has_retriable_header(&self, policy: Option<&RetryPolicy>, headers: &HeaderMap) -> bool {
        let head = RequestHead {
            method: &Method::GET,
            scheme: "",
            authority: "",
            path: "",
            headers,
        };
        let mut scratch = Scratch::default();
        let mut matches = |matcher: &HeaderMatcher| {
            // A response has no pseudo headers of a request.
            matches!(matcher.name, MatchedHeader::Name(_)) && matcher.matches(&head, &mut scratch)
        };
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
mod tests {
    use super::*;
    use crate::{matcher::HeaderCondition, model::RateLimitedBackOff};
    use RetryDecision::*;
    use http::HeaderValue;

    /// Always zero: every wait is as short as it can be.
    struct Zero;

    impl Entropy for Zero {
        fn next_u64(&mut self) -> u64 {
            0
        }
    }

    const NOW: RetryDecision = Retry {
        after: Duration::ZERO,
    };

    fn policy(on: &str, change: impl FnOnce(&mut RetryPolicy)) -> RetryPolicy {
        let mut policy = RetryPolicy {
            retry_on: RetryOn::parse(on).0,
            ..Default::default()
        };
        change(&mut policy);
        policy
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect()
    }

    fn state(
        policy: Option<&RetryPolicy>,
        lines: &[(&'static str, &'static str)],
    ) -> Option<RetryState> {
        let head = RequestHead {
            method: &Method::GET,
            scheme: "http",
            authority: "reviews",
            path: "/",
            headers: &headers(lines),
        };
        RetryState::new(policy, &head)
    }

    fn response(status: u16) -> Outcome {
        Outcome::Response {
            status: StatusCode::from_u16(status).unwrap(),
            grpc_status: None,
        }
    }

    fn decide(
        state: &mut RetryState,
        policy: Option<&RetryPolicy>,
        outcome: Outcome,
        lines: &[(&'static str, &'static str)],
    ) -> RetryDecision {
        state.decide(policy, outcome, Some(&headers(lines)), true, &mut Zero)
    }

    #[test]
    fn nothing_retriable_has_no_state() {
        assert!(state(None, &[]).is_none());
        assert!(state(Some(&policy("", |_| ())), &[("x-envoy-max-retries", "3")]).is_none());
        assert!(state(None, &[("x-envoy-retry-on", "nonsense,unavailable")]).is_none());
        assert!(state(None, &[("x-envoy-retry-on", "5xx")]).is_some());
        assert!(state(None, &[("x-envoy-retry-grpc-on", "unavailable")]).is_some());
    }

    #[test]
    fn retries_until_the_limit_then_says_so() {
        let policy = policy("5xx", |p| p.num_retries = 2);
        let mut state = state(Some(&policy), &[]).unwrap();
        assert_eq!(decide(&mut state, Some(&policy), response(500), &[]), NOW);
        assert_eq!(
            decide(&mut state, Some(&policy), Outcome::PerTryTimeout, &[]),
            NOW
        );
        assert_eq!(state.retries(), 2);
        assert_eq!(
            decide(&mut state, Some(&policy), response(503), &[]),
            LimitExceeded
        );
        assert_eq!(
            decide(&mut state, Some(&policy), response(200), &[]),
            Deliver
        );
        assert_eq!(state.retries(), 2);
    }

    #[test]
    fn the_route_timeout_and_an_overflow_are_final() {
        let policy = policy("5xx,gateway-error,reset", |_| ());
        let mut state = state(Some(&policy), &[]).unwrap();
        for outcome in [Outcome::RouteTimeout, Outcome::Reset(ResetReason::Overflow)] {
            assert_eq!(decide(&mut state, Some(&policy), outcome, &[]), Deliver);
        }
    }

    #[test]
    fn a_per_try_timeout_is_a_local_reset() {
        let cases = [
            ("5xx", NOW),
            ("gateway-error", NOW),
            ("reset", NOW),
            (
                "connect-failure,refused-stream,retriable-status-codes",
                Deliver,
            ),
        ];
        for (on, expected) in cases {
            let policy = policy(on, |_| ());
            let mut state = state(Some(&policy), &[]).unwrap();
            let decision = decide(&mut state, Some(&policy), Outcome::PerTryTimeout, &[]);
            assert_eq!(decision, expected, "{on}");
        }
    }

    #[test]
    fn istios_default_does_not_retry_a_plain_503() {
        let policy = policy(
            "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
            |p| p.num_retries = 2,
        );
        let unavailable = Outcome::Response {
            status: StatusCode::OK,
            grpc_status: Some(14),
        };
        let refused = Outcome::Reset(ResetReason::RemoteRefusedStreamReset);
        let connect = Outcome::Reset(ResetReason::RemoteConnectionFailure);
        let broken = Outcome::Reset(ResetReason::ConnectionTermination);
        for (outcome, expected) in [
            (response(503), Deliver),
            (broken, Deliver),
            (unavailable, NOW),
            (refused, NOW),
            (connect, NOW),
        ] {
            let mut state = state(Some(&policy), &[]).unwrap();
            let decision = decide(&mut state, Some(&policy), outcome, &[]);
            assert_eq!(decision, expected, "{outcome:?}");
        }
    }

    #[test]
    fn request_headers_add_conditions_and_override_the_number() {
        let policy = policy("connect-failure", |p| p.num_retries = 1);
        let head = [
            ("x-envoy-retry-on", "retriable-4xx"),
            ("x-envoy-retry-grpc-on", "internal"),
            ("x-envoy-max-retries", "3"),
        ];
        let mut state = state(Some(&policy), &head).unwrap();
        let internal = Outcome::Response {
            status: StatusCode::OK,
            grpc_status: Some(13),
        };
        let connect = Outcome::Reset(ResetReason::ConnectionTimeout);
        for outcome in [response(409), internal, connect] {
            assert_eq!(decide(&mut state, Some(&policy), outcome, &[]), NOW);
        }
        assert_eq!(
            decide(&mut state, Some(&policy), connect, &[]),
            LimitExceeded
        );
    }

    #[test]
    fn a_number_that_cannot_be_read_changes_nothing() {
        for (value, expected) in [
            ("many", 1),
            ("-1", 1),
            ("0", 0),
            (" 7 ", 7),
            ("99999999999", u32::MAX),
        ] {
            let state = state(
                None,
                &[("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", value)],
            );
            assert_eq!(state.unwrap().remaining, expected, "{value}");
        }
    }

    #[test]
    fn status_codes_of_policy_and_header() {
        let policy = policy("retriable-status-codes", |p| {
            p.num_retries = 9;
            p.retriable_status_codes = vec![503];
        });
        let mut state = state(
            Some(&policy),
            &[("x-envoy-retriable-status-codes", "404, x,418")],
        )
        .unwrap();
        for (status, expected) in [(503, NOW), (404, NOW), (418, NOW), (500, Deliver)] {
            assert_eq!(
                decide(&mut state, Some(&policy), response(status), &[]),
                expected,
                "{status}"
            );
        }
    }

    #[test]
    fn response_headers_of_policy_and_header() {
        let present = |name| {
            HeaderMatcher::new(
                MatchedHeader::Name(HeaderName::from_static(name)),
                HeaderCondition::Present(true),
            )
        };
        let policy = policy("retriable-headers", |p| {
            p.num_retries = 9;
            p.retriable_headers = vec![present("x-again")];
        });
        let mut state = state(
            Some(&policy),
            &[("x-envoy-retriable-header-names", "x-other, X-Third")],
        )
        .unwrap();
        for (name, expected) in [
            ("x-again", NOW),
            ("x-other", NOW),
            ("x-third", NOW),
            ("x-fourth", Deliver),
        ] {
            let decision = decide(&mut state, Some(&policy), response(200), &[(name, "1")]);
            assert_eq!(decision, expected, "{name}");
        }
    }

    #[test]
    fn only_matching_requests_are_retried() {
        let policy = policy("5xx", |p| {
            p.retriable_request_headers = vec![HeaderMatcher::new(
                MatchedHeader::Name(HeaderName::from_static("x-idempotent")),
                HeaderCondition::Any,
            )];
        });
        assert!(state(Some(&policy), &[]).is_none());
        assert!(state(Some(&policy), &[("x-idempotent", "1")]).is_some());
    }

    #[test]
    fn a_rate_limited_response_only_by_its_own_condition() {
        let limited = [("x-envoy-ratelimited", "true")];
        for (on, expected) in [("5xx,retriable-4xx", Deliver), ("envoy-ratelimited", NOW)] {
            let policy = policy(on, |_| ());
            let mut state = state(Some(&policy), &[]).unwrap();
            let decision = decide(&mut state, Some(&policy), response(503), &limited);
            assert_eq!(decision, expected, "{on}");
        }
    }

    #[test]
    fn before_any_byte_was_sent() {
        let policy = policy("reset-before-request", |_| ());
        for (sent, expected) in [(false, NOW), (true, Deliver)] {
            let mut state = state(Some(&policy), &[]).unwrap();
            let outcome = Outcome::Reset(ResetReason::RemoteReset);
            let decision = state.decide(Some(&policy), outcome, None, sent, &mut Zero);
            assert_eq!(decision, expected);
        }
    }

    #[test]
    fn the_upstreams_wait_replaces_one_back_off() {
        let policy = policy("5xx", |p| {
            p.num_retries = 9;
            p.rate_limited_back_off = Some(RateLimitedBackOff {
                reset_headers: vec![
                    (HeaderName::from_static("x-reset"), true),
                    (HeaderName::from_static("retry-after"), false),
                ],
                max_interval: Duration::from_secs(300),
            });
        });
        let mut state = state(Some(&policy), &[])
            .unwrap()
            .with_wall_clock(|| SystemTime::UNIX_EPOCH + Duration::from_secs(100));
        for (header, seconds) in [
            (("retry-after", "7"), 7),
            (("x-reset", "105"), 5),
            (("x-other", "9"), 0),
        ] {
            let decision = decide(&mut state, Some(&policy), response(503), &[header]);
            let after = Duration::from_secs(seconds);
            assert_eq!(decision, Retry { after }, "{header:?}");
        }
    }
}
