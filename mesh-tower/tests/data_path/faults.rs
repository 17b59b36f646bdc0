//! The fault filter in the chain.

use std::sync::Arc;

use http::StatusCode;
use mesh_core::{
    filter::{FaultAbort, FaultConfig, FilterKind, FilterOverride, HttpFilterConfig},
    model::Fraction,
};
use tokio::time::Instant;

use crate::world::{World, get, ms, settle, told};

fn faulty(delay: Option<u64>, abort: Option<FaultAbort>) -> World {
    let mut world = World::new();
    let fault = HttpFilterConfig::new("fault", FilterKind::Fault(Arc::default()));
    world.manager.http_filters.insert(0, fault);
    let mut config = FaultConfig::default();
    config.delay = delay.map(ms);
    config.delay_fraction = Some(Fraction::ALWAYS);
    config.abort = abort;
    config.abort_fraction = Some(Fraction::ALWAYS);
    world.route.filter_overrides = vec![("fault".into(), FilterOverride::Fault(Arc::new(config)))];
    world
}

#[tokio::test(start_paused = true)]
async fn a_delay_holds_the_request_before_it_has_an_endpoint() {
    let mut client = faulty(Some(2000), None).client();
    let start = Instant::now();
    let call = client.send(get());
    settle().await;
    assert!(client.upstream.is_idle());
    let attempt = client.upstream.next().await;
    let waited = start.elapsed();
    assert!(waited >= ms(2000) && waited <= ms(2003), "{waited:?}");
    attempt.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
    assert_eq!(client.counted(200, "DI"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_abort_is_an_answer_not_an_error_and_is_not_retried() {
    let teapot = StatusCode::IM_A_TEAPOT;
    let mut world = faulty(Some(10), Some(FaultAbort::Http(teapot)));
    world.forward.retry_policy = Some(Arc::new(crate::world::policy("retriable-4xx,5xx", 3)));
    let mut client = world.client();
    let answer = client
        .send(get())
        .await
        .expect("joined")
        .expect("configured");
    assert_eq!(answer.status(), teapot);
    assert_eq!(told(Ok(answer)).await.2, "fault filter abort");
    assert!(client.upstream.is_idle());
    assert_eq!(client.counted(418, "DI,FI"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_route_timeout_does_not_run_during_a_delay() {
    let mut world = faulty(Some(500), None);
    world.forward.timeout = ms(100);
    let mut client = world.client();
    let call = client.send(get());
    client.upstream.next().await.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
}
