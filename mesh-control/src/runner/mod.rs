//! The local runner: Deployments of a folder as processes on this machine.
//!
//! What a kubelet, a scheduler and the endpoint controller do in a cluster, for development: every replica becomes a
//! process with an address of its own in `127.0.0.0/8` (any of them can be bound on Linux without configuration), its
//! readiness is probed, and Pods and EndpointSlices are written as YAML into `DIR/.status/`, where the control plane
//! reads them. The runner and the control plane share nothing but the folder, so either can die alone.
//!
//! Pure parts: [`ImageTable`], and inside the reconcile plan, the status documents and the bootstrap. The processes
//! belong to [`Runner`].

mod address;
mod bootstrap;
mod container;
mod desired;
mod environment;
mod image;
mod options;
mod plan;
mod pod;
mod probe;
mod process;
mod run;
mod state;
mod status;
mod template;

pub use address::{AddressBlock, NoFreeBlock};
pub use image::{ImageTable, Program};
pub use options::{OpenError, Options};
pub use run::Runner;
pub use state::{PodState, State};
