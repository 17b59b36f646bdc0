//! A transport without a network: what is measured over it is the mesh alone.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Empty;
use proxyless::{TransportError, tower::Dispatch};
use tower_service::Service;

use crate::configuration::URI;

/// Room in header maps for what the mesh adds.
const ROOM: usize = 32;

/// Answers 200 with an empty body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Null {
    /// Each request is waited for once, as on any real connection: timers are armed then.
    pub(crate) waits: bool,
}

impl<B> Service<Request<B>> for Null {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Answer<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        std::hint::black_box(request);
        Answer::new(self.waits)
    }
}

impl<B> Service<Dispatch<B>> for Null {
    type Response = Response<Empty<Bytes>>;
    type Error = TransportError;
    type Future = Answer<TransportError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, dispatch: Dispatch<B>) -> Self::Future {
        // What every transport of the mesh does: it takes the request from the breaker, and says so.
        let permit = dispatch.cluster().breaker(dispatch.priority()).request();
        assert!(permit.is_some(), "the breaker is open");
        if let Some(ready) = dispatch.pool_ready() {
            ready.set();
        }
        std::hint::black_box(dispatch);
        Answer::new(self.waits)
    }
}

/// The answer, or first a wait.
#[derive(Debug)]
pub(crate) struct Answer<E> {
    waits: bool,
    error: std::marker::PhantomData<fn() -> E>,
}

impl<E> Answer<E> {
    fn new(waits: bool) -> Self {
        let error = std::marker::PhantomData;
        Self { waits, error }
    }
}

impl<E> Future for Answer<E> {
    type Output = Result<Response<Empty<Bytes>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::take(&mut self.waits) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut response = Response::new(Empty::new());
        *response.headers_mut() = HeaderMap::with_capacity(ROOM);
        Poll::Ready(Ok(response))
    }
}

/// A request as a browser's would be, its header map with room for what the mesh adds.
pub(crate) fn request() -> Request<Empty<Bytes>> {
    let mut headers = HeaderMap::with_capacity(ROOM);
    for (name, value) in [
        ("accept", "text/html"),
        ("accept-language", "en"),
        ("cookie", "session=1"),
        ("end-user", "jason"),
        ("user-agent", "cost/1"),
        ("x-b3-sampled", "0"),
        ("x-b3-spanid", "463ac35c9f6413ad"),
        ("x-b3-traceid", "463ac35c9f6413ad"),
    ] {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = http::Uri::from_static(URI);
    *request.headers_mut() = headers;
    request
}
