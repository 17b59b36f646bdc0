//! Any plain HTTP client as a transport.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{
    HeaderValue, Request, Response, Uri,
    header::HOST,
    uri::{Authority, Scheme},
};
use mesh_core::{model::UpstreamProtocol, outcome::ResetReason};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    dispatch::Dispatch,
    error::{BoxError, TransportError},
};

/// Sends a [`Dispatch`] through a client that knows only URIs: the endpoint's address becomes the URI's authority, the
/// service's name the `host` header.
///
/// Cleartext HTTP/1.1 only: a cluster that wants HTTP/2 fails closed and says to use the mesh's own transport. Two or
/// three allocations per request (address, `host`); connection limits and connect failures are the client's own, so
/// that every error counts as sent.
///
/// Readiness and clone cost are the client's. Dropping the future drops the client's.
#[derive(Clone, Debug)]
pub struct ByUri<S> {
    inner: S,
}

impl<S> ByUri<S> {
    /// Over a client.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B, RB> Service<Dispatch<B>> for ByUri<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<RB>;
    type Error = TransportError;
    type Future = ByUriFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.inner
            .poll_ready(cx)
            .map_err(|e| TransportError::unsent(ResetReason::LocalReset).with_source(e))
    }

    fn call(&mut self, dispatch: Dispatch<B>) -> Self::Future {
        if dispatch.cluster().config().http.protocol == UpstreamProtocol::Http2 {
            return ByUriFuture::Refused {
                cluster: Some(dispatch.cluster().config().name.to_string()),
            };
        }
        if let Some(ready) = dispatch.pool_ready() {
            ready.set();
        }
        let address = dispatch.endpoint().address();
        let mut request = dispatch.into_request();
        if redirect(&mut request, address).is_none() {
            return ByUriFuture::Refused { cluster: None };
        }
        ByUriFuture::Sent {
            future: self.inner.call(request),
        }
    }
}

/// Puts the address into the URI and the name into `host`. None: the URI cannot carry it (CONNECT).
fn redirect<B>(request: &mut Request<B>, address: std::net::SocketAddr) -> Option<()> {
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    if let Some(authority) = &uri.authority {
        let host = HeaderValue::from_str(authority.as_str()).ok()?;
        request.headers_mut().insert(HOST, host);
    }
    uri.authority =
        Some(Authority::from_maybe_shared(bytes::Bytes::from(address.to_string())).ok()?);
    uri.scheme = Some(Scheme::HTTP);
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    *request.version_mut() = http::Version::HTTP_11;
    Some(())
}

pin_project! {
    /// The future of [`ByUri`].
    #[project = ByUriProj]
    #[derive(Debug)]
    pub enum ByUriFuture<F> {
        #[doc(hidden)]
        Sent { #[pin] future: F },
        #[doc(hidden)]
        Refused { cluster: Option<String> },
    }
}

impl<F, R, E> Future for ByUriFuture<F>
where
    F: Future<Output = Result<R, E>>,
    E: Into<BoxError>,
{
    type Output = Result<R, TransportError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            ByUriProj::Sent { future } => future.poll(cx).map_err(of_client),
            ByUriProj::Refused { cluster } => {
                let why = match cluster.take() {
                    Some(name) => format!(
                        "cluster {name} wants HTTP/2, which a plain client cannot promise: use mesh.transport()"
                    ),
                    None => "the request has no path to send to an endpoint".to_owned(),
                };
                let error = TransportError::unsent(ResetReason::LocalReset);
                Poll::Ready(Err(error
                    .with_detail("unsupported_by_client")
                    .with_source(why)))
            }
        }
    }
}

/// What the client says of itself if it is one of us or an I/O error; otherwise the connection is taken as lost.
fn of_client<E: Into<BoxError>>(error: E) -> TransportError {
    match error.into().downcast::<TransportError>() {
        Ok(error) => *error,
        Err(error) => {
            let refused =
                std::iter::successors(Some(&*error as &(dyn std::error::Error + 'static)), |e| {
                    e.source()
                })
                .filter_map(|e| e.downcast_ref::<std::io::Error>())
                .any(|e| e.kind() == std::io::ErrorKind::ConnectionRefused);
            if refused {
                TransportError::unsent(ResetReason::RemoteConnectionFailure).with_source(error)
            } else {
                TransportError::sent(ResetReason::ConnectionTermination).with_source(error)
            }
        }
    }
}
