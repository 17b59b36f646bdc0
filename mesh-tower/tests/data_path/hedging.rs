//! `hedge_on_per_try_timeout`: attempts beside attempts.

use std::sync::Arc;

use mesh_core::outcome::ResetReason;
use mesh_tower::TransportError;
use tokio::time::Instant;

use crate::{
    mock::full,
    world::{World, get, ms, policy, settle, told},
};

fn hedging(retry_on: &str, retries: u32) -> World {
    let mut world = World::new();
    let mut policy = policy(retry_on, retries);
    policy.per_try_timeout = ms(100);
    policy.base_interval = ms(1);
    policy.max_interval = ms(1);
    world.forward.retry_policy = Some(Arc::new(policy));
    world.forward.timeout = ms(1000);
    world.forward.hedge_on_per_try_timeout = Some(true);
    world
}

#[tokio::test(start_paused = true)]
async fn a_timeout_makes_another_attempt_and_the_first_answer_is_taken() {
    // Nothing is retriable but a failed connection: hedging asks nobody.
    let mut client = hedging("connect-failure", 2).client();
    let call = client.send(get());
    let first = client.upstream.next().await;
    // Whoever waits for an answer may take the whole route timeout.
    let expected = first.header("x-envoy-expected-rq-timeout-ms");
    assert_eq!(expected.as_deref(), Some("1000"));
    first.connect();
    let second = client.upstream.next().await;
    assert!(!first.is_reset());
    second.connect();
    first.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
    assert!(second.is_reset());
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_waits_for_the_others() {
    let mut client = hedging("5xx", 1).client();
    let call = client.send(get());
    let first = client.upstream.next().await;
    first.connect();
    let second = client.upstream.next().await;
    second.connect();
    first.answer(503);
    settle().await;
    assert!(!second.is_reset());
    second.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn the_last_bad_answer_is_taken() {
    let mut client = hedging("5xx", 1).client();
    let call = client.send(get());
    let first = client.upstream.next().await;
    first.connect();
    let second = client.upstream.next().await;
    second.fail(TransportError::sent(ResetReason::RemoteReset));
    settle().await;
    first.answer(503);
    assert_eq!(told(call.await.expect("joined")).await.0, 503);
}

#[tokio::test(start_paused = true)]
async fn the_route_timeout_ends_them_all() {
    let mut client = hedging("5xx", 1).client();
    let start = Instant::now();
    let call = client.send(get());
    let mut held = Vec::new();
    for _ in 0..2 {
        let attempt = client.upstream.next().await;
        attempt.connect();
        held.push(attempt);
    }
    let error = call.await.expect("joined").expect_err("a timeout");
    assert!(start.elapsed() >= ms(1000));
    assert_eq!(error.details(), "response_timeout");
    assert!(held.iter().all(|attempt| attempt.is_reset()));
    assert!(client.upstream.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_body_is_sent_to_all() {
    let mut client = hedging("5xx", 1).client();
    let mut request = get();
    *request.method_mut() = http::Method::POST;
    *request.body_mut() = full("hello");
    let call = client.send(request);
    let mut first = client.upstream.next().await;
    first.connect();
    assert_eq!(first.read().await.expect("a body"), "hello");
    let mut second = client.upstream.next().await;
    assert_eq!(second.read().await.expect("a body"), "hello");
    second.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
    assert!(first.is_reset());
}

/// Envoy `Filter::onStreamMaxDurationReached`: the per-try timeout of an attempt does not lift how long it may last.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_hedged_still_lasts_only_so_long() {
    for retries in [0, 1] {
        let mut world = hedging("5xx", retries);
        world.cluster.http.max_stream_duration = Some(ms(240));
        let mut client = world.client();
        let start = Instant::now();
        let call = client.send(get());
        let mut held = Vec::new();
        for _ in 0..=retries {
            let attempt = client.upstream.next().await;
            attempt.connect();
            held.push(attempt);
        }
        let error = call.await.expect("joined").expect_err("a limit");
        assert_eq!(error.details(), "upstream_max_stream_duration_reached");
        assert!(start.elapsed() >= ms(240) && start.elapsed() < ms(250));
        let cluster = client.cluster();
        assert_eq!(cluster.stats().retry_or_shadow_abandoned.value(), 0);
        // Whatever else is under way ends with it.
        assert!(held.iter().all(|attempt| attempt.is_reset()));
        assert!(client.upstream.is_idle());
    }
}
