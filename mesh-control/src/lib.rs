//! The embedded control plane: Istio and Kubernetes YAML to xDS, and the local runner.
#![deny(missing_docs)]

mod config;
mod control_plane;
mod folder;
pub mod model;
mod problem;
pub mod runner;
mod server;
mod store;
mod translate;
mod watch;
pub mod yaml;

pub use config::Config;
pub use control_plane::{ControlPlane, Options};
pub use folder::{Changes, Folder, Validated, validate_documents};
pub use problem::{Problem, Severity};
pub use server::{ClientStatus, Refused, Responses, TypeStatus};
pub use store::{Action, Applied, Store, Stored, table};
