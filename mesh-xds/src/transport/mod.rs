//! How a stream to a control plane is made.

#[cfg(feature = "grpc")]
mod connect;
#[cfg(feature = "csr")]
pub mod csr;
#[cfg(feature = "grpc")]
mod grpc;
mod in_process;
mod none;

#[cfg(feature = "grpc")]
pub use connect::{Connect, Dial, DialIo};
#[cfg(feature = "grpc")]
pub use grpc::{Grpc, GrpcResponses};
pub use in_process::{InProcess, InProcessResponses};
pub use none::{NoResponses, NoTransport};

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use mesh_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use tokio::sync::mpsc;

/// Opens streams.
pub trait Transport: Send {
    /// Responses; the stream's end closes it.
    type Responses: Stream<Item = Result<DiscoveryResponse, TransportError>> + Send + Unpin;

    /// Opens one stream: ready once requests can be sent, not only after the first response (servers may wait for
    /// the first request). Dropping the responses closes it.
    fn open(
        &mut self,
        requests: Requests,
    ) -> impl Future<Output = Result<Self::Responses, TransportError>> + Send;
}

/// The requests of one stream; ends when the subscriber gives the stream up.
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<DiscoveryRequest>);

impl Requests {
    /// A channel with room for one request: what is not taken yet coalesces in the machine.
    pub(crate) fn channel() -> (mpsc::Sender<DiscoveryRequest>, Self) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, Self(receiver))
    }
}

impl Stream for Requests {
    type Item = DiscoveryRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<DiscoveryRequest>> {
        self.0.poll_recv(cx)
    }
}

/// Why a stream could not be opened, or ended. Displays with all causes.
#[derive(Debug)]
pub struct TransportError(Box<dyn Error + Send + Sync>);

impl TransportError {
    /// Wraps the cause.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl Error for TransportError {}
