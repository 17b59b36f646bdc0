//! HTTP on an accepted connection: the codec, and the mesh's service behind it.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use ::http::{
    HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, UPGRADE},
};
use bytes::BytesMut;
use hyper::{body::Incoming, ext::Protocol, server::conn::http2, upgrade::OnUpgrade};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mesh_core::{
    head::ConnectionInfo,
    model::{CodecType, ConnectionManagerConfig},
};
use mesh_tower::{
    ChainSource, LocalReplyLayer, LocalReplyService, MeshService,
    server::{Http1Options, PrefixedIo, delayed_close, serve_http1},
    tls::DownstreamIo,
    transport::Transport,
};
use tokio::io::AsyncReadExt;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    body::{AnswerBody, DownstreamBody},
    listener::Shared,
    streams::{OpenStream, Streams},
    tunnel,
};

type Proxy = LocalReplyService<MeshService<Transport<mesh_tower::RequestBody<DownstreamBody>>>>;
type ProxyFuture = <Proxy as Service<Request<DownstreamBody>>>::Future;
type Answer = Response<AnswerBody>;

/// Serves HTTP/1 and HTTP/2 until the peer closes; or until the listener drains, there was no stream for
/// `idle_timeout`, or `max_connection_duration` is over, and what is in flight has ended.
pub(crate) async fn serve(
    io: PrefixedIo<DownstreamIo>,
    info: ConnectionInfo,
    source: Arc<dyn ChainSource>,
    manager: &ConnectionManagerConfig,
    state: &Shared,
) -> io::Result<()> {
    let plane = &state.plane;
    let streams = Streams::new();
    let alpn = info.tls.as_ref().and_then(|tls| tls.alpn.as_deref());
    let is_http2 = alpn.map(|name| name == "h2");
    let proxy =
        LocalReplyLayer.layer(plane.service_for_chain(source, Arc::new(info), plane.transport()));
    let service = HttpService {
        proxy: RefCell::new(proxy),
        streams: &streams,
    };
    let mut over = pin!(async {
        tokio::select! {
            () = state.drain_requested() => {}
            () = streams.idle(manager.idle_timeout) => {}
            () = lifetime(manager.max_connection_duration) => {}
        }
    });
    // A connection that says nothing is idle too.
    let mut sniff = async |io: &mut DownstreamIo, read| {
        tokio::select! {
            preface = sniff(io, read) => preface.map(Some),
            () = over.as_mut() => Ok(None),
        }
    };
    let (read, mut io) = io.into_parts();
    let read = BytesMut::from(read);
    let (read, is_http2) = match manager.codec {
        CodecType::Http1 => (read, false),
        CodecType::Http2 => (read, true),
        // What ALPN chose is believed.
        CodecType::Auto => match is_http2 {
            Some(false) => (read, false),
            Some(true) => match sniff(&mut io, read).await? {
                Some((_, false)) | None => return Ok(()),
                Some(preface) => preface,
            },
            None => match sniff(&mut io, read).await? {
                Some(preface) => preface,
                None => return Ok(()),
            },
        },
    };
    let read = read.freeze();
    match is_http2 {
        true => serve_http2(PrefixedIo::new(read, io), manager, service, over).await,
        false => {
            let call = move |request: Request<_>| {
                let answer = service.answer(request.map(DownstreamBody::Http1));
                async move {
                    match answer.await {
                        Ok(response) => response,
                        Err(never) => match never {},
                    }
                }
            };
            let options = http1_options(manager);
            if let Some(switched) = serve_http1(io, read, &options, call, over).await? {
                tunnel::join(switched.io, switched.response, tunnel::End::Either).await;
            }
            Ok(())
        }
    }
}

/// Whether a connection begins as HTTP/2 does (Envoy `determineNextProtocol`).
async fn sniff(io: &mut DownstreamIo, mut read: BytesMut) -> io::Result<(BytesMut, bool)> {
    const PREFACE: &[u8] = b"PRI * HTTP/2";
    loop {
        let both = read.len().min(PREFACE.len());
        if read[..both] != PREFACE[..both] || both == PREFACE.len() {
            let is_http2 = both == PREFACE.len() && read.starts_with(PREFACE);
            return Ok((read, is_http2));
        }
        if io.read_buf(&mut read).await? == 0 {
            return Ok((read, false));
        }
    }
}

fn http1_options(manager: &ConnectionManagerConfig) -> Http1Options {
    let mut options = Http1Options::default();
    options.accept_http_10 = manager.accept_http_10;
    options.trailers = manager.http1_trailers;
    options.proxy_100_continue = manager.proxy_100_continue;
    options.underscores = manager.headers_with_underscores;
    options.max_headers = manager.max_headers_count as usize;
    options.max_head = manager.max_request_headers_kb as usize * 1024;
    options.headers_timeout = manager.request_headers_timeout;
    options.delayed_close = manager.delayed_close_timeout;
    options.stream_idle_timeout = manager.stream_idle_timeout;
    options
}

