use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use mesh_proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use mesh_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use mesh_proto::istio::v1::auth::istio_certificate_service_server::IstioCertificateServiceServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use super::certificate::CertificateService;
use super::client::Refused;
use super::stream::{DeltaResponses, Responses, Source};

/// Serves ADS, and certificates if there is an authority, on a listener until `shutdown` resolves.
pub(crate) async fn serve(
    source: Arc<Source>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let certificates = CertificateService {
        source: source.clone(),
    };
    let service = AggregatedDiscoveryServiceServer::new(Service { source });
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(service)
        .add_service(IstioCertificateServiceServer::new(certificates))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown)
        .await
        .map_err(io::Error::other)
}

#[derive(Debug)]
struct Service {
    source: Arc<Source>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = GrpcResponses<Responses<Requests<DiscoveryRequest>>>;
    type DeltaAggregatedResourcesStream =
        GrpcResponses<DeltaResponses<Requests<DeltaDiscoveryRequest>>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let requests = Requests(Some(request.into_inner()));
        let responses = Responses::new(self.source.clone(), requests);
        Ok(Response::new(GrpcResponses(responses)))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let requests = Requests(Some(request.into_inner()));
        let responses = DeltaResponses::new(self.source.clone(), requests);
        Ok(Response::new(GrpcResponses(responses)))
    }
}

/// Requests of one client; a broken stream has ended.
#[derive(Debug)]
struct Requests<R>(Option<Streaming<R>>);

impl<R> Stream for Requests<R> {
    type Item = R;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<R>> {
        let Some(requests) = &mut self.0 else {
            return Poll::Ready(None);
        };
        match ready!(Pin::new(requests).poll_next(cx)) {
            Some(Ok(request)) => Poll::Ready(Some(request)),
            Some(Err(status)) => {
                tracing::debug!(%status, "client's stream broke");
                self.0 = None;
                Poll::Ready(None)
            }
            None => Poll::Ready(None),
        }
    }
}

/// Responses with gRPC's errors.
#[derive(Debug)]
struct GrpcResponses<R>(R);

impl<R, T> Stream for GrpcResponses<R>
where
    R: Stream<Item = Result<T, Refused>> + Unpin,
{
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(Pin::new(&mut self.0).poll_next(cx));
        Poll::Ready(item.map(|response| {
            response.map_err(|refused| Status::invalid_argument(refused.to_string()))
        }))
    }
}
