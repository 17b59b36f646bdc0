//! The embedded control plane: Istio and Kubernetes YAML to xDS, and the local runner.
#![deny(missing_docs)]

mod config;
mod folder;
pub mod model;
mod problem;
pub mod yaml;

pub use config::Config;
pub use folder::{Changes, Folder, Validated, validate_documents};
pub use problem::{Problem, Severity};
