//! A control plane in this process: a function from requests to responses.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use mesh_proto::envoy::service::discovery::v3::DiscoveryResponse;

use super::{Requests, Transport, TransportError};

/// Streams made by a function, for example `InProcess::new(move |requests| control_plane.stream(requests))`.
pub struct InProcess<F>(F);

impl<F> InProcess<F> {
    /// Makes streams by `open`.
    pub fn new(open: F) -> Self {
        Self(open)
    }
}

impl<F> fmt::Debug for InProcess<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").finish_non_exhaustive()
    }
}

impl<F, S, E> Transport for InProcess<F>
where
    F: FnMut(Requests) -> S + Send,
    S: Stream<Item = Result<DiscoveryResponse, E>> + Send + Unpin,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    type Responses = InProcessResponses<S>;

    async fn open(&mut self, requests: Requests) -> Result<Self::Responses, TransportError> {
        Ok(InProcessResponses((self.0)(requests)))
    }
}

/// The responses of an [`InProcess`] stream.
#[derive(Debug)]
pub struct InProcessResponses<S>(S);

impl<S, E> Stream for InProcessResponses<S>
where
    S: Stream<Item = Result<DiscoveryResponse, E>> + Unpin,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    type Item = Result<DiscoveryResponse, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0)
            .poll_next(cx)
            .map_err(TransportError::new)
    }
}
