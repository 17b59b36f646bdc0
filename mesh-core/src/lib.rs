//! Decisions of the mesh, pure: what matches, which endpoint, retry or not, eject or not, allow or not.
//!
//! Nothing here waits, sends, reads a clock or draws a random number: time is an argument (`now`), chance is an
//! argument ([`Entropy`]). A decision that needs waiting returns the wait.
//!
//! # Map
//! * [`model`]: configuration as decoded and validated (plain values; Envoy's field names).
//! * [`snapshot`]: one consistent, compiled configuration; a request loads it once.
//! * [`route`]: virtual hosts, route matching, rewrites, header operations.
//! * [`cluster`]: endpoints, load balancing, circuit breakers, outlier detection: config plus live state.
//! * [`filter`]: HTTP filters (fault, cors, grpc_stats) and their chain.
//! * [`metadata`]: of routes, and what filters write.
//! * [`downstream`]: what the connection manager does to a request before the filters and to a response after them.
//! * [`retry`], [`timeout`]: the router's policies.
//! * [`matcher`], [`metadata`], [`regex`]: what routes and filters match by.
//! * [`local_reply`], [`flags`], [`outcome`]: answers that no upstream gave, and how an attempt ended.
//! * [`explain`]: what becomes of a request, and why.
//! * [`access_log`]: which streams are logged, and which replies mapped.
//! * [`tls`]: contexts with their secrets, certificates and their names.
//! * [`stats`]: counters and histograms, and their names.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
// clippy.toml bans what would make a decision impure; tests need a time to begin with.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod access_log;
pub mod cluster;
pub mod downstream;
pub mod explain;
pub mod filter;
pub mod flags;
pub mod grpc;
mod hash;
pub mod head;
pub mod jwt;
pub mod listener;
pub mod local_reply;
pub mod matcher;
pub mod metadata;
pub mod model;
pub mod one_line;
pub mod outcome;
pub mod rate_limit;
pub mod rbac;
pub mod regex;
pub mod retry;
pub mod route;
pub mod snapshot;
pub mod stats;
pub mod timeout;
pub mod tls;

/// Source of random 64-bit numbers: chance is an argument, so that decisions repeat under test.
pub trait Entropy {
    /// The next uniformly distributed number.
    fn next_u64(&mut self) -> u64;
}
