//! What a pod is made from.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use rustc_hash::FxHasher;

use super::image::Program;

/// What a pod is made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Template {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) service_account: String,
    pub(super) container: String,
    pub(super) image: String,
    pub(super) program: Program,
    pub(super) env: Vec<(String, EnvValue)>,
    pub(super) ports: Vec<ContainerPort>,
    pub(super) probe: Probe,
    pub(super) grace: Duration,
    /// Whether its node is of type `router`.
    pub(super) is_gateway: bool,
}

impl Template {
    /// Tells templates apart; in a pod's name.
    pub(super) fn hash(&self) -> u64 {
        let mut hasher = FxHasher::default();
        Hash::hash(self, &mut hasher);
        hasher.finish()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum EnvValue {
    Text(String),
    PodName,
    PodNamespace,
    PodIp,
    ServiceAccount,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ContainerPort {
    pub(super) name: String,
    pub(super) port: u16,
}

/// When a pod counts as ready.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Probe {
    pub(super) check: Check,
    pub(super) initial_delay: Duration,
    pub(super) period: Duration,
    pub(super) timeout: Duration,
    pub(super) failures: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Check {
    /// Ready as soon as it runs.
    None,
    /// The port accepts a connection. Without a probe the first container port is asked until it answers once: in a
    /// cluster the sidecar's own probe holds a pod back likewise.
    Tcp { port: u16, once: bool },
    /// `GET` answers with 200 to 399.
    Http { port: u16, path: String },
}

impl Probe {
    pub(super) fn of(check: Check) -> Self {
        Probe {
            check,
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            failures: 3,
        }
    }
}
