//! xDS subscriber: bootstraps, sans-I/O ADS machine, decoding, store, graph, snapshot assembly.
//!
//! # Map
//! * [`bootstrap`]: who we are, whom to ask, static resources.
//! * [`ads`]: the stream as a machine without I/O.
//! * [`decode`]: protobuf to mesh-core's model.
//! * [`subscriber`]: stream, store and graph joined; what it publishes is complete.
//! * [`dump`]: what is in force as Envoy's `/config_dump`.
//! * `route_check` (feature `route-check`): tests of route configurations, as Envoy's `router_check_tool` runs them.
//! * `csr` (feature `csr`): a certificate from Istio's certificate service.
//! * `agent`, `transport` (feature `agent`; gRPC: feature `grpc`): the task that moves bytes and time.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod ads;
#[cfg(feature = "agent")]
pub mod agent;
mod assemble;
pub mod bootstrap;
mod data_source;
pub mod decode;
pub mod dump;
mod graph;
mod nack;
mod problems;
mod resource;
#[cfg(feature = "route-check")]
pub mod route_check;
mod secrets;
mod store;
pub mod subscriber;
#[cfg(feature = "agent")]
pub mod transport;

#[cfg(feature = "agent")]
pub use agent::{Agent, AgentHandle, Publish, SecretSupply};
pub use bootstrap::Bootstrap;
pub use decode::{Decoded, Resource, decode_resource, origin};
pub use problems::{Problem, Problems};
pub use resource::ResourceKind;
#[cfg(feature = "csr")]
pub use transport::csr;
