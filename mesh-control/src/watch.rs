//! Tells when the files of a folder change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::folder::STATUS_FOLDER;

/// How long after an edit more of it may come (editors write in several steps).
const DEBOUNCE: Duration = Duration::from_millis(10);
/// How often modification times are compared, for file systems that report no events.
const POLL: Duration = Duration::from_millis(200);

/// What a file looked like: modification time and length.
type Stamps = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// A watch on a folder and its `.status`.
#[derive(Debug)]
pub(crate) struct Watch {
    dir: PathBuf,
    events: mpsc::UnboundedReceiver<()>,
    watcher: Option<RecommendedWatcher>,
    /// Whether `.status` is watched; it appears only with the local runner.
    status_watched: bool,
    stamps: Stamps,
    poll: tokio::time::Interval,
}

impl Watch {
    pub(crate) fn new(dir: PathBuf) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let tell = move |event: notify::Result<notify::Event>| {
            // reading the folder is an event too, which must not lead to reading it again
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = sender.send(());
            }
        };
        let mut watcher = notify::recommended_watcher(tell)
            .inspect_err(|error| tracing::warn!("no file events, polling instead: {error}"))
            .ok();
        if let Some(watcher) = &mut watcher
            && let Err(error) = watcher.watch(&dir, RecursiveMode::NonRecursive)
        {
            tracing::warn!(dir = %dir.display(), "no file events, polling instead: {error}");
        }
        let mut poll = tokio::time::interval_at(Instant::now() + POLL, POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stamps = stamps(&dir);
        Watch {
            dir,
            events,
            watcher,
            status_watched: false,
            stamps,
            poll,
        }
    }

    /// Resolves when something changed since the last call.
    pub(crate) async fn changed(&mut self) {
        self.watch_status();
        loop {
            tokio::select! {
                Some(()) = self.events.recv() => {
                    tokio::time::sleep(DEBOUNCE).await;
                    while self.events.try_recv().is_ok() {}
                    self.stamps = stamps(&self.dir);
                    return;
                }
                _ = self.poll.tick() => {
                    self.watch_status();
                    let now = stamps(&self.dir);
                    if now != self.stamps {
                        self.stamps = now;
                        return;
                    }
                }
            }
        }
    }

    fn watch_status(&mut self) {
        let status = self.dir.join(STATUS_FOLDER);
        let exists = status.is_dir();
        if exists && !self.status_watched {
            let watched = self
                .watcher
                .as_mut()
                .map(|w| w.watch(&status, RecursiveMode::NonRecursive));
            self.status_watched = matches!(watched, Some(Ok(())));
        } else if !exists {
            self.status_watched = false;
        }
    }
}

fn stamps(dir: &Path) -> Stamps {
    let mut stamps = Stamps::new();
    for folder in [dir.to_owned(), dir.join(STATUS_FOLDER)] {
        let Ok(entries) = std::fs::read_dir(folder) else {
            continue;
        };
        for entry in entries.flatten() {
            if let Ok(metadata) = entry.metadata()
                && metadata.is_file()
            {
                stamps.insert(entry.path(), (metadata.modified().ok(), metadata.len()));
            }
        }
    }
    stamps
}
