//! Asking endpoints for their health: connections of their own, outside of pools, breakers and statistics, as Envoy's
//! health checkers have them.

use std::{future::pending, io};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header, uri};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_core::{
    cluster::{CheckResult, Cluster, Endpoint},
    model::{
        GrpcHealthCheck, HealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck,
        contains_in_order,
    },
    regex::Scratch,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

use super::connect::connect_at;
use crate::tls::{Offer, UpstreamIo};

const DEGRADED: &str = "x-envoy-degraded";
const FAIL: &str = "x-envoy-immediate-health-check-fail";
const SERVICE: &str = "x-envoy-upstream-healthchecked-cluster";

/// The connection on which one endpoint is asked, from check to check.
#[derive(Debug, Default)]
pub struct Probe {
    connection: Option<Connection>,
    scratch: Scratch,
}

#[derive(Debug)]
enum Connection {
    Http1 {
        send: http1::SendRequest<Full<Bytes>>,
        _driver: Driver,
    },
    Http2 {
        send: http2::SendRequest<Full<Bytes>>,
        _driver: Driver,
    },
    Tcp {
        stream: UpstreamIo,
        /// What came since the last check that passed.
        received: Vec<u8>,
    },
}

/// The task that drives a connection: the connection ends with it.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Probe {
    /// Asks the endpoint once, as the cluster's health check says. Dropping the future breaks the check off.
    pub async fn check(&mut self, cluster: &Cluster, endpoint: &Endpoint) -> CheckResult {
        let Some(check) = cluster.config().health_check.as_deref() else {
            return CheckResult::Network;
        };
        let asked = self.ask(check, cluster, endpoint);
        let result = tokio::time::timeout(check.timeout, asked).await;
        // Of a stream that is late Envoy's gRPC checker gives up only the stream.
        let keeps = match (&result, &check.checker) {
            (Err(_), HealthChecker::Grpc(_)) => check.reuse_connection,
            (Err(_), _) => false,
            (Ok(_), HealthChecker::Tcp(tcp)) => check.reuse_connection && !tcp.receive.is_empty(),
            (Ok(_), _) => check.reuse_connection,
        };
        if !keeps {
            self.connection = None;
        }
        match result {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                self.connection = None;
                CheckResult::Network
            }
            Err(_) => CheckResult::Timeout,
        }
    }

    /// Ends when the peer closes a connection that a TCP check has kept: that is a failure of its own, as in Envoy.
    /// Never with any other.
    pub async fn broken(&mut self) {
        let Some(Connection::Tcp { stream, received }) = &mut self.connection else {
            return pending().await;
        };
        while !matches!(stream.read_buf(received).await, Ok(0) | Err(_)) {}
        self.connection = None;
    }

    async fn ask(
        &mut self,
        check: &HealthCheck,
        cluster: &Cluster,
        endpoint: &Endpoint,
    ) -> io::Result<CheckResult> {
        match &check.checker {
            HealthChecker::Http(http) => {
                let send = Bytes::from(http.send.clone());
                let response = self.exchange(cluster, endpoint, send, http.http2).await?;
                self.judge(http, cluster, response).await
            }
            HealthChecker::Grpc(grpc) => {
                let message = health_check_request(grpc);
                let response = self.exchange(cluster, endpoint, message, true).await?;
                serves(response).await
            }
            HealthChecker::Tcp(tcp) => self.tcp(tcp, cluster, endpoint).await,
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Sends the check's request and gives the response's head.
    async fn exchange(
        &mut self,
        cluster: &Cluster,
        endpoint: &Endpoint,
        body: Bytes,
        http2: bool,
    ) -> io::Result<Response<Incoming>> {
        let mut parts = cluster
            .check_request(endpoint)
            .ok_or(io::ErrorKind::InvalidInput)?;
        if !body.is_empty() && !http2 {
            let length = HeaderValue::from(body.len());
            parts.headers.insert(header::CONTENT_LENGTH, length);
        }
        if http2 {
            parts.uri = absolute(&mut parts.headers, parts.uri)?;
        }
        let request = Request::from_parts(parts, Full::new(body));
        match self.connected(cluster, endpoint, http2).await? {
            Connection::Http1 { send, .. } => send.send_request(request).await,
            Connection::Http2 { send, .. } => send.send_request(request).await,
            Connection::Tcp { .. } => return Err(io::ErrorKind::Unsupported.into()),
        }
        .map_err(io::Error::other)
    }

    /// The connection that is there and open, or a new one.
    async fn connected(
        &mut self,
        cluster: &Cluster,
        endpoint: &Endpoint,
        http2: bool,
    ) -> io::Result<&mut Connection> {
        let is_open = match &mut self.connection {
            Some(Connection::Http1 { send, .. }) => send.ready().await.is_ok(),
            Some(Connection::Http2 { send, .. }) => send.ready().await.is_ok(),
            _ => false,
        };
        if !is_open {
            let offer = match http2 {
                true => Offer::Http2,
                false => Offer::Http1,
            };
            let io = TokioIo::new(stream(cluster, endpoint, offer).await?);
            self.connection = Some(match http2 {
                false => {
                    let (send, connection) =
                        http1::handshake(io).await.map_err(io::Error::other)?;
                    // Its errors come to who sends.
                    let driven = async { drop(connection.await) };
                    let _driver = Driver(tokio::spawn(driven));
                    Connection::Http1 { send, _driver }
                }
                true => {
                    let (send, connection) = http2::handshake(TokioExecutor::new(), io)
                        .await
                        .map_err(io::Error::other)?;
                    let driven = async { drop(connection.await) };
                    let _driver = Driver(tokio::spawn(driven));
                    Connection::Http2 { send, _driver }
                }
            });
        }
        self.connection
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    async fn judge(
        &mut self,
        http: &HttpHealthCheck,
        cluster: &Cluster,
        response: Response<Incoming>,
    ) -> io::Result<CheckResult> {
        let (head, mut body) = response.into_parts();
        let limit = match http.response_buffer_size {
            0 => usize::MAX,
            limit => limit,
        };
        let mut received = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(io::Error::other)?;
            if let Some(data) = frame.data_ref()
                && !http.receive.is_empty()
            {
                let room = (limit - received.len()).min(data.len());
                received.extend_from_slice(&data[..room]);
            }
        }
        let status = head.status.as_u16();
        let is_in = |ranges: &[std::ops::Range<u16>]| ranges.iter().any(|r| r.contains(&status));
        let failed = |retriable| CheckResult::Unexpected {
            retriable,
            excluded: head.headers.contains_key(FAIL),
        };
        if !contains_in_order(&http.receive, &received) {
            return Ok(failed(false));
        }
        if !is_in(&http.expected_statuses) {
            return Ok(failed(is_in(&http.retriable_statuses)));
        }
        if let Some(name) = &http.service_name {
            cluster.stats().health_check.verify_cluster.inc();
            let found = head.headers.get(SERVICE);
            let found = found.map(HeaderValue::as_bytes).unwrap_or_default();
            if !name.matches(found, &mut self.scratch) {
                return Ok(CheckResult::Unexpected {
                    retriable: false,
                    excluded: false,
                });
            }
        }
        Ok(CheckResult::Success {
            degraded: head.headers.contains_key(DEGRADED),
        })
    }

    async fn tcp(
        &mut self,
        tcp: &TcpHealthCheck,
        cluster: &Cluster,
        endpoint: &Endpoint,
    ) -> io::Result<CheckResult> {
        const PASSED: CheckResult = CheckResult::Success { degraded: false };
        if !matches!(self.connection, Some(Connection::Tcp { .. })) {
            let stream = stream(cluster, endpoint, Offer::None).await?;
            let received = Vec::new();
            self.connection = Some(Connection::Tcp { stream, received });
        }
        let Some(Connection::Tcp { stream, received }) = &mut self.connection else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        if tcp.receive.is_empty() {
            return Ok(PASSED);
        }
        stream.write_all(&tcp.send).await?;
        loop {
            if stream.read_buf(received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if contains_in_order(&tcp.receive, received) {
                received.clear();
                return Ok(PASSED);
            }
        }
    }
}

async fn stream(cluster: &Cluster, endpoint: &Endpoint, offer: Offer) -> io::Result<UpstreamIo> {
    let address = endpoint.config().health_check_address();
    let connected = connect_at(address, endpoint, cluster, offer, None).await;
    connected.map_err(io::Error::other)
}

/// HTTP/2 has the host in the URI.
fn absolute(headers: &mut HeaderMap, uri: Uri) -> io::Result<Uri> {
    let host = headers.remove(header::HOST);
    let host = host.ok_or(io::ErrorKind::InvalidInput)?;
    let mut parts = uri.into_parts();
    parts.scheme = Some(uri::Scheme::HTTP);
    parts.authority = Some(host.as_bytes().try_into().map_err(io::Error::other)?);
    Uri::from_parts(parts).map_err(io::Error::other)
}

/// `grpc.health.v1.HealthCheckRequest` in its frame: the only field is the service's name.
fn health_check_request(grpc: &GrpcHealthCheck) -> Bytes {
    let mut message = Vec::new();
    if !grpc.service_name.is_empty() {
        message.push(0x0a);
        let mut length = grpc.service_name.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(grpc.service_name.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.append(&mut message);
    frame.into()
}

/// Whether the one message says SERVING, and the trailers that all went well.
async fn serves(response: Response<Incoming>) -> io::Result<CheckResult> {
    const FAILED: CheckResult = CheckResult::Unexpected {
        retriable: false,
        excluded: false,
    };
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"));
    if response.status() != StatusCode::OK || !is_grpc {
        return Ok(FAILED);
    }
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?;
    let status = body.trailers().and_then(|t| t.get("grpc-status"));
    let is_ok = status.is_some_and(|status| status == "0");
    let is_serving = serving(&body.to_bytes());
    Ok(match is_ok && is_serving {
        true => CheckResult::Success { degraded: false },
        false => FAILED,
    })
}

/// Whether a frame holds a `HealthCheckResponse` with status SERVING (1); empty frames are passed over.
fn serving(mut body: &[u8]) -> bool {
    let mut status = None;
    while let Some((&[flags, a, b, c, d], rest)) = body.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some((message, rest)) = rest.split_at_checked(length) else {
            return false;
        };
        body = rest;
        if message.is_empty() {
            continue;
        }
        if status.is_some() || flags != 0 {
            return false;
        }
        status = Some(status_of(message));
    }
    body.is_empty() && status == Some(Some(1))
}

/// Field 1 of a message, a number of one byte; None: it is not there, or something else.
fn status_of(message: &[u8]) -> Option<u8> {
    match message {
        [0x08, status] => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_whole_message_that_says_serving_passes() {
        for (body, expected) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], true),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 8, 1], true),
            (&[0, 0, 0, 0, 2, 8, 2], false),
            (&[0, 0, 0, 0, 0], false),
            (&[1, 0, 0, 0, 2, 8, 1], false),
            (&[0, 0, 0, 0, 2, 8, 1, 0, 0, 0, 0, 2, 8, 1], false),
            (&[0, 0, 0, 0, 3, 8, 1], false),
            (&[], false),
        ] {
            assert_eq!(serving(body), expected, "{body:?}");
        }
    }

    #[test]
    fn the_service_is_named_in_the_message() {
        let mut grpc = GrpcHealthCheck::default();
        assert_eq!(&health_check_request(&grpc)[..], [0; 5]);
        grpc.service_name = "ab".into();
        let expected = [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b'];
        assert_eq!(&health_check_request(&grpc)[..], expected);
    }
}
