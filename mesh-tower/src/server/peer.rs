//! Who is at the other end of a connection.

use std::{fmt, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwapOption;
use mesh_core::{
    head::ConnectionInfo,
    listener::{Detected, FoundChain, Listener, Terminal},
    snapshot::Snapshot,
    tls::TlsConnection,
};

use super::Inspected;
use crate::stages::Target;

/// The ends of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// The other side's address.
    pub remote: SocketAddr,
    /// Our address on this connection.
    pub local: SocketAddr,
    pub(super) arrived: Option<Arc<Arrived>>,
}

/// The same addresses of the same connection.
impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.arrived, &other.arrived) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        same && (self.remote, self.local) == (other.remote, other.local)
    }
}

impl Eq for Peer {}

impl Peer {
    pub(super) fn new(remote: SocketAddr, local: SocketAddr) -> Self {
        Self {
            remote,
            local,
            arrived: None,
        }
    }

    /// Who the other side has proved to be; None: it came in cleartext, or sent no certificate that was verified.
    pub fn identity(&self) -> Option<PeerIdentity> {
        let tls = self.arrived.as_ref()?.info.tls.as_ref()?;
        (tls.peer.is_some() && tls.peer_validated).then(|| PeerIdentity(Arc::clone(tls)))
    }

    pub(super) fn info(&self) -> Arc<ConnectionInfo> {
        if let Some(arrived) = &self.arrived {
            return Arc::clone(&arrived.info);
        }
        let mut info = ConnectionInfo::default();
        info.peer = Some(self.remote);
        info.local = Some(self.local);
        Arc::new(info)
    }
}

/// Who a caller has proved to be by mutual TLS: the names of the certificate that the handshake verified, as the filter
/// chain's rules of validation ask. Handlers find it as an extension of the request, if the caller has one:
/// axum's `Extension<PeerIdentity>` (`Option` of it on PERMISSIVE ports), tonic's
/// `request.extensions().get::<PeerIdentity>()`.
///
/// It says who opened the connection. Whether that is the request's author is for policies to say: a gateway between
/// has an identity of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerIdentity(Arc<TlsConnection>);

impl PeerIdentity {
    /// The SPIFFE ID, `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT` in Istio: the first URI with that scheme among the
    /// subject's alternative names.
    pub fn spiffe_id(&self) -> Option<&str> {
        self.uris().find(|uri| uri.starts_with("spiffe://"))
    }

    /// All URIs among the subject's alternative names, in order.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        let peer = self.0.peer.iter();
        peer.flat_map(|peer| &peer.uri_sans).map(|uri| &**uri)
    }

    /// All DNS names among them, in order.
    pub fn dns_names(&self) -> impl Iterator<Item = &str> {
        let peer = self.0.peer.iter();
        peer.flat_map(|peer| &peer.dns_sans).map(|name| &**name)
    }

    /// The subject, as RFC 2253 writes it; empty: it has none.
    pub fn subject(&self) -> &str {
        self.0.peer.as_ref().map_or("", |peer| &peer.subject)
    }

    /// The certificate and what came behind it, DER.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        let peer = self.0.peer.iter();
        peer.flat_map(|peer| &peer.chain).map(|der| &**der)
    }
}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerIdentity")
            .field("uris", &self.uris().collect::<Vec<_>>())
            .field("dns_names", &self.dns_names().collect::<Vec<_>>())
            .field("subject", &self.subject())
            .finish()
    }
}

/// What is known of an accepted connection: enough to find its chain in any snapshot.
pub(crate) struct Arrived {
    pub(super) info: Arc<ConnectionInfo>,
    pub(super) inspected: Inspected,
    /// The server's port, as configuration knows it.
    pub(super) port: u16,
    /// What the chain was in the snapshot of this version.
    pub(super) found: ArcSwapOption<(u64, Target)>,
}

impl fmt::Debug for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrived")
            .field("info", &self.info)
            .field("inspected", &self.inspected)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Arrived {
    /// What requests of the connection go through. Looked up once for each snapshot.
    pub(crate) fn target(&self, snapshot: &Snapshot) -> Target {
        let version = snapshot.version();
        let held = self.found.load();
        if let Some(found) = held.as_deref()
            && found.0 == version
        {
            return found.1;
        }
        let target = match snapshot.inbound_listener(self.port) {
            None => Target::Pass,
            Some(listener) => {
                let chain = find(listener, &self.info, &self.inspected, self.port);
                // A connection that was made in another way than its chain now asks is not let through.
                let fits =
                    |found: &FoundChain<'_>| found.socket.is_plaintext() == self.info.tls.is_none();
                match chain.filter(fits).map(|found| found.terminal) {
                    Some(Terminal::Http(chain)) => Target::Chain(*chain),
                    Some(_) => Target::Pass,
                    None => Target::None,
                }
            }
        };
        self.found.store(Some(Arc::new((version, target))));
        target
    }
}

/// The chain of a connection to a server in this process.
pub(super) fn find<'l>(
    listener: &'l Listener,
    info: &ConnectionInfo,
    inspected: &Inspected,
    port: u16,
) -> Option<FoundChain<'l>> {
    let protocols = inspected.application_protocols.iter();
    let mut protocols: Vec<&str> = protocols.map(|p| &**p).collect();
    if protocols.is_empty() && !inspected.tls {
        // Whom it is for speaks HTTP.
        protocols.push("http/1.1");
    }
    let mut destination = info.local?;
    destination.set_port(port);
    let mut detected = Detected::plaintext(info.peer?, destination);
    if inspected.tls {
        detected.transport_protocol = "tls";
    }
    detected.application_protocols = &protocols;
    detected.server_name = inspected.server_name.as_deref().unwrap_or_default();
    listener.find_chain(&detected)
}
