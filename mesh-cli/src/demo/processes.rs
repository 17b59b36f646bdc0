//! What the demo starts: the control plane, and the folder's pods by the local runner.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mesh_control::runner::{AddressBlock, Options, PodState, Runner, State};
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::Error;

/// How long everything may take to become ready.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long pods may take to end by themselves when the demo ends.
const END_LIMIT: Duration = Duration::from_secs(1);

/// The processes of a running mesh. Dropping it kills them.
#[derive(Debug)]
pub(super) struct Processes {
    control_plane: Child,
    /// The control plane's process and address.
    pub(super) control_plane_pid: u32,
    pub(super) grpc_addr: SocketAddr,
    control_plane_log: PathBuf,
    state: watch::Receiver<State>,
    stop: oneshot::Sender<()>,
    runner: JoinHandle<()>,
}

impl Processes {
    /// Starts everything on a folder; nothing is ready yet.
    pub(super) fn start(dir: &Path) -> Result<Processes, Error> {
        let meshctl = std::env::current_exe()?;
        let proxy = meshctl.with_file_name("mesh-proxy");
        if !proxy.is_file() {
            return Err(format!(
                "{}: not there; build it: cargo build --release -p mesh-proxy",
                proxy.display()
            )
            .into());
        }
        let block = AddressBlock::claim()?;
        let options = Options::new(dir, block, meshctl.clone(), proxy);
        let grpc_addr = options.control_plane;
        let mut runner = Runner::open(options)?;
        let control_plane_log = dir.join(".status/logs/control-plane.log");
        let output = File::create(&control_plane_log)?;
        let control_plane = Command::new(&meshctl)
            .args([
                "run-pod".to_owned(),
                format!("--parent={}", std::process::id()),
                "--".to_owned(),
            ])
            .arg(&meshctl)
            .arg("serve")
            .arg(dir)
            .arg("--grpc-addr")
            .arg(grpc_addr.to_string())
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            // Ctrl-C is for the demo, which ends everything in order
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let control_plane_pid = control_plane
            .id()
            .ok_or("the control plane ended at once")?;
        let state = runner.state();
        let (stop, stopped) = oneshot::channel();
        let runner = tokio::spawn(async move {
            tokio::select! {
                () = runner.run() => {}
                _ = stopped => {}
            }
            runner.stop(END_LIMIT).await;
        });
        Ok(Processes {
            control_plane,
            control_plane_pid,
            grpc_addr,
            control_plane_log,
            state,
            stop,
            runner,
        })
    }

    /// The pods, and what is wrong in the folder, now.
    pub(super) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits until every pod is ready, or was killed meanwhile.
    pub(super) async fn ready(&self) -> Result<(), Error> {
        let mut state = self.state.clone();
        let all = state
            .wait_for(|state| state.read && state.pods.iter().all(|pod| pod.ready || pod.dead));
        let state = match tokio::time::timeout(START_LIMIT, all).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) => return Err("the local runner ended".into()),
            Err(_) => return Err(self.not_ready().into()),
        };
        if state.pods.is_empty() {
            let problems: Vec<_> = state.problems.iter().map(ToString::to_string).collect();
            return Err(format!(
                "nothing to run in the folder; write a Deployment\n{}",
                problems.join("\n")
            )
            .into());
        }
        // all pods dead is a broken build, not somebody's experiment
        if state.pods.iter().all(|pod| pod.dead) {
            return Err(self.not_ready().into());
        }
        Ok(())
    }

    fn not_ready(&self) -> String {
        let state = self.state();
        let mut text = String::from("not everything is ready");
        for pod in state.pods.iter().filter(|pod| !pod.ready) {
            let what = if pod.dead { "ended" } else { "is not ready" };
            text.push_str(&format!(
                "\n{} {what}; {}{}",
                pod.name,
                pod.log.display(),
                last_lines(&pod.log)
            ));
        }
        let log = &self.control_plane_log;
        text.push_str(&format!(
            "\ncontrol plane: {}{}",
            log.display(),
            last_lines(log)
        ));
        for problem in &state.problems {
            text.push_str(&format!("\n{problem}"));
        }
        text
    }

    /// Ends everything.
    pub(super) async fn stop(mut self) {
        let _ = self.stop.send(());
        // it may have been killed before, which is fine
        let _ = self.control_plane.start_kill();
        let _ = self.control_plane.wait().await;
        let _ = self.runner.await;
    }
}

/// The pods that can be asked for their metrics.
pub(super) fn living(state: &State) -> impl Iterator<Item = &PodState> {
    state.pods.iter().filter(|pod| pod.pid.is_some())
}

/// The end of a log, indented.
fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(5);
    lines[from..]
        .iter()
        .map(|line| format!("\n    {line}"))
        .collect()
}
