//! The inbound side: the application where a proxy would forward.

use std::{convert::Infallible, sync::Arc};

use http::{Request, Response, Version};
use http_body_util::BodyExt;
use mesh_core::{
    cluster::Cluster,
    model::{
        ConnectionManagerConfig, FilterChainConfig, ListenerConfig, NetworkFilter, TrafficDirection,
    },
    snapshot::ConfigSet,
};
use mesh_tower::{DataPlane, RequestBody};
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    mock::{TestBody, empty, full},
    world::{World, get, plane},
};

/// A `virtualInbound`-like listener on the port itself.
fn inbound(world: World) -> DataPlane {
    let mut config = world.config();
    let outbound = config.listeners.pop().expect("one listener");
    let manager = outbound.api_listener.as_ref().expect("an API listener");
    let mut manager: ConnectionManagerConfig = (**manager).clone();
    manager.stat_prefix = "inbound_9080".into();
    let mut listener = ListenerConfig::new("0.0.0.0_9080");
    listener.address = Some(([0, 0, 0, 0], 9080).into());
    listener.direction = TrafficDirection::Inbound;
    listener.filter_chains = vec![FilterChainConfig::new(NetworkFilter::Http(Arc::new(
        manager,
    )))];
    config.listeners = vec![Arc::new(listener)];
    plane(config)
}

async fn echo(request: Request<RequestBody<TestBody>>) -> Result<Response<TestBody>, Infallible> {
    let host = request.headers().get("host").cloned();
    let uri = request.uri().to_string();
    let body = request.into_body().collect().await.map(|b| b.to_bytes());
    let mut response = Response::new(empty());
    let headers = response.headers_mut();
    headers.insert("x-uri", uri.parse().expect("a value"));
    if let Some(host) = host {
        headers.insert("x-host", host);
    }
    headers.insert("x-length", body.map_or(0, |b| b.len()).into());
    Ok(response)
}

fn request() -> Request<TestBody> {
    Request::post("/reviews/0?x=1")
        .header("host", "reviews:9080")
        .body(full("hello"))
        .expect("a request")
}

#[tokio::test]
async fn the_application_sees_the_request_as_on_the_wire() {
    let plane = inbound(World::new());
    let server = plane.server_layer(9080).layer(service_fn(echo));
    let response = server.clone().oneshot(request()).await.expect("infallible");
    let headers = response.headers();
    assert_eq!(response.status(), 200);
    assert_eq!(headers["x-uri"], "/reviews/0?x=1");
    assert_eq!(headers["x-host"], "reviews:9080");
    assert_eq!(headers["x-length"], "5");
    assert_eq!(headers["server"], "envoy");

    let mut h2 = get();
    *h2.version_mut() = Version::HTTP_2;
    let response = server.oneshot(h2).await.expect("infallible");
    assert_eq!(response.headers()["x-uri"], "http://reviews:9080/reviews/0");
}

#[tokio::test]
async fn without_a_chain_requests_pass() {
    let plane = plane(ConfigSet::default());
    let server = plane.server_layer(9080).layer(service_fn(echo));
    let response = server.oneshot(request()).await.expect("infallible");
    assert_eq!(response.headers()["x-length"], "5");
    assert!(!response.headers().contains_key("server"));
}

#[tokio::test]
async fn a_request_without_a_route_is_answered_404() {
    let mut world = World::new();
    world.host.domains = vec!["other".into()];
    let server = inbound(world).server_layer(9080).layer(service_fn(echo));
    let response = server.oneshot(request()).await.expect("infallible");
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn a_draining_server_closes_http1_connections() {
    let plane = inbound(World::new());
    let server = plane.server_layer(9080).layer(service_fn(echo));
    let response = server.clone().oneshot(request()).await.expect("infallible");
    assert!(!response.headers().contains_key("connection"));
    plane.drain();
    let response = server.oneshot(request()).await.expect("infallible");
    assert_eq!(response.headers()["connection"], "close");
}

#[tokio::test]
async fn requests_are_counted_for_this_workload() {
    let plane = inbound(World::new());
    let server = plane.server_layer(9080).layer(service_fn(echo));
    let response = server.oneshot(request()).await.expect("infallible");
    response.into_body().collect().await.expect("a body");
    let snapshot = plane.snapshot();
    let text = mesh_core::stats::prometheus::render(
        snapshot.stats(),
        &snapshot.config().node,
        &mesh_core::stats::Selection::default(),
    );
    let line = text
        .lines()
        .find(|l| l.starts_with("istio_requests_total{"))
        .expect("counted");
    assert!(line.contains("reporter=\"destination\""), "{line}");
    assert!(line.contains("response_code=\"200\""), "{line}");
    let cluster: Option<&Arc<Cluster>> = snapshot.clusters().next();
    assert_eq!(
        cluster.expect("reviews").endpoints()[0].active_requests(),
        0
    );
}
