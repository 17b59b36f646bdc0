//! Connecting to an endpoint.

use std::{io, net::SocketAddr};

use mesh_core::{
    cluster::Endpoint,
    model::{ClusterConfig, TcpKeepalive, UpstreamSocket},
    outcome::ResetReason,
};
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

use crate::error::TransportError;

/// Connects to an endpoint within the cluster's `connect_timeout`, from its `upstream_bind_config`, with its
/// `tcp_keepalive`, without Nagle's algorithm.
///
/// # Errors
/// The connection failed, or took too long; nothing was sent.
pub async fn connect(
    endpoint: &Endpoint,
    config: &ClusterConfig,
) -> Result<TcpStream, TransportError> {
    let connecting = open(endpoint.address(), config.socket);
    match tokio::time::timeout(config.connect_timeout, connecting).await {
        Ok(Ok(stream)) => {
            stream
                .set_nodelay(true)
                .map_err(|e| failed(ResetReason::LocalConnectionFailure, &e))?;
            Ok(stream)
        }
        Ok(Err(e)) => Err(failed(failure_reason(&e), &e)),
        Err(_) => Err(TransportError::unsent(ResetReason::ConnectionTimeout)),
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
    use std::{sync::Arc, time::Duration};

    use mesh_core::model::ClusterDiscovery;
    use tokio::net::TcpListener;

    use super::*;

    fn cluster(set: impl FnOnce(&mut UpstreamSocket)) -> ClusterConfig {
        let mut config = ClusterConfig::new("c", ClusterDiscovery::OriginalDst);
        set(&mut config.socket);
        config
    }

    /// On other systems only 127.0.0.1 is there.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn connections_come_from_where_the_cluster_says() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::detached(listener.local_addr().unwrap());
        let config = cluster(|s| s.source = Some([([127, 0, 0, 6], 0).into(); 2]));
        let _stream = connect(&endpoint, &config).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip().to_string(), "127.0.0.6");
    }

    #[tokio::test]
    async fn connections_are_kept_alive_as_the_cluster_says() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::detached(listener.local_addr().unwrap());
        let config = cluster(|s| {
            let mut keepalive = TcpKeepalive::default();
            keepalive.time = Some(Duration::from_secs(77));
            keepalive.probes = Some(4);
            s.keepalive = Some(keepalive);
        });
        let stream = connect(&endpoint, &config).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(77)
        );
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
        let plain = connect(&endpoint, &cluster(|_| {})).await.unwrap();
        assert!(!SockRef::from(&plain).keepalive().unwrap());
    }

    #[tokio::test]
    async fn an_address_that_is_not_ours_is_a_local_failure() {
        let endpoint: Arc<Endpoint> = Endpoint::detached(([127, 0, 0, 1], 9).into());
        let config = cluster(|s| s.source = Some([([198, 51, 100, 1], 0).into(); 2]));
        let error = connect(&endpoint, &config).await.unwrap_err();
        assert_eq!(error.reason(), ResetReason::LocalConnectionFailure);
        assert!(!error.was_sent());
    }
}
