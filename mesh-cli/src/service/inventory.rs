//! inventory: how many copies are in stock, over gRPC.
//!
//! ```proto
//! package proxyless.demo.inventory.v1;
//! service Inventory { rpc Check(CheckRequest) returns (CheckResponse); }
//! ```
//! One method is little enough to write by hand what tonic-build would generate.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response};
use http_body::Body;
use proxyless::{BoxError, GrpcChannel};
use tonic::{Status, body::Body as GrpcBody};
use tonic_prost::ProstCodec;
use tower_service::Service;

const CHECK: &str = "/proxyless.demo.inventory.v1.Inventory/Check";

#[derive(Clone, PartialEq, prost::Message)]
struct CheckRequest {
    #[prost(uint32, tag = "1")]
    product: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CheckResponse {
    #[prost(uint32, tag = "1")]
    copies: u32,
}

/// The client.
#[derive(Clone, Debug)]
pub(super) struct Client {
    channel: GrpcChannel,
}

impl Client {
    pub(super) fn new(channel: GrpcChannel) -> Self {
        Client { channel }
    }

    /// How many copies of a product are in stock.
    pub(super) async fn check(&self, product: u32) -> Result<u32, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await?;
        let request = tonic::Request::new(CheckRequest { product });
        let codec = ProstCodec::<CheckRequest, CheckResponse>::default();
        let response = grpc
            .unary(request, PathAndQuery::from_static(CHECK), codec)
            .await?;
        Ok(response.into_inner().copies)
    }
}

/// The service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server;

impl<B> Service<Request<B>> for Server
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send + 'static,
{
    type Response = Response<GrpcBody>;
    type Error = Infallible;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(async move {
            if request.uri().path() != CHECK {
                return Ok(
                    Status::unimplemented(format!("there is no {}", request.uri().path()))
                        .into_http(),
                );
            }
            let codec = ProstCodec::<CheckResponse, CheckRequest>::default();
            Ok(tonic::server::Grpc::new(codec).unary(Check, request).await)
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Check;

impl tonic::server::UnaryService<CheckRequest> for Check {
    type Response = CheckResponse;
    type Future = std::future::Ready<Result<tonic::Response<CheckResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<CheckRequest>) -> Self::Future {
        // some number that is always the same for a product
        let copies = 7 + request.into_inner().product % 5;
        std::future::ready(Ok(tonic::Response::new(CheckResponse { copies })))
    }
}
