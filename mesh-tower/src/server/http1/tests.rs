//! A connection from its first byte to its end, on both sides in memory.

use std::future::pending;

use http::{HeaderValue, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use super::*;

type Answer = Response<Full<Bytes>>;

/// Says what it was asked, and what its body was.
async fn echo(request: Request<Http1Body>) -> Answer {
    let error = request.extensions().get::<CodecError>().copied();
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|b| b.to_bytes())
        .unwrap_or_default();
    let text = match error {
        Some(error) => error.details.to_owned(),
        None => format!(
            "{} {} {}",
            parts.method,
            parts.uri,
            String::from_utf8_lossy(&body)
        ),
    };
    let mut answer = Response::new(Full::from(text.clone()));
    if let Some(error) = error {
        *answer.status_mut() = error.status;
    }
    let length = HeaderValue::from(text.len());
    answer.headers_mut().insert(CONTENT_LENGTH, length);
    answer
}

#[tokio::test]
async fn who_answers_a_body_that_is_none_knows_what_the_head_was_about() {
    let (mut client, server) = duplex(64 * 1024);
    let asked = async |request: Request<Http1Body>| {
        let is_refused = request.extensions().get::<CodecError>().is_some();
        let (parts, body) = request.into_parts();
        // As for a policy that waits for the body.
        let _ = body.collect().await;
        if !is_refused {
            std::future::pending::<()>().await;
        }
        let mut answer: Answer = Response::new(Full::default());
        if let Some(content_type) = parts.headers.get(CONTENT_TYPE) {
            answer
                .headers_mut()
                .insert(CONTENT_TYPE, content_type.clone());
        }
        answer
    };
    let sent = b"POST / HTTP/1.1\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\nx\r\n";
    client.write_all(sent).await.unwrap();
    let options = quick();
    let read = async {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    };
    let (served, text) = tokio::join!(
        serve_http1(server, Bytes::new(), &options, asked, pending::<()>()),
        read
    );
    assert!(served.unwrap().is_none());
    assert!(text.contains("content-type: application/grpc"), "{text}");
}

/// What a client reads of a connection until it ends.
async fn converse(sent: &[&[u8]], options: Http1Options, over: impl Future<Output = ()>) -> String {
    let (mut client, server) = duplex(64 * 1024);
    let served = async {
        let served = serve_http1(server, Bytes::new(), &options, echo, over).await;
        assert!(served.unwrap().is_none());
    };
    let read = async {
        for part in sent {
            // The server may have closed already.
            let _ = client.write_all(part).await;
            tokio::task::yield_now().await;
        }
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text.replace("\r\n", "|")
    };
    tokio::join!(served, read).1
}

