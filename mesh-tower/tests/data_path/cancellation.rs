//! Dropped at every poll: everything is released exactly once.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use http_body_util::BodyExt;
use mesh_core::{
    filter::{FaultConfig, FilterKind, FilterOverride, HttpFilterConfig},
    model::{Fraction, RoutingPriority},
};
use tokio::time::advance;

use crate::{
    mock::{channel, data, full, response},
    world::{Client, World, ms, policy, post, settle},
};

/// A delay, two attempts with a body, a response of two frames: many places to be dropped at.
fn world() -> World {
    let mut world = World::new();
    let fault = HttpFilterConfig::new("fault", FilterKind::Fault(Arc::default()));
    world.manager.http_filters.insert(0, fault);
    let mut config = FaultConfig::default();
    config.delay = Some(ms(5));
    config.delay_fraction = Some(Fraction::ALWAYS);
    world.route.filter_overrides = vec![("fault".into(), FilterOverride::Fault(Arc::new(config)))];
    let mut policy = policy("5xx", 1);
    policy.per_try_timeout = ms(500);
    world.forward.retry_policy = Some(Arc::new(policy));
    world.forward.timeout = ms(1000);
    world
}

/// Plays the exchange, polling the caller by hand; drops it after `polls` polls. Returns whether it was over before.
async fn play(client: &mut Client, polls: usize) -> bool {
    let mut left = polls;
    let mut step = async |client: &mut Client| -> bool {
        let _ = client;
        settle().await;
        left = left.saturating_sub(1);
        left == 0
    };
    let (_frames, response_body) = channel();
    let mut cx = Context::from_waker(Waker::noop());
    let mut answers = vec![
        response(200, &[]).map(|_| response_body),
        response(503, &[]),
    ];
    let mut held = Vec::new();
    let body = {
        let call = client.service.request(post(full("body")));
        let mut call = Box::pin(call);
        loop {
            match call.as_mut().poll(&mut cx) {
                Poll::Ready(Ok(response)) => break response.into_body(),
                Poll::Ready(Err(error)) => panic!("{error}"),
                Poll::Pending => {}
            }
            if step(client).await {
                return false;
            }
            advance(ms(30)).await;
            if let Ok(attempt) = client.upstream.try_next() {
                held.push(attempt);
            } else if let Some(mut attempt) = held.pop()
                && let Some(answer) = answers.pop()
            {
                attempt.read().await.expect("a body");
                attempt.respond(answer);
            }
        }
    };
    let mut body = pin!(body);
    _frames.send(data("a")).expect("open");
    for _ in 0..3 {
        if step(client).await {
            return false;
        }
        if body.frame().await.is_none() {
            break;
        }
        if _frames.send(data("b")).is_err() {
            break;
        }
    }
    // The end of the stream, last of all.
    if step(client).await {
        return false;
    }
    true
}

#[tokio::test(start_paused = true)]
async fn at_every_poll_the_counts_return_to_zero() {
    let mut was_over = false;
    let mut dropped = 0;
    for polls in 1..60 {
        let mut client = world().client();
        was_over = play(&mut client, polls).await;
        settle().await;
        let cluster = client.cluster();
        let breaker = cluster.breaker(RoutingPriority::Default);
        assert_eq!(client.in_flight(), 0, "after {polls} polls");
        assert_eq!(breaker.active_retries(), 0, "after {polls} polls");
        let snapshot = client.plane.snapshot();
        let manager = snapshot.stats().manager("outbound_9080");
        assert_eq!(
            manager.downstream_rq_active.value(),
            0,
            "after {polls} polls"
        );
        assert_eq!(
            manager.fault.active_faults.value(),
            0,
            "after {polls} polls"
        );
        let metrics = client.metrics();
        let counted = metrics
            .lines()
            .filter(|l| l.starts_with("istio_requests_total{") && l.ends_with(" 1"))
            .count();
        assert_eq!(counted, 1, "after {polls} polls: {metrics}");
        if was_over {
            break;
        }
        dropped += 1;
    }
    assert!(was_over, "the exchange never ended");
    assert!(dropped >= 6, "only {dropped} places to be dropped at");
}

#[tokio::test(start_paused = true)]
async fn a_body_dropped_in_the_middle_counts_as_dc() {
    let mut client = World::new().client();
    let call = client.send(crate::world::get());
    let (sender, body) = channel();
    client
        .upstream
        .next()
        .await
        .respond(response(200, &[]).map(|_| body));
    let mut body = call.await.expect("joined").expect("a head").into_body();
    sender.send(data("a")).expect("open");
    body.frame().await.expect("a frame").expect("data");
    drop(body);
    assert!(sender.is_closed());
    assert_eq!(client.in_flight(), 0);
    assert_eq!(client.counted(200, "DC"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_future_that_was_never_polled_releases_what_it_has() {
    let client = World::new().client();
    drop(client.service.request(crate::world::get()));
    assert_eq!(client.in_flight(), 0);
}
