//! Configuration as decoded and validated: plain values with Envoy's field names, shared by `Arc`, never changed.
//!
//! Written by a decoder (mesh-xds), read by the compiler in [`crate::snapshot`]. A value that exists is valid by itself
//! (regular expressions are compiled, weights add up, names are lower case); what it refers to (a cluster's name) may
//! still be missing, which is a valid snapshot that answers `NC`.

mod cluster;
mod connection_manager;
mod dns;
mod endpoint;
mod hash_policy;
mod header_operations;
mod health_check;
mod listener;
mod mirror;
mod retry_policy;
mod route;
mod subset;
mod tls;

pub use cluster::*;
pub use connection_manager::*;
pub use dns::*;
pub use endpoint::*;
pub use hash_policy::*;
pub use header_operations::*;
pub use health_check::*;
pub use listener::*;
pub use mirror::*;
pub use retry_policy::*;
pub use route::*;
pub use subset::*;
pub use tls::*;

use std::sync::Arc;

/// Where a resource came from in its author's terms: shown by explain and in every error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provenance {
    /// The object, for example `VirtualService default/reviews` (Istio's `istio` filter metadata, `config`).
    pub object: Option<Arc<str>>,
    /// The file and line, for example `reviews.yaml:12`.
    pub place: Option<Arc<str>>,
}

/// A fraction of requests (`envoy.type.v3.FractionalPercent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    /// Numerator; may exceed the denominator, which means always.
    pub numerator: u32,
    /// 100, 10,000 or 1,000,000.
    pub denominator: u32,
}

impl Fraction {
    /// Every request.
    pub const ALWAYS: Self = Self {
        numerator: 100,
        denominator: 100,
    };
    /// No request.
    pub const NEVER: Self = Self {
        numerator: 0,
        denominator: 100,
    };

    /// Whether a uniformly random number falls into the fraction (`value % denominator < numerator`).
    pub const fn holds(self, random: u64) -> bool {
        random % (self.denominator as u64) < self.numerator as u64
    }
}
