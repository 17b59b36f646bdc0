//! Accepting connections for a server in this process.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use mesh_core::{head::ConnectionInfo, listener::Terminal};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    Inspected, Peer, PrefixedIo, admitted, inspect,
    peer::{Arrived, find},
    secured,
};
use crate::{data_plane::DataPlane, tls::DownstreamIo};

/// How long accepting pauses when the process has no file descriptor left: connections are closed meanwhile.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// How many connections may be between being accepted and their first request: more are not accepted meanwhile.
const MAX_ARRIVING: usize = 1024;

/// Accepts connections and knows their peers. One of a mesh ([`DataPlane::listener`]) does what the listener of its port
/// in the configuration says: it looks at the first bytes (so that one port takes TLS and cleartext, PERMISSIVE), chooses
/// the filter chain, does the handshake, and asks the network filters; whom they refuse is hung up on. Without such a
/// listener everything is accepted in cleartext.
///
/// Handshakes run beside each other and do not hold up other connections; each is bounded by the chain's
/// `transport_socket_connect_timeout` (15 s where it is not set), and so is their number. For `axum::serve` (feature `axum`) and tonic's
/// `serve_with_incoming` (feature `tonic`, through [`MeshListener::into_stream`]).
#[derive(Debug)]
pub struct MeshListener {
    tcp: TcpListener,
    /// Whose configuration counts, and the port that it knows the server by.
    mesh: Option<(DataPlane, u16)>,
    arriving: JoinSet<Option<MeshIo>>,
}

/// An accepted connection.
#[derive(Debug)]
pub struct MeshIo {
    io: PrefixedIo<DownstreamIo>,
    peer: Peer,
}

impl MeshListener {
    /// Binds an address. Connections are taken as they come.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(address: impl tokio::net::ToSocketAddrs) -> io::Result<Self> {
        Ok(Self::new(TcpListener::bind(address).await?))
    }

    /// Takes a bound listener. Connections are taken as they come.
    pub fn new(tcp: TcpListener) -> Self {
        Self {
            tcp,
            mesh: None,
            arriving: JoinSet::new(),
        }
    }

    /// Does what a mesh's configuration says of the port that is bound.
    pub(crate) fn of(mut self, plane: DataPlane) -> io::Result<Self> {
        let port = self.local_addr()?.port();
        self.mesh = Some((plane, port));
        Ok(self)
    }

    /// Does what the configuration says of another port than the one that is bound: the one that the service is known
    /// by, and that [`DataPlane::server_layer`] is made for. No effect without a mesh.
    #[must_use]
    pub fn for_port(mut self, port: u16) -> Self {
        if let Some((_, of)) = &mut self.mesh {
            *of = port;
        }
        self
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
            let accepted = tokio::select! {
                Some(arrived) = self.arriving.join_next() => match arrived {
                    Ok(Some(io)) => return io.with_peer(),
                    // Hung up on.
                    _ => continue,
                },
                accepted = self.tcp.accept(), if self.arriving.len() < MAX_ARRIVING => accepted,
            };
            match accepted.and_then(|(io, remote)| arrive(io, remote)) {
                Ok((io, peer)) => {
                    let mesh = self.mesh.as_ref();
                    let Some((plane, port)) = mesh
                        .filter(|(plane, port)| plane.snapshot().inbound_listener(*port).is_some())
                    else {
                        return MeshIo::plain(io, peer).with_peer();
                    };
                    self.arriving
                        .spawn(through_chain(plane.clone(), *port, io, peer));
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

fn arrive(io: TcpStream, remote: SocketAddr) -> io::Result<(TcpStream, Peer)> {
    io.set_nodelay(true)?;
    let local = io.local_addr()?;
    Ok((io, Peer::new(remote, local)))
}

/// A connection through the listener that configuration has for the port; None: it is over.
async fn through_chain(
    plane: DataPlane,
    port: u16,
    mut io: TcpStream,
    mut peer: Peer,
) -> Option<MeshIo> {
    let snapshot = plane.snapshot();
    let Some(listener) = snapshot.inbound_listener(port).cloned() else {
        return Some(MeshIo::plain(io, peer));
    };
    drop(snapshot);
    let (config, stats) = (listener.config(), listener.stats());
    let inspected = inspect(
        &mut io,
        &config.listener_filters,
        config.listener_filters_timeout,
    );
    let (inspected, read) = inspected.await.ok()?;
    let inspected = match inspected {
        Some(inspected) => inspected,
        None if config.continue_on_listener_filters_timeout => Inspected::default(),
        None => {
            stats.downstream_pre_cx_timeout.inc();
            return None;
        }
    };
    let mut info = ConnectionInfo::default();
    info.peer = Some(peer.remote);
    info.local = Some(peer.local);
    info.server_name.clone_from(&inspected.server_name);
    // Meanwhile another configuration may have come.
    let snapshot = plane.snapshot();
    let listener = snapshot.inbound_listener(port)?;
    let Some(found) = find(listener, &info, &inspected, port) else {
        stats.no_filter_chain_match.inc();
        tracing::debug!(port, peer = %peer.remote, "no filter chain matches");
        return None;
    };
    let idle_timeout = match found.terminal {
        Terminal::Http(chain) => snapshot.chain(*chain)?.manager().idle_timeout,
        _ => Duration::ZERO,
    };
    let (config, socket) = (found.config, found.socket.clone());
    let (filters, timeout) = (
        Arc::clone(&config.filters),
        config.transport_socket_connect_timeout,
    );
    drop(snapshot);
    let io = secured(&socket, timeout, read, io, &mut info).await?;
    let io = admitted(&filters, &info, io, idle_timeout).await.ok()??;
    peer.arrived = Some(Arc::new(Arrived {
        info: Arc::new(info),
        inspected,
        port,
        found: ArcSwapOption::empty(),
    }));
    Some(MeshIo { io, peer })
}

impl MeshIo {
    fn plain(io: TcpStream, peer: Peer) -> Self {
        let io = PrefixedIo::new(Bytes::new(), DownstreamIo::Plain(io));
        Self { io, peer }
    }

    fn with_peer(self) -> (Self, Peer) {
        let peer = self.peer.clone();
        (self, peer)
    }

    /// The ends of the connection.
    pub fn peer(&self) -> &Peer {
        &self.peer
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
        Ok(Peer::new(local, local))
    }
}

#[cfg(feature = "tonic")]
impl tonic::transport::server::Connected for MeshIo {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}
