//! The server side: accepting, sniffing, and the inbound chain in front of an application.

mod application;
mod delayed_close;
mod http1;
mod inspect;
mod listener;
#[cfg(feature = "axum")]
mod make;
mod peer;
mod prefixed;
mod secured;
mod service;

pub use application::{ApplicationFuture, ApplicationService};
pub use delayed_close::delayed_close;
pub use http1::{Http1Body, Http1Options, Informational, Switched, serve_http1};
pub use inspect::{Inspected, inspect};
pub use listener::{MeshIo, MeshListener};
#[cfg(feature = "axum")]
pub use make::{AxumFuture, AxumServer, MakeServer};
pub(crate) use peer::Arrived;
pub use peer::{Peer, PeerIdentity};
pub use prefixed::PrefixedIo;
pub use secured::{admitted, secured};
pub use service::{ServerFuture, ServerLayer, ServerService};
