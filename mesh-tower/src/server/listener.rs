//! Accepting connections for a server in this process.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// How long accepting pauses when the process has no file descriptor left: connections are closed meanwhile.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections and knows their peers. For `axum::serve` (feature `axum`) and tonic's
/// `serve_with_incoming` (feature `tonic`, through [`MeshListener::into_stream`]).
#[derive(Debug)]
pub struct MeshListener {
    tcp: TcpListener,
}

/// The ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The other side's address.
    pub remote: SocketAddr,
    /// Our address on this connection.
    pub local: SocketAddr,
}

/// An accepted connection.
#[derive(Debug)]
pub struct MeshIo {
    io: TcpStream,
    peer: Peer,
}

impl MeshListener {
    /// Binds an address.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(address: impl tokio::net::ToSocketAddrs) -> io::Result<Self> {
        Ok(Self {
            tcp: TcpListener::bind(address).await?,
        })
    }

    /// Takes a bound listener.
    pub fn new(tcp: TcpListener) -> Self {
        Self { tcp }
    }

    /// The bound address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The next connection. Errors of single connections are passed over; without file descriptors it waits, so an
    /// accept loop never ends (RUSTSEC-2024-0376). Cancel safe.
    pub async fn accept(&mut self) -> (MeshIo, Peer) {
        loop {
            match self
                .tcp
                .accept()
                .await
                .and_then(|(io, remote)| MeshIo::new(io, remote))
            {
                Ok(io) => {
                    let peer = io.peer;
                    return (io, peer);
                }
                Err(e) if is_of_connection(&e) => {}
                Err(e) => {
                    tracing::warn!(error = %e, "accepting failed; trying again");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }

    /// A stream of connections that never ends, for tonic's `serve_with_incoming`.
    pub fn into_stream(self) -> impl futures_util::Stream<Item = io::Result<MeshIo>> + Send {
        futures_util::stream::unfold(self, |mut listener| async move {
            let (io, _) = listener.accept().await;
            Some((Ok(io), listener))
        })
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
    )
}

impl MeshIo {
    fn new(io: TcpStream, remote: SocketAddr) -> io::Result<Self> {
        io.set_nodelay(true)?;
        let local = io.local_addr()?;
        Ok(Self {
            io,
            peer: Peer { remote, local },
        })
    }

    /// The ends of the connection.
    pub fn peer(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for MeshIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for MeshIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(feature = "axum")]
impl axum::serve::Listener for MeshListener {
    type Io = MeshIo;
    type Addr = Peer;

    async fn accept(&mut self) -> (MeshIo, Peer) {
        Self::accept(self).await
    }

    fn local_addr(&self) -> io::Result<Peer> {
        let local = self.tcp.local_addr()?;
        Ok(Peer {
            remote: local,
            local,
        })
    }
}

#[cfg(feature = "tonic")]
impl tonic::transport::server::Connected for MeshIo {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}
