//! Which snapshot and which chain a request takes.

use std::{future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use http::{header::HOST, request, uri::Authority};
use mesh_core::{
    cluster::{Cluster, Endpoint},
    model::{ClusterConfig, ClusterDiscovery},
    snapshot::{ChainIndex, ClusterIndex, Inbound, Outbound, Snapshot},
    stats::Stats,
};

use crate::{data_plane::DataPlane, entropy::ThreadEntropy, server::Arrived, stream::Connection};

/// Finds a connection's chain in each new snapshot: by listener and what the connection is.
pub trait ChainSource: Send + Sync + 'static {
    /// The chain; None: its listener is gone, and the connection keeps what it had until it is drained.
    fn chain(&self, snapshot: &Snapshot) -> Option<ChainIndex>;
}

/// How requests of a service come in.
#[derive(Clone)]
pub(crate) enum Entry {
    /// Calls of the application in this process.
    Outbound {
        /// They do not take part in the context of their task.
        isolated: bool,
    },
    /// Requests to the application in this process.
    Inbound {
        port: u16,
        connection: Connection,
        /// What is known of the connection, if it came through a listener of the mesh.
        arrived: Option<Arc<Arrived>>,
        application: Arc<Application>,
    },
    /// Requests of one accepted connection of a proxy.
    Chain {
        source: Arc<dyn ChainSource>,
        connection: Connection,
        held: Option<(Arc<Snapshot>, ChainIndex)>,
    },
}

/// What stands for cluster and endpoint where the application is called instead.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) endpoint: Arc<Endpoint>,
}

impl Application {
    /// For a server on this port.
    pub(crate) fn new(port: u16) -> Arc<Self> {
        let config = ClusterConfig::new(format!("inbound|{port}||"), ClusterDiscovery::OriginalDst);
        let cluster = Cluster::build(
            Arc::new(config),
            None,
            None,
            &Stats::default(),
            &mut ThreadEntropy,
        );
        Arc::new(Self {
            cluster: Arc::new(cluster),
            endpoint: Endpoint::detached(SocketAddr::from(([127, 0, 0, 1], port))),
        })
    }
}

/// What a request goes through.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// An HTTP chain.
    Chain(ChainIndex),
    /// One cluster, without HTTP policy.
    Cluster(ClusterIndex),
    /// The application, without any policy.
    Pass,
    /// Nothing.
    None,
}

/// A slow path: it may allocate.
pub(crate) type SlowFuture = Pin<Box<dyn Future<Output = Slow> + Send>>;

/// What a slow path found.
pub(crate) enum Slow {
    /// The snapshot to use after a miss, and what it says.
    Snapshot(Arc<Snapshot>, Target),
    /// The address of a host outside the mesh.
    Address(io::Result<SocketAddr>),
}

/// Where a request enters.
pub(crate) struct Entered {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) target: Target,
    pub(crate) connection: Connection,
    pub(crate) application: Option<Arc<Application>>,
    pub(crate) slow: Option<SlowFuture>,
}

impl Entry {
    pub(crate) fn enter(&mut self, plane: &DataPlane, parts: &request::Parts) -> Entered {
        match self {
            Self::Outbound { .. } => outbound(plane, parts),
            Self::Inbound {
                port,
                connection,
                arrived,
                application,
            } => {
                let snapshot = plane.snapshot();
                let target = match arrived {
                    Some(arrived) => arrived.target(&snapshot),
                    None => match snapshot.inbound(*port) {
                        Inbound::Chain(chain) => Target::Chain(chain),
                        Inbound::Pass => Target::Pass,
                        _ => Target::None,
                    },
                };
                Entered {
                    snapshot,
                    target,
                    connection: connection.clone(),
                    application: Some(Arc::clone(application)),
                    slow: None,
                }
            }
            Self::Chain {
                source,
                connection,
                held,
            } => {
                let snapshot = plane.snapshot();
                let (snapshot, target) = match held {
                    Some((of, chain)) if Arc::ptr_eq(of, &snapshot) => (snapshot, Some(*chain)),
                    _ => match (source.chain(&snapshot), &*held) {
                        (Some(chain), _) => {
                            *held = Some((Arc::clone(&snapshot), chain));
                            (snapshot, Some(chain))
                        }
                        (None, Some((of, chain))) => (Arc::clone(of), Some(*chain)),
                        (None, None) => (snapshot, None),
                    },
                };
                Entered {
                    snapshot,
                    target: target.map_or(Target::None, Target::Chain),
                    connection: connection.clone(),
                    application: None,
                    slow: None,
                }
            }
        }
    }
}

fn outbound(plane: &DataPlane, parts: &request::Parts) -> Entered {
    let snapshot = plane.snapshot();
    let (target, slow) = match by_name(&snapshot, parts) {
        Target::None => by_parts(plane, &snapshot, parts),
        target => (target, None),
    };
    Entered {
        snapshot,
        target,
        connection: Connection::InProcess,
        application: None,
        slow,
    }
}

