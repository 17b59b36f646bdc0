//! An in-process service mesh: one tower layer gives HTTP and gRPC clients what a sidecar gives, without the sidecar.
//!
//! ```no_run
//! use http::Request;
//! use proxyless::Mesh;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mesh = Mesh::from_env()?;
//! mesh.ready().await;
//! let request = Request::get("http://reviews:9080/reviews/0").body(String::new())?;
//! let response = mesh.client().request(request).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Mesh`] is configured by xDS: from any control plane named by a bootstrap, from static resources in it, or
//! (feature `control`) from a folder of Istio and Kubernetes YAML by the embedded control plane. See
//! [`Mesh::from_env`] and [`MeshBuilder`].
#![deny(missing_docs)]

mod admin;
mod builder;
mod client;
mod control;
mod env;
mod error;
mod mesh;
#[cfg(feature = "control")]
mod node;

pub use builder::MeshBuilder;
pub use client::Client;
pub use error::BuildError;
pub use mesh::Mesh;
#[cfg(feature = "control")]
pub use node::Pod;

pub use mesh_core as core;
pub use mesh_tower as tower;
#[cfg(feature = "tonic")]
pub use mesh_tower::GrpcChannel;
pub use mesh_tower::{
    BoxError, ByUri, Context, ErrorKind, LocalReplyLayer, MeshBody, MeshError, MeshLayer,
    MeshService, RequestBody, TransportError,
    server::{MeshIo, MeshListener, Peer, PeerIdentity, ServerLayer},
    transport::{Transport, TransportBody},
};
pub use mesh_xds::SecretSupply;
pub use mesh_xds::bootstrap::{Bootstrap, InvalidBootstrap, NodeOverrides};
