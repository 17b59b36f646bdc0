//! A pod: its process and what is known of it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::desired::Workload;
use super::plan::{Actual, Phase};
use super::process::Process;
use super::state::PodState;
use super::status::PodStatus;

#[derive(Debug)]
pub(super) struct Pod {
    pub(super) status: PodStatus,
    pub(super) template: u64,
    pub(super) is_gateway: bool,
    pub(super) grace: Duration,
    pub(super) phase: Phase,
    pub(super) serial: u64,
    pub(super) pid: Option<u32>,
    /// Ends the process: `true` is SIGKILL.
    pub(super) signals: mpsc::UnboundedSender<bool>,
    pub(super) probe: AbortHandle,
    pub(super) log: PathBuf,
}

impl Pod {
    pub(super) fn actual(&self) -> Actual {
        Actual {
            workload: (self.status.namespace.clone(), self.status.workload.clone()),
            template: self.template,
            phase: self.phase,
            ready: self.status.ready,
            serial: self.serial,
        }
    }

    pub(super) fn state(&self) -> PodState {
        PodState {
            name: self.status.name.clone(),
            workload: self.status.workload.clone(),
            pid: self.pid,
            address: self.status.address,
            ready: self.status.ready && self.phase == Phase::Running,
            dead: self.phase == Phase::Dead,
            is_gateway: self.is_gateway,
            log: self.log.clone(),
        }
    }
}

/// A pod that starts now.
pub(super) fn status(workload: &Workload, serial: u64, address: Ipv4Addr) -> PodStatus {
    let template = &workload.template;
    let template_hash = format!("{:08x}", template.hash() as u32);
    PodStatus {
        name: format!("{}-{template_hash}-{serial}", workload.name),
        namespace: workload.namespace.clone(),
        workload: workload.name.clone(),
        template_hash,
        labels: template.labels.clone(),
        service_account: template.service_account.clone(),
        container: template.container.clone(),
        image: template.image.clone(),
        ports: template.ports.clone(),
        address,
        ready: false,
        terminating: false,
        failed: false,
    }
}

/// Waits for the end of a process and passes on what should end it.
pub(super) async fn supervise(mut process: Process, mut signals: mpsc::UnboundedReceiver<bool>) {
    loop {
        tokio::select! {
            ended = process.wait() => {
                if let Err(error) = ended {
                    tracing::warn!("a pod's process cannot be waited for: {error}");
                }
                return;
            }
            Some(kill) = signals.recv() => if kill { process.kill() } else { process.terminate() },
        }
    }
}
