//! The embedded control plane: Istio and Kubernetes YAML to xDS, and the local runner.
//!
//! ```text
//! folder of YAML ─ yaml (places) ─ model (typed, checked) ─ Folder (last good versions) ─ Config
//!                                                                                         │ one per node
//!                        client ── requests ─▶ stream / serve ◀─ responses ── translate ◀─┘
//! ```
//!
//! * [`Folder`] reads the files; every [`Problem`] has file, line, object, field and what would be right.
//! * [`ControlPlane`] watches a folder and serves it: [`stream`](ControlPlane::stream) in process,
//!   `serve` (feature `server`) over gRPC.
//! * [`verdicts`] says what Istio's webhook would say of each document, and why.
//! * [`analyze`] finds what `istioctl analyze` finds in files.
//! * [`Store`] is apply, get and delete on a folder.
//! * `ca` (feature `ca`) makes certificates for workloads; `serve` offers it as Istio's certificate service.
//! * [`runner`] starts the folder's Deployments as processes of this machine.
//!
//! What a node gets is what istiod would send it for the same YAML: `tests/istiod/` compares them field by field.
#![deny(missing_docs)]

mod analyze;
#[cfg(feature = "ca")]
pub mod ca;
mod config;
mod control_plane;
mod folder;
mod gateway_api;
mod ingress;
mod jwks;
pub mod model;
mod problem;
mod registry;
pub mod runner;
mod server;
mod store;
mod translate;
mod validate;
mod watch;
mod workload;
pub mod yaml;

pub use analyze::{Analysis, Finding, Level, analyze};
pub use config::Config;
pub use control_plane::{ControlPlane, Options};
pub use folder::{Changes, Folder, Validated, validate_documents};
pub use problem::{Problem, Severity};
pub use server::{ClientStatus, DeltaResponses, Refused, Responses, TypeStatus};
pub use store::{Action, Applied, Store, Stored, table};
pub use validate::{Verdict, verdicts};
pub use workload::Workload;
