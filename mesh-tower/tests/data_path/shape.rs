//! Where users write it: it compiles, it is small.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use mesh_core::outcome::ResetReason;
use mesh_tower::{
    BoxError, ByUri, DataPlane, Dispatch, MeshBody, MeshError, RequestBody, ResponseFuture,
    TransportError, transport::Transport,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::world::{World, nothing};

fn is_send<T: Send>(value: T) -> T {
    value
}

/// Any client of plain requests.
async fn plain<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, std::io::Error> {
    Ok(Response::new(Full::from(request.uri().to_string())))
}

#[tokio::test]
async fn over_any_plain_client_by_uri() {
    let plane = World::new().client().plane;
    let client = service_fn(plain::<RequestBody<Empty<Bytes>>>);
    let mut http = ServiceBuilder::new()
        .layer(plane.layer())
        .service(ByUri::new(client));
    let request = Request::get("http://reviews:9080/r/0").body(nothing());
    let ready = http.ready().await.expect("always");
    let response = ready
        .call(request.expect("a request"))
        .await
        .expect("an answer");
    let text = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let text = std::str::from_utf8(&text).expect("text");
    assert!(text.starts_with("http://127.0.0.1:2000"), "{text}");
}

#[tokio::test]
async fn a_plain_client_is_refused_where_http2_is_wanted() {
    let mut world = World::new();
    world.cluster.http.protocol = mesh_core::model::UpstreamProtocol::Http2;
    let plane = world.client().plane;
    let client = service_fn(plain::<RequestBody<Empty<Bytes>>>);
    let http = plane.layer().layer(ByUri::new(client));
    let request = Request::get("http://reviews:9080/").body(nothing());
    let error = http
        .request(request.expect("a request"))
        .await
        .expect_err("HTTP/2");
    let source = std::error::Error::source(&error).and_then(|e| e.source());
    let text = source.expect("a reason").to_string();
    assert!(
        text.contains("cluster reviews") && text.contains("mesh.transport()"),
        "{text}"
    );
    assert!(!error.was_sent());
}

/// Middleware on both sides: outside per request, inside per attempt.
#[tokio::test]
async fn middleware_on_both_sides() {
    let plane = World::new().client().plane;
    let inner = service_fn(|dispatch: Dispatch<RequestBody<Empty<Bytes>>>| async move {
        let request = dispatch.into_request();
        let text = request.headers()["x-attempt"].clone();
        let mut response = Response::new(Full::<Bytes>::default());
        response.headers_mut().insert("x-seen", text);
        Ok::<_, TransportError>(response)
    });
    let per_attempt = ServiceBuilder::new()
        .map_request(|mut dispatch: Dispatch<RequestBody<Empty<Bytes>>>| {
            let value = http::HeaderValue::from_static("1");
            dispatch
                .request_mut()
                .headers_mut()
                .insert("x-attempt", value);
            dispatch
        })
        .service(inner);
    let service = ServiceBuilder::new()
        .map_response(|r: Response<MeshBody<Full<Bytes>>>| r)
        .layer(plane.layer())
        .service(per_attempt);
    let request = Request::get("http://reviews:9080/").body(nothing());
    let call = is_send(service.oneshot(request.expect("a request")));
    let response = tokio::spawn(call)
        .await
        .expect("joined")
        .expect("an answer");
    assert_eq!(response.headers()["x-seen"], "1");
}

type Boxed = BoxBody<Bytes, BoxError>;

/// In a spawned task, with a boxed body and the mesh's own transport.
fn spawned(plane: &DataPlane, request: Request<Boxed>) {
    let mut http = ServiceBuilder::new()
        .layer(plane.layer())
        .service(plane.transport());
    tokio::spawn(async move {
        let ready = http.ready().await?;
        let response = ready.call(request).await?;
        response.into_body().collect().await.map(drop)
    });
}

/// The caller's error type converts.
async fn question_mark(
    plane: &DataPlane,
) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let http = plane.layer().layer(plane.transport());
    let request = Request::get("http://reviews:9080/").body(nothing())?;
    let response = http.request(request).await?;
    Ok(response.into_body().collect().await?.to_bytes())
}

