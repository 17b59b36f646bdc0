//! The state machine over a scripted upstream: no sockets, paused time.

mod bodies;
mod breakers;
mod cancellation;
mod client_address;
mod context;
mod faults;
mod filters;
#[cfg(feature = "tonic")]
mod grpc;
mod hedging;
mod misses;
mod mock;
mod redirects;
mod replies;
mod retries;
mod server;
mod shape;
mod timeouts;
mod world;
