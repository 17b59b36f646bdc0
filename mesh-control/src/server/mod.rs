//! The ADS server: one function from a stream of requests to a stream of responses per client.
//!
//! Scoped to the client's node, clusters before endpoints before listeners before routes. State of the world: only
//! types whose content changed are sent. Incremental: only resources that changed, and the names of those that are gone.

#[cfg(feature = "server")]
mod certificate;
mod client;
mod delta;
#[cfg(feature = "server")]
mod grpc;
mod session;
mod status;
mod stream;
mod subscription;

pub use client::Refused;
pub use status::{ClientStatus, TypeStatus};
pub use stream::{DeltaResponses, Responses};

#[cfg(feature = "server")]
pub(crate) use grpc::serve;
pub(crate) use stream::Source;
