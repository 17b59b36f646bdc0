//! Requests over HTTP/1.1: a connection serves one request at a time.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use http::{
    HeaderValue, Method, Response, Uri, Version,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    uri,
};
use http_body::Body as _;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use mesh_core::{
    cluster::{Breaker, Cluster, Endpoint},
    outcome::ResetReason,
};

use super::{
    body::{PooledBody, TransportBody},
    connect::connect,
    counted::Counted,
    idle::IdleReaper,
    pool::{ConnectionGuard, Hold, Lease, Pool, Waits, Wanted},
    reset,
    waiters::ConnectFailure,
};
use crate::{
    dispatch::{Dispatch, UpstreamConnection},
    error::TransportError,
    server::Informational,
    tls::Offer,
};

/// An open connection, between requests or serving one.
#[derive(Debug)]
pub(crate) struct Http1Connection {
    send: SendRequest<PooledBody>,
    origin: UpstreamConnection,
    /// Requests served.
    served: u32,
    /// `max_requests_per_connection`; 0: unlimited.
    max_requests: u32,
    /// When `max_connection_duration` is over.
    expires: Option<Instant>,
}

impl Http1Connection {
    /// Whether it serves no further request: closed by the peer, or at `max_requests_per_connection` or
    /// `max_connection_duration`.
    pub(crate) fn is_closed(&self) -> bool {
        self.send.is_closed()
            || (self.max_requests > 0 && self.served >= self.max_requests)
            || self.expires.is_some_and(|at| at <= Instant::now())
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
        Wanted::by(&dispatch, false),
        idle.tick(),
        |pool| {
            idle.watch(pool, cluster.config().http.idle_timeout);
        },
    );
    let mut request = dispatch.into_request();
    let mut request_end = request.body().request_end();
    let is_connect = request.method() == Method::CONNECT;
    prepare(&mut request)?;
    let trailers = cluster.config().http.http1_trailers;
    if !trailers {
        request.body_mut().drop_trailers();
    }
    if let Some(sink) = request.extensions().get::<Informational>().cloned() {
        hyper::ext::on_informational(&mut request, move |early| {
            sink.push(early.status(), early.headers().clone());
        });
    }
    loop {
        let mut connection = match pool.checkout() {
            Some(connection) => connection,
            None => wait(&pool, &endpoint, &cluster, &breaker)
                .await
                .inspect_err(|_| request.body_mut().read_arrived())?,
        };
        // A connection that has just ended its last response may need its own task to run once more.
        if let Err(e) = connection.send.ready().await {
            if connection.served > 0 {
                continue;
            }
            return Err(TransportError::unsent(reset::reason(&e)).with_source(e));
        }
        let Some(permit) = breaker.request() else {
            cluster.stats().upstream_rq_active_overflow.inc();
            pool.give_back(connection);
            request.body_mut().read_arrived();
            return Err(TransportError::unsent(ResetReason::Overflow));
        };
        cluster.stats().upstream_rq_total.inc();
        if let Some(signal) = &pool_ready {
            signal.set_by(connection.origin);
        }
        connection.served += 1;
        match connection.send.try_send_request(request).await {
            Ok(response) => {
                if is_connect && response.status().is_success() {
                    request_end.becomes_tunnel();
                }
                let hold = Hold::Http1 { connection, pool };
                let lease = Lease {
                    hold,
                    request_end,
                    permit,
                };
                return Ok(response.map(|body| {
                    let body = TransportBody::new(body, lease);
                    if trailers { body } else { body.drop_trailers() }
                }));
            }
            Err(mut failed) => match failed.take_message() {
                // It was closed while idle and nothing was written: another connection takes it.
                Some(unsent) if connection.served > 1 => request = unsent,
                unsent => {
                    if unsent.is_some() {
                        let error = failed.into_error();
                        return Err(TransportError::unsent(reset::reason(&error))
                            .with_source(error)
                            .with_permit(permit));
                    }
                    let error = failed.into_error();
                    return Err(TransportError::sent(reset::reason(&error))
                        .with_source(error)
                        .with_permit(permit));
                }
            },
        }
    }
}

/// Queues for a connection, and makes one if the breaker allows.
async fn wait(
    pool: &Arc<Pool>,
    endpoint: &Arc<Endpoint>,
    cluster: &Arc<Cluster>,
    breaker: &Arc<Breaker>,
) -> Result<Http1Connection, TransportError> {
    let Some(pending) = breaker.pending() else {
        cluster.stats().upstream_rq_pending_overflow.inc();
        return Err(TransportError::unsent(ResetReason::Overflow));
    };
    cluster.stats().upstream_rq_pending_total.inc();
    let turn = pool.waiters1.wait();
    let waits = Waits::new(cluster);
    if !spawn(pool, endpoint, cluster, breaker)
        && let Some(connection) = pool.checkout()
    {
        // One came back between the first look and the place in the queue.
        pool.give_back(connection);
    }
    let turn = turn.await;
    waits.over();
    match turn {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(failure)) => {
            cluster.stats().upstream_rq_pending_failure_eject.inc();
            let error = TransportError::unsent(failure.reason).with_detail(failure.detail);
            Err(error.with_permit(pending))
        }
        Err(_) => Err(TransportError::unsent(ResetReason::LocalConnectionFailure)),
    }
}

