//! What only HTTP/2 has: streams, their limits, GOAWAY.

use super::*;

#[tokio::test]
async fn a_place_on_a_full_connection_goes_to_the_next_that_waits() {
    let server = Server::start().await;
    let cluster = cluster(server.address, |c| {
        c.http.protocol = UpstreamProtocol::Http2;
        c.http.max_concurrent_streams = Some(1);
        c.breaker_default.max_connections = 1;
    });
    let spawn = |uri: &'static str| {
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move { call(&cluster, uri).await })
    };
    let first = spawn("http://a/hold");
    while cluster.stats().upstream_rq_total.value() < 1 {
        tokio::task::yield_now().await;
    }
    // Given the place and gone before it took it: the place goes on.
    let gone = spawn("http://a/gone");
    while cluster.stats().upstream_rq_pending_total.value() < 2 {
        tokio::task::yield_now().await;
    }
    let last = spawn("http://a/last");
    while cluster.stats().upstream_rq_pending_total.value() < 3 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gone.abort();
    let seen = tokio::time::timeout(Duration::from_secs(5), last);
    let seen = seen.await.expect("it was woken").unwrap().unwrap();
    assert_eq!(seen, "http://a/last None HTTP/2.0 hi");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_takes_no_more_is_closed_with_its_last_stream() {
    let server = Server::start().await;
    let cluster = cluster(server.address, |c| {
        c.http.protocol = UpstreamProtocol::Http2;
        c.http.max_requests_per_connection = 1;
        c.http.idle_timeout = Duration::ZERO;
        c.breaker_default.max_connections = 1;
    });
    call(&cluster, "http://a/").await.unwrap();
    let closed = async {
        while cluster.stats().upstream_cx_active.value() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let closed = tokio::time::timeout(Duration::from_secs(5), closed);
    closed.await.expect("nothing holds it");
}

#[tokio::test]
async fn a_stream_above_a_goaway_was_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cluster = cluster(listener.local_addr().unwrap(), |c| {
        c.http.protocol = UpstreamProtocol::Http2;
    });
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
            .await
            .unwrap();
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            stream.read_exact(&mut vec![0; length]).await.unwrap();
            // HEADERS are answered by GOAWAY: nothing was processed, no error.
            if head[3] == 1 {
                let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                stream.write_all(&goaway).await.unwrap();
            }
        }
    });
    let error = call(&cluster, "http://a/").await.unwrap_err();
    assert_eq!(error.reason(), ResetReason::RemoteRefusedStreamReset);
}

#[tokio::test]
async fn large_heads_come_over_http2() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cluster = cluster(listener.local_addr().unwrap(), |c| {
        c.http.protocol = UpstreamProtocol::Http2;
    });
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let large = service_fn(|_: Request<Incoming>| async {
            let response = Response::builder().header("x-large", "x".repeat(50_000));
            response.body(Empty::<Bytes>::new())
        });
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), large)
            .await;
    });
    assert_eq!(call(&cluster, "http://a/").await.unwrap(), "");
}
