//! A pod's process.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// Variables that would configure a mesh; a pod must not inherit another one's.
const MESH_VARIABLES: [&str; 4] = [
    "ENVOY_BOOTSTRAP",
    "GRPC_XDS_BOOTSTRAP",
    "GRPC_XDS_BOOTSTRAP_CONFIG",
    "MESH_CONFIG_DIR",
];

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` through `wrapper`, which ties its life to ours; its output goes to the file `log`.
    pub(super) fn start(
        wrapper: &[String],
        command: &[String],
        env: &BTreeMap<String, String>,
        log: &Path,
    ) -> io::Result<Process> {
        let mut words = wrapper.iter().chain(command);
        let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
        let output = File::create(log)?;
        let mut process = Command::new(program);
        for variable in MESH_VARIABLES {
            process.env_remove(variable);
        }
        let child = process
            .args(words)
            .envs(env)
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            // a terminal's Ctrl-C is for the runner, which then ends its pods in order
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Process { child })
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end. Cancel safe.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // the id is known only until the process was waited for, so it cannot be somebody else's
        let pid = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::debug!(?pid, ?signal, "signal could not be sent: {error}");
        }
    }
}
