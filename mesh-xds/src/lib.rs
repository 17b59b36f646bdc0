//! xDS subscriber: bootstraps, sans-I/O ADS machine, decoding, store, graph, snapshot assembly.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod ads;
mod resource;

pub use resource::ResourceKind;
