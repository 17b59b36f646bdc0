//! TLS as decisions see it: contexts with their secrets, the peers of connections, names in certificates.
//!
//! No handshake happens here: whoever makes connections hangs what it made of a context on it
//! ([`TlsContext::state`]).

mod certificate;
mod context;
mod names;
mod sockets;

pub use certificate::{Certificate, TlsConnection};
pub use context::TlsContext;
pub use names::dns_name_matches;
pub use sockets::{DownstreamSocket, TransportSockets, UpstreamSocketChoice};
