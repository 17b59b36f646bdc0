//! Replies that no upstream gave, in Envoy's words.

use http::{StatusCode, header::CONTENT_TYPE};
use mesh_core::model::{
    ClusterSpecifier, DirectResponse, PathMatcher, Redirect, RouteAction, RouteMatch,
};
use mesh_tower::{ErrorKind, LocalReplyLayer};
use tower::{Layer, ServiceExt};

use crate::world::{Client, World, get, told};

fn grpc(client: &Client) -> tokio::task::JoinHandle<crate::world::Answer> {
    let mut request = get();
    let value = http::HeaderValue::from_static("application/grpc");
    request.headers_mut().insert(CONTENT_TYPE, value);
    client.send(request)
}

fn no_route() -> World {
    let mut world = World::new();
    world.route.matcher = RouteMatch::default();
    world.route.matcher.path = PathMatcher::Path("/other".into());
    world
}

#[tokio::test]
async fn no_route_is_404_nr() {
    let client = no_route().client();
    let error = client.send(get()).await.expect("joined").expect_err("NR");
    assert_eq!(
        (error.kind(), error.details()),
        (ErrorKind::Configuration, "route_not_found")
    );
    assert_eq!(told(Err(error)).await, (404, "NR".into(), String::new()));
    assert_eq!(client.counted(404, "NR"), 1);
}

#[tokio::test]
async fn an_unknown_host_is_404_nr() {
    let client = World::new().client();
    let mut request = get();
    *request.uri_mut() = "http://nobody:1/".parse().expect("a URI");
    let error = client.send(request).await.expect("joined").expect_err("NR");
    assert_eq!(error.flags().to_string(), "NR");
}

#[tokio::test]
async fn an_unknown_cluster_is_nc_with_the_routes_status() {
    let mut world = World::new();
    world.forward.cluster = ClusterSpecifier::Cluster("gone".into());
    world.forward.cluster_not_found_response_code = StatusCode::NOT_FOUND;
    let client = world.client();
    let error = client.send(get()).await.expect("joined").expect_err("NC");
    assert_eq!(error.details(), "cluster_not_found");
    assert_eq!(told(Err(error)).await.1, "NC");
}

#[tokio::test]
async fn no_endpoint_is_503_uh() {
    let mut world = World::new();
    world.endpoints = 0;
    let client = world.client();
    let error = client.send(get()).await.expect("joined").expect_err("UH");
    assert_eq!(error.kind(), ErrorKind::Upstream);
    assert!(!error.was_sent());
    assert_eq!(
        told(Err(error)).await,
        (503, "UH".into(), "no healthy upstream".into())
    );
}

#[tokio::test]
async fn grpc_requests_get_grpc_replies() {
    let mut world = World::new();
    world.endpoints = 0;
    let client = world.client();
    let error = grpc(&client).await.expect("joined").expect_err("UH");
    let response = error.into_response::<http_body_util::Empty<bytes::Bytes>>();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "14");
    assert_eq!(response.headers()["grpc-message"], "no healthy upstream");
    assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");

    let client = no_route().client();
    let error = grpc(&client).await.expect("joined").expect_err("NR");
    let response = error.into_response::<http_body_util::Empty<bytes::Bytes>>();
    assert_eq!(response.headers()["grpc-status"], "12");
}

#[tokio::test]
async fn a_direct_response_and_a_redirect_are_answers() {
    let mut world = World::new();
    world.route.action = RouteAction::DirectResponse(DirectResponse {
        body_format: None,
        status: StatusCode::BAD_GATEWAY,
        body: "no".into(),
    });
    let client = world.client();
    let answer = client.send(get()).await.expect("joined");
    assert!(answer.is_ok());
    assert_eq!(told(answer).await, (502, "-".into(), "no".into()));

    let mut world = World::new();
    let mut redirect = Redirect::default();
    redirect.host = Some("elsewhere".into());
    redirect.response_code = StatusCode::FOUND;
    world.route.action = RouteAction::Redirect(Box::new(redirect));
    let client = world.client();
    let answer = client
        .send(get())
        .await
        .expect("joined")
        .expect("an answer");
    assert_eq!(answer.status(), 302);
    assert_eq!(answer.headers()["location"], "http://elsewhere/reviews/0");
}

#[tokio::test]
async fn replies_carry_server_and_date_and_the_routes_headers() {
    use mesh_core::{
        model::{AppendAction, HeaderAddition},
        route::HeaderFormat,
    };
    let mut world = World::new();
    world.endpoints = 0;
    let constant = HeaderFormat::parse(b"yes").expect("a format");
    let of_request = HeaderFormat::parse(b"%REQ(end-user)%").expect("a format");
    let add = |name: &'static str, value| {
        let name = http::HeaderName::from_static(name);
        HeaderAddition::new(name, value, AppendAction::OverwriteIfExistsOrAdd)
    };
    world.route.headers.response.add = vec![add("x-route", constant), add("x-user", of_request)];
    let client = world.client();
    let mut request = get();
    let jason = http::HeaderValue::from_static("jason");
    request.headers_mut().insert("end-user", jason);
    let error = client.send(request).await.expect("joined").expect_err("UH");
    let response = error.into_response::<http_body_util::Empty<bytes::Bytes>>();
    assert_eq!(response.headers()["x-route"], "yes");
    assert_eq!(response.headers()["x-user"], "jason");
    assert_eq!(response.headers()["server"], "envoy");
    let date = response.headers()["date"].to_str().expect("text");
    assert!(httpdate::parse_http_date(date).is_ok());
}

#[tokio::test]
async fn the_local_reply_layer_never_fails() {
    let client = no_route().client();
    let service = LocalReplyLayer.layer(client.service.clone());
    let response = service.oneshot(get()).await.expect("infallible");
    assert_eq!(response.status(), 404);
}
