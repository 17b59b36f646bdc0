//! One request and everything that a client sees of the answer.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::upstream::sorted;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Name and value, sorted by name.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// Trailers, sorted by name.
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// Sends a request on a connection of its own, in the request's version (HTTP/2 with prior knowledge).
///
/// # Errors
/// The connection failed, or no complete answer came in time.
pub async fn send(to: SocketAddr, request: Request<Full<Bytes>>) -> io::Result<Answer> {
    tokio::time::timeout(LIMIT, exchange(to, request))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))?
}

async fn exchange(to: SocketAddr, request: Request<Full<Bytes>>) -> io::Result<Answer> {
    send_over(TcpStream::connect(to).await?, request).await
}

/// Sends a request on a connection that is there.
///
/// # Errors
/// The connection failed.
pub async fn send_over(stream: TcpStream, request: Request<Full<Bytes>>) -> io::Result<Answer> {
    stream.set_nodelay(true)?;
    let io = TokioIo::new(stream);
    let response = if request.version() == Version::HTTP_2 {
        let (mut send, connection) = http2::handshake(TokioExecutor::new(), io)
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        send.send_request(request).await
    } else {
        let (mut send, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        send.send_request(request).await
    };
    answer_of(response).await
}

/// A client's HTTP/1.1 connection, kept from request to request as long as the other side keeps it.
#[derive(Debug)]
pub struct Connection {
    to: SocketAddr,
    open: Option<http1::SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// None yet.
    pub fn to(to: SocketAddr) -> Self {
        Self { to, open: None }
    }

    /// Sends a request, over a new connection if the last one is gone.
    ///
    /// # Errors
    /// As [`send`].
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> io::Result<Answer> {
        tokio::time::timeout(LIMIT, self.exchange(request))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))?
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> io::Result<Answer> {
        let mut ready = false;
        if let Some(open) = &mut self.open {
            ready = open.ready().await.is_ok();
        }
        if !ready {
            let stream = TcpStream::connect(self.to).await?;
            stream.set_nodelay(true)?;
            let handshake = http1::handshake(TokioIo::new(stream)).await;
            let (send, connection) = handshake.map_err(io::Error::other)?;
            tokio::spawn(connection);
            self.open = Some(send);
        }
        let Some(open) = &mut self.open else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        answer_of(open.send_request(request).await).await
    }
}

async fn answer_of(response: hyper::Result<Response<Incoming>>) -> io::Result<Answer> {
    let (parts, body) = response.map_err(io::Error::other)?.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?;
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: sorted(&parts.headers),
        trailers: body.trailers().map(sorted).unwrap_or_default(),
        body: body.to_bytes(),
    })
}

/// A GET over HTTP/1.1.
///
/// # Errors
/// As [`send`].
pub async fn get(to: SocketAddr, path: &str) -> io::Result<Answer> {
    let request = Request::get(path)
        .header("host", to.to_string())
        .body(Full::default())
        .map_err(io::Error::other)?;
    send(to, request).await
}
