//! `TcpProxy`: bytes between a connection and an endpoint of one cluster (Envoy `source/common/tcp_proxy/tcp_proxy.cc`).

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use mesh_core::{
    Entropy,
    cluster::{Cluster, InFlight, Permit, PickContext},
    flags::{ResponseFlag, ResponseFlags},
    head::ConnectionInfo,
    model::{ConnectionFilter, Criteria, RoutingPriority, TcpProxyConfig},
    outcome::Outcome,
    regex::Scratch,
    route::{FormatContext, source_ip_hash},
    snapshot::{ClusterIndex, Snapshot},
    stats::{Counter, TcpProxyStats},
};
use mesh_tower::{
    ThreadEntropy,
    server::PrefixedIo,
    tls::{DownstreamIo, Offer, UpstreamIo},
    transport::connect,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional},
    time::{Sleep, sleep},
};

use crate::{idle::idle, listener::Shared};

/// A connection, and what its chain says of it.
pub(crate) struct Session<'a> {
    pub(crate) routes: Routes,
    pub(crate) config: &'a TcpProxyConfig,
    pub(crate) stats: &'a TcpProxyStats,
    pub(crate) filters: &'a [ConnectionFilter],
    pub(crate) info: &'a ConnectionInfo,
    pub(crate) original_destination: Option<SocketAddr>,
    pub(crate) seen: Seen,
}

/// What an access log says of a connection that is over.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    told: Mutex<Told>,
    received: Counter,
    sent: Counter,
}

#[derive(Debug, Default)]
struct Told {
    flags: ResponseFlags,
    attempts: u32,
    cluster: Option<Arc<Cluster>>,
    host: Option<SocketAddr>,
    /// Our end of the connection to it.
    local: Option<SocketAddr>,
}

impl Seen {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flag(&self, flag: ResponseFlag) {
        self.told().flags.set(flag);
    }
}

/// The clusters that a connection may go to, as one snapshot has them.
pub(crate) enum Routes {
    One(Option<Arc<Cluster>>),
    /// By place in `weighted_clusters`.
    Weighted(Vec<Option<Arc<Cluster>>>),
}

impl Routes {
    pub(crate) fn new(
        snapshot: &Snapshot,
        config: &TcpProxyConfig,
        clusters: &[ClusterIndex],
        filters: &[ConnectionFilter],
        info: &ConnectionInfo,
    ) -> Self {
        let mut found = clusters.iter().map(|at| snapshot.cluster(*at).cloned());
        if !config.weighted.is_empty() {
            return Self::Weighted(found.collect());
        }
        let named_by_client = filters
            .iter()
            .any(|filter| matches!(filter, ConnectionFilter::SniCluster));
        match info.server_name.as_deref().filter(|_| named_by_client) {
            Some(name) if !name.is_empty() => {
                let at = snapshot.cluster_by_name(name);
                Self::One(at.and_then(|at| snapshot.cluster(at)).cloned())
            }
            _ => Self::One(found.next().flatten()),
        }
    }
}

