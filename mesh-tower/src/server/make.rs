//! Services per connection for `axum::serve`: the only hook by which axum hands over a connection's peer.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use axum::{body::Body, serve::IncomingStream};
use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{MeshListener, Peer, ServerFuture, ServerLayer, ServerService};
use crate::{body::RequestBody, error::BoxError};

impl ServerLayer {
    /// For `axum::serve(listener, layer.into_make_service(app))`: each connection's service knows its peer, and
    /// handlers find it as a [`Peer`] extension.
    pub fn into_make_service<A>(self, application: A) -> MakeServer<A> {
        MakeServer {
            layer: self,
            application,
        }
    }
}

/// Makes the service of each connection. Always ready.
#[derive(Clone, Debug)]
pub struct MakeServer<A> {
    layer: ServerLayer,
    application: A,
}

impl<A: Clone> Service<IncomingStream<'_, MeshListener>> for MakeServer<A> {
    type Response = AxumServer<A>;
    type Error = Infallible;
    type Future = Ready<Result<AxumServer<A>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'_, MeshListener>) -> Self::Future {
        let peer = stream.remote_addr().clone();
        let inner = self.layer.for_connection(self.application.clone(), &peer);
        ready(Ok(AxumServer { inner, peer }))
    }
}

/// A [`ServerService`] with the body that axum 0.8 insists on: one box per response.
#[derive(Clone, Debug)]
pub struct AxumServer<A> {
    inner: ServerService<A>,
    peer: Peer,
}

impl<A, RB> Service<Request<Body>> for AxumServer<A>
where
    A: Service<Request<RequestBody<Body>>, Response = Response<RB>> + Clone,
    A::Error: Into<BoxError>,
    RB: http_body::Body<Data = Bytes> + Send + 'static,
    RB::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = AxumFuture<A, A::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        AxumFuture {
            future: self.inner.call(request),
        }
    }
}

pin_project! {
    /// The future of [`AxumServer`].
    #[derive(Debug)]
    pub struct AxumFuture<A, F> {
        #[pin]
        future: ServerFuture<A, Body, F>,
    }
}

impl<A, F, RB, E> Future for AxumFuture<A, F>
where
    A: Service<Request<RequestBody<Body>>, Response = Response<RB>, Error = E, Future = F>,
    F: Future<Output = Result<Response<RB>, E>>,
    E: Into<BoxError>,
    RB: http_body::Body<Data = Bytes> + Send + 'static,
    RB::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map_ok(|r| r.map(Body::new))
    }
}
