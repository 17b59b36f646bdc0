//! What a generated tonic client takes in place of a channel.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{
    Request, Response, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use pin_project_lite::pin_project;
use tonic::{Status, body::Body};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    body::{MeshBody, RequestBody},
    clock::Moment,
    data_plane::DataPlane,
    dispatch::Dispatch,
    error::{BoxError, TransportError},
    future::ResponseFuture,
    service::MeshService,
    transport::Transport,
};

/// A channel to one service: `InventoryClient::new(plane.grpc_channel("inventory:9090"))`.
///
/// Its error is [`Status`], so that a deadline stays a deadline. The caller's `grpc-timeout` covers the whole call, all
/// attempts and the response's body included, whatever the route says. Always ready; cloning is a few reference counts.
#[derive(Clone, Debug)]
pub struct GrpcChannel<S = Transport<RequestBody<Body>>> {
    service: MeshService<S>,
    target: Result<Authority, Arc<str>>,
}

impl DataPlane {
    /// A channel to `host:port` (also `xds:///host:port`). A target that is none shows at the first call as
    /// `InvalidArgument`, as with other gRPC libraries.
    pub fn grpc_channel(&self, target: impl AsRef<str>) -> GrpcChannel {
        self.grpc_channel_over(target, self.transport())
    }

    /// The same over another transport.
    pub fn grpc_channel_over<S>(&self, target: impl AsRef<str>, inner: S) -> GrpcChannel<S> {
        let target = target.as_ref();
        let name = target.strip_prefix("xds:///").unwrap_or(target);
        GrpcChannel {
            service: self.layer().layer(inner),
            target: name
                .parse()
                .map_err(|e| format!("target {target:?}: {e}; expected host:port").into()),
        }
    }
}

impl<S, RB> Service<Request<Body>> for GrpcChannel<S>
where
    S: Service<Dispatch<RequestBody<Body>>, Response = Response<RB>> + Clone,
    S::Error: Into<TransportError>,
    RB: http_body::Body,
    RB::Error: Into<BoxError>,
{
    type Response = Response<MeshBody<RB>>;
    type Error = Status;
    type Future = GrpcFuture<S, S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let uri = match &self.target {
            Ok(target) => address(request.uri(), target),
            Err(why) => Err(Status::invalid_argument(&**why)),
        };
        match uri {
            Ok(uri) => *request.uri_mut() = uri,
            Err(status) => {
                return GrpcFuture::Refused {
                    status: Some(status),
                };
            }
        }
        let deadline = request
            .headers()
            .get("grpc-timeout")
            .and_then(|v| mesh_core::timeout::parse_grpc_timeout(v.as_bytes()))
            .map(|timeout| Moment::now().after(timeout));
        GrpcFuture::Call {
            future: self.service.request_until(request, deadline),
        }
    }
}

/// The method's path at the target.
fn address(uri: &Uri, target: &Authority) -> Result<Uri, Status> {
    let path = uri.path_and_query().cloned();
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(target.clone());
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).map_err(|e| Status::internal(e.to_string()))
}

pin_project! {
    /// The future of [`GrpcChannel`].
    #[project = GrpcProj]
    #[derive(Debug)]
    pub enum GrpcFuture<S, F> {
        #[doc(hidden)]
        Call { #[pin] future: ResponseFuture<S, Body, F> },
        #[doc(hidden)]
        Refused { status: Option<Status> },
    }
}

impl<S, RB, E, F> Future for GrpcFuture<S, F>
where
    S: Service<Dispatch<RequestBody<Body>>, Response = Response<RB>, Error = E, Future = F>,
    F: Future<Output = Result<Response<RB>, E>>,
    E: Into<TransportError>,
    RB: http_body::Body,
    RB::Error: Into<BoxError>,
{
    type Output = Result<Response<MeshBody<RB>>, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            GrpcProj::Call { future } => future.poll(cx).map_err(Status::from),
            GrpcProj::Refused { status } => {
                let status = status.take();
                Poll::Ready(Err(status.unwrap_or_else(|| {
                    Status::internal("the future was polled after it was ready")
                })))
            }
        }
    }
}
