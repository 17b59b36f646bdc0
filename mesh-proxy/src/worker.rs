//! One thread per core, each with its own runtime, sockets, connections and pools.

use std::{
    collections::HashMap,
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use mesh_core::{listener::Listener, snapshot::Snapshot};
use mesh_tower::DataPlane;
use tokio::sync::{mpsc, watch};

use crate::listener::ListenerTask;

/// Which snapshot each worker serves: its sockets are bound.
#[derive(Clone, Debug)]
pub(crate) struct Bound(Arc<[AtomicU64]>);

impl Bound {
    pub(crate) fn new(concurrency: NonZeroUsize) -> Self {
        Self((0..concurrency.get()).map(|_| AtomicU64::new(0)).collect())
    }

    /// Whether all workers serve this snapshot or a later one.
    pub(crate) fn has(&self, version: u64) -> bool {
        let mut workers = self.0.iter();
        workers.all(|worker| worker.load(Ordering::Acquire) >= version)
    }

    fn set(&self, worker: usize, version: u64) {
        if let Some(worker) = self.0.get(worker) {
            worker.store(version, Ordering::Release);
        }
    }
}

/// All workers.
pub(crate) struct Workers {
    drain: watch::Sender<bool>,
    /// Each worker holds a sender until it has drained.
    done: mpsc::Receiver<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts the threads; they bind listeners as the data plane publishes them.
    pub(crate) fn start(
        plane: &DataPlane,
        concurrency: NonZeroUsize,
        bound: &Bound,
    ) -> io::Result<Self> {
        let (drain, draining) = watch::channel(false);
        let (running, done) = mpsc::channel(1);
        let mut threads = Vec::new();
        for n in 0..concurrency.get() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (plane, draining, running) = (plane.clone(), draining.clone(), running.clone());
            let bound = bound.clone();
            let thread = thread::Builder::new()
                .name(format!("worker-{n}"))
                .spawn(move || {
                    runtime.block_on(Worker::new(plane, n, bound).run(draining));
                    drop(running);
                })?;
            threads.push(thread);
        }
        Ok(Self {
            drain,
            done,
            threads,
        })
    }

    /// Stops accepting and asks connections to end; ready when all have.
    pub(crate) async fn drain(mut self) {
        self.drain.send_replace(true);
        // Ends with an error when the last worker has dropped its sender.
        let _ = self.done.recv().await;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One worker's listeners, by name.
struct Worker {
    plane: DataPlane,
    /// The first worker reports what happens to all of them.
    reports: bool,
    number: usize,
    bound: Bound,
    listeners: HashMap<Arc<str>, ListenerTask>,
}

impl Worker {
    fn new(plane: DataPlane, number: usize, bound: Bound) -> Self {
        Self {
            plane,
            reports: number == 0,
            number,
            bound,
            listeners: HashMap::new(),
        }
    }

    async fn run(mut self, mut draining: watch::Receiver<bool>) {
        let mut changes = self.plane.changes();
        loop {
            changes.borrow_and_update();
            let snapshot = self.plane.snapshot();
            self.reconcile(&snapshot);
            self.bound.set(self.number, snapshot.version());
            drop(snapshot);
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { break },
                _ = draining.wait_for(|drain| *drain) => break,
            }
        }
        let ends: Vec<_> = self
            .listeners
            .drain()
            .map(|(_, task)| task.drain())
            .collect();
        for end in ends {
            end.await;
        }
    }

    /// Binds what is new, keeps what stays at its address, drains what is gone.
    fn reconcile(&mut self, snapshot: &Snapshot) {
        let wanted: HashMap<&Arc<str>, &Arc<Listener>> = snapshot
            .listeners()
            .iter()
            .filter(|l| {
                l.config().bind_to_port
                    && l.config().api_listener.is_none()
                    && l.config().address.is_some()
            })
            .map(|l| (&l.config().name, l))
            .collect();
        let gone: Vec<Arc<str>> = self
            .listeners
            .iter()
            .filter(|(name, task)| wanted.get(name).is_none_or(|l| !task.serves(l.config())))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in gone {
            if let Some(task) = self.listeners.remove(&name) {
                if self.reports {
                    tracing::info!(listener = %name, "draining");
                }
                tokio::spawn(task.drain());
            }
        }
        for (name, listener) in wanted {
            if self.listeners.contains_key(name) {
                continue;
            }
            match ListenerTask::start(&self.plane, listener) {
                Ok(task) => {
                    if self.reports {
                        tracing::info!(listener = %name, address = ?listener.config().address, "listening");
                    }
                    self.listeners.insert(Arc::clone(name), task);
                }
                Err(e) => {
                    tracing::error!(listener = %name, "address {:?} cannot be bound: {e}", listener.config().address);
                }
            }
        }
    }
}
