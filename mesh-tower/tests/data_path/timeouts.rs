//! When timers start and end.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt;
use mesh_tower::{Deadline, ErrorKind};
use tokio::time::{Instant, advance};

use crate::{
    mock::{channel, data, response},
    world::{World, get, ms, policy, post, settle, told},
};

fn with_timeout(n: u64) -> World {
    let mut world = World::new();
    world.forward.timeout = ms(n);
    world
}

#[tokio::test(start_paused = true)]
async fn the_route_timeout_answers_504_ut_and_resets_the_attempt() {
    let mut client = with_timeout(100).client();
    let start = Instant::now();
    let call = client.send(get());
    let attempt = client.upstream.next().await;
    assert_eq!(
        attempt.header("x-envoy-expected-rq-timeout-ms").as_deref(),
        Some("100")
    );
    let error = call.await.expect("joined").expect_err("a timeout");
    let waited = start.elapsed();
    assert!(waited >= ms(100) && waited <= ms(103), "{waited:?}");
    assert_eq!(
        (error.kind(), error.details()),
        (ErrorKind::Timeout, "response_timeout")
    );
    assert!(attempt.is_reset());
    let told = told(Err(error)).await;
    assert_eq!(told, (504, "UT".into(), "upstream request timeout".into()));
    assert_eq!(client.counted(504, "UT"), 1);
    assert_eq!(client.in_flight(), 0);
    assert_eq!(client.cluster().stats().upstream_rq_timeout.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_route_timeout_starts_when_the_request_is_complete() {
    let mut client = with_timeout(100).client();
    let (sender, body) = channel();
    let call = client.send(post(body));
    let mut attempt = client.upstream.next().await;
    let reading = tokio::spawn(async move { (attempt.read().await, attempt) });
    advance(ms(500)).await;
    assert!(!call.is_finished());
    sender.send(data("late")).expect("read");
    settle().await;
    let start = Instant::now();
    drop(sender);
    let error = call.await.expect("joined").expect_err("a timeout");
    let waited = start.elapsed();
    assert!(waited >= ms(100) && waited <= ms(103), "{waited:?}");
    assert_eq!(error.details(), "response_timeout");
    let (read, _) = reading.await.expect("joined");
    assert_eq!(&read.expect("a body")[..], b"late");
}

#[tokio::test(start_paused = true)]
async fn the_route_timeout_covers_the_response_body() {
    let mut client = with_timeout(100).client();
    let call = client.send(get());
    let (sender, body) = channel();
    client
        .upstream
        .next()
        .await
        .respond(response(200, &[]).map(|_| body));
    let answer = call.await.expect("joined").expect("a head");
    let mut body = answer.into_body();
    sender.send(data("a")).expect("open");
    let frame = body.frame().await.expect("a frame").expect("data");
    assert_eq!(frame.into_data().expect("data"), "a");
    let start = Instant::now();
    let error = body.frame().await.expect("an error").expect_err("too late");
    assert!(start.elapsed() <= ms(103));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.flags().to_string(), "UT");
    assert!(sender.is_closed(), "the upstream's stream is reset");
    assert_eq!(client.in_flight(), 0);
    assert_eq!(client.counted(200, "UT"), 1);
}

/// Envoy 1.40: per try 0.1 s, two retries, route 0.5 s, hanging upstream: 504 after 0.30 to 0.38 s, `URX,UT`.
#[tokio::test(start_paused = true)]
async fn per_try_timeouts_are_retried_and_told_as_urx_ut() {
    let mut world = with_timeout(500);
    let mut policy = policy("5xx", 2);
    policy.per_try_timeout = ms(100);
    world.forward.retry_policy = Some(Arc::new(policy));
    let mut client = world.client();
    let start = Instant::now();
    let call = client.send(get());
    let mut held = Vec::new();
    for _ in 0..3 {
        let attempt = client.upstream.next().await;
        attempt.connect();
        held.push(attempt);
    }
    let error = call.await.expect("joined").expect_err("a timeout");
    let waited = start.elapsed();
    assert!(waited >= ms(300) && waited <= ms(390), "{waited:?}");
    assert_eq!(error.flags().to_string(), "URX,UT");
    assert_eq!(error.details(), "upstream_per_try_timeout");
    assert!(held.iter().all(|a| a.is_reset()));
}

#[tokio::test(start_paused = true)]
async fn the_per_try_timeout_starts_at_pool_ready() {
    let mut world = World::new();
    let mut policy = policy("connect-failure", 1);
    policy.per_try_timeout = ms(100);
    world.forward.retry_policy = Some(Arc::new(policy));
    world.forward.timeout = ms(1000);
    let mut client = world.client();
    let call = client.send(get());
    let attempt = client.upstream.next().await;
    // No connection yet: only the route timeout runs.
    let start = Instant::now();
    let error = call.await.expect("joined").expect_err("a timeout");
    assert!(start.elapsed() >= ms(1000));
    assert_eq!(error.details(), "response_timeout");
    drop(attempt);
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_told_what_is_left() {
    let mut world = with_timeout(1000);
    let mut policy = policy("5xx", 1);
    policy.base_interval = ms(1);
    policy.max_interval = ms(1);
    world.forward.retry_policy = Some(Arc::new(policy));
    let mut client = world.client();
    let call = client.send(get());
    let first = client.upstream.next().await;
    advance(ms(400)).await;
    first.answer(503);
    let second = client.upstream.next().await;
    let left: u64 = second
        .header("x-envoy-expected-rq-timeout-ms")
        .and_then(|v| v.parse().ok())
        .expect("a number");
    assert!((590..=600).contains(&left), "{left}");
    second.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn the_callers_deadline_covers_retries_and_is_never_sent_expired() {
    let mut client = World::retrying("5xx", 3).client();
    let mut request = get();
    request.extensions_mut().insert(Deadline::after(ms(50)));
    let call = client.send(request);
    let attempt = client.upstream.next().await;
    let error = call.await.expect("joined").expect_err("a deadline");
    assert_eq!(
        (error.kind(), error.status().as_u16()),
        (ErrorKind::Deadline, 504)
    );
    assert!(attempt.is_reset());

    let mut request = get();
    let past = tokio::time::Instant::now().into_std() - Duration::from_millis(1);
    request.extensions_mut().insert(Deadline::at(past));
    let error = client
        .send(request)
        .await
        .expect("joined")
        .expect_err("a deadline");
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert!(!error.was_sent());
    assert!(client.upstream.is_idle());
}

#[tokio::test(start_paused = true)]
async fn the_stream_idle_timeout_counts_from_the_last_frame() {
    let mut world = World::new();
    world.manager.stream_idle_timeout = ms(100);
    let mut client = world.client();
    let call = client.send(get());
    let (sender, body) = channel();
    client
        .upstream
        .next()
        .await
        .respond(response(200, &[]).map(|_| body));
    let mut body = call.await.expect("joined").expect("a head").into_body();
    let start = Instant::now();
    for _ in 0..3 {
        let reading = tokio::spawn(async move {
            let frame = body.frame().await;
            (frame, body)
        });
        advance(ms(80)).await;
        sender.send(data("x")).expect("open");
        let (frame, back) = reading.await.expect("joined");
        frame.expect("a frame").expect("data");
        body = back;
    }
    assert!(start.elapsed() >= ms(240));
    let error = body.frame().await.expect("an error").expect_err("idle");
    assert_eq!(error.flags().to_string(), "SI");
}

#[tokio::test(start_paused = true)]
async fn the_stream_duration_is_408_before_the_request_is_complete() {
    let mut world = World::new();
    world.manager.max_stream_duration = ms(100);
    let mut client = world.client();
    let (_sender, body) = channel();
    let call = client.send(post(body));
    let _attempt = client.upstream.next().await;
    let told_ = told(call.await.expect("joined")).await;
    assert_eq!(
        told_,
        (408, "DT".into(), "downstream duration timeout".into())
    );
    let call = client.send(get());
    let _attempt = client.upstream.next().await;
    assert_eq!(told(call.await.expect("joined")).await.0, 504);
}

#[tokio::test(start_paused = true)]
async fn the_service_time_is_that_of_the_upstream() {
    let mut client = World::new().client();
    let call = client.send(get());
    let attempt = client.upstream.next().await;
    advance(ms(42)).await;
    attempt.answer(200);
    let answer = call.await.expect("joined").expect("an answer");
    assert_eq!(answer.headers()["x-envoy-upstream-service-time"], "42");
}

/// `x-envoy-upstream-stream-duration-ms: 0` is no limit, whatever the cluster says.
#[tokio::test(start_paused = true)]
async fn a_request_may_lift_the_clusters_stream_duration() {
    for (asked, expected) in [(None, 504), (Some("0"), 200)] {
        let mut world = with_timeout(10_000);
        world.cluster.http.max_stream_duration = Some(ms(100));
        let mut client = world.client();
        let mut request = get();
        if let Some(value) = asked {
            let value = http::HeaderValue::from_static(value);
            let name = "x-envoy-upstream-stream-duration-ms";
            request.headers_mut().insert(name, value);
        }
        let call = client.send(request);
        let attempt = client.upstream.next().await;
        attempt.connect();
        settle().await;
        advance(ms(200)).await;
        settle().await;
        attempt.answer(200);
        assert_eq!(told(call.await.expect("joined")).await.0, expected);
    }
}
