//! The transport over real sockets on loopback.

mod http2;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, Version, header::HOST};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use mesh_core::{
    cluster::{Cluster, PickContext},
    model::{
        ClusterConfig, ClusterDiscovery, ClusterLoadAssignment, EndpointConfig, LocalityEndpoints,
        RoutingPriority, UpstreamProtocol,
    },
    outcome::ResetReason,
    stats::Stats,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
};
use tower_service::Service;

use super::*;
use crate::entropy::ThreadEntropy;

/// A server that answers with what it saw, and counts its connections; `/hold` waits until released.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    release: watch::Sender<bool>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (release, held) = watch::channel(false);
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let held = held.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let mut held = held.clone();
                    async move {
                        if request.uri().path() == "/hold" {
                            held.wait_for(|released| *released).await.unwrap();
                        }
                        let host = request
                            .headers()
                            .get(HOST)
                            .and_then(|h| h.to_str().ok())
                            .map(str::to_owned);
                        let seen = format!("{} {host:?} {:?}", request.uri(), request.version());
                        let body = request.into_body().collect().await?.to_bytes();
                        let answer = [seen.as_bytes(), b" ", &body].concat();
                        Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(answer))))
                    }
                });
                tokio::spawn(async move {
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            connections,
            release,
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn cluster(address: SocketAddr, change: impl FnOnce(&mut ClusterConfig)) -> Arc<Cluster> {
    let mut locality = LocalityEndpoints::default();
    locality.endpoints.push(EndpointConfig::new(address));
    let mut assignment = ClusterLoadAssignment::default();
    assignment.localities.push(locality);
    let mut config = ClusterConfig::new("c", ClusterDiscovery::Static(Arc::new(assignment)));
    change(&mut config);
    Arc::new(Cluster::build(
        Arc::new(config),
        None,
        None,
        &Stats::default(),
        &mut ThreadEntropy,
    ))
}

type TestBody = Full<Bytes>;

fn dispatch(cluster: &Arc<Cluster>, uri: &str, body: &'static str) -> Dispatch<TestBody> {
    let endpoint = cluster
        .pick(&PickContext::first(None), &mut ThreadEntropy)
        .unwrap();
    let request = Request::post(uri).body(Full::from(body)).unwrap();
    Dispatch::new(
        request,
        endpoint,
        Arc::clone(cluster),
        RoutingPriority::Default,
        Version::HTTP_11,
        None,
    )
}

async fn text(response: Response<TransportBody>) -> String {
    String::from_utf8(
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
    .unwrap()
}

async fn call(cluster: &Arc<Cluster>, uri: &str) -> Result<String, TransportError> {
    let mut transport = Transport::<TestBody>::new();
    Ok(text(transport.call(dispatch(cluster, uri, "hi")).await?).await)
}

#[tokio::test]
async fn http1_gets_origin_form_and_the_services_host_and_reuses_its_connection() {
    let server = Server::start().await;
    let cluster = cluster(server.address, |_| {});
    for _ in 0..3 {
        let seen = call(&cluster, "http://reviews:9080/reviews/0?a=1")
            .await
            .unwrap();
        assert_eq!(seen, "/reviews/0?a=1 Some(\"reviews:9080\") HTTP/1.1 hi");
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(cluster.stats().upstream_cx_total.value(), 1);
    assert_eq!(cluster.stats().upstream_rq_total.value(), 3);
}

#[tokio::test]
async fn http2_multiplexes_on_one_connection_up_to_the_stream_limit() {
    let server = Server::start().await;
    let cluster = cluster(server.address, |c| {
        c.http.protocol = UpstreamProtocol::Http2;
        c.http.max_concurrent_streams = Some(2);
    });
    assert_eq!(
        call(&cluster, "http://a/x").await.unwrap(),
        "http://a/x None HTTP/2.0 hi"
    );
    let held: Vec<_> = (0..3)
        .map(|_| {
            let cluster = Arc::clone(&cluster);
            tokio::spawn(async move { call(&cluster, "http://a/hold").await.unwrap() })
        })
        .collect();
    while cluster.stats().upstream_rq_total.value() < 4 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        server.connections(),
        2,
        "two streams on the first, the third on a second"
    );
    server.release.send_replace(true);
    for one in held {
        assert_eq!(one.await.unwrap(), "http://a/hold None HTTP/2.0 hi");
    }
}

#[tokio::test]
async fn a_refused_connection_was_not_sent_and_says_so_in_envoys_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let cluster = cluster(address, |c| c.http.protocol = protocol);
        let error = call(&cluster, "http://a/").await.unwrap_err();
        assert_eq!(error.reason(), ResetReason::RemoteConnectionFailure);
        assert!(!error.was_sent());
        assert_eq!(error.detail(), "delayed_connect_error: Connection refused");
        assert_eq!(cluster.stats().upstream_cx_connect_fail.value(), 1);
    }
}

#[tokio::test]
async fn breakers_overflow_in_envoys_order() {
    let server = Server::start().await;
    let cluster = cluster(server.address, |c| {
        c.breaker_default.max_connections = 1;
        c.breaker_default.max_pending_requests = 1;
    });
    let spawn = || {
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move { call(&cluster, "http://a/hold").await })
    };
    let first = spawn();
    while cluster.stats().upstream_rq_total.value() < 1 {
        tokio::task::yield_now().await;
    }
    let second = spawn();
    while cluster.stats().upstream_rq_pending_total.value() < 2 {
        tokio::task::yield_now().await;
    }
    let error = call(&cluster, "http://a/hold").await.unwrap_err();
    assert_eq!(
        (error.reason(), error.was_sent()),
        (ResetReason::Overflow, false)
    );
    assert_eq!(cluster.stats().upstream_rq_pending_overflow.value(), 1);
    server.release.send_replace(true);
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn max_requests_refuses_what_a_connection_would_take() {
    let server = Server::start().await;
    let cluster = cluster(server.address, |c| c.breaker_default.max_requests = 1);
    let held = {
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move { call(&cluster, "http://a/hold").await })
    };
    while cluster.stats().upstream_rq_total.value() < 1 {
        tokio::task::yield_now().await;
    }
    let error = call(&cluster, "http://a/").await.unwrap_err();
    assert_eq!(error.reason(), ResetReason::Overflow);
    assert_eq!(cluster.stats().upstream_rq_active_overflow.value(), 1);
    server.release.send_replace(true);
    held.await.unwrap().unwrap();
    call(&cluster, "http://a/").await.unwrap();
}

