//! Redirects of the upstream that are followed here.

use mesh_core::model::InternalRedirectPolicy;

use crate::{
    mock::{Attempt, full, response},
    world::{Client, World, get, post, told},
};

fn following(max: u32) -> World {
    let mut world = World::new();
    let mut policy = InternalRedirectPolicy::default();
    policy.max_internal_redirects = max;
    policy.redirect_response_codes = vec![http::StatusCode::FOUND, http::StatusCode::SEE_OTHER];
    policy.response_headers_to_copy = vec![http::HeaderName::from_static("x-copied")];
    world.forward.internal_redirects = Some(policy);
    world
}

fn redirect(attempt: Attempt, status: u16, location: &'static str) {
    let headers = [("location", location), ("x-copied", "from the redirect")];
    attempt.respond(response(status, &headers));
}

fn succeeded_and_failed(client: &Client) -> (u64, u64) {
    let cluster = client.cluster();
    let stats = cluster.stats();
    (
        stats.upstream_internal_redirect_succeeded_total.value(),
        stats.upstream_internal_redirect_failed_total.value(),
    )
}

#[tokio::test(start_paused = true)]
async fn the_request_is_sent_again_with_its_body() {
    let mut client = following(2).client();
    let call = client.send(post(full("hello")));
    let mut first = client.upstream.next().await;
    assert_eq!(first.read().await.expect("a body"), "hello");
    redirect(first, 302, "http://reviews:9080/other?q=1#f");
    let mut second = client.upstream.next().await;
    assert_eq!(second.read().await.expect("a body"), "hello");
    let request = second.dispatch.request();
    assert_eq!(request.uri(), "http://reviews:9080/other?q=1");
    assert_eq!(request.method(), "POST");
    let headers = request.headers();
    assert_eq!(
        headers["x-envoy-original-url"],
        "http://reviews:9080/reviews/0"
    );
    assert_eq!(headers["x-copied"], "from the redirect");
    assert_eq!(client.in_flight(), 1);
    second.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
    assert_eq!(succeeded_and_failed(&client), (1, 0));
    assert_eq!(client.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn see_other_is_asked_for_without_a_body() {
    let mut client = following(1).client();
    let call = client.send(post(full("hello")));
    let mut first = client.upstream.next().await;
    first.read().await.expect("a body");
    redirect(first, 303, "http://reviews:9080/other");
    let mut second = client.upstream.next().await;
    assert_eq!(second.read().await.expect("no body"), "");
    assert_eq!(second.dispatch.request().method(), "GET");
    second.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_followed_goes_to_the_client() {
    for (max, location) in [
        (0, "http://reviews:9080/other"),
        (1, "/relative"),
        (1, "https://reviews:9080/other"),
    ] {
        let mut client = following(max).client();
        let call = client.send(get());
        redirect(client.upstream.next().await, 302, location);
        assert_eq!(told(call.await.expect("joined")).await.0, 302, "{location}");
        assert_eq!(succeeded_and_failed(&client), (0, 1), "{location}");
        assert!(client.upstream.is_idle());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_outgrew_the_buffer_is_not_sent_again() {
    let mut world = following(1);
    world.host.request_body_buffer_limit = Some(4);
    let mut client = world.client();
    let call = client.send(post(full("hello")));
    let mut first = client.upstream.next().await;
    first.read().await.expect("a body");
    redirect(first, 302, "http://reviews:9080/other");
    assert_eq!(told(call.await.expect("joined")).await.0, 302);
    assert!(client.upstream.is_idle());
}
