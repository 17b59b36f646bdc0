//! Single requests over HTTP/1.1: for admin ports, and for the load generator.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Error;

/// Who does not answer within this is taken for dead.
const LIMIT: Duration = Duration::from_secs(10);

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
) -> Result<(StatusCode, Bytes), Error> {
    send(connection, Method::GET, address, path).await
}

async fn send(
    connection: &mut Connection,
    method: Method,
    address: SocketAddr,
    path: &str,
) -> Result<(StatusCode, Bytes), Error> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method;
    *request.uri_mut() = path
        .parse()
        .map_err(|error| format!("{path:?} is no path: {error}"))?;
    let host = address.to_string().parse()?;
    request.headers_mut().insert(header::HOST, host);
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
    once_within(LIMIT, method, address, path).await
}

async fn once_within(
    limit: Duration,
    method: Method,
    address: SocketAddr,
    path: &str,
) -> Result<(StatusCode, Bytes), Error> {
    let asked = tokio::time::timeout(limit, async {
        let mut connection = connect(address).await?;
        send(&mut connection, method, address, path).await
    });
    asked
        .await
        .map_err(|_| format!("no answer within {limit:?}"))?
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_no_path_is_not_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let error = get_once(address, "/a b").await.unwrap_err().to_string();
        assert!(error.starts_with("\"/a b\" is no path: "), "{error}");
    }

    #[tokio::test]
    async fn who_never_answers_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limit = Duration::from_millis(1);
        let asked = once_within(limit, Method::GET, address, "/").await;
        assert_eq!(asked.unwrap_err().to_string(), "no answer within 1ms");
    }
}
