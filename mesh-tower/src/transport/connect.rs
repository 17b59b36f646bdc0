//! Connecting to an endpoint.

use std::{io, net::SocketAddr};

use mesh_core::{
    cluster::{Cluster, Endpoint},
    model::{TcpKeepalive, UpstreamSocket, UpstreamTls},
    outcome::ResetReason,
    tls::{TlsContext, UpstreamSocketChoice},
};
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

use crate::{
    error::TransportError,
    tls::{Offer, UpstreamIo, connect_tls},
};

/// Connects to an endpoint as its cluster's transport socket does, within the cluster's `connect_timeout`, handshake
/// included; from its `upstream_bind_config`, with its `tcp_keepalive`, without Nagle's algorithm. `offer`: the
/// protocol that TLS offers where its context does not say. `name`: the server's name instead of the context's.
///
/// # Errors
/// The connection or the handshake failed, or took too long; nothing was sent.
pub async fn connect(
    endpoint: &Endpoint,
    cluster: &Cluster,
    offer: Offer,
    name: Option<&str>,
) -> Result<UpstreamIo, TransportError> {
    let connecting = connect_at(endpoint.address(), endpoint, cluster, offer, name);
    match tokio::time::timeout(cluster.config().connect_timeout, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(TransportError::unsent(ResetReason::ConnectionTimeout)),
    }
}

/// The same to another address of the endpoint, and for as long as it takes.
pub(super) async fn connect_at(
    address: SocketAddr,
    endpoint: &Endpoint,
    cluster: &Cluster,
    offer: Offer,
    name: Option<&str>,
) -> Result<UpstreamIo, TransportError> {
    let (_, socket) = cluster.transport_sockets().choose(endpoint);
    if let UpstreamSocketChoice::NotReady = socket {
        return Err(not_ready());
    }
    let stream = tcp(address, cluster.config().socket).await?;
    match socket {
        UpstreamSocketChoice::Tls(context) => secured(stream, endpoint, context, offer, name).await,
        _ => Ok(UpstreamIo::Plain(stream)),
    }
}

async fn secured(
    stream: TcpStream,
    endpoint: &Endpoint,
    context: &TlsContext<UpstreamTls>,
    offer: Offer,
    name: Option<&str>,
) -> Result<UpstreamIo, TransportError> {
    let hostname = endpoint.hostname();
    let sni = match name {
        Some(name) => name,
        None if context.config().auto_host_sni && !hostname.is_empty() => hostname,
        None => &context.config().sni,
    };
    let stream = connect_tls(context, offer, endpoint.address().ip(), sni, stream).await?;
    Ok(UpstreamIo::Tls(stream))
}

/// A secret has not come (Envoy's `NotReadySslSocket`).
fn not_ready() -> TransportError {
    TransportError::unsent(ResetReason::RemoteConnectionFailure)
        .with_detail("TLS error: Secret is not supplied by SDS")
}

async fn tcp(address: SocketAddr, options: UpstreamSocket) -> Result<TcpStream, TransportError> {
    let stream = open(address, options).await;
    let stream = stream.map_err(|e| failed(failure_reason(&e), &e))?;
    match stream.set_nodelay(true) {
        Ok(()) => Ok(stream),
        Err(e) => Err(failed(ResetReason::LocalConnectionFailure, &e)),
    }
}

pub(super) async fn open(address: SocketAddr, options: UpstreamSocket) -> io::Result<TcpStream> {
    if options == UpstreamSocket::default() {
        return TcpStream::connect(address).await;
    }
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(keepalive) = options.keepalive {
        SockRef::from(&socket).set_tcp_keepalive(&system(keepalive))?;
    }
    if let Some([v4, v6]) = options.source {
        socket.bind(if address.is_ipv4() { v4 } else { v6 })?;
    }
    socket.connect(address).await
}

fn system(keepalive: TcpKeepalive) -> socket2::TcpKeepalive {
    let mut system = socket2::TcpKeepalive::new();
    if let Some(time) = keepalive.time {
        system = system.with_time(time);
    }
    if let Some(interval) = keepalive.interval {
        system = system.with_interval(interval);
    }
    if let Some(probes) = keepalive.probes {
        system = system.with_retries(probes);
    }
    system
}

fn failure_reason(error: &io::Error) -> ResetReason {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::AddrInUse
        | io::ErrorKind::InvalidInput => ResetReason::LocalConnectionFailure,
        _ => ResetReason::RemoteConnectionFailure,
    }
}

/// Envoy's transport failure reason for a refused connection is the name of the errno.
fn failed(reason: ResetReason, error: &io::Error) -> TransportError {
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => "Connection refused".to_owned(),
        _ => error.to_string(),
    };
    TransportError::unsent(reason)
        .with_detail(format!("delayed_connect_error: {words}"))
        .with_source(io::Error::new(error.kind(), words))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;

    fn options(set: impl FnOnce(&mut UpstreamSocket)) -> UpstreamSocket {
        let mut options = UpstreamSocket::default();
        set(&mut options);
        options
    }

    /// On other systems only 127.0.0.1 is there.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn connections_come_from_where_the_cluster_says() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = options(|s| s.source = Some([([127, 0, 0, 6], 0).into(); 2]));
        let _stream = tcp(address, options).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip().to_string(), "127.0.0.6");
    }

    #[tokio::test]
    async fn connections_are_kept_alive_as_the_cluster_says() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = options(|s| {
            let mut keepalive = TcpKeepalive::default();
            keepalive.time = Some(Duration::from_secs(77));
            keepalive.probes = Some(4);
            s.keepalive = Some(keepalive);
        });
        let stream = tcp(address, options).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(77)
        );
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
        let plain = tcp(address, UpstreamSocket::default()).await.unwrap();
        assert!(!SockRef::from(&plain).keepalive().unwrap());
    }

    #[tokio::test]
    async fn an_address_that_is_not_ours_is_a_local_failure() {
        let address = ([127, 0, 0, 1], 9).into();
        let options = options(|s| s.source = Some([([198, 51, 100, 1], 0).into(); 2]));
        let error = tcp(address, options).await.unwrap_err();
        assert_eq!(error.reason(), ResetReason::LocalConnectionFailure);
        assert!(!error.was_sent());
    }
}