fn quick() -> Http1Options {
    Http1Options {
        delayed_close: Duration::ZERO,
        ..Http1Options::default()
    }
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_their_order() {
    let sent = b"\r\nGET /a HTTP/1.1\r\nhost: x\r\n\r\nPOST /b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHEAD /c HTTP/1.1\r\nconnection: close\r\n\r\n";
    let expected = "HTTP/1.1 200 OK|content-length: 7||GET /a HTTP/1.1 200 OK|content-length: 11||POST /b abcHTTP/1.1 200 OK|content-length: 8|connection: close||";
    for step in [1, 7, sent.len()] {
        let parts: Vec<&[u8]> = sent.chunks(step).collect();
        assert_eq!(converse(&parts, quick(), pending()).await, expected);
    }
}

#[tokio::test]
async fn what_is_no_request_is_answered_and_ends_the_connection() {
    for (sent, details) in [
        (&b"get / HTTP/1.1\r\n\r\n"[..], "400 Bad Request"),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", "400 Bad Request"),
        (
            b"POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
            "501 Not Implemented",
        ),
        (
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
            "400 Bad Request",
        ),
        (
            b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
            "400 Bad Request",
        ),
    ] {
        let text = converse(&[sent, b"GET / HTTP/1.1\r\n\r\n"], quick(), pending()).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {details}|")), "{text}");
        assert!(text.contains("connection: close|"), "{text}");
        assert_eq!(text.matches("HTTP/1").count(), 1, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let options = Http1Options {
        headers_timeout: Duration::from_secs(3),
        ..quick()
    };
    let text = converse(&[b"GET / HT"], options, pending()).await;
    assert!(text.starts_with("HTTP/1.1 408 Request Timeout|"), "{text}");
}

#[tokio::test]
async fn a_connection_that_is_over_ends_with_its_last_response() {
    assert_eq!(converse(&[], quick(), async {}).await, "");
    let text = converse(&[b"GET / HTTP/1.1\r\n\r\n"], quick(), async {}).await;
    assert!(
        text.is_empty() || text.contains("connection: close"),
        "{text}"
    );
}

#[tokio::test]
async fn a_waiting_body_is_told_to_continue() {
    let sent = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
    let text = converse(&[sent], quick(), pending()).await;
    assert!(
        text.starts_with("HTTP/1.1 100 Continue||HTTP/1.1 200 OK|"),
        "{text}"
    );
    assert!(text.ends_with("POST / hi"), "{text}");
}

#[tokio::test]
async fn a_switched_connection_keeps_what_was_read() {
    let (mut client, server): (DuplexStream, DuplexStream) = duplex(1024);
    client
        .write_all(b"GET / HTTP/1.1\r\nupgrade: x\r\n\r\nfirst")
        .await
        .unwrap();
    let switch = |_: Request<Http1Body>| async {
        let mut answer = Answer::default();
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        answer
    };
    let options = quick();
    let served = serve_http1(server, Bytes::new(), &options, switch, pending()).await;
    let mut switched = served.unwrap().expect("it switched");
    let mut first = [0; 5];
    switched.io.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"first");
    let mut head = vec![0; 36];
    client.read_exact(&mut head).await.unwrap();
    assert!(head.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
}

#[tokio::test]
async fn what_a_stream_keeps_back_is_flushed_before_the_next_request_is_waited_for() {
    let (mut client, server) = duplex(4096);
    // As TLS does: written is not yet sent.
    let server = tokio::io::BufWriter::new(server);
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let large = |_: Request<Http1Body>| async { Answer::new(Full::from(vec![b'x'; 200_000])) };
    let options = quick();
    let served = serve_http1(server, Bytes::new(), &options, large, pending());
    let read = async {
        let mut read = Vec::new();
        while !read.ends_with(b"0\r\n\r\n") && !read.ends_with(&[b'x'; 16]) || read.len() < 200_000
        {
            let some = client.read_buf(&mut read).await.unwrap();
            assert!(some > 0);
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(5), read);
    tokio::select! {
        ended = served => panic!("{:?}", ended.is_ok()),
        read = read => read.expect("the whole response came"),
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_one_that_ended() {
    for (head, whole, cut) in [
        (
            "transfer-encoding: chunked",
            "2\r\nhi\r\n0\r\n\r\n",
            "2\r\nhi\r\n",
        ),
        (
            "transfer-encoding: chunked",
            "2\r\nhi\r\n0\r\nx: y\r\n\r\n",
            "2\r\nhi\r\n0\r\nx: y\r\n",
        ),
        ("content-length: 2", "hi", "h"),
    ] {
        for (body, is_whole) in [(whole, true), (cut, false)] {
            let (mut client, server) = duplex(1024);
            let sent = format!("POST / HTTP/1.1\r\n{head}\r\n\r\n{body}");
            client.write_all(sent.as_bytes()).await.unwrap();
            let (tell, told) = tokio::sync::oneshot::channel();
            let mut tell = Some(tell);
            // Read elsewhere, as an upstream's connection does it.
            let collect = move |request: Request<Http1Body>| {
                let tell = tell.take().unwrap();
                tokio::spawn(async move { tell.send(request.into_body().collect().await) });
                pending::<Answer>()
            };
            let options = quick();
            let served = serve_http1(server, Bytes::new(), &options, collect, pending());
            drop(client);
            assert!(served.await.unwrap().is_none());
            let read = told.await.unwrap();
            assert_eq!(read.is_ok(), is_whole, "{sent:?}: {read:?}");
        }
    }
}

/// As Envoy 1.40: the head goes on, and the connection with it.
#[tokio::test]
async fn nobody_switches_who_was_not_asked() {
    let switch = |_: Request<Http1Body>| async {
        let mut answer = Answer::default();
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        answer
    };
    let (mut client, server) = duplex(1024);
    let sent = b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nconnection: close\r\n\r\n";
    client.write_all(sent).await.unwrap();
    let options = quick();
    let served = serve_http1(server, Bytes::new(), &options, switch, pending());
    assert!(served.await.unwrap().is_none());
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(
        text,
        "HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nconnection: close\r\n\r\n"
    );
}

#[tokio::test(start_paused = true)]
async fn a_head_that_stops_is_waited_for_as_long_as_a_stream_may_be_idle() {
    let start = tokio::time::Instant::now();
    let text = converse(&[b"GET / HT"], quick(), pending()).await;
    assert!(text.starts_with("HTTP/1.1 408 Request Timeout|"), "{text}");
    assert!(text.contains("stream_idle_timeout"), "{text}");
    assert_eq!(start.elapsed().as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_left() {
    let (mut client, server) = duplex(64);
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let large = |_: Request<Http1Body>| async { Answer::new(Full::from(vec![b'x'; 200_000])) };
    let options = quick();
    let start = tokio::time::Instant::now();
    let served = serve_http1(server, Bytes::new(), &options, large, pending());
    let slow = async {
        // Whoever takes something, however little, is waited for.
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(200)).await;
            client.read_exact(&mut [0; 16]).await.unwrap();
        }
        pending::<()>().await;
    };
    tokio::select! {
        served = served => assert_eq!(served.unwrap_err().kind(), io::ErrorKind::TimedOut),
        () = slow => {}
    }
    assert_eq!(start.elapsed().as_secs(), 600 + 300);
}

#[tokio::test]
async fn what_there_is_of_a_broken_response_arrives() {
    let broken = |_: Request<Http1Body>| async {
        let data = |n| Ok(Frame::data(Bytes::from(vec![b'x'; n])));
        let frames = [data(1_000), data(10_000), Err(io::Error::other("gone"))];
        Response::new(StreamBody::new(futures_util::stream::iter(frames)))
    };
    let (mut client, server) = duplex(64);
    let options = quick();
    let served = serve_http1(server, Bytes::new(), &options, broken, pending());
    let read = async {
        // More than is looked at.
        let sent = b"GET / HTTP/1.1\r\n\r\n";
        client.write_all(sent).await.unwrap();
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        read
    };
    let (served, read) = tokio::join!(served, read);
    assert_eq!(served.unwrap_err().to_string(), "gone");
    assert_eq!(read.iter().filter(|b| **b == b'x').count(), 11_000);
    assert!(!read.ends_with(b"0\r\n\r\n"));
}
