//! How the connection to a control plane is dialled.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::bootstrap::AdsAddress;

/// Dials a control plane: implement it to take the control connection through one's own transport.
pub trait Connect: Send + Sync + 'static {
    /// The connection.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Dials one address.
    fn connect(&self, address: &AdsAddress) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

/// TCP (host names are resolved at every attempt, `TCP_NODELAY`) and Unix sockets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dial;

impl Connect for Dial {
    type Io = DialIo;

    async fn connect(&self, address: &AdsAddress) -> io::Result<DialIo> {
        match address {
            AdsAddress::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(DialIo::Tcp(stream))
            }
            #[cfg(unix)]
            AdsAddress::Unix(path) => {
                Ok(DialIo::Unix(tokio::net::UnixStream::connect(path).await?))
            }
            #[cfg(not(unix))]
            AdsAddress::Unix(_) => Err(io::Error::other("this system has no unix sockets")),
        }
    }
}

/// A connection of [`Dial`].
#[derive(Debug)]
#[non_exhaustive]
pub enum DialIo {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

macro_rules! either {
    ($this:ident, $io:ident => $call:expr) => {
        match $this.get_mut() {
            DialIo::Tcp($io) => $call,
            #[cfg(unix)]
            DialIo::Unix($io) => $call,
        }
    };
}

impl AsyncRead for DialIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, io => Pin::new(io).poll_read(cx, buffer))
    }
}

impl AsyncWrite for DialIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, io => Pin::new(io).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}