#[tokio::test]
async fn max_requests_per_connection_opens_a_new_one() {
    let server = Server::start().await;
    let cluster = cluster(server.address, |c| c.http.max_requests_per_connection = 2);
    for _ in 0..4 {
        call(&cluster, "http://a/").await.unwrap();
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_connection_dropped_before_the_end_of_its_body_is_not_used_again() {
    let server = Server::start().await;
    let cluster = cluster(server.address, |_| {});
    let mut transport = Transport::<TestBody>::new();
    let response = transport
        .call(dispatch(&cluster, "http://a/", "hi"))
        .await
        .unwrap();
    drop(response);
    call(&cluster, "http://a/").await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn an_upstream_that_closes_without_an_answer_is_a_termination_after_sending() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cluster = cluster(listener.local_addr().unwrap(), |_| {});
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4];
        stream.read_exact(&mut head).await.unwrap();
    });
    let error = call(&cluster, "http://a/").await.unwrap_err();
    assert_eq!(
        (error.reason(), error.was_sent()),
        (ResetReason::ConnectionTermination, true)
    );
}

#[tokio::test]
async fn bytes_that_are_no_http_are_a_protocol_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cluster = cluster(listener.local_addr().unwrap(), |_| {});
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4];
        stream.read_exact(&mut head).await.unwrap();
        stream.write_all(b"220 mail ready\r\n\r\n").await.unwrap();
    });
    assert_eq!(
        call(&cluster, "http://a/").await.unwrap_err().reason(),
        ResetReason::ProtocolError
    );
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closed_costs_nothing() {
    // Serves one request per connection without saying so, and closes.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cluster = cluster(listener.local_addr().unwrap(), |_| {});
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            while !read.ends_with(b"hi") {
                stream.read_buf(&mut read).await.unwrap();
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await
                .unwrap();
        }
    });
    for _ in 0..20 {
        call(&cluster, "http://a/").await.unwrap();
    }
}

#[tokio::test]
async fn a_request_without_a_body_has_neither_length_nor_chunks() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cluster = cluster(listener.local_addr().unwrap(), |_| {});
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut read).await.unwrap();
        }
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
        String::from_utf8(read).unwrap()
    });
    let endpoint = cluster
        .pick(&PickContext::first(None), &mut ThreadEntropy)
        .unwrap();
    let request = Request::get("http://a:1/p")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let dispatch = Dispatch::new(
        request,
        endpoint,
        Arc::clone(&cluster),
        RoutingPriority::Default,
        Version::HTTP_11,
        None,
    );
    Transport::<Empty<Bytes>>::new()
        .call(dispatch)
        .await
        .unwrap();
    assert_eq!(
        served.await.unwrap(),
        "GET /p HTTP/1.1\r\nhost: a:1\r\n\r\n"
    );
}

#[tokio::test]
async fn an_abandoned_request_is_reset_while_its_body_is_open() {
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let (seen, mut ends) = tokio::sync::mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cluster = cluster(listener.local_addr().unwrap(), |c| {
            c.http.protocol = protocol
        });
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = service_fn(move |request: Request<Incoming>| {
                let seen = seen.clone();
                tokio::spawn(async move {
                    let _ = seen.send(request.into_body().collect().await.is_ok());
                });
                // Its body never ends either.
                let body = StreamBody::new(stream::pending::<io::Result<Frame<Bytes>>>());
                async move { Ok::<_, hyper::Error>(Response::new(body)) }
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
        let endpoint = cluster
            .pick(&PickContext::first(None), &mut ThreadEntropy)
            .unwrap();
        let first = io::Result::Ok(Frame::data(Bytes::from_static(b"hi")));
        let body = StreamBody::new(stream::iter([first]).chain(stream::pending()));
        let dispatch = Dispatch::new(
            Request::post("http://a/").body(body).unwrap(),
            endpoint,
            Arc::clone(&cluster),
            RoutingPriority::Default,
            Version::HTTP_11,
            None,
        );
        let response = Transport::new().call(dispatch).await.unwrap();
        drop(response);
        let end = tokio::time::timeout(Duration::from_secs(5), ends.recv());
        assert_eq!(
            end.await.expect("it was reset"),
            Some(false),
            "{protocol:?}"
        );
    }
}
