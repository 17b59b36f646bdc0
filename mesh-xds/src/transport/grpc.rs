//! ADS over gRPC.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use hyper_util::rt::TokioIo;
use mesh_proto::envoy::service::{
    discovery::v3::{
        DiscoveryResponse, aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
    secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient,
};
use tonic::{
    Status, Streaming,
    metadata::{AsciiMetadataKey, AsciiMetadataValue},
    transport::{Channel, Endpoint, Uri},
};

use super::{Connect, Dial, Requests, Transport, TransportError};
use crate::bootstrap::{AdsAddress, AdsTarget};

/// Dialling and the HTTP/2 handshake may take this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A control plane that vanished without closing is noticed by pings.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Streams over gRPC, plaintext. A connection per stream: the addresses are tried in turn.
#[derive(Debug)]
pub struct Grpc<C = Dial> {
    target: AdsTarget,
    connect: Arc<C>,
    service: Service,
    next: usize,
}

#[derive(Clone, Copy, Debug)]
enum Service {
    Aggregated,
    Secrets,
}

impl Grpc {
    /// To the control plane of a bootstrap.
    pub fn new(target: AdsTarget) -> Self {
        Self::with_connect(target, Dial)
    }

    /// Streams of `SecretDiscoveryService` instead, to a server of secrets.
    pub(crate) fn secrets(target: AdsTarget) -> Self {
        Self {
            service: Service::Secrets,
            ..Self::new(target)
        }
    }
}

impl<C: Connect> Grpc<C> {
    /// To the control plane of a bootstrap, dialled by `connect`.
    pub fn with_connect(target: AdsTarget, connect: C) -> Self {
        Self {
            target,
            connect: Arc::new(connect),
            service: Service::Aggregated,
            next: 0,
        }
    }

    async fn channel(&self, address: AdsAddress) -> Result<Channel, TransportError> {
        let authority = match (&address, self.target.authority.as_str()) {
            (AdsAddress::Tcp { host, port }, "") if host.contains(':') => {
                format!("[{host}]:{port}")
            }
            (AdsAddress::Tcp { host, port }, "") => format!("{host}:{port}"),
            (AdsAddress::Unix(_), "") => "localhost".to_owned(),
            (_, authority) => authority.to_owned(),
        };
        let endpoint = Endpoint::from_shared(format!("http://{authority}"))
            .map_err(TransportError::new)?
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let dialler = Dialler {
            connect: Arc::clone(&self.connect),
            address,
        };
        let connecting = endpoint.connect_with_connector(dialler);
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(channel) => channel.map_err(TransportError::new),
            Err(_) => Err(TransportError::new(format!(
                "no connection within {CONNECT_TIMEOUT:?}"
            ))),
        }
    }
}

impl<C: Connect> Transport for Grpc<C> {
    type Responses = GrpcResponses;

    async fn open(&mut self, requests: Requests) -> Result<GrpcResponses, TransportError> {
        let addresses = &self.target.addresses;
        let Some(address) = addresses.get(self.next % addresses.len().max(1)).cloned() else {
            return Err(TransportError::new("the bootstrap names no address"));
        };
        // The address that answers is kept, the next one is tried after a failure.
        self.next = self.next.wrapping_add(1);
        let channel = self.channel(address).await?;
        self.next = self.next.wrapping_sub(1);

        let limit = self
            .target
            .max_message_size
            .and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.unwrap_or(usize::MAX);
        let mut request = tonic::Request::new(requests);
        for (key, value) in &self.target.metadata {
            let key = key
                .parse::<AsciiMetadataKey>()
                .map_err(TransportError::new)?;
            let value = value
                .parse::<AsciiMetadataValue>()
                .map_err(TransportError::new)?;
            request.metadata_mut().append(key, value);
        }
        // Servers may send their headers with the first response only: the stream is open before they come.
        let opening: Opening = match self.service {
            Service::Aggregated => {
                let client = AggregatedDiscoveryServiceClient::new(channel);
                let mut client = client.max_decoding_message_size(limit);
                Box::pin(async move {
                    let response = client.stream_aggregated_resources(request).await?;
                    Ok(response.into_inner())
                })
            }
            Service::Secrets => {
                let client = SecretDiscoveryServiceClient::new(channel);
                let mut client = client.max_decoding_message_size(limit);
                Box::pin(async move {
                    let response = client.stream_secrets(request).await?;
                    Ok(response.into_inner())
                })
            }
        };
        Ok(GrpcResponses(State::Opening(opening)))
    }
}

/// The responses of a [`Grpc`] stream.
pub struct GrpcResponses(State);

type Opening = Pin<Box<dyn Future<Output = Result<Streaming<DiscoveryResponse>, Status>> + Send>>;

enum State {
    Opening(Opening),
    Open(Box<Streaming<DiscoveryResponse>>),
    Closed,
}

impl fmt::Debug for GrpcResponses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcResponses").finish_non_exhaustive()
    }
}

impl Stream for GrpcResponses {
    type Item = Result<DiscoveryResponse, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut self.0 {
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(streaming) => self.0 = State::Open(Box::new(streaming)),
                    Err(status) => {
                        self.0 = State::Closed;
                        return Poll::Ready(Some(Err(TransportError::new(status))));
                    }
                },
                State::Open(streaming) => {
                    return Pin::new(streaming.as_mut())
                        .poll_next(cx)
                        .map_err(TransportError::new);
                }
                State::Closed => return Poll::Ready(None),
            }
        }
    }
}

/// tonic's connector: dials one address whatever the URI says.
struct Dialler<C> {
    connect: Arc<C>,
    address: AdsAddress,
}

impl<C: Connect> tower_service::Service<Uri> for Dialler<C> {
    type Response = TokioIo<C::Io>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<C::Io>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (connect, address) = (Arc::clone(&self.connect), self.address.clone());
        Box::pin(async move { connect.connect(&address).await.map(TokioIo::new) })
    }
}