/// Begins to make a connection, if the breaker allows or there is none at all.
fn spawn(
    pool: &Arc<Pool>,
    endpoint: &Arc<Endpoint>,
    cluster: &Arc<Cluster>,
    breaker: &Arc<Breaker>,
) -> bool {
    let Some(permit) = pool.connection_permit(cluster, breaker) else {
        return false;
    };
    pool.connecting.fetch_add(1, Ordering::AcqRel);
    let guard = pool.count(permit);
    tokio::spawn(open(
        Arc::clone(pool),
        Arc::clone(endpoint),
        Arc::clone(cluster),
        Arc::clone(breaker),
        guard,
    ));
    true
}

/// Makes a connection, gives it to the first that waits, and serves it to its end. Belongs to the pool, not to the
/// request that asked for it: that one may be served by another connection, or be gone.
async fn open(
    pool: Arc<Pool>,
    endpoint: Arc<Endpoint>,
    cluster: Arc<Cluster>,
    breaker: Arc<Breaker>,
    guard: ConnectionGuard,
) {
    let stats = cluster.stats();
    let mut counted = Counted::attempt(stats);
    let config = cluster.config();
    let connected = connect(&endpoint, &cluster, Offer::Http1, pool.name()).await;
    pool.connecting.fetch_sub(1, Ordering::AcqRel);
    let place = (Arc::downgrade(&pool), Arc::downgrade(&endpoint));
    drop(endpoint);
    let stream = match connected {
        Ok(stream) => stream,
        Err(e) => {
            counted.failed(e.reason());
            drop(guard);
            pool.waiters1.fail(&ConnectFailure {
                reason: e.reason(),
                detail: e.detail().to_owned(),
            });
            return;
        }
    };
    let origin = UpstreamConnection {
        local: stream.local_addr().ok(),
        version: Version::HTTP_11,
    };
    let Ok((send, connection)) = Builder::new().handshake(TokioIo::new(stream)).await else {
        drop(guard);
        pool.waiters1.fail(&ConnectFailure {
            reason: ResetReason::ProtocolError,
            detail: String::new(),
        });
        return;
    };
    let http = &config.http;
    let connection_of_pool = Http1Connection {
        send,
        origin,
        served: 0,
        max_requests: http.max_requests_per_connection,
        expires: http
            .max_connection_duration
            .map(|duration| Instant::now() + duration),
    };
    stats.upstream_cx_http1_total.inc();
    counted.opened();
    // Driven while it is handed over: the first that waits may use it at once.
    pool.give_back(connection_of_pool);
    drop(pool);
    // Whoever has a request or a body on it is told the error there.
    let _ = connection.with_upgrades().await;
    drop(counted);
    drop(guard);
    // Its place is free for who waits because of the breaker.
    if let (Some(pool), Some(endpoint)) = (place.0.upgrade(), place.1.upgrade())
        && pool.waiters1.len() > pool.connecting.load(Ordering::Acquire)
    {
        spawn(&pool, &endpoint, &cluster, &breaker);
    }
}

/// Origin form and a `host` header, as HTTP/1.1 wants them; CONNECT keeps its authority form.
fn prepare(request: &mut http::Request<PooledBody>) -> Result<(), TransportError> {
    *request.version_mut() = Version::HTTP_11;
    // Envoy says so for every method that usually has a body (`HeaderUtility::requestShouldHaveNoBody`).
    let without_body = [
        Method::GET,
        Method::HEAD,
        Method::DELETE,
        Method::TRACE,
        Method::CONNECT,
    ];
    if request.body().is_end_stream() && !without_body.contains(request.method()) {
        request
            .headers_mut()
            .entry(CONTENT_LENGTH)
            .or_insert(HeaderValue::from_static("0"));
    }
    // hyper leaves a body of unknown length out, where the method usually has none.
    if !request.body().is_end_stream()
        && request.body().size_hint().exact().is_none()
        && without_body.contains(request.method())
        && request.method() != Method::CONNECT
    {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(TRANSFER_ENCODING, chunked);
    }
    let invalid = |e: http::Error| TransportError::unsent(ResetReason::LocalReset).with_source(e);
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    let host = match &parts.authority {
        Some(authority) => HeaderValue::from_str(authority.as_str()),
        None => Ok(HeaderValue::from_static("")),
    };
    let host = host.map_err(|e| invalid(e.into()))?;
    // A route may have rewritten the host to what no URI can hold.
    request.headers_mut().entry(HOST).or_insert(host);
    if request.method() == Method::CONNECT {
        parts.scheme = None;
        parts.path_and_query = None;
    } else {
        parts.scheme = None;
        parts.authority = None;
        parts
            .path_and_query
            .get_or_insert(uri::PathAndQuery::from_static("/"));
    }
    *request.uri_mut() = Uri::from_parts(parts).map_err(|e| invalid(e.into()))?;
    Ok(())
}
