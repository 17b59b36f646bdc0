//! The application where a transport would be.

use std::{
    future::Future,
    pin::Pin,
    task::{self, Poll},
};

use http::{HeaderValue, Request, Response, Uri, Version, header::HOST, request, uri};
use mesh_core::outcome::ResetReason;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    body::RequestBody,
    clock::Moment,
    context::Context,
    dispatch::Dispatch,
    error::{BoxError, TransportError},
};

/// Calls an application's service with the request of a [`Dispatch`], in the request's [`Context`].
#[derive(Clone, Debug)]
pub struct ApplicationService<A> {
    application: A,
}

impl<A> ApplicationService<A> {
    pub(crate) fn new(application: A) -> Self {
        Self { application }
    }
}

impl<A, B, RB> Service<Dispatch<RequestBody<B>>> for ApplicationService<A>
where
    A: Service<Request<RequestBody<B>>, Response = Response<RB>>,
    A::Error: Into<BoxError>,
{
    type Response = Response<RB>;
    type Error = TransportError;
    type Future = ApplicationFuture<A::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), TransportError>> {
        self.application
            .poll_ready(cx)
            .map_err(|e| TransportError::unsent(ResetReason::LocalReset).with_source(e))
    }

    fn call(&mut self, dispatch: Dispatch<RequestBody<B>>) -> Self::Future {
        if let Some(ready) = dispatch.pool_ready() {
            ready.set();
        }
        let version = dispatch.downstream_version();
        let (mut parts, body) = dispatch.into_request().into_parts();
        parts.version = version;
        let context = Context::of(&parts, Moment::now());
        if version < Version::HTTP_2 {
            as_on_the_wire(&mut parts);
        }
        let request = Request::from_parts(parts, body);
        let future = context.sync_scope(|| self.application.call(request));
        ApplicationFuture { future, context }
    }
}

/// HTTP/1.1 as handlers know it: the path in the URI, the authority in `host`.
fn as_on_the_wire(parts: &mut request::Parts) {
    let Some(authority) = parts.uri.authority() else {
        return;
    };
    let Some(path) = parts.uri.path_and_query().cloned() else {
        return;
    };
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        parts.headers.insert(HOST, host);
    }
    let mut origin = uri::Parts::default();
    origin.path_and_query = Some(path);
    if let Ok(uri) = Uri::from_parts(origin) {
        parts.uri = uri;
    }
}

pin_project! {
    /// The future of [`ApplicationService`].
    #[derive(Debug)]
    pub struct ApplicationFuture<F> {
        #[pin]
        future: F,
        context: Context,
    }
}

impl<F, R, E> Future for ApplicationFuture<F>
where
    F: Future<Output = Result<R, E>>,
    E: Into<BoxError>,
{
    type Output = Result<R, TransportError>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.context
            .sync_scope(|| this.future.poll(cx))
            .map_err(|e| TransportError::sent(ResetReason::LocalReset).with_source(e))
    }
}
