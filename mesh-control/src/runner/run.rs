//! The runner: carries out the plan.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::bootstrap::bootstrap;
use super::desired::{Workload, desired, gateway_port};
use super::image::ImageTable;
use super::options::{OpenError, Options};
use super::plan::{Action, Phase, plan};
use super::pod::{self, Pod};
use super::process::Process;
use super::state::State;
use super::status::{PodStatus, documents};
use super::template::Template;
use super::{environment, probe};
use crate::folder::{Folder, STATUS_FOLDER};
use crate::problem::Problem;
use crate::watch::Watch;

/// How long a process can be dead before it is noticed, as long as a kubelet's relist takes: callers see it first, so
/// retries and ejection have work to do as in a cluster.
const RELIST: Duration = Duration::from_secs(1);
/// Between "not ready" and SIGTERM: the time in which every data plane hears of it.
const LEAVE: Duration = Duration::from_secs(1);
const STATUS_FILE: &str = "pods.yaml";
const LOCK_FILE: &str = "lock";
const LOCAL_FILE: &str = "local.yaml";

/// Runs the Deployments of a folder as processes. One per folder; dropping it kills what it started.
///
/// Processes also end when the *thread* that started them ends, so poll [`run`](Runner::run) on one that lives as long
/// as they should, such as that of a current-thread runtime. Linux only in this part; Kubernetes does it for real.
#[derive(Debug)]
pub struct Runner {
    options: Options,
    status_dir: PathBuf,
    folder: Folder,
    changes: Watch,
    images: ImageTable,
    local_text: String,
    desired: Vec<Workload>,
    problems: Vec<Problem>,
    pods: Vec<Pod>,
    serial: u64,
    last_address: u8,
    timers: BTreeSet<(Instant, u64, Timer)>,
    tasks: JoinSet<()>,
    events: mpsc::UnboundedReceiver<(u64, Event)>,
    sender: mpsc::UnboundedSender<(u64, Event)>,
    written: String,
    state: watch::Sender<State>,
    _lock: File,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Ready(bool),
    Exited,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    NoticeDeath,
    Terminate,
    Kill,
}

