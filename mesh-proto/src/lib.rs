//! Envoy's xDS messages and services, generated and committed.
//!
//! Module paths are the protobuf packages: `mesh_proto::envoy::config::route::v3::Route`,
//! [`google::rpc::Status`], `mesh_proto::xds::…`, `mesh_proto::udpa::…`. The well-known types
//! (`google.protobuf.*`) are those of `prost_types`. Every message implements [`prost::Name`], so
//! `prost_types::Any::from_msg` writes and `Any::to_msg` checks `type.googleapis.com/…` URLs.
//! Comments are stripped (read Envoy's API reference), and fields that Envoy calls deprecated are
//! not marked, because a mesh has to read what control planes still send.
//!
//! # Features
//!
//! * `grpc` (default): the services' clients and servers (`*_client`, `*_server` modules).
//! * `descriptor`: `descriptor_pool`, the descriptors of all messages and of `google.protobuf.*`,
//!   for JSON and YAML by way of `prost_reflect`.
//!
//! # Regenerating
//!
//! `cargo proto` (package `xtask-proto`) writes `src/generated/` and `descriptors.bin`;
//! `cargo proto --check` only compares. The sources are the .proto files that ship in the package
//! `envoy-types`, pinned in `xtask-proto/Cargo.toml` and located by `cargo metadata` (a version
//! between Envoy 1.39 and 1.40), plus those that it lacks under `proto/extra/`. Which files are
//! taken is `xtask-proto/src/roots.rs`. Never edit the generated files by hand.
#![forbid(unsafe_code)]
// Generated code is as its generator writes it.
#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::pedantic
)]
#![allow(rustdoc::all)]

#[cfg(feature = "descriptor")]
mod descriptor;

#[cfg(feature = "descriptor")]
pub use descriptor::descriptor_pool;

// Included, not a module: paths start at the crate's root, and rustfmt leaves the files alone.
include!("generated/mod.rs");