async fn serve_http2(
    mut io: PrefixedIo<DownstreamIo>,
    manager: &ConnectionManagerConfig,
    service: HttpService<'_>,
    over: impl Future<Output = ()>,
) -> io::Result<()> {
    let served = serve_streams(&mut io, manager, service, over).await;
    // After a peer's error something of it is still unread; the last words (GOAWAY) must arrive all the same.
    let closed = delayed_close(&mut io, manager.delayed_close_timeout).await;
    served.and(closed)
}

async fn serve_streams(
    io: &mut PrefixedIo<DownstreamIo>,
    manager: &ConnectionManagerConfig,
    service: HttpService<'_>,
    over: impl Future<Output = ()>,
) -> io::Result<()> {
    // Names and values are counted exactly later; HTTP/2 counts 32 bytes more for each.
    let list = manager.max_request_headers_kb.saturating_mul(1024);
    let overhead = manager.max_headers_count.saturating_mul(32);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(manager.max_concurrent_streams.unwrap_or(1024))
        .max_header_list_size(list.saturating_add(overhead).saturating_add(4096));
    if manager.http2_allow_connect {
        builder.enable_connect_protocol();
    }
    let streams = service.streams;
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let served = async {
        tokio::select! {
            served = connection.as_mut() => served,
            () = over => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    tokio::select! {
        served = served => served.map_err(io::Error::other),
        () = streams.too_many_resets() => Err(io::Error::other("too_many_premature_resets")),
    }
}

async fn lifetime(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// The mesh's service. One per connection, used by one task at a time.
struct HttpService<'a> {
    proxy: RefCell<Proxy>,
    streams: &'a Arc<Streams>,
}

impl HttpService<'_> {
    fn answer(&self, request: Request<DownstreamBody>) -> Answering {
        Answering {
            stream: Some(self.streams.open()),
            future: self.proxy.borrow_mut().call(request),
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for HttpService<'_> {
    type Response = Answer;
    type Error = h2::Error;
    type Future = Http2Answer;

    fn call(&self, mut request: Request<Incoming>) -> Http2Answer {
        let is_connect = *request.method() == Method::CONNECT;
        // Taken before the mesh sees the request: it belongs to this connection.
        let downstream = is_connect.then(|| hyper::upgrade::on(&mut request));
        if is_connect && let Some(protocol) = request.extensions_mut().remove::<Protocol>() {
            to_upgrade(&mut request, &protocol);
        }
        Http2Answer {
            future: self.answer(request.map(DownstreamBody::Http2)),
            downstream,
        }
    }
}

/// Extended CONNECT (RFC 8441) as the upgrade that it stands for (Envoy `transformUpgradeRequestFromH2toH1`).
fn to_upgrade(request: &mut Request<Incoming>, protocol: &Protocol) {
    *request.method_mut() = Method::GET;
    let headers = request.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(protocol.as_str()) {
        headers.insert(UPGRADE, kind);
    }
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
}

pin_project_lite::pin_project! {
    /// The answer to one request.
    struct Answering {
        #[pin]
        future: ProxyFuture,
        stream: Option<OpenStream>,
    }
}

impl Future for Answering {
    type Output = Result<Answer, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        let stream = this.stream.take();
        if let Some(stream) = &stream {
            stream.answered();
        }
        Poll::Ready(Ok(response.map(|body| AnswerBody { body, stream })))
    }
}

pin_project_lite::pin_project! {
    /// The answer to one HTTP/2 request; joins the two sides of a tunnel.
    struct Http2Answer {
        #[pin]
        future: Answering,
        downstream: Option<OnUpgrade>,
    }
}

impl Future for Http2Answer {
    type Output = Result<Answer, h2::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match ready!(this.future.poll(cx)) {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if response
            .extensions()
            .get::<mesh_tower::StreamReset>()
            .is_some()
        {
            return Poll::Ready(Err(h2::Reason::PROTOCOL_ERROR.into()));
        }
        *response.version_mut() = Version::HTTP_2;
        if let Some(downstream) = this.downstream.take()
            && (response.status().is_success()
                || response.status() == StatusCode::SWITCHING_PROTOCOLS)
        {
            let mut head = tunnel::head_of(&mut response);
            *head.status_mut() = StatusCode::OK;
            head.headers_mut().remove(UPGRADE);
            head.headers_mut().remove(CONNECTION);
            tokio::spawn(tunnel::join_later(downstream, response));
            response = head;
        }
        Poll::Ready(Ok(response))
    }
}
