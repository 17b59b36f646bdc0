//! Connecting to an endpoint.

use std::{io, time::Duration};

use mesh_core::{cluster::Endpoint, outcome::ResetReason};
use tokio::net::TcpStream;

use crate::error::TransportError;

/// Connects to an endpoint within the cluster's `connect_timeout`, without Nagle's algorithm.
///
/// # Errors
/// The connection failed, or took too long; nothing was sent.
pub async fn connect(
    endpoint: &Endpoint,
    connect_timeout: Duration,
) -> Result<TcpStream, TransportError> {
    let connecting = TcpStream::connect(endpoint.address());
    match tokio::time::timeout(connect_timeout, connecting).await {
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
