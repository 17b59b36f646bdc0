//! What calls inherit from the request that is being served.

use std::{convert::Infallible, time::Duration};

use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use mesh_tower::{Context, Deadline, RequestBody};
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    mock::{TestBody, empty},
    world::{World, get, plane, told},
};

fn inbound() -> Request<TestBody> {
    let mut request = Request::get("http://productpage:9080/")
        .header("x-request-id", "id-1")
        .header("x-b3-traceid", "463ac35c9f6413ad")
        .header("end-user", "jason")
        .body(empty())
        .expect("a request");
    let soon = Deadline::after(Duration::from_millis(50));
    request.extensions_mut().insert(soon);
    request
}

#[tokio::test(start_paused = true)]
async fn a_handlers_calls_carry_trace_and_deadline() {
    let mut client = World::new().client();
    let service = client.service.clone();
    let isolated = client
        .plane
        .layer()
        .isolated()
        .layer(service.get_ref().clone());
    let app = service_fn(move |request: Request<RequestBody<TestBody>>| {
        let (service, isolated) = (service.clone(), isolated.clone());
        async move {
            let own = request.headers().contains_key("x-own");
            drop(request);
            let mut call = get();
            if own {
                let value = HeaderValue::from_static("mine");
                call.headers_mut().insert("x-request-id", value);
            }
            let _ = service.request(call).await;
            let _ = isolated.request(get()).await;
            let spawned = Context::current().scope(async move {
                let _ = service.request(get()).await;
            });
            tokio::spawn(spawned).await.expect("joined");
            Ok::<_, Infallible>(Response::new(empty()))
        }
    });
    let server = plane(mesh_core::snapshot::ConfigSet::default())
        .server_layer(9080)
        .layer(app);
    let serving = tokio::spawn(server.oneshot(inbound()));
    let first = client.upstream.next().await;
    assert_eq!(first.header("x-request-id").as_deref(), Some("id-1"));
    assert_eq!(
        first.header("x-b3-traceid").as_deref(),
        Some("463ac35c9f6413ad")
    );
    assert_eq!(first.header("end-user"), None);
    // Never answered: the inherited deadline ends it.
    let second = client.upstream.next().await;
    assert!(first.is_reset());
    assert_eq!(second.header("x-request-id"), None, "isolated");
    second.answer(200);
    let response = serving.await.expect("joined").expect("infallible");
    response.into_body().collect().await.expect("a body");
}

#[tokio::test(start_paused = true)]
async fn outside_of_a_handler_there_is_nothing_to_inherit() {
    let mut client = World::new().client();
    assert_eq!(Context::current().deadline(), None);
    let call = client.send(get());
    let attempt = client.upstream.next().await;
    assert_eq!(attempt.header("x-request-id"), None);
    attempt.answer(200);
    assert_eq!(told(call.await.expect("joined")).await.0, 200);
}
