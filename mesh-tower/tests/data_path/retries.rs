//! Which outcomes are retried, when, and what is told after the last.

use std::sync::Arc;

use mesh_core::outcome::ResetReason;
use mesh_tower::TransportError;
use tokio::time::Instant;

use crate::{
    mock::{Attempt, response},
    world::{World, get, ms, policy, settle, told},
};

type Ending = fn(Attempt);

fn refused() -> TransportError {
    TransportError::unsent(ResetReason::RemoteConnectionFailure)
        .with_detail("delayed_connect_error: Connection refused")
}

/// Each token with an ending that it retries and one that it does not.
#[tokio::test(start_paused = true)]
async fn each_token_retries_its_own() {
    let grpc: &[(&str, &str)] = &[("grpc-status", "14")];
    let _ = grpc;
    let table: &[(&str, Ending, bool)] = &[
        ("5xx", |a| a.answer(500), true),
        ("5xx", |a| a.answer(404), false),
        (
            "5xx",
            |a| a.fail(TransportError::sent(ResetReason::RemoteReset)),
            true,
        ),
        (
            "5xx",
            |a| a.fail(TransportError::unsent(ResetReason::Overflow)),
            false,
        ),
        ("gateway-error", |a| a.answer(502), true),
        ("gateway-error", |a| a.answer(500), false),
        (
            "reset",
            |a| a.fail(TransportError::sent(ResetReason::ConnectionTermination)),
            true,
        ),
        ("reset", |a| a.answer(503), false),
        (
            "reset-before-request",
            |a| a.fail(TransportError::unsent(ResetReason::RemoteReset)),
            true,
        ),
        (
            "reset-before-request",
            |a| a.fail(TransportError::sent(ResetReason::RemoteReset)),
            false,
        ),
        ("connect-failure", |a| a.fail(refused()), true),
        (
            "connect-failure",
            |a| a.fail(TransportError::sent(ResetReason::RemoteReset)),
            false,
        ),
        (
            "refused-stream",
            |a| {
                a.fail(TransportError::unsent(
                    ResetReason::RemoteRefusedStreamReset,
                ))
            },
            true,
        ),
        (
            "refused-stream",
            |a| a.fail(TransportError::sent(ResetReason::RemoteReset)),
            false,
        ),
        ("retriable-4xx", |a| a.answer(409), true),
        ("retriable-4xx", |a| a.answer(400), false),
        (
            "envoy-ratelimited",
            |a| a.respond(response(429, &[("x-envoy-ratelimited", "true")])),
            true,
        ),
        ("envoy-ratelimited", |a| a.answer(429), false),
        (
            "unavailable",
            |a| a.respond(response(200, &[("grpc-status", "14")])),
            true,
        ),
        (
            "unavailable",
            |a| a.respond(response(200, &[("grpc-status", "13")])),
            false,
        ),
        (
            "cancelled",
            |a| a.respond(response(200, &[("grpc-status", "1")])),
            true,
        ),
        (
            "deadline-exceeded",
            |a| a.respond(response(200, &[("grpc-status", "4")])),
            true,
        ),
        (
            "resource-exhausted",
            |a| a.respond(response(200, &[("grpc-status", "8")])),
            true,
        ),
        (
            "internal",
            |a| a.respond(response(200, &[("grpc-status", "13")])),
            true,
        ),
    ];
    for (i, (token, end, retried)) in table.iter().enumerate() {
        let mut client = World::retrying(token, 1).client();
        let mut request = get();
        if matches!(
            *token,
            "unavailable" | "cancelled" | "deadline-exceeded" | "resource-exhausted" | "internal"
        ) {
            let grpc = http::HeaderValue::from_static("application/grpc");
            request.headers_mut().insert("content-type", grpc);
        }
        let call = client.send(request);
        end(client.upstream.next().await);
        if *retried {
            let again = client.upstream.next().await;
            again.answer(200);
            let (status, flags, _) = told(call.await.expect("joined")).await;
            assert_eq!((status, &*flags), (200, "-"), "row {i}: {token}");
        } else {
            call.await.expect("joined").map(drop).unwrap_or_default();
            assert!(client.upstream.is_idle(), "row {i}: {token} was retried");
        }
        settle().await;
        assert_eq!(client.in_flight(), 0, "row {i}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_is_delivered_with_urx() {
    let mut world = World::retrying("5xx", 2);
    world.host.include_attempt_count_in_response = true;
    world.host.include_request_attempt_count = true;
    let mut client = world.client();
    let call = client.send(get());
    for n in 1..=3 {
        let attempt = client.upstream.next().await;
        assert_eq!(attempt.header("x-envoy-attempt-count"), Some(n.to_string()));
        attempt.answer(500);
    }
    let response = call.await.expect("joined").expect("an answer");
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["x-envoy-attempt-count"], "3");
    drop(response);
    assert_eq!(client.counted(500, "URX"), 1);
    let cluster = client.cluster();
    assert_eq!(cluster.stats().upstream_rq_retry.value(), 2);
    assert_eq!(cluster.stats().upstream_rq_retry_limit_exceeded.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_told_in_envoys_words() {
    let mut client = World::retrying("connect-failure", 1).client();
    let call = client.send(get());
    client.upstream.next().await.fail(refused());
    client.upstream.next().await.fail(refused());
    let error = call.await.expect("joined").expect_err("no answer");
    assert_eq!(error.flags().to_string(), "URX,UF");
    assert_eq!(
        error.details(),
        "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"
    );
    assert!(!error.was_sent());
    let (status, _, body) = told(Err(error)).await;
    assert_eq!(status, 503);
    assert_eq!(
        body,
        "upstream connect error or disconnect/reset before headers. \
         retried and the latest reset reason: remote connection failure"
    );
}

/// First wait in [0, base), second in [0, 2 base), third in [0, 4 base) cut to the maximum.
#[tokio::test(start_paused = true)]
async fn back_off_grows_and_stays_in_its_bounds() {
    let bounds = [ms(100), ms(200), ms(300), ms(300)];
    let mut longest = [ms(0); 4];
    for _ in 0..40 {
        let mut world = World::new();
        let mut policy = policy("5xx", 4);
        policy.base_interval = ms(100);
        policy.max_interval = ms(300);
        world.forward.retry_policy = Some(Arc::new(policy));
        let mut client = world.client();
        let call = client.send(get());
        client.upstream.next().await.answer(500);
        for (bound, longest) in bounds.iter().zip(&mut longest) {
            let from = Instant::now();
            let attempt = client.upstream.next().await;
            let waited = from.elapsed();
            assert!(waited <= *bound + ms(3), "{waited:?} > {bound:?}");
            *longest = (*longest).max(waited);
            attempt.answer(500);
        }
        call.await.expect("joined").map(drop).expect("an answer");
    }
    // Forty draws below half of the range: one in 10¹².
    for (bound, longest) in bounds.iter().zip(longest) {
        assert!(longest > *bound / 2, "{longest:?} of {bound:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_sends_the_same_head_and_avoids_tried_hosts() {
    let mut world = World::new();
    let mut policy = policy("5xx", 1);
    policy.previous_hosts = true;
    policy.host_selection_retry_max_attempts = 100;
    world.forward.retry_policy = Some(Arc::new(policy));
    world.cluster.lb_policy = mesh_core::model::LbPolicy::Random;
    let mut client = world.client();
    for _ in 0..20 {
        let mut request = get();
        let value = http::HeaderValue::from_static("jason");
        request.headers_mut().insert("end-user", value);
        request.extensions_mut().insert("kept");
        let call = client.send(request);
        let first = client.upstream.next().await;
        let tried = first.dispatch.endpoint().address();
        first.answer(503);
        let second = client.upstream.next().await;
        assert_ne!(second.dispatch.endpoint().address(), tried);
        assert_eq!(second.header("end-user").as_deref(), Some("jason"));
        let sent = second.dispatch.request();
        assert_eq!(sent.uri(), "http://reviews:9080/reviews/0");
        assert_eq!(sent.extensions().get::<&str>(), Some(&"kept"));
        second.answer(200);
        call.await.expect("joined").map(drop).expect("an answer");
    }
}

#[tokio::test(start_paused = true)]
async fn the_callers_headers_ask_for_retries_and_go_no_further() {
    let mut client = World::new().client();
    let mut request = get();
    for (name, value) in [("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "2")] {
        let value = http::HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
    }
    let call = client.send(request);
    for _ in 0..2 {
        let attempt = client.upstream.next().await;
        assert_eq!(attempt.header("x-envoy-retry-on"), None);
        assert_eq!(attempt.header("x-envoy-max-retries"), None);
        attempt.answer(500);
    }
    client.upstream.next().await.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn readiness_is_awaited_before_the_pick() {
    let mut client = World::new().client();
    client.upstream.gate.close();
    let call = client.send(get());
    settle().await;
    assert!(client.upstream.is_idle());
    assert_eq!(client.in_flight(), 0);
    client.upstream.gate.open();
    client.upstream.next().await.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
}
