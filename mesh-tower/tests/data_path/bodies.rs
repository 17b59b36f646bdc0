//! Bodies: replay up to the cap, superseded attempts, trailers, upgrades.

use std::sync::Arc;

use http_body_util::BodyExt;
use mesh_core::outcome::ResetReason;
use mesh_tower::{ErrorKind, TransportError};

use crate::{
    mock::{channel, data, full, response, trailers},
    world::{World, get, ms, policy, post, settle, told},
};

#[tokio::test(start_paused = true)]
async fn a_retried_body_is_sent_again_whole() {
    let mut client = World::retrying("5xx", 1).client();
    let call = client.send(post(full("hello")));
    let mut first = client.upstream.next().await;
    assert_eq!(first.read().await.expect("a body"), "hello");
    first.answer(503);
    let mut second = client.upstream.next().await;
    assert_eq!(second.read().await.expect("a body"), "hello");
    second.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_cap_the_first_answer_is_delivered() {
    let mut world = World::retrying("5xx", 1);
    world.host.request_body_buffer_limit = Some(4);
    let mut client = world.client();
    let call = client.send(post(full("hello")));
    let mut first = client.upstream.next().await;
    assert_eq!(first.read().await.expect("a body"), "hello");
    first.answer(503);
    assert_eq!(told(call.await.expect("joined")).await.0, 503);
    assert!(client.upstream.is_idle());
    let cluster = client.cluster();
    assert_eq!(cluster.stats().retry_or_shadow_abandoned.value(), 1);
}

/// Envoy counts when the buffer overflows, whatever becomes of the request; what a breaker refused was not looked at.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_retried_counts_as_abandoned_however_it_ends() {
    let abandoned = |hedges: bool, fails: Option<ResetReason>| async move {
        let mut world = World::retrying("5xx", 1);
        world.host.request_body_buffer_limit = Some(4);
        world.manager.max_stream_duration = ms(500);
        if hedges {
            let mut policy = policy("5xx", 1);
            policy.per_try_timeout = ms(100);
            world.forward.retry_policy = Some(Arc::new(policy));
            world.forward.hedge_on_per_try_timeout = Some(true);
        }
        let mut client = world.client();
        let call = client.send(post(full("hello")));
        let mut attempt = client.upstream.next().await;
        if let Some(reason) = fails {
            attempt.fail(TransportError::unsent(reason));
        } else {
            attempt.connect();
            assert_eq!(attempt.read().await.expect("a body"), "hello");
        }
        call.await.expect("joined").expect_err("nothing answers");
        let cluster = client.cluster();
        cluster.stats().retry_or_shadow_abandoned.value()
    };
    assert_eq!(abandoned(false, None).await, 1);
    assert_eq!(abandoned(true, None).await, 1);
    assert_eq!(abandoned(false, Some(ResetReason::Overflow)).await, 0);
    let refused = Some(ResetReason::RemoteConnectionFailure);
    assert_eq!(abandoned(false, refused).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_superseded_attempts_reader_gets_an_error() {
    let mut client = World::retrying("5xx", 1).client();
    let (sender, body) = channel();
    let call = client.send(post(body));
    let mut first = client.upstream.next().await;
    let held = std::mem::replace(first.dispatch.request_mut().body_mut(), full(""));
    // The connection goes on reading although the answer is there.
    let reading = tokio::spawn(held.collect());
    settle().await;
    first.answer(503);
    let mut second = client.upstream.next().await;
    let error = reading.await.expect("joined").expect_err("superseded");
    assert_eq!(error.to_string(), "request body failed");
    sender.send(data("all")).expect("read");
    drop(sender);
    assert_eq!(second.read().await.expect("a body"), "all");
    second.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_failing_request_body_is_nobody_elses_fault() {
    let mut client = World::retrying("5xx,reset", 3).client();
    let body = http_body_util::StreamBody::new(futures_util::stream::iter([Err::<
        http_body::Frame<bytes::Bytes>,
        _,
    >("broken".into())]));
    let call = client.send(post(body.boxed_unsync()));
    let mut attempt = client.upstream.next().await;
    attempt.read().await.expect_err("broken");
    attempt.fail(TransportError::sent(ResetReason::LocalReset));
    call.await.expect("joined").expect_err("no answer");
    assert!(client.upstream.is_idle());
}

#[tokio::test(start_paused = true)]
async fn trailers_pass_and_their_grpc_status_is_counted() {
    let mut client = World::new().client();
    let mut request = get();
    let value = http::HeaderValue::from_static("application/grpc");
    request.headers_mut().insert("content-type", value);
    let call = client.send(request);
    let (sender, body) = channel();
    client
        .upstream
        .next()
        .await
        .respond(response(200, &[]).map(|_| body));
    let answer = call.await.expect("joined").expect("a head");
    sender.send(data("m")).expect("open");
    sender
        .send(trailers(&[("grpc-status", "5")]))
        .expect("open");
    drop(sender);
    let collected = answer.into_body().collect().await.expect("a body");
    assert_eq!(collected.trailers().expect("trailers")["grpc-status"], "5");
    let metrics = client.metrics();
    let line = metrics
        .lines()
        .find(|l| l.starts_with("istio_requests_total{"))
        .expect("counted");
    assert!(line.contains("grpc_response_status=\"5\""), "{line}");
    assert!(line.contains("request_protocol=\"grpc\""), "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_breaks_off_is_an_error_with_flags() {
    let mut client = World::new().client();
    let call = client.send(get());
    let body = http_body_util::StreamBody::new(futures_util::stream::iter([
        Ok(data("half")),
        Err(TransportError::sent(ResetReason::RemoteReset).into()),
    ]));
    let body = body.boxed_unsync();
    client
        .upstream
        .next()
        .await
        .respond(response(200, &[]).map(|_| body));
    let mut body = call.await.expect("joined").expect("a head").into_body();
    body.frame().await.expect("a frame").expect("data");
    let error = body
        .frame()
        .await
        .expect("an error")
        .expect_err("broken off");
    assert_eq!(
        (error.kind(), error.flags().to_string()),
        (ErrorKind::Body, "UR".into())
    );
    assert!(body.frame().await.is_none());
    assert_eq!(client.counted(200, "UR"), 1);
    assert_eq!(client.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn load_is_counted_to_the_end_of_the_body() {
    let mut client = World::new().client();
    let call = client.send(get());
    let (sender, body) = channel();
    client
        .upstream
        .next()
        .await
        .respond(response(200, &[]).map(|_| body));
    let mut body = call.await.expect("joined").expect("a head").into_body();
    assert_eq!(client.in_flight(), 1);
    drop(sender);
    assert!(body.frame().await.is_none());
    assert_eq!(client.in_flight(), 0);
    assert_eq!(client.counted(200, "-"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_stream_is_counted_until_its_guard_is_dropped() {
    let mut world = World::new();
    world.manager.upgrades = vec!["websocket".into()];
    world.forward.timeout = crate::world::ms(50);
    let mut client = world.client();
    let mut request = get();
    for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket")] {
        let value = http::HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
    }
    let call = client.send(request);
    let attempt = client.upstream.next().await;
    assert_eq!(attempt.header("upgrade").as_deref(), Some("websocket"));
    let mut switching = response(101, &[("connection", "upgrade"), ("upgrade", "websocket")]);
    switching.extensions_mut().insert("the connection");
    attempt.respond(switching);
    let mut answer = call.await.expect("joined").expect("a head");
    assert_eq!(answer.headers()["upgrade"], "websocket");
    assert_eq!(answer.extensions().get::<&str>(), Some(&"the connection"));
    let guard = answer.body_mut().guard();
    drop(answer);
    assert_eq!(client.in_flight(), 1);
    drop(guard);
    assert_eq!(client.in_flight(), 0);
    assert_eq!(client.counted(101, "-"), 1);
}