#[cfg(feature = "tonic")]
mod in_async_trait {
    use super::*;

    #[tonic::async_trait]
    trait Handler {
        async fn handle(&self, request: Request<Boxed>) -> Result<u16, tonic::Status>;
    }

    #[tonic::async_trait]
    impl Handler for DataPlane {
        async fn handle(&self, request: Request<Boxed>) -> Result<u16, tonic::Status> {
            let mut http = self.layer().layer(self.transport());
            let response = http.ready().await?.call(request).await?;
            Ok(response.status().as_u16())
        }
    }

    #[test]
    fn compiles() {
        let handle = <DataPlane as Handler>::handle;
        let _ = handle;
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn in_an_axum_handler_and_as_a_router_layer() {
    type Http = mesh_tower::MeshService<Transport<RequestBody<axum::body::Body>>>;
    async fn handler(
        axum::extract::State(mut http): axum::extract::State<Http>,
        request: axum::extract::Request,
    ) -> Result<Response<axum::body::Body>, MeshError> {
        let response = http.ready().await?.call(request).await?;
        Ok(response.map(axum::body::Body::new))
    }
    let plane = World::new().client().plane;
    let http: Http = plane.layer().layer(plane.transport());
    let app: axum::Router = axum::Router::new()
        .route("/", axum::routing::get(handler))
        .with_state(http);
    let _: axum::Router = app.clone().layer(plane.server_layer(9080));
    let listener = mesh_tower::server::MeshListener::bind("127.0.0.1:0");
    let listener = listener.await.expect("bound");
    let make = plane.server_layer(9080).into_make_service(app);
    drop(is_send(std::future::IntoFuture::into_future(axum::serve(
        listener, make,
    ))));
}

#[tokio::test]
async fn it_is_clone_send_sync() {
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    let plane = World::new().client().plane;
    shared(&plane);
    shared(&plane.layer().layer(plane.transport::<Boxed>()));
    shared(
        &plane
            .server_layer(80)
            .layer(service_fn(plain::<RequestBody<Boxed>>)),
    );
    let _ = (spawned, question_mark);
}

/// The state machine's own size: what it adds to the inner service, its future and the request's body.
#[test]
fn the_future_is_small() {
    type Http = Transport<RequestBody<Empty<Bytes>>>;
    type Inner = <Http as Service<Dispatch<RequestBody<Empty<Bytes>>>>>::Future;
    type Mesh = ResponseFuture<Http, Empty<Bytes>, Inner>;
    let size = size_of::<Mesh>();
    println!("ResponseFuture over Transport: {size} bytes");
    assert!(size <= LIMIT, "{size} > {LIMIT}");
    let result = size_of::<Result<Response<MeshBody<Empty<Bytes>>>, MeshError>>();
    println!("Response: {result} bytes");
}

const LIMIT: usize = 696;

/// A transport's failure reaches the caller with its reason.
#[tokio::test]
async fn errors_keep_their_sources() {
    let plane = World::new().client().plane;
    let inner = service_fn(|_: Dispatch<RequestBody<Empty<Bytes>>>| async {
        let error = TransportError::unsent(ResetReason::ConnectionTimeout);
        Err::<Response<Full<Bytes>>, _>(error.with_source("the wire is cut"))
    });
    let http = plane.layer().layer(inner);
    let request = Request::get("http://reviews:9080/").body(nothing());
    let call = tokio::time::timeout(Duration::from_secs(5), http.request(request.expect("one")));
    let error = call.await.expect("in time").expect_err("cut");
    assert_eq!(error.flags().to_string(), "UF");
    let texts: Vec<String> =
        std::iter::successors(std::error::Error::source(&error), |e| e.source())
            .map(|e| e.to_string())
            .collect();
    assert_eq!(texts, ["connection timeout", "the wire is cut"]);
    let _ = nothing().is_end_stream();
}
