//! The channel for generated tonic clients.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use mesh_tower::GrpcChannel;
use tonic::{
    Code, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::InterceptedService,
};

use crate::{
    mock::{Mock, Upstream, channel, data, mock, response, trailers},
    world::{World, plane},
};

/// Messages as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(src.copy_to_bytes(src.remaining())))
    }
}

fn grpc(world: World, target: &str) -> (GrpcChannel<Mock>, Upstream) {
    let (inner, upstream) = mock();
    let channel = plane(world.config()).grpc_channel_over(target, inner);
    (channel, upstream)
}

async fn unary<T>(channel: T, timeout: Option<Duration>) -> Result<Bytes, Status>
where
    T: tonic::client::GrpcService<tonic::body::Body>,
    T::Error: Into<mesh_tower::BoxError>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<mesh_tower::BoxError>,
{
    let mut client = Grpc::new(channel);
    client
        .ready()
        .await
        .map_err(|e| Status::unknown(e.into().to_string()))?;
    let mut request = tonic::Request::new(Bytes::from_static(b"ping"));
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    let path = http::uri::PathAndQuery::from_static("/inventory.Inventory/Get");
    let answer = client.unary(request, path, Raw).await?;
    Ok(answer.into_inner())
}

async fn answer(upstream: &mut Upstream) {
    let mut attempt = upstream.next().await;
    assert_eq!(
        attempt.dispatch.request().uri(),
        "http://reviews:9080/inventory.Inventory/Get"
    );
    assert_eq!(&attempt.read().await.expect("a body")[5..], b"ping");
    let (sender, body) = channel();
    let head = response(200, &[("content-type", "application/grpc")]);
    attempt.respond(head.map(|_| body));
    sender.send(data("\0\0\0\0\x04pong")).expect("open");
    sender
        .send(trailers(&[("grpc-status", "0")]))
        .expect("open");
}

#[tokio::test(start_paused = true)]
async fn a_unary_call_goes_through_with_and_without_an_interceptor() {
    for target in ["reviews:9080", "xds:///reviews:9080"] {
        let (channel, mut upstream) = grpc(World::new(), target);
        let call = tokio::spawn(unary(channel.clone(), None));
        answer(&mut upstream).await;
        assert_eq!(call.await.expect("joined").expect("an answer"), "pong");
        let intercepted = InterceptedService::new(channel, |r: tonic::Request<()>| Ok(r));
        let call = tokio::spawn(unary(intercepted, None));
        answer(&mut upstream).await;
        assert_eq!(call.await.expect("joined").expect("an answer"), "pong");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_stays_a_deadline_and_covers_retries() {
    let (channel, mut upstream) = grpc(World::retrying("unavailable", 5), "reviews:9080");
    let start = tokio::time::Instant::now();
    let call = tokio::spawn(unary(channel, Some(Duration::from_millis(80))));
    let unavailable = [("content-type", "application/grpc"), ("grpc-status", "14")];
    upstream.next().await.respond(response(200, &unavailable));
    let held = upstream.next().await;
    let status = call.await.expect("joined").expect_err("a deadline");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(start.elapsed() <= Duration::from_millis(83));
    assert!(held.is_reset());
}

#[tokio::test(start_paused = true)]
async fn failures_are_envoys_codes() {
    let mut world = World::new();
    world.endpoints = 0;
    let (channel, _upstream) = grpc(world, "reviews:9080");
    let status = unary(channel, None).await.expect_err("UH");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "no healthy upstream (UH)");

    let (channel, _upstream) = grpc(World::new(), "nobody:1");
    let status = unary(channel, None).await.expect_err("NR");
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_bad_target_is_an_invalid_argument_at_the_call() {
    let (channel, _upstream) = grpc(World::new(), "not a target");
    let status = unary(channel, None).await.expect_err("a bad target");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status.message().contains("expected host:port"),
        "{}",
        status.message()
    );
}

/// Over the mesh's own transport: what generated clients hold.
#[tokio::test]
async fn the_channel_is_what_generated_clients_want() {
    fn is_grpc_service<T>(channel: T) -> T
    where
        T: tonic::client::GrpcService<tonic::body::Body> + Clone + Send + Sync + 'static,
        T::ResponseBody: Default,
        T::Future: Send,
    {
        channel
    }
    let plane = plane(World::new().config());
    let channel: GrpcChannel = is_grpc_service(plane.grpc_channel("nobody:1"));
    let status = unary(channel, None).await.expect_err("NR");
    assert_eq!(status.code(), Code::Unimplemented);
}
