//! Filters that hold, change and watch a request: body, trailers, route.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue, StatusCode};
use mesh_core::{
    filter::{
        BufferConfig, FilterContext, FilterKind, FilterOverride, FilterVerdict, HeaderMutation,
        HeaderMutationConfig, HttpFilter, HttpFilterConfig, Mutations,
    },
    model::{AppendAction, PathMatcher, Route, RouteAction},
    route::HeaderFormat,
};

use crate::{
    mock::{channel, data, full, trailers},
    world::{World, get, policy, post, settle, told},
};

fn with(name: &'static str, kind: FilterKind) -> World {
    let mut world = World::new();
    let filter = HttpFilterConfig::new(name, kind);
    world.manager.http_filters.insert(0, filter);
    world
}

fn buffer(max_request_bytes: u32) -> FilterKind {
    FilterKind::Buffer(BufferConfig { max_request_bytes })
}

/// Writes down what it sees; moves every request to `/moved` and forgets its route.
#[derive(Debug, Default)]
struct Watcher {
    log: Arc<Mutex<Vec<String>>>,
    moves: bool,
}

impl Watcher {
    fn note(&self, text: String) {
        self.log.lock().expect("no test panicked").push(text);
    }
}

impl HttpFilter for Watcher {
    fn on_request_head(
        &self,
        cx: &mut FilterContext<'_>,
        _: Option<&FilterOverride>,
        slot: &mut u64,
    ) -> FilterVerdict {
        *slot = 7;
        if self.moves {
            cx.parts.uri = "http://reviews:9080/moved".parse().expect("a URI");
            cx.clear_route();
        }
        FilterVerdict::Continue
    }

    fn wants_request_body(&self) -> bool {
        true
    }

    fn on_request_data(&self, data: &[u8], slot: &mut u64) {
        *slot += 1;
        self.note(format!("data {}", String::from_utf8_lossy(data)));
    }

    fn on_request_trailers(&self, trailers: &mut HeaderMap, _: &mut u64) {
        self.note(format!("trailers {}", trailers.len()));
        trailers.insert("x-seen", HeaderValue::from_static("1"));
    }

    fn on_request_end(&self, slot: &mut u64) {
        self.note(format!("end {slot}"));
    }

    fn on_response_head(
        &self,
        status: StatusCode,
        _: &mut HeaderMap,
        _: Option<&FilterOverride>,
        slot: &mut u64,
    ) {
        self.note(format!("response {} {slot}", status.as_u16()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_custom_filter_sees_the_request_body_once_whatever_is_retried() {
    let watcher = Arc::new(Watcher::default());
    let log = Arc::clone(&watcher.log);
    let mut world = with("watch", FilterKind::Custom(watcher));
    world.forward.retry_policy = Some(Arc::new(policy("5xx", 1)));
    let mut client = world.client();
    let (sender, body) = channel();
    let call = client.send(post(body));
    sender.send(data("ab")).expect("read");
    sender.send(data("cd")).expect("read");
    sender.send(trailers(&[("x-t", "1")])).expect("read");
    drop(sender);
    for status in [503, 200] {
        let mut attempt = client.upstream.next().await;
        let (body, trailers) = attempt.read_all().await;
        assert_eq!(body, "abcd");
        assert_eq!(trailers.expect("trailers")["x-seen"], "1");
        attempt.answer(status);
    }
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
    let expected = [
        "data ab",
        "data cd",
        "trailers 1",
        "end 9",
        "response 200 7",
    ];
    assert_eq!(*log.lock().expect("no test panicked"), expected);
}

#[tokio::test(start_paused = true)]
async fn a_buffer_holds_the_request_until_its_body_is_here() {
    let mut client = with("buffer", buffer(10)).client();
    let (sender, body) = channel();
    let call = client.send(post(body));
    sender.send(data("hello")).expect("read");
    settle().await;
    assert!(client.upstream.is_idle());
    drop(sender);
    let mut attempt = client.upstream.next().await;
    assert_eq!(attempt.header("content-length").as_deref(), Some("5"));
    assert_eq!(attempt.read().await.expect("a body"), "hello");
    attempt.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_buffer_that_overflows_answers_413() {
    let mut client = with("buffer", buffer(4)).client();
    let answer = client.send(post(full("hello"))).await.expect("joined");
    let (status, _, body) = told(answer).await;
    assert_eq!((status, &*body), (413, "Payload Too Large"));
    assert!(client.upstream.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_buffered_body_is_sent_again_by_a_retry() {
    let mut world = with("buffer", buffer(10));
    world.forward.retry_policy = Some(Arc::new(policy("5xx", 1)));
    let mut client = world.client();
    let call = client.send(post(full("hello")));
    for status in [503, 200] {
        let mut attempt = client.upstream.next().await;
        assert_eq!(attempt.read().await.expect("a body"), "hello");
        attempt.answer(status);
    }
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_cleared_route_is_found_again_by_the_changed_request() {
    let watcher = Watcher {
        moves: true,
        ..Watcher::default()
    };
    let mut world = with("watch", FilterKind::Custom(Arc::new(watcher)));
    // The route of the world matches everything but is asked second: what was moved is answered here.
    let mut moved = Route::default();
    moved.matcher.path = PathMatcher::Path("/moved".into());
    moved.action = RouteAction::DirectResponse(mesh_core::model::DirectResponse {
        body_format: None,
        status: StatusCode::IM_A_TEAPOT,
        body: "moved".into(),
    });
    world.host.routes = vec![Arc::new(moved)];
    let mut client = world.client();
    let answer = client.send(get()).await.expect("joined");
    assert_eq!(told(answer).await.0, 418);
    assert!(client.upstream.is_idle());
}

#[tokio::test(start_paused = true)]
async fn mutations_reach_the_request_the_response_and_local_replies() {
    let append = |name: &'static str, value: &[u8]| HeaderMutation::Append {
        name: http::HeaderName::from_static(name),
        value: HeaderFormat::parse(value).expect("a format"),
        action: AppendAction::AppendIfExistsOrAdd,
        keep_empty_value: false,
    };
    let mut mutations = Mutations::default();
    mutations.request = vec![append("x-in", b"%REQ(:METHOD)%")];
    mutations.response = vec![append("x-out", b"%REQ(x-in)%")];
    let config = HeaderMutationConfig::new(mutations, false);
    let kind = || FilterKind::HeaderMutation(Arc::new(config.clone()));
    let mut client = with("mutate", kind()).client();
    let call = client.send(get());
    let attempt = client.upstream.next().await;
    assert_eq!(attempt.header("x-in").as_deref(), Some("GET"));
    attempt.answer(200);
    let answer = call.await.expect("joined").expect("an answer");
    assert_eq!(answer.headers()["x-out"], "GET");

    let mut world = with("mutate", kind());
    world.route.matcher.path = PathMatcher::Path("/nowhere".into());
    let client = world.client();
    let error = client.send(get()).await.expect("joined").expect_err("NR");
    assert_eq!(
        error.into_response::<crate::mock::TestBody>().headers()["x-out"],
        "GET"
    );
}
