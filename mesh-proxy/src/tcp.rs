//! `TcpProxy`: bytes between a connection and an endpoint of one cluster.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use mesh_core::{
    cluster::{Cluster, InFlight, PickContext},
    model::{RoutingPriority, TcpProxyConfig},
    outcome::Outcome,
};
use mesh_tower::{ThreadEntropy, server::PrefixedIo, transport::connect};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional},
    net::TcpStream,
};

use crate::{idle::idle, listener::Shared};

/// Proxies a connection until either side ends it, nothing passes for `idle_timeout`, or the listener drains.
pub(crate) async fn proxy(
    downstream: PrefixedIo<TcpStream>,
    config: &TcpProxyConfig,
    cluster: Arc<Cluster>,
    destination: Option<SocketAddr>,
    state: &Shared,
) -> io::Result<()> {
    let stats = cluster.stats();
    let breaker = cluster.breaker(RoutingPriority::Default);
    let Some(_permit) = breaker.connection() else {
        stats.upstream_cx_overflow.inc();
        return Ok(());
    };
    let Ok(endpoint) = cluster.pick(&PickContext::first(destination), &mut ThreadEntropy) else {
        stats.upstream_cx_none_healthy.inc();
        return Ok(());
    };
    stats.upstream_cx_total.inc();
    let in_flight = InFlight::new(Arc::clone(&endpoint));
    let upstream = match connect(&endpoint, cluster.config()).await {
        Ok(upstream) => upstream,
        Err(e) => {
            stats.upstream_cx_connect_fail.inc();
            let outcome = Outcome::Reset(e.reason());
            cluster.observe(&endpoint, outcome, Instant::now(), &mut ThreadEntropy);
            return Err(io::Error::other(e));
        }
    };
    let _open = stats.upstream_cx_active.guard();
    let passed = Arc::new(AtomicU64::new(0));
    let mut downstream = Counted {
        io: downstream,
        passed: Arc::clone(&passed),
    };
    let mut upstream = Counted {
        io: upstream,
        passed: Arc::clone(&passed),
    };
    let result = tokio::select! {
        copied = copy_bidirectional(&mut downstream, &mut upstream) => copied.map(drop),
        () = idle(&passed, config.idle_timeout) => Ok(()),
        () = state.drain_requested() => Ok(()),
    };
    drop(in_flight);
    result
}

/// Counts the bytes read.
struct Counted<T> {
    io: T,
    passed: Arc<AtomicU64>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.passed
            .fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
