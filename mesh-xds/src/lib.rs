//! xDS subscriber: bootstraps, sans-I/O ADS machine, decoding, store, graph, snapshot assembly.
//!
//! # Map
//! * [`bootstrap`]: who we are, whom to ask, static resources.
//! * [`ads`]: the stream as a machine without I/O.
//! * [`decode`]: protobuf to mesh-core's model.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod ads;
pub mod bootstrap;
pub mod decode;
mod problems;
mod resource;

pub use problems::{Problem, Problems};
pub use resource::ResourceKind;
