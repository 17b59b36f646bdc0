//! Errors as the responses that Envoy would send.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{body::MeshBody, mesh_error::MeshError};

/// Turns every [`MeshError`] of a [`MeshService`](crate::MeshService) into its response; goes outside of
/// [`MeshLayer`](crate::MeshLayer). Always on in the proxy.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalReplyLayer;

impl<S> Layer<S> for LocalReplyLayer {
    type Service = LocalReplyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LocalReplyService { inner }
    }
}

/// Made by [`LocalReplyLayer`]. Ready when the inner service is; never fails.
#[derive(Clone, Debug)]
pub struct LocalReplyService<S> {
    inner: S,
}

impl<S, R, RB> Service<R> for LocalReplyService<S>
where
    S: Service<R, Response = Response<MeshBody<RB>>, Error = MeshError>,
{
    type Response = Response<MeshBody<RB>>;
    type Error = Infallible;
    type Future = LocalReplyFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A MeshService is always ready; an error of something between shows in the call.
        self.inner.poll_ready(cx).map(|_| Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        LocalReplyFuture {
            future: self.inner.call(request),
        }
    }
}

pin_project! {
    /// The future of [`LocalReplyService`].
    #[derive(Debug)]
    pub struct LocalReplyFuture<F> {
        #[pin]
        future: F,
    }
}

impl<F, RB> Future for LocalReplyFuture<F>
where
    F: Future<Output = Result<Response<MeshBody<RB>>, MeshError>>,
{
    type Output = Result<Response<MeshBody<RB>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.project().future.poll(cx));
        Poll::Ready(Ok(result.unwrap_or_else(MeshError::into_response)))
    }
}
