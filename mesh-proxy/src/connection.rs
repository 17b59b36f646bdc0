//! One accepted connection: listener filters, filter chain, then HTTP or TCP.

use std::{io, net::SocketAddr, sync::Arc, time::Instant};

use mesh_core::{
    head::ConnectionInfo,
    listener::{Detected, FoundChain, Listener, Terminal},
    model::{ListenerConfig, ListenerFilter},
    snapshot::{ChainIndex, Snapshot},
};
use mesh_tower::{
    ChainSource,
    server::{Inspected, admitted, inspect, secured},
};
use tokio::net::TcpStream;

use crate::{
    http, listener::Shared, node_address::node_address, original_dst::original_destination, tcp,
};

/// What is known of a connection once its first bytes were looked at: enough to find its chain in any snapshot.
#[derive(Clone, Debug)]
struct Arrived {
    bound: Arc<str>,
    source: SocketAddr,
    destination: SocketAddr,
    redirected: bool,
    inspected: Inspected,
}

/// Serves a connection to its end.
pub(crate) async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    state: Arc<Shared>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let snapshot = state.plane.snapshot();
    let Some((bound, stats)) = snapshot
        .listener(&state.name)
        .map(|l| (Arc::clone(l.config()), Arc::clone(l.stats())))
    else {
        return Ok(());
    };
    drop(snapshot);
    stats.downstream_cx_total.inc();
    let _open = stats.downstream_cx_active.guard();

    let original = bound
        .listener_filters
        .contains(&ListenerFilter::OriginalDst)
        .then(|| original_destination(&stream))
        .flatten();
    let (inspected, read) = inspect(
        &mut stream,
        &bound.listener_filters,
        bound.listener_filters_timeout,
    )
    .await?;
    let inspected = match inspected {
        Some(inspected) => inspected,
        None if bound.continue_on_listener_filters_timeout => Inspected::default(),
        None => {
            stats.downstream_pre_cx_timeout.inc();
            return Ok(());
        }
    };
    let arrived = Arrived {
        bound: Arc::clone(&state.name),
        source: peer,
        destination: original.unwrap_or(local),
        redirected: original.is_some_and(|o| o != local),
        inspected,
    };
    let snapshot = state.plane.snapshot();
    let found = arrived.find(&snapshot, |_, found| {
        let found = found?;
        let timeout = found.config.transport_socket_connect_timeout;
        let socket = (found.socket.clone(), timeout);
        Some((
            Arc::clone(&found.config.filters),
            found.terminal.clone(),
            socket,
        ))
    });
    let Some((filters, terminal, (socket, timeout))) = found.flatten() else {
        stats.no_filter_chain_match.inc();
        tracing::debug!(listener = %state.name, %peer, "no filter chain matches");
        return Ok(());
    };
    let mut info = arrived.info();
    match terminal {
        Terminal::Http(chain) => {
            let Some((manager, stats)) = snapshot
                .chain(chain)
                .map(|chain| (Arc::clone(chain.manager()), Arc::clone(chain.stats())))
            else {
                return Ok(());
            };
            drop(snapshot);
            let Some(io) = secured(&socket, timeout, read, stream, &mut info).await else {
                return Ok(());
            };
            let Some(io) = admitted(&filters, &info, io, manager.idle_timeout).await? else {
                return Ok(());
            };
            stats.downstream_cx_total.inc();
            let _open = stats.downstream_cx_active.guard();
            let began = Instant::now();
            let served = http::serve(io, info, Arc::new(arrived), &manager, &state).await;
            stats.downstream_cx_destroy.inc();
            stats.downstream_cx_length_ms.record(began.elapsed());
            served
        }
        Terminal::Tcp {
            config,
            clusters,
            stats,
        } => {
            let routes = tcp::Routes::new(&snapshot, &config, &clusters, &filters, &info);
            drop(snapshot);
            let Some(io) = secured(&socket, timeout, read, stream, &mut info).await else {
                return Ok(());
            };
            let session = tcp::Session {
                routes,
                config: &config,
                stats: &stats,
                filters: &filters,
                info: &info,
                original_destination: arrived.restored(),
                seen: tcp::Seen::default(),
            };
            tcp::proxy(io, session, &state).await
        }
        _ => Ok(()),
    }
}

impl Arrived {
    /// What is known of the connection.
    fn info(&self) -> ConnectionInfo {
        let mut info = ConnectionInfo::default();
        info.peer = Some(self.source);
        info.local = Some(self.destination);
        info.restored = self.redirected;
        info.node_address = node_address();
        info.server_name.clone_from(&self.inspected.server_name);
        info
    }

    /// The original destination, if the connection was redirected here.
    fn restored(&self) -> Option<SocketAddr> {
        self.redirected.then_some(self.destination)
    }

    /// Finds the connection's chain: that of the bound listener, or with `use_original_dst` of the listener that has
    /// the original destination's address, or its port on the wildcard address.
    fn find<T>(
        &self,
        snapshot: &Snapshot,
        found: impl FnOnce(&ListenerConfig, Option<FoundChain<'_>>) -> T,
    ) -> Option<T> {
        let bound = snapshot.listener(&self.bound)?;
        let listener = if bound.config().use_original_dst && self.redirected {
            self.handed_to(snapshot).unwrap_or(bound)
        } else {
            bound
        };
        let protocols: Vec<&str> = self
            .inspected
            .application_protocols
            .iter()
            .map(|p| &**p)
            .collect();
        let mut detected = Detected::plaintext(self.source, self.destination);
        if self.inspected.tls {
            detected.transport_protocol = "tls";
        }
        detected.application_protocols = &protocols;
        detected.server_name = self.inspected.server_name.as_deref().unwrap_or_default();
        Some(found(listener.config(), listener.find_chain(&detected)))
    }

    fn handed_to<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s Arc<Listener>> {
        let of_port = |l: &&Arc<Listener>| {
            l.config()
                .address
                .is_some_and(|a| a.port() == self.destination.port())
        };
        let candidates = || {
            snapshot
                .listeners()
                .iter()
                .filter(of_port)
                .filter(|l| l.config().name != self.bound)
        };
        let ip = |l: &Arc<Listener>| l.config().address.map(|a| a.ip());
        candidates()
            .find(|l| ip(l) == Some(self.destination.ip()))
            .or_else(|| candidates().find(|l| ip(l).is_some_and(|ip| ip.is_unspecified())))
    }
}

impl ChainSource for Arrived {
    fn chain(&self, snapshot: &Snapshot) -> Option<ChainIndex> {
        self.find(snapshot, |_, found| match found?.terminal {
            Terminal::Http(chain) => Some(*chain),
            _ => None,
        })
        .flatten()
    }
}
