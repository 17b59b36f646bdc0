//! The data path: tower layers, transport and server side over mesh-core's decisions.
//!
//! # Map
//! * [`DataPlane`]: the handle with the current snapshot; makes everything below.
//! * [`MeshLayer`], [`MeshService`], [`ResponseFuture`]: one thin state machine; the order of its stages is drawn in
//!   `ARCHITECTURE.md`.
//! * [`Dispatch`]: a request with its endpoint, as handed to a transport; [`ByUri`] for any plain HTTP client.
//! * `transport`: pool, HTTP/1.1 and HTTP/2.
//! * `server`: accepting, sniffing, and the inbound side in front of an application.
#![deny(missing_docs)]

mod data_plane;
mod dispatch;
mod error;
pub mod server;
pub mod transport;

pub use data_plane::DataPlane;
pub use dispatch::{Dispatch, PoolReady};
pub use error::{BoxError, TransportError};