impl Runner {
    /// Takes a folder. Nothing is started before [`run`](Runner::run).
    ///
    /// # Errors
    /// If another runner has the folder, or it cannot be read or written. Wrong files are in [`State::problems`].
    pub fn open(options: Options) -> Result<Runner, OpenError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| OpenError::Io(path, error)
        };
        let status_dir = options.dir.join(STATUS_FOLDER);
        for sub in ["", "logs", "bootstrap"] {
            std::fs::create_dir_all(status_dir.join(sub)).map_err(at(&status_dir))?;
        }
        let lock_path = status_dir.join(LOCK_FILE);
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked(options.dir)),
            Err(TryLockError::Error(error)) => return Err(OpenError::Io(lock_path, error)),
        }
        // pods of an earlier run are gone
        remove(&status_dir.join(STATUS_FILE)).map_err(at(&status_dir))?;
        let folder =
            Folder::open(&options.dir, &options.default_namespace).map_err(at(&options.dir))?;
        let (sender, events) = mpsc::unbounded_channel();
        Ok(Runner {
            images: ImageTable::new(&options.meshctl),
            changes: Watch::new(options.dir.clone()),
            options,
            status_dir,
            folder,
            local_text: String::new(),
            desired: Vec::new(),
            problems: Vec::new(),
            pods: Vec::new(),
            serial: 0,
            last_address: 0,
            timers: BTreeSet::new(),
            tasks: JoinSet::new(),
            events,
            sender,
            written: String::new(),
            state: watch::Sender::default(),
            _lock: lock,
        })
    }

    /// What runs, now and after every change.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Runs and watches. Never returns; cancel it by dropping the future, then [`stop`](Runner::stop).
    pub async fn run(&mut self) {
        self.reload();
        loop {
            self.carry_out();
            self.report();
            let next = self.timers.first().map(|(at, ..)| *at);
            tokio::select! {
                () = self.changes.changed() => self.reload(),
                Some((serial, event)) = self.events.recv() => self.handle(serial, event),
                () = at(next) => self.handle_timers(Instant::now()),
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    /// Ends every process: SIGTERM, and SIGKILL after `limit`.
    pub async fn stop(mut self, limit: Duration) {
        for pod in &self.pods {
            pod.probe.abort();
            let _ = pod.signals.send(false);
        }
        let all = |tasks: &mut JoinSet<()>| {
            let mut tasks = std::mem::take(tasks);
            async move { while tasks.join_next().await.is_some() {} }
        };
        let mut ended = std::pin::pin!(all(&mut self.tasks));
        if tokio::time::timeout(limit, &mut ended).await.is_err() {
            for pod in &self.pods {
                let _ = pod.signals.send(true);
            }
            ended.await;
        }
        if let Err(error) = remove(&self.status_dir.join(STATUS_FILE)) {
            tracing::warn!("status of ended pods stays behind: {error}");
        }
    }

    fn reload(&mut self) {
        if let Err(error) = self.folder.reload() {
            tracing::error!(dir = %self.options.dir.display(), "folder cannot be read: {error}");
            return;
        }
        let local = std::fs::read_to_string(self.options.dir.join(LOCAL_FILE)).unwrap_or_default();
        let mut problems = self.folder.problems().to_vec();
        if local != self.local_text || !local.is_empty() {
            problems.extend(
                self.images
                    .read_local(if local.is_empty() { "{}" } else { &local }, LOCAL_FILE),
            );
            self.local_text = local;
        }
        let (desired, of_deployments) =
            desired(&self.folder.config(), &self.images, &self.options.proxy);
        self.keep_last_good(desired);
        problems.extend(of_deployments);
        self.problems = problems;
    }

    /// A Deployment that became wrong goes on as it was.
    fn keep_last_good(&mut self, desired: Vec<Workload>) {
        let config = self.folder.config();
        let exists = |w: &Workload| {
            config.others().any(|o| {
                o.kind == "Deployment"
                    && o.metadata.name == w.name
                    && o.metadata.namespace == w.namespace
            })
        };
        let before = std::mem::replace(&mut self.desired, desired);
        for workload in before {
            let is_same =
                |w: &Workload| w.name == workload.name && w.namespace == workload.namespace;
            if exists(&workload) && !self.desired.iter().any(is_same) {
                self.desired.push(workload);
            }
        }
    }

    fn carry_out(&mut self) {
        let actual: Vec<_> = self.pods.iter().map(Pod::actual).collect();
        let mut forgotten = Vec::new();
        for action in plan(&self.desired, &actual) {
            match action {
                Action::Start(index) => {
                    if let Some(workload) = self.desired.get(index).cloned() {
                        self.start(&workload);
                    }
                }
                Action::Stop(index) => {
                    if let Some(pod) = self.pods.get_mut(index) {
                        pod.phase = Phase::Stopping;
                        pod.status.terminating = true;
                        pod.probe.abort();
                        self.timers
                            .insert((Instant::now() + LEAVE, pod.serial, Timer::Terminate));
                    }
                }
                Action::Forget(index) => {
                    forgotten.extend(self.pods.get(index).map(|pod| pod.serial))
                }
            }
        }
        self.pods.retain(|pod| !forgotten.contains(&pod.serial));
    }

    fn start(&mut self, workload: &Workload) {
        let used = self.pods.iter().map(|pod| pod.status.address).collect();
        let Some(address) = self.options.block.next_pod(&used, &mut self.last_address) else {
            tracing::error!(
                workload = workload.name,
                "no address is left in the block for another pod"
            );
            return;
        };
        self.serial += 1;
        let serial = self.serial;
        let template = &workload.template;
        let status = pod::status(workload, serial, address);
        let log = self
            .status_dir
            .join("logs")
            .join(format!("{}.log", status.name));
        let (signals, receiver) = mpsc::unbounded_channel();
        let started = self.start_process(&status, template, &log);
        let (process, pid) = match started {
            Ok(process) => {
                let pid = process.pid();
                (Some(process), pid)
            }
            Err(error) => {
                tracing::error!(pod = status.name, "cannot be started: {error}");
                (None, None)
            }
        };
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            if let Some(process) = process {
                pod::supervise(process, receiver).await;
            }
            let _ = sender.send((serial, Event::Exited));
        });
        let sender = self.sender.clone();
        let probe = self.tasks.spawn(probe::watch(
            template.probe.clone(),
            address,
            move |ready| {
                let _ = sender.send((serial, Event::Ready(ready)));
            },
        ));
        self.pods.push(Pod {
            status,
            template: template.hash(),
            is_gateway: template.is_gateway,
            grace: template.grace,
            phase: Phase::Running,
            serial,
            pid,
            signals,
            probe,
            log,
        });
    }

    fn start_process(
        &self,
        status: &PodStatus,
        template: &Template,
        log: &Path,
    ) -> io::Result<Process> {
        let file = self
            .status_dir
            .join("bootstrap")
            .join(format!("{}.json", status.name));
        let text = bootstrap(status, template.is_gateway, self.options.control_plane);
        std::fs::write(&file, format!("{text:#}\n"))?;
        let file = std::path::absolute(file)?;
        let env = environment::of(template, status, &file);
        let command: Vec<_> = template
            .program
            .command
            .iter()
            .map(|word| environment::expand(word, &env))
            .collect();
        let wrapper = [
            self.options.meshctl.to_string_lossy().into_owned(),
            "run-pod".to_owned(),
            format!("--parent={}", std::process::id()),
            "--".to_owned(),
        ];
        Process::start(&wrapper, &command, &env, log)
    }

    fn handle(&mut self, serial: u64, event: Event) {
        let Some(index) = self.pods.iter().position(|pod| pod.serial == serial) else {
            return;
        };
        let pod = &mut self.pods[index];
        match event {
            Event::Ready(ready) if pod.phase == Phase::Running => pod.status.ready = ready,
            Event::Ready(_) => {}
            Event::Exited => {
                pod.probe.abort();
                pod.pid = None;
                if pod.phase == Phase::Stopping {
                    let name = &pod.status.name;
                    let _ = std::fs::remove_file(
                        self.status_dir
                            .join("bootstrap")
                            .join(format!("{name}.json")),
                    );
                    self.pods.remove(index);
                } else {
                    pod.phase = Phase::Dead;
                    self.timers
                        .insert((Instant::now() + RELIST, serial, Timer::NoticeDeath));
                }
            }
        }
    }

    fn handle_timers(&mut self, now: Instant) {
        while let Some((at, serial, timer)) =
            self.timers.first().copied().filter(|(at, ..)| *at <= now)
        {
            self.timers.remove(&(at, serial, timer));
            let Some(pod) = self.pods.iter_mut().find(|pod| pod.serial == serial) else {
                continue;
            };
            match timer {
                Timer::NoticeDeath => {
                    pod.status.ready = false;
                    pod.status.failed = true;
                }
                Timer::Terminate => {
                    let _ = pod.signals.send(false);
                    self.timers.insert((now + pod.grace, serial, Timer::Kill));
                }
                Timer::Kill => {
                    let _ = pod.signals.send(true);
                }
            }
        }
    }

    /// Writes what changed, for the control plane and for those who look.
    fn report(&mut self) {
        let statuses: Vec<_> = self.pods.iter().map(|pod| pod.status.clone()).collect();
        let text = documents(&statuses, &self.folder.config());
        if text != self.written {
            match write(&self.status_dir, &text) {
                Ok(()) => self.written = text,
                Err(error) => tracing::error!("status of the pods cannot be written: {error}"),
            }
        }
        let pods: Vec<_> = self.pods.iter().map(Pod::state).collect();
        let port = gateway_port(&self.folder.config());
        self.state.send_if_modified(|state| {
            let changed =
                state.pods != pods || state.problems != self.problems || state.gateway_port != port;
            if changed {
                state.read = true;
                state.pods = pods;
                state.problems.clone_from(&self.problems);
                state.gateway_port = port;
            }
            changed
        });
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Replaces the status in one step, so that no reader sees a part of it.
fn write(status_dir: &Path, text: &str) -> io::Result<()> {
    let temporary = status_dir.join(format!(".{STATUS_FILE}.tmp"));
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, status_dir.join(STATUS_FILE))
}

fn remove(file: &Path) -> io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
