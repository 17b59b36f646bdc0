//! Requests over HTTP/2: a connection serves many streams; a further one is made when all are full.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    time::Instant,
};

use http::{Method, Request, Response, Version, uri};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mesh_core::{
    cluster::{Breaker, Cluster, Endpoint},
    outcome::ResetReason,
};

use super::{
    body::{PooledBody, TransportBody},
    connect::connect,
    counted::Counted,
    idle::{IdleReaper, Tick},
    pool::{ConnectionGuard, Hold, Lease, Pool, Waits, Wanted},
    reset,
    waiters::ConnectFailure,
};
use crate::{
    dispatch::{Dispatch, UpstreamConnection},
    error::TransportError,
    tls::Offer,
};

/// Window sizes of our side: large enough that one stream fills a fast local network.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 22;
/// How large a response's head may be: Envoy's 60 KiB and 100 headers (`max_response_headers_kb`, `max_headers_count`),
/// each of which counts 32 bytes more in HTTP/2.
const MAX_HEADER_LIST: u32 = 60 * 1024 + 100 * 32;

/// An open connection; a clone is another handle on it.
#[derive(Clone, Debug)]
pub(crate) struct Http2Connection {
    send: SendRequest<PooledBody>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    origin: UpstreamConnection,
    active: AtomicU32,
    served: AtomicU32,
    /// What the peer allows at once, and our own `max_concurrent_streams`.
    max_streams: AtomicU32,
    max_requests: u32,
    expires: Option<Instant>,
    idle_since: AtomicU32,
    tick: Tick,
}

impl Http2Connection {
    /// Whether it takes no further stream, ever.
    pub(crate) fn is_closed(&self) -> bool {
        let state = &self.state;
        self.send.is_closed()
            || (state.max_requests > 0
                && state.served.load(Ordering::Relaxed) >= state.max_requests)
            || state.expires.is_some_and(|at| at <= Instant::now())
    }

    pub(crate) fn is_idle_since(&self, before: u32) -> bool {
        self.state.active.load(Ordering::Acquire) == 0
            && self.state.idle_since.load(Ordering::Relaxed) < before
    }

    fn has_room(&self) -> bool {
        let state = &self.state;
        let max = state.max_streams.load(Ordering::Relaxed);
        !self.is_closed() && state.active.load(Ordering::Relaxed) < max
    }

    /// A place for one stream, if there is one.
    fn stream(&self, pool: &Arc<Pool>) -> Option<Stream> {
        if self.is_closed() {
            return None;
        }
        let state = &self.state;
        let max = state.max_streams.load(Ordering::Relaxed);
        state
            .active
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| {
                (n < max).then_some(n + 1)
            })
            .ok()?;
        state.served.fetch_add(1, Ordering::Relaxed);
        Some(Stream {
            connection: self.clone(),
            pool: Arc::clone(pool),
            open: None,
        })
    }
}

/// One stream's place on its connection.
#[derive(Debug)]
pub(crate) struct Stream {
    connection: Http2Connection,
    pool: Arc<Pool>,
    /// The cluster of a request that is under way: dropped with it, the stream is one that we reset.
    open: Option<Arc<Cluster>>,
}

impl Stream {
    /// The stream ended by itself, or by the peer.
    pub(super) fn end(&mut self) {
        self.open = None;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(cluster) = &self.open {
            cluster.stats().upstream_rq_tx_reset.inc();
        }
        let state = &self.connection.state;
        state.idle_since.store(state.tick.now(), Ordering::Relaxed);
        let is_last = state.active.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last && self.connection.is_closed() {
            self.pool.retain(|c| !Arc::ptr_eq(&c.state, state));
        } else if self.pool.waiters2.len() > 0 {
            Handed::give(&self.connection, &self.pool);
        }
    }
}

/// A connection on its way to who waits for one of its streams; to the next, if that one went away before it looked.
#[derive(Debug)]
pub(crate) struct Handed(Option<(Http2Connection, Arc<Pool>)>);

impl Handed {
    /// Whether anybody was there to take it.
    fn give(connection: &Http2Connection, pool: &Arc<Pool>) -> bool {
        let handed = Self(Some((connection.clone(), Arc::clone(pool))));
        match pool.waiters2.give(handed) {
            None => true,
            Some(mut unwanted) => {
                unwanted.0 = None;
                false
            }
        }
    }

    fn take(mut self) -> Option<Http2Connection> {
        self.0.take().map(|(connection, _)| connection)
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if let Some((connection, pool)) = self.0.take() {
            Self::give(&connection, &pool);
        }
    }
}

