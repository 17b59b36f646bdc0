//! Circuit breakers for retries, and outlier detection.

use mesh_core::{
    model::{OutlierDetection, RoutingPriority},
    outcome::ResetReason,
};
use mesh_tower::{ErrorKind, TransportError};

use crate::{
    mock::response,
    world::{World, get, ms, settle, told},
};

#[tokio::test(start_paused = true)]
async fn a_full_retry_breaker_delivers_with_uo() {
    let mut world = World::retrying("5xx", 3);
    world.cluster.breaker_default.max_retries = 1;
    let mut client = world.client();
    let first = client.send(get());
    client.upstream.next().await.answer(503);
    // The retried attempt holds the only permit.
    let held = client.upstream.next().await;
    let second = client.send(get());
    client.upstream.next().await.answer(503);
    let answer = second.await.expect("joined");
    assert_eq!(told(answer).await.0, 503);
    assert_eq!(client.counted(503, "UO"), 1);
    assert_eq!(
        client.cluster().stats().upstream_rq_retry_overflow.value(),
        1
    );
    held.answer(200);
    assert_eq!(told(first.await.expect("joined")).await.0, 200);
    let breaker = client.cluster();
    assert_eq!(
        breaker.breaker(RoutingPriority::Default).active_retries(),
        0
    );
}

#[tokio::test(start_paused = true)]
async fn the_permit_is_held_through_back_off_and_the_retried_attempt() {
    let mut client = World::retrying("5xx", 1).client();
    let call = client.send(get());
    client.upstream.next().await.answer(503);
    settle().await;
    let cluster = client.cluster();
    let breaker = cluster.breaker(RoutingPriority::Default);
    assert_eq!(breaker.active_retries(), 1);
    let attempt = client.upstream.next().await;
    assert_eq!(breaker.active_retries(), 1);
    attempt.answer(200);
    let answer = call.await.expect("joined").expect("an answer");
    assert_eq!(breaker.active_retries(), 0);
    drop(answer);
}

#[tokio::test(start_paused = true)]
async fn an_overflow_is_told_with_its_header_and_not_retried() {
    let mut client = World::retrying("5xx,reset", 3).client();
    let call = client.send(get());
    let overflow = TransportError::unsent(ResetReason::Overflow);
    client.upstream.next().await.fail(overflow);
    let error = call.await.expect("joined").expect_err("an overflow");
    assert_eq!(error.kind(), ErrorKind::Overload);
    assert_eq!(
        error.details(),
        "upstream_reset_before_response_started{overflow}"
    );
    let response = error.into_response::<http_body_util::Empty<bytes::Bytes>>();
    assert_eq!(response.headers()["x-envoy-overloaded"], "true");
    assert!(client.upstream.is_idle());
}

fn ejecting() -> World {
    let mut world = World::new();
    let mut detection = OutlierDetection::default();
    detection.consecutive_5xx = 2;
    detection.max_ejection_percent = 100;
    world.cluster.outlier_detection = Some(detection);
    world.cluster.healthy_panic_threshold = 0.0;
    world
}

/// Envoy 1.40 with two bad hosts, consecutive_5xx 2, panic 0: four answers, then 503 UH.
#[tokio::test(start_paused = true)]
async fn ejections_are_in_force_for_the_very_next_request() {
    let mut client = ejecting().client();
    for _ in 0..4 {
        let call = client.send(get());
        client.upstream.next().await.answer(500);
        assert_eq!(told(call.await.expect("joined")).await.0, 500);
    }
    let call = client.send(get()).await.expect("joined");
    let told = told(call).await;
    assert_eq!(told, (503, "UH".into(), "no healthy upstream".into()));
    assert!(client.upstream.is_idle());
    assert_eq!(client.counted(503, "UH"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_says_nothing_to_outlier_detection() {
    let mut client = ejecting().client();
    for _ in 0..20 {
        let call = client.send(get());
        let attempt = client.upstream.next().await;
        call.abort();
        settle().await;
        assert!(attempt.is_reset());
    }
    let cluster = client.cluster();
    assert!(cluster.endpoints().iter().all(|e| !e.is_ejected()));
    assert_eq!(client.counted(0, "DC"), 20);
}

/// The active ejections after four requests that time out, each asking for the alternative response or not.
async fn ejections_after_timeouts(alternative: bool) -> u64 {
    let mut world = ejecting();
    world.forward.timeout = ms(50);
    if let Some(detection) = &mut world.cluster.outlier_detection {
        detection.consecutive_5xx = 1;
    }
    let mut client = world.client();
    for _ in 0..4 {
        let mut request = get();
        if alternative {
            let name = "x-envoy-upstream-rq-timeout-alt-response";
            let one = http::HeaderValue::from_static("1");
            request.headers_mut().insert(name, one);
        }
        let call = client.send(request);
        // The second ejection leaves nobody to ask.
        settle().await;
        let attempt = client.upstream.try_next();
        if let Ok(attempt) = &attempt {
            attempt.connect();
        }
        let _ = call.await.expect("joined");
    }
    let stats = client.cluster();
    let detection = &stats.stats().outlier_detection;
    detection.ejections_active.value()
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_what_the_request_wants_it_to_be() {
    assert_eq!(ejections_after_timeouts(false).await, 2);
    assert_eq!(ejections_after_timeouts(true).await, 0, "204");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_says_it_is_degraded_is_asked_no_more() {
    let mut world = ejecting();
    // So many that the others take all of the load.
    world.endpoints = 4;
    if let Some(detection) = &mut world.cluster.outlier_detection {
        detection.detect_degraded_hosts = true;
    }
    let mut client = world.client();
    let call = client.send(get());
    let attempt = client.upstream.next().await;
    let degraded = attempt.dispatch.endpoint().address();
    attempt.respond(response(200, &[("x-envoy-degraded", "")]));
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
    for _ in 0..4 {
        let call = client.send(get());
        let attempt = client.upstream.next().await;
        assert_ne!(attempt.dispatch.endpoint().address(), degraded);
        attempt.answer(200);
        assert_eq!(told(call.await.expect("joined")).await.0, 200);
    }
}