impl Session<'_> {
    /// The cluster of the next attempt, and which subset of it.
    fn route(&self) -> Option<(&Arc<Cluster>, &Criteria)> {
        match &self.routes {
            Routes::One(cluster) => Some((cluster.as_ref()?, &self.config.criteria)),
            Routes::Weighted(clusters) => {
                let at = self.config.draw(ThreadEntropy.next_u64())?;
                let criteria = &self.config.weighted.get(at)?.criteria;
                Some((clusters.get(at)?.as_ref()?, criteria))
            }
        }
    }

    /// A connection to an endpoint; None: there is none to be had.
    async fn connect(&self) -> Option<Upstream> {
        let mut attempts = 0;
        loop {
            let Some((cluster, criteria)) = self.route() else {
                self.stats.downstream_cx_no_route.inc();
                self.seen.flag(ResponseFlag::NoClusterFound);
                return None;
            };
            self.seen.told().cluster = Some(Arc::clone(cluster));
            let stats = cluster.stats();
            let Some(permit) = cluster.breaker(RoutingPriority::Default).connection() else {
                stats.upstream_cx_overflow.inc();
                self.seen.flag(ResponseFlag::UpstreamOverflow);
                return None;
            };
            if attempts >= self.config.max_connect_attempts {
                stats.upstream_cx_connect_attempts_exceeded.inc();
                self.seen.flag(ResponseFlag::UpstreamRetryLimitExceeded);
                return None;
            }
            let mut pick = PickContext::first(self.original_destination);
            pick.criteria = Some(criteria);
            pick.now = Some(Instant::now());
            if self.config.hashes_source_ip && cluster.picks_by_hash() {
                pick.hash = self.info.peer.and_then(|peer| source_ip_hash(peer.ip()));
            }
            let Ok(endpoint) = cluster.pick(&pick, &mut ThreadEntropy) else {
                stats.upstream_cx_none_healthy.inc();
                self.seen.flag(ResponseFlag::NoHealthyUpstream);
                return None;
            };
            attempts += 1;
            {
                let mut told = self.seen.told();
                told.attempts = attempts;
                told.host = Some(endpoint.address());
            }
            stats.upstream_cx_total.inc();
            let in_flight = InFlight::new(Arc::clone(&endpoint));
            match connect(&endpoint, cluster, Offer::None, None).await {
                Ok(stream) => {
                    self.seen.told().local = stream.local_addr().ok();
                    return Some(Upstream {
                        stream,
                        cluster: Arc::clone(cluster),
                        _permit: permit,
                        _in_flight: in_flight,
                    });
                }
                Err(e) => {
                    stats.upstream_cx_connect_fail.inc();
                    self.seen.flag(ResponseFlag::UpstreamConnectionFailure);
                    let outcome = Outcome::Reset(e.reason());
                    cluster.observe(&endpoint, outcome, Instant::now(), &mut ThreadEntropy);
                    tracing::debug!(cluster = %cluster.config().name, error = %e, "connecting failed");
                }
            }
        }
    }

    /// Writes the connection's line to each of the proxy's logs.
    fn log(&self, began: Instant) {
        let mut cx = FormatContext::without_request(self.info);
        let told = self.seen.told();
        cx.upstream_cluster = told.cluster.as_ref().map(|c| &*c.config().name);
        cx.upstream_host = told.host;
        cx.upstream_local = told.local;
        cx.upstream_remote = told.host.filter(|_| told.local.is_some());
        cx.started = Some(began);
        cx.response_flags = told.flags;
        cx.attempts = told.attempts;
        cx.bytes_received = self.seen.received.value();
        cx.bytes_sent = self.seen.sent.value();
        cx.access_log_type = "TcpConnectionEnd";
        cx.timing.now = Some(Instant::now());
        cx.process = mesh_tower::process_values();
        for log in self.config.access_logs.iter() {
            let scratch = &mut Scratch::default();
            let random = ThreadEntropy.next_u64();
            log.log(&cx, mesh_tower::open_access_log, random, scratch);
        }
    }

    /// How long the connection may live.
    fn max_duration(&self) -> Option<Duration> {
        let base = self.config.max_duration?;
        let most = base.as_secs_f64() * 10.0 * self.config.max_duration_jitter_percent;
        let more = ThreadEntropy.next_u64().checked_rem(most.ceil() as u64);
        Some(base + Duration::from_millis(more.unwrap_or(0)))
    }

    /// Passes bytes until both sides have ended, one breaks, or nothing passes for `idle_timeout`.
    async fn pass(&self, downstream: PrefixedIo<DownstreamIo>) -> io::Result<()> {
        let Some(upstream) = self.connect().await else {
            return Ok(());
        };
        let _open = upstream.cluster.stats().upstream_cx_active.guard();
        let passed = AtomicU64::new(0);
        let mut downstream = Counted {
            io: downstream,
            passed: &passed,
            read: Some([
                &self.stats.downstream_cx_rx_bytes_total,
                &self.seen.received,
            ]),
            written: Some([&self.stats.downstream_cx_tx_bytes_total, &self.seen.sent]),
            gate: Gate::new(self.filters, self.info),
        };
        let mut upstream_io = Counted {
            io: upstream.stream,
            passed: &passed,
            read: None,
            written: None,
            gate: Gate::Open,
        };
        tokio::select! {
            copied = copy_bidirectional(&mut downstream, &mut upstream_io) => copied.map(drop),
            () = idle(&passed, self.config.idle_timeout) => {
                self.stats.idle_timeout.inc();
                Ok(())
            }
        }
    }
}

/// A connection to an endpoint, and what it holds of the cluster.
struct Upstream {
    stream: UpstreamIo,
    cluster: Arc<Cluster>,
    _permit: Permit,
    _in_flight: InFlight,
}

/// Proxies a connection until either side ends it, a limit does, or the listener drains.
pub(crate) async fn proxy(
    downstream: PrefixedIo<DownstreamIo>,
    session: Session<'_>,
    state: &Shared,
) -> io::Result<()> {
    session.stats.downstream_cx_total.inc();
    let began = Instant::now();
    let limit = async {
        match session.max_duration() {
            Some(limit) => sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        result = session.pass(downstream) => result,
        () = limit => {
            session.stats.max_downstream_connection_duration.inc();
            session.seen.flag(ResponseFlag::DurationTimeout);
            Ok(())
        }
        () = state.drain_requested() => Ok(()),
    };
    if !session.config.access_logs.is_empty() {
        session.log(began);
    }
    result
}

/// The filters that are asked when the client's first bytes or its end have come.
enum Gate<'a> {
    Closed(&'a [ConnectionFilter], &'a ConnectionInfo),
    /// Denied, and held for a while.
    Denied(Pin<Box<Sleep>>),
    Open,
}

impl<'a> Gate<'a> {
    fn new(filters: &'a [ConnectionFilter], info: &'a ConnectionInfo) -> Self {
        match filters.is_empty() {
            true => Self::Open,
            false => Self::Closed(filters, info),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Self::Closed(filters, info) = self {
            let denied = filters.iter().find_map(|filter| match filter {
                ConnectionFilter::Rbac(rbac) => {
                    let allowed = rbac.allows(info, &mut Scratch::default());
                    (!allowed).then_some(rbac.delay_deny)
                }
                _ => None,
            });
            *self = match denied {
                Some(delay) => Self::Denied(Box::pin(sleep(delay))),
                None => Self::Open,
            };
        }
        match self {
            Self::Denied(delay) => {
                ready!(delay.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "rbac_deny_close",
                )))
            }
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// Counts the bytes read and written.
struct Counted<'a, T> {
    io: T,
    passed: &'a AtomicU64,
    read: Option<[&'a Counter; 2]>,
    written: Option<[&'a Counter; 2]>,
    gate: Gate<'a>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !matches!(self.gate, Gate::Denied(_)) {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
            let read = (buf.filled().len() - before) as u64;
            self.passed.fetch_add(read, Ordering::Relaxed);
            for counter in self.read.into_iter().flatten() {
                counter.add(read);
            }
        }
        self.gate.poll(cx)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<'_, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        for counter in self.written.into_iter().flatten() {
            counter.add(written as u64);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
