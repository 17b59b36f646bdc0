//! A bound listener of one worker: its sockets and its connections.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use mesh_core::{listener::Listener, model::ListenerConfig};
use mesh_tower::DataPlane;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use crate::connection;

/// How many connections the kernel queues.
const BACKLOG: i32 = 4096;
/// How long accepting pauses when there is no file descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until it is drained or dropped.
pub(crate) struct ListenerTask {
    addresses: Vec<SocketAddr>,
    accepting: JoinSet<()>,
    /// Its receivers are held by connections, until they end.
    draining: watch::Sender<bool>,
}

/// What a listener's connections share.
pub(crate) struct Shared {
    pub(crate) plane: DataPlane,
    pub(crate) name: Arc<str>,
    /// Set once the listener drains.
    pub(crate) draining: watch::Receiver<bool>,
}

impl ListenerTask {
    /// Binds a listener's addresses with `SO_REUSEPORT`, so that every worker has a socket of its own.
    pub(crate) fn start(plane: &DataPlane, listener: &Listener) -> io::Result<Self> {
        let config = listener.config();
        let addresses = addresses(config);
        let sockets = addresses
            .iter()
            .map(|address| bind(*address))
            .collect::<io::Result<Vec<_>>>()?;
        let (draining, drain) = watch::channel(false);
        let state = Arc::new(Shared {
            plane: plane.clone(),
            name: Arc::clone(&config.name),
            draining: drain,
        });
        let mut accepting = JoinSet::new();
        for socket in sockets {
            accepting.spawn(accept(socket, Arc::clone(&state)));
        }
        Ok(Self {
            addresses,
            accepting,
            draining,
        })
    }

    /// Whether the bound sockets are those that the configuration wants.
    pub(crate) fn serves(&self, config: &ListenerConfig) -> bool {
        self.addresses == addresses(config)
    }

    /// Closes the sockets, asks connections to end; ready when they have.
    pub(crate) async fn drain(mut self) {
        self.accepting.shutdown().await;
        self.draining.send_replace(true);
        self.draining.closed().await;
    }
}

impl Shared {
    /// Ready once the listener drains.
    pub(crate) async fn drain_requested(&self) {
        // The listener gone counts as draining.
        drop(self.draining.clone().wait_for(|drain| *drain).await);
    }
}

fn addresses(config: &ListenerConfig) -> Vec<SocketAddr> {
    config
        .address
        .iter()
        .chain(&config.additional_addresses)
        .copied()
        .collect()
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(socket: TcpListener, state: Arc<Shared>) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(serve(stream, peer, Arc::clone(&state)));
            }
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            Err(e) => {
                tracing::warn!(listener = %state.name, error = %e, "accepting failed; trying again");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, state: Arc<Shared>) {
    if let Err(e) = connection::serve(stream, peer, state).await {
        tracing::debug!(%peer, error = %e, "connection ended");
    }
}
