//! The ADS server: one function from a stream of requests to a stream of responses per client.
//!
//! State of the world, scoped to the client's node; only types whose content changed are sent, clusters before
//! endpoints before listeners before routes.

#[cfg(feature = "server")]
mod grpc;
mod session;
mod status;
mod stream;
mod subscription;

pub use session::Refused;
pub use status::{ClientStatus, TypeStatus};
pub use stream::Responses;

#[cfg(feature = "server")]
pub(crate) use grpc::serve;
pub(crate) use stream::Source;
