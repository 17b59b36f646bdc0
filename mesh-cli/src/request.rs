//! Single requests over HTTP/1.1: for admin ports, and for the load generator.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Error;

/// A connection that takes one request after the other.
pub(crate) type Connection = SendRequest<Empty<Bytes>>;

pub(crate) async fn connect(address: SocketAddr) -> Result<Connection, Error> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // its requests hear of an error, too
        let _ = connection.await;
    });
    Ok(sender)
}

/// `GET` on a connection, read to the end.
pub(crate) async fn get(
    connection: &mut Connection,
    address: SocketAddr,
    path: &str,
) -> Result<(StatusCode, Bytes), hyper::Error> {
    send(connection, Method::GET, address, path).await
}

async fn send(
    connection: &mut Connection,
    method: Method,
    address: SocketAddr,
    path: &str,
) -> Result<(StatusCode, Bytes), hyper::Error> {
    // both parts were parsed before; what cannot be built is answered by the server as what it is
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap_or_default();
    if let Ok(host) = address.to_string().parse() {
        request.headers_mut().insert(header::HOST, host);
    }
    let response = connection.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, body))
}

/// `GET` on a connection of its own.
pub(crate) async fn get_once(
    address: SocketAddr,
    path: &str,
) -> Result<(StatusCode, Bytes), Error> {
    once(Method::GET, address, path).await
}

/// A request without a body on a connection of its own.
pub(crate) async fn once(
    method: Method,
    address: SocketAddr,
    path: &str,
) -> Result<(StatusCode, Bytes), Error> {
    let mut connection = connect(address).await?;
    Ok(send(&mut connection, method, address, path).await?)
}
