//! Where calls are made from, and with which bodies.

use axum::{Router, extract::State, routing::get};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody, combinators::UnsyncBoxBody};
use mesh_proto::xds::{
    data::orca::v3::OrcaLoadReport,
    service::orca::v3::{
        OrcaLoadReportRequest,
        open_rca_service_client::OpenRcaServiceClient,
        open_rca_service_server::{OpenRcaService, OpenRcaServiceServer},
    },
};
use proxyless::{BoxError, Mesh};
use tonic::{Response, Status, service::interceptor::InterceptedService, transport::Server};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use crate::{echo, mesh_of, serve};

const URI: &str = "http://hello/echo";

async fn text<B>(body: B) -> String
where
    B: http_body_util::BodyExt<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let body = body.collect().await.expect("a whole body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

fn post<B>(body: B) -> Request<B> {
    Request::post(URI).body(body).expect("a request")
}

#[tokio::test]
async fn in_spawned_tasks_with_every_kind_of_body() {
    let mesh = mesh_of(echo().await);
    let client = mesh.client();
    let full = tokio::spawn({
        let client = client.clone();
        async move { client.request(post(Full::new(Bytes::from("full")))).await }
    });
    let boxed = tokio::spawn({
        let client = client.clone();
        let body: BoxBody<Bytes, BoxError> = Full::from("boxed").map_err(Into::into).boxed();
        async move { client.request(post(body)).await }
    });
    let unsync = tokio::spawn({
        let client = client.clone();
        let body: UnsyncBoxBody<Bytes, BoxError> =
            Full::from("unsync").map_err(Into::into).boxed_unsync();
        async move { client.request(post(body)).await }
    });
    let text_of = async |answer: tokio::task::JoinHandle<Result<http::Response<_>, _>>| {
        text(
            answer
                .await
                .expect("joined")
                .map(http::Response::into_body)
                .expect("answered"),
        )
        .await
    };
    assert_eq!(text_of(full).await, "full");
    assert_eq!(text_of(boxed).await, "boxed");
    assert_eq!(text_of(unsync).await, "unsync");
}

#[tokio::test]
async fn as_a_tower_stack_under_other_layers() {
    let mesh = mesh_of(echo().await);
    let mut stack = ServiceBuilder::new()
        .map_request(|mut request: Request<Full<Bytes>>| {
            let value = HeaderValue::from_static("outer");
            request.headers_mut().insert("x-layer", value);
            request
        })
        .layer(mesh.layer())
        .service(mesh.transport());
    let ready = stack.ready().await.expect("always ready");
    let response = ready
        .call(post(Full::from("stack")))
        .await
        .expect("answered");
    assert_eq!(text(response.into_body()).await, "stack");
    let boxed = mesh.layer().layer(mesh.transport()).boxed_clone();
    let response = boxed
        .oneshot(post(Full::new(Bytes::from("boxed"))))
        .await
        .expect("answered");
    assert_eq!(text(response.into_body()).await, "boxed");
}

#[tokio::test]
async fn in_axum_handlers() {
    async fn handler(State(mesh): State<Mesh>) -> Result<String, StatusCode> {
        let request = post(Full::new(Bytes::from("from a handler")));
        let response = mesh.client().request(request).await;
        Ok(text(response.map_err(|_| StatusCode::BAD_GATEWAY)?.into_body()).await)
    }
    let inner = mesh_of(echo().await);
    let outer = mesh_of(serve(Router::new().route("/", get(handler)).with_state(inner)).await);
    let request = Request::get("http://hello/").body(Empty::<Bytes>::new());
    let response = outer.client().request(request.expect("a request")).await;
    assert_eq!(
        text(response.expect("answered").into_body()).await,
        "from a handler"
    );
}

/// A handler that calls another service by the mesh before it answers.
struct Load {
    mesh: Mesh,
}

#[tonic::async_trait]
impl OpenRcaService for Load {
    type StreamCoreMetricsStream = tokio_stream::Once<Result<OrcaLoadReport, Status>>;

    async fn stream_core_metrics(
        &self,
        request: tonic::Request<OrcaLoadReportRequest>,
    ) -> Result<Response<Self::StreamCoreMetricsStream>, Status> {
        let token = request.metadata().get("x-token");
        if token.is_none_or(|token| token != "secret") {
            return Err(Status::unauthenticated("no token"));
        }
        let answer = self.mesh.client().request(post(Full::from("0.5"))).await?;
        let cpu_utilization = text(answer.into_body()).await.parse().expect("a number");
        let report = OrcaLoadReport {
            cpu_utilization,
            ..Default::default()
        };
        Ok(Response::new(tokio_stream::once(Ok(report))))
    }
}

#[tokio::test]
async fn in_tonic_handlers_and_with_interceptors() {
    let mesh = mesh_of(echo().await);
    let listener = mesh.listener("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let service = OpenRcaServiceServer::new(Load { mesh: mesh.clone() });
    let server = Server::builder()
        .layer(mesh.server_layer(port))
        .add_service(service);
    tokio::spawn(server.serve_with_incoming(listener.into_stream()));

    let channel = mesh_of(port).grpc_channel("load:80");
    let mut bare = OpenRcaServiceClient::new(channel.clone());
    let refused = bare
        .stream_core_metrics(OrcaLoadReportRequest::default())
        .await;
    assert_eq!(
        refused.expect_err("no token").code(),
        tonic::Code::Unauthenticated
    );

    let add_token = |mut request: tonic::Request<()>| {
        let token = "secret".parse().expect("ASCII");
        request.metadata_mut().insert("x-token", token);
        Ok(request)
    };
    let mut client = OpenRcaServiceClient::new(InterceptedService::new(channel, add_token));
    let reports = client
        .stream_core_metrics(OrcaLoadReportRequest::default())
        .await;
    let mut reports = reports.expect("answered").into_inner();
    let report = reports.message().await.expect("a whole stream");
    assert_eq!(report.map(|report| report.cpu_utilization), Some(0.5));
}
