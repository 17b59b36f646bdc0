//! What a runner tells of its work.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::desired::ADMIN_PORT;
use crate::problem::Problem;

/// What runs and what is wrong.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct State {
    /// The pods, oldest first.
    pub pods: Vec<PodState>,
    /// What is wrong in the folder, its Deployments included.
    pub problems: Vec<Problem>,
    /// Whether the folder was read: before, no pods means nothing.
    pub read: bool,
    /// Port of the gateway, if the folder has a Gateway.
    pub gateway_port: Option<u16>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PodState {
    /// Its name.
    pub name: String,
    /// Its Deployment's name.
    pub workload: String,
    /// Its process, while that lives.
    pub pid: Option<u32>,
    /// Its address; the admin server is at [`PodState::admin`].
    pub address: Ipv4Addr,
    /// Whether it is ready, as reported.
    pub ready: bool,
    /// Whether its process ended by itself.
    pub dead: bool,
    /// Whether it is a gateway.
    pub is_gateway: bool,
    /// Its output.
    pub log: PathBuf,
}

impl PodState {
    /// Where its admin server is.
    pub fn admin(&self) -> SocketAddr {
        SocketAddr::from((self.address, ADMIN_PORT))
    }
}
