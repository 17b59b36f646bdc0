//! No control plane.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use mesh_proto::envoy::service::discovery::v3::DiscoveryResponse;

use super::{Requests, Transport, TransportError};

/// For bootstraps that name no control plane: it is never asked for a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTransport;

/// There are none.
#[derive(Clone, Copy, Debug)]
pub enum NoResponses {}

impl Transport for NoTransport {
    type Responses = NoResponses;

    async fn open(&mut self, _: Requests) -> Result<NoResponses, TransportError> {
        Err(TransportError::new("there is no control plane"))
    }
}

impl Stream for NoResponses {
    type Item = Result<DiscoveryResponse, TransportError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match *self {}
    }
}
