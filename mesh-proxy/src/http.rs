//! HTTP on an accepted connection: the codec, and the mesh's service behind it.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use ::http::{Request, Response, StatusCode, header::UPGRADE};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use mesh_core::{
    head::ConnectionInfo,
    model::{CodecType, ConnectionManagerConfig},
};
use mesh_tower::{
    ChainSource, LocalReplyLayer, LocalReplyService, MeshBody, MeshService,
    server::PrefixedIo,
    transport::{Transport, TransportBody},
};
use tokio::{io::copy_bidirectional, net::TcpStream};
use tower_layer::Layer;
use tower_service::Service;

use crate::{idle::idle, listener::Shared};

type Proxy = LocalReplyService<MeshService<Transport<mesh_tower::RequestBody<Incoming>>>>;

/// Serves HTTP/1.1 and HTTP/2 until the peer closes; or until the listener drains, no request has come for
/// `idle_timeout`, or `max_connection_duration` is over, and what is in flight has ended.
pub(crate) async fn serve(
    io: PrefixedIo<TcpStream>,
    info: ConnectionInfo,
    source: Arc<dyn ChainSource>,
    manager: &ConnectionManagerConfig,
    state: &Shared,
) -> io::Result<()> {
    let plane = &state.plane;
    let requests = Arc::new(AtomicU64::new(0));
    let proxy =
        LocalReplyLayer.layer(plane.service_for_chain(source, Arc::new(info), plane.transport()));
    let service = HttpService {
        proxy: RefCell::new(proxy),
        requests: Arc::clone(&requests),
    };
    let builder = codec(manager);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(io), service));
    let over = async {
        tokio::select! {
            () = state.drain_requested() => {}
            () = idle(&requests, manager.idle_timeout) => {}
            () = lifetime(manager.max_connection_duration) => {}
        }
    };
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = over => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    served.map_err(io::Error::other)
}

async fn lifetime(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

fn codec(manager: &ConnectionManagerConfig) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let headers_timeout = manager.request_headers_timeout;
    builder
        .http1()
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .header_read_timeout((headers_timeout > Duration::ZERO).then_some(headers_timeout));
    builder
        .http2()
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(manager.max_concurrent_streams.unwrap_or(1024))
        .max_header_list_size(manager.max_request_headers_kb.saturating_mul(1024));
    match manager.codec {
        CodecType::Auto => builder,
        CodecType::Http1 => builder.http1_only(),
        CodecType::Http2 => builder.http2_only(),
    }
}

/// The mesh's service as hyper wants it. One per connection, used by one task at a time.
struct HttpService {
    proxy: RefCell<Proxy>,
    /// How many requests have come.
    requests: Arc<AtomicU64>,
}

impl hyper::service::Service<Request<Incoming>> for HttpService {
    type Response = Response<MeshBody<TransportBody>>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        self.requests.fetch_add(1, Ordering::Relaxed);
        // Taken before the mesh sees the request: it belongs to this connection.
        let downstream = request
            .headers()
            .contains_key(UPGRADE)
            .then(|| hyper::upgrade::on(&mut request));
        Answer {
            future: self.proxy.borrow_mut().call(request),
            downstream,
        }
    }
}

pin_project_lite::pin_project! {
    /// The answer to one request; joins the two sides of an upgrade.
    struct Answer {
        #[pin]
        future: <Proxy as Service<Request<Incoming>>>::Future,
        downstream: Option<OnUpgrade>,
    }
}

impl Future for Answer {
    type Output = Result<Response<MeshBody<TransportBody>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match ready!(this.future.poll(cx)) {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(downstream) = this.downstream.take()
        {
            let upstream = hyper::upgrade::on(&mut response);
            // The body holds the request's place at its endpoint: it goes with the upgraded stream.
            let held = std::mem::take(response.body_mut());
            tokio::spawn(join(downstream, upstream, held));
        }
        Poll::Ready(Ok(response))
    }
}

async fn join(downstream: OnUpgrade, upstream: OnUpgrade, held: MeshBody<TransportBody>) {
    let (downstream, upstream) = match tokio::try_join!(downstream, upstream) {
        Ok(both) => both,
        Err(e) => return tracing::debug!(error = %e, "upgrade failed"),
    };
    let copied =
        copy_bidirectional(&mut TokioIo::new(downstream), &mut TokioIo::new(upstream)).await;
    if let Err(e) = copied {
        tracing::debug!(error = %e, "upgraded stream ended");
    }
    drop(held);
}
