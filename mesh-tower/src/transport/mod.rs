//! The mesh's own transport: one pool of connections per endpoint, HTTP/1.1 and HTTP/2.
//!
//! Connections hang off their [`Endpoint`](mesh_core::cluster::Endpoint), keyed by runtime and protocol: an endpoint
//! that no snapshot and no request uses any more closes its idle connections by being dropped, and a runtime that
//! ended harms no other. Circuit breakers are claimed in Envoy's order (`conn_pool_base.cc`): a ready connection, else
//! a place in the queue, else a connection; the request itself when it is attached.

mod body;
mod connect;
mod counted;
mod http1;
mod http2;
mod idle;
mod pool;
mod probe;
mod reset;
#[cfg(test)]
mod tests;
mod waiters;

pub use body::{PooledBody, TransportBody};
pub use connect::connect;
pub use probe::Probe;

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Response, Version};
use http_body::Body;
use mesh_core::model::UpstreamProtocol;
use tower_service::Service;

use crate::{
    dispatch::Dispatch,
    error::{BoxError, TransportError},
};

/// Sends a [`Dispatch`] over a pooled connection to its endpoint.
///
/// Always ready: what limits it are the cluster's circuit breakers. Cloning is free. Dropping the response future or
/// the response body before its end resets the stream; an HTTP/1.1 connection is closed then. Needs a tokio runtime
/// with time and I/O when called; connections belong to the calling runtime.
pub struct Transport<B> {
    idle: idle::IdleReaper,
    body: PhantomData<fn(B)>,
}

impl<B> Transport<B> {
    pub(crate) fn new() -> Self {
        Self {
            idle: idle::IdleReaper::default(),
            body: PhantomData,
        }
    }
}

impl<B> Clone for Transport<B> {
    fn clone(&self) -> Self {
        Self {
            idle: self.idle.clone(),
            body: PhantomData,
        }
    }
}

impl<B> fmt::Debug for Transport<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// Future of [`Transport`].
pub type TransportFuture =
    Pin<Box<dyn Future<Output = Result<Response<TransportBody>, TransportError>> + Send>>;

impl<B> Service<Dispatch<B>> for Transport<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<TransportBody>;
    type Error = TransportError;
    type Future = TransportFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, dispatch: Dispatch<B>) -> TransportFuture {
        let dispatch = dispatch.map_body(PooledBody::new);
        let http2 = match dispatch.cluster().config().http.protocol {
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Downstream => dispatch.downstream_version() == Version::HTTP_2,
            _ => false,
        };
        let idle = self.idle.clone();
        if http2 {
            Box::pin(http2::send(dispatch, idle))
        } else {
            Box::pin(http1::send(dispatch, idle))
        }
    }
}
