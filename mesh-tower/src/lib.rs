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

mod access_log;
mod body;
mod by_uri;
mod clock;
mod context;
mod data_plane;
mod deadline;
mod dispatch;
mod entropy;
mod error;
mod future;
#[cfg(feature = "tonic")]
mod grpc;
mod head_copy;
mod hedge;
mod layer;
mod limits;
mod local_reply_layer;
mod mesh_error;
mod numbers;
mod observe;
mod process;
pub mod server;
mod service;
mod stages;
mod stream;
pub mod tls;
pub mod transport;

pub use access_log::{open as open_access_log, reopen_access_logs};
pub use body::{BodyError, MeshBody, RequestBody, StreamGuard};
pub use by_uri::{ByUri, ByUriFuture};
pub use context::{Context, Deadline};
pub use data_plane::{DataPlane, Miss, WeakDataPlane};
pub use dispatch::{Dispatch, PoolReady};
pub use entropy::ThreadEntropy;
pub use error::{BoxError, TransportError};
pub use future::ResponseFuture;
#[cfg(feature = "tonic")]
pub use grpc::{GrpcChannel, GrpcFuture};
pub use layer::MeshLayer;
pub use local_reply_layer::{LocalReplyFuture, LocalReplyLayer, LocalReplyService};
pub use mesh_error::{ErrorKind, MeshError, StreamReset};
pub use process::process_values;
pub use service::MeshService;
pub use stages::ChainSource;