/// Nearly all calls: the authority is one that the configuration names.
fn by_name(snapshot: &Snapshot, parts: &request::Parts) -> Target {
    match parts.uri.authority() {
        // A port that is not said is another one then.
        Some(_) if parts.uri.scheme_str() == Some("https") => Target::None,
        Some(authority) => snapshot
            .outbound_by_name(authority.as_str())
            .map_or(Target::None, target),
        None => Target::None,
    }
}

#[inline(never)]
fn by_parts(
    plane: &DataPlane,
    snapshot: &Snapshot,
    parts: &request::Parts,
) -> (Target, Option<SlowFuture>) {
    let (host, port) = host_of(parts).unwrap_or(("", 80));
    let target = target_of(snapshot, host, port);
    let slow = match (target, plane.miss()) {
        (Target::None, Some(miss)) => miss
            .on_miss(host, port)
            .map(|limit| wait_for(plane.clone(), host.to_owned(), port, limit)),
        _ => None,
    };
    (target, slow)
}

fn target_of(snapshot: &Snapshot, host: &str, port: u16) -> Target {
    target(snapshot.outbound(host, port))
}

fn target(outbound: Outbound) -> Target {
    match outbound {
        Outbound::Http(chain) => Target::Chain(chain),
        Outbound::Tcp(cluster) => Target::Cluster(cluster),
        _ => Target::None,
    }
}

/// Host and port of the URI's authority, else of `host`; the port by scheme if it is not said.
pub(super) fn host_of(parts: &request::Parts) -> Option<(&str, u16)> {
    let of_scheme = match parts.uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    if let Some(authority) = parts.uri.authority() {
        return Some(split_port(authority.as_str(), of_scheme));
    }
    let text = parts.headers.get(HOST)?.to_str().ok()?;
    // Parsed to check it.
    text.parse::<Authority>().ok()?;
    Some(split_port(text, of_scheme))
}

/// Host and port of an authority that is known to be one. By hand, since it is done for each request.
fn split_port(authority: &str, default: u16) -> (&str, u16) {
    let mut port = 0u32;
    let mut unit = 1u32;
    for (at, byte) in authority.bytes().enumerate().rev() {
        match byte {
            b'0'..=b'9' if unit <= 10_000 => {
                port += u32::from(byte - b'0') * unit;
                unit *= 10;
            }
            b':' => {
                let host = without_user(authority.get(..at).unwrap_or_default());
                let port = u16::try_from(port).ok().filter(|_| unit > 1);
                return (host, port.unwrap_or(default));
            }
            // No port: the end of a name, or `]`.
            _ => break,
        }
    }
    (without_user(authority), default)
}

fn without_user(authority: &str) -> &str {
    match authority.bytes().position(|b| b == b'@') {
        Some(at) => authority.get(at + 1..).unwrap_or_default(),
        None => authority,
    }
}

/// Waits until some snapshot answers for the host, no longer than the limit.
fn wait_for(plane: DataPlane, host: String, port: u16, limit: Duration) -> SlowFuture {
    Box::pin(async move {
        let mut changes = plane.changes();
        let found = async {
            loop {
                changes.borrow_and_update();
                let snapshot = plane.snapshot();
                let target = target_of(&snapshot, &host, port);
                if !matches!(target, Target::None) {
                    return Some((snapshot, target));
                }
                changes.changed().await.ok()?;
            }
        };
        match tokio::time::timeout(limit, found).await {
            Ok(Some((snapshot, target))) => Slow::Snapshot(snapshot, target),
            _ => Slow::Snapshot(plane.snapshot(), Target::None),
        }
    })
}

/// Resolves a host outside the mesh by DNS.
pub(super) fn resolve(host: &str, port: u16) -> SlowFuture {
    let host = host.trim_matches(['[', ']']).to_owned();
    Box::pin(async move {
        let address = tokio::net::lookup_host((host, port))
            .await
            .and_then(|mut all| all.next().ok_or_else(|| io::ErrorKind::NotFound.into()));
        Slow::Address(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_split_as_http_splits_them() {
        for text in [
            "reviews:9080",
            "reviews",
            "10.0.0.1",
            "10.0.0.1:80",
            "[::1]:8080",
            "[::1]",
            "user@reviews:1",
            "a.b-c.d:65535",
            "host:",
            "1234567",
        ] {
            let authority: Authority = text.parse().expect("an authority");
            let expected = (authority.host(), authority.port_u16().unwrap_or(80));
            assert_eq!(split_port(text, 80), expected, "{text}");
        }
        assert_eq!(split_port("host:99999", 80), ("host", 80));
    }
}
