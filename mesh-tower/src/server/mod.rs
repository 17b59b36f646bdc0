//! The server side: accepting, sniffing, and the inbound chain in front of an application.

mod inspect;
mod listener;
mod prefixed;

pub use inspect::{Inspected, inspect};
pub use listener::{MeshIo, MeshListener, Peer};
pub use prefixed::PrefixedIo;