/// Sends a request over a pooled connection.
pub(crate) async fn send(
    dispatch: Dispatch<PooledBody>,
    idle: IdleReaper,
) -> Result<Response<TransportBody>, TransportError> {
    let endpoint = Arc::clone(dispatch.endpoint());
    let cluster = Arc::clone(dispatch.cluster());
    let breaker = Arc::clone(cluster.breaker(dispatch.priority()));
    let pool_ready = dispatch.pool_ready().cloned();
    let pool = Pool::of(
        &endpoint,
        Wanted::by(&dispatch, true),
        idle.tick(),
        |pool| {
            idle.watch(pool, cluster.config().http.idle_timeout);
        },
    );
    let mut request = dispatch.into_request();
    let mut request_end = request.body().request_end();
    let is_connect = request.method() == Method::CONNECT;
    prepare(&mut request)?;
    loop {
        let ready = pool.multiplexed.load().iter().find_map(|c| c.stream(&pool));
        let mut stream = match ready {
            Some(ready) => ready,
            None => {
                let connection = wait(&pool, &endpoint, &cluster, &breaker)
                    .await
                    .inspect_err(|_| request.body_mut().read_arrived())?;
                let Some(stream) = connection.and_then(|c| c.stream(&pool)) else {
                    continue;
                };
                stream
            }
        };
        let Some(permit) = breaker.request() else {
            cluster.stats().upstream_rq_active_overflow.inc();
            request.body_mut().read_arrived();
            return Err(TransportError::unsent(ResetReason::Overflow));
        };
        cluster.stats().upstream_rq_total.inc();
        if let Some(signal) = &pool_ready {
            signal.set_by(stream.connection.state.origin);
        }
        stream.open = Some(Arc::clone(&cluster));
        let sent = stream.connection.send.try_send_request(request);
        match sent.await {
            Ok(response) => {
                if is_connect && response.status().is_success() {
                    request_end.becomes_tunnel();
                }
                let lease = Lease {
                    hold: Hold::Http2 { stream },
                    request_end,
                    permit,
                };
                return Ok(response.map(|body| TransportBody::new(body, lease)));
            }
            Err(mut failed) => {
                if !reset::is_ours(failed.error()) {
                    stream.end();
                }
                let unsent = failed.take_message();
                let state = &stream.connection.state;
                let fresh = state.served.load(Ordering::Relaxed) <= 1;
                match unsent {
                    // GOAWAY, or closed while idle, before anything was written: another connection takes it.
                    Some(unsent) if !fresh => {
                        request = unsent;
                        pool.retain(|c| !Arc::ptr_eq(&c.state, state));
                    }
                    unsent => {
                        let error = failed.into_error();
                        let reason = reset::reason(&error);
                        let failure = match unsent {
                            Some(_) => TransportError::unsent(reason),
                            None => TransportError::sent(reason),
                        };
                        return Err(failure.with_source(error).with_permit(permit));
                    }
                }
            }
        }
    }
}

/// Queues for a connection, and makes one if none is being made and the breaker allows.
async fn wait(
    pool: &Arc<Pool>,
    endpoint: &Arc<Endpoint>,
    cluster: &Arc<Cluster>,
    breaker: &Arc<Breaker>,
) -> Result<Option<Http2Connection>, TransportError> {
    let Some(pending) = breaker.pending() else {
        cluster.stats().upstream_rq_pending_overflow.inc();
        return Err(TransportError::unsent(ResetReason::Overflow));
    };
    cluster.stats().upstream_rq_pending_total.inc();
    let turn = pool.waiters2.wait();
    let waits = Waits::new(cluster);
    spawn(pool, endpoint, cluster, breaker);
    // A stream may have ended between the first look and the place in the queue.
    if let Some(connection) = pool.multiplexed.load().iter().find(|c| c.has_room()) {
        Handed::give(connection, pool);
    }
    let turn = turn.await;
    waits.over();
    match turn {
        Ok(Ok(handed)) => Ok(handed.take()),
        Ok(Err(failure)) => {
            cluster.stats().upstream_rq_pending_failure_eject.inc();
            let error = TransportError::unsent(failure.reason).with_detail(failure.detail);
            Err(error.with_permit(pending))
        }
        Err(_) => Err(TransportError::unsent(ResetReason::LocalConnectionFailure)),
    }
}

