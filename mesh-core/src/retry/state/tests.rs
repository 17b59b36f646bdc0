use super::*;
use crate::{
    matcher::{HeaderCondition, MatchedHeader},
    model::RateLimitedBackOff,
};
use RetryDecision::*;
use http::{HeaderValue, Method};

/// Always zero: every wait is as short as it can be.
struct Zero;

impl Entropy for Zero {
    fn next_u64(&mut self) -> u64 {
        0
    }
}

const NOW: RetryDecision = Retry {
    after: Duration::ZERO,
    asked: false,
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
    Outcome::response(StatusCode::from_u16(status).unwrap())
}

fn decide(
    state: &mut RetryState,
    policy: Option<&RetryPolicy>,
    outcome: Outcome,
    lines: &[(&'static str, &'static str)],
) -> RetryDecision {
    let mut headers = headers(lines);
    if let Outcome::Response {
        grpc_status: Some(status),
        ..
    } = outcome
    {
        headers.insert("grpc-status", status.into());
    }
    state.decide(policy, outcome, Some(&headers), true, &mut Zero)
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
    let unavailable = Outcome::grpc_response(StatusCode::OK, Some(14));
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
    let internal = Outcome::grpc_response(StatusCode::OK, Some(13));
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
        let asked = seconds > 0;
        assert_eq!(decision, Retry { after, asked }, "{header:?}");
    }
}
