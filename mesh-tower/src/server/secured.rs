//! What a connection goes through between its filter chain and its requests: the handshake, and network filters.

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use mesh_core::{
    head::ConnectionInfo, model::ConnectionFilter, regex::Scratch, tls::DownstreamSocket,
};
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::PrefixedIo;
use crate::tls::{DownstreamIo, accept_tls};

/// The connection after what its chain begins with; None: it is over, since the handshake failed or a secret has not
/// come. `read`: what was read of it before; `timeout` (zero: none) is the handshake's.
pub async fn secured(
    socket: &DownstreamSocket,
    timeout: Duration,
    read: Bytes,
    stream: TcpStream,
    info: &mut ConnectionInfo,
) -> Option<PrefixedIo<DownstreamIo>> {
    match socket {
        DownstreamSocket::Plaintext => Some(PrefixedIo::new(read, DownstreamIo::Plain(stream))),
        DownstreamSocket::Tls(context) => {
            let accepted = accept_tls(context, timeout, read, stream).await;
            match accepted {
                Ok((io, tls)) => {
                    info.tls = Some(Arc::new(tls));
                    Some(PrefixedIo::new(Bytes::new(), DownstreamIo::Tls(io)))
                }
                Err(e) => {
                    tracing::debug!(peer = ?info.peer, error = %e, "handshake failed");
                    None
                }
            }
        }
        _ => {
            tracing::debug!(peer = ?info.peer, "a secret of the chain has not come");
            None
        }
    }
}

/// Asks the network filters before a connection manager, once the client has sent something or has ended; None: one of
/// them denies, or the client says nothing within `idle_timeout` (zero: for ever).
///
/// # Errors
/// Reading failed.
pub async fn admitted(
    filters: &[ConnectionFilter],
    info: &ConnectionInfo,
    io: PrefixedIo<DownstreamIo>,
    idle_timeout: Duration,
) -> io::Result<Option<PrefixedIo<DownstreamIo>>> {
    let mut rbac = filters.iter().filter_map(|filter| match filter {
        ConnectionFilter::Rbac(rbac) => Some(rbac),
        _ => None,
    });
    let Some(first) = rbac.next() else {
        return Ok(Some(io));
    };
    let (read, mut io) = io.into_parts();
    let mut read = BytesMut::from(read);
    if read.is_empty() {
        let some = io.read_buf(&mut read);
        match idle_timeout.is_zero() {
            true => some.await?,
            false => match tokio::time::timeout(idle_timeout, some).await {
                Ok(some) => some?,
                Err(_) => return Ok(None),
            },
        };
    }
    for rbac in std::iter::once(first).chain(rbac) {
        if !rbac.allows(info, &mut Scratch::default()) {
            tokio::time::sleep(rbac.delay_deny).await;
            return Ok(None);
        }
    }
    Ok(Some(PrefixedIo::new(read.freeze(), io)))
}