/// Begins to make a connection, unless one is being made, if the breaker allows or there is none at all.
fn spawn(
    pool: &Arc<Pool>,
    endpoint: &Arc<Endpoint>,
    cluster: &Arc<Cluster>,
    breaker: &Arc<Breaker>,
) {
    if pool.connecting.fetch_add(1, Ordering::AcqRel) > 0 {
        return;
    }
    match pool.connection_permit(cluster, breaker) {
        Some(permit) => {
            let guard = pool.count(permit);
            tokio::spawn(open(
                Arc::clone(pool),
                Arc::clone(endpoint),
                Arc::clone(cluster),
                Arc::clone(breaker),
                guard,
            ));
        }
        None => pool.connecting.store(0, Ordering::Release),
    }
}

/// Makes a connection, hands it to all that wait as far as its streams go, and serves it to its end.
async fn open(
    pool: Arc<Pool>,
    endpoint: Arc<Endpoint>,
    cluster: Arc<Cluster>,
    breaker: Arc<Breaker>,
    guard: ConnectionGuard,
) {
    let stats = cluster.stats();
    let mut counted = Counted::attempt(stats);
    let http = &cluster.config().http;
    let made = connect(&endpoint, &cluster, Offer::Http2, pool.name()).await;
    let place = Arc::downgrade(&endpoint);
    drop(endpoint);
    let failed = |failure: ConnectFailure| {
        pool.connecting.store(0, Ordering::Release);
        pool.waiters2.fail(&failure);
    };
    let stream = match made {
        Ok(stream) => stream,
        Err(e) => {
            counted.failed(e.reason());
            drop(guard);
            return failed(ConnectFailure {
                reason: e.reason(),
                detail: e.detail().to_owned(),
            });
        }
    };
    let origin = UpstreamConnection {
        local: stream.local_addr().ok(),
        version: Version::HTTP_2,
    };
    let handshake = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .handshake(TokioIo::new(stream))
        .await;
    let Ok((send, mut connection)) = handshake else {
        drop(guard);
        return failed(ConnectFailure {
            reason: ResetReason::ProtocolError,
            detail: String::new(),
        });
    };
    let own_limit = http.max_concurrent_streams.unwrap_or(u32::MAX);
    let state = Arc::new(State {
        origin,
        active: AtomicU32::new(0),
        served: AtomicU32::new(0),
        max_streams: AtomicU32::new(own_limit),
        max_requests: http.max_requests_per_connection,
        expires: http
            .max_connection_duration
            .map(|duration| Instant::now() + duration),
        idle_since: AtomicU32::new(pool.tick.now()),
        tick: pool.tick.clone(),
    });
    stats.upstream_cx_http2_total.inc();
    counted.opened();
    let handle = Http2Connection {
        send,
        state: Arc::clone(&state),
    };
    pool.multiplexed.rcu(|connections| {
        let mut connections = Vec::clone(connections);
        connections.push(handle.clone());
        connections
    });
    pool.connecting.store(0, Ordering::Release);
    // Each takes a stream for itself; who finds none waits again.
    for _ in 0..pool.waiters2.len() {
        if !Handed::give(&handle, &pool) {
            break;
        }
    }
    drop(handle);
    let weak = Arc::downgrade(&pool);
    drop(pool);
    // Whoever has a stream on it is told the error there.
    let _ = poll_fn(|cx| {
        let served = Pin::new(&mut connection).poll(cx);
        let peer_limit = u32::try_from(connection.current_max_send_streams()).unwrap_or(u32::MAX);
        state
            .max_streams
            .store(own_limit.min(peer_limit), Ordering::Relaxed);
        match served {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    drop(counted);
    drop(guard);
    if let Some(pool) = weak.upgrade() {
        pool.retain(|c| !Arc::ptr_eq(&c.state, &state));
        // Its place is free for who waits because of the breaker.
        if pool.waiters2.len() > 0
            && let Some(endpoint) = place.upgrade()
        {
            spawn(&pool, &endpoint, &cluster, &breaker);
        }
    }
}

/// Absolute form, as HTTP/2 wants it; CONNECT keeps its authority form.
fn prepare(request: &mut Request<PooledBody>) -> Result<(), TransportError> {
    *request.version_mut() = Version::HTTP_2;
    if request.method() == Method::CONNECT {
        return Ok(());
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme.get_or_insert(uri::Scheme::HTTP);
    parts
        .path_and_query
        .get_or_insert(uri::PathAndQuery::from_static("/"));
    *request.uri_mut() = http::Uri::from_parts(parts).map_err(|e| {
        TransportError::unsent(ResetReason::LocalReset).with_source(http::Error::from(e))
    })?;
    Ok(())
}
