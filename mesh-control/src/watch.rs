//! Tells when the files of a folder change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::folder::STATUS_FOLDER;

/// How long after an edit more of it may come (editors write in several steps).
const DEBOUNCE: Duration = Duration::from_millis(10);
/// How long a file that is being written is waited for: most programs empty it first, and what is read before they
/// close it would be a part.
const WRITING: Duration = Duration::from_millis(200);
/// How often modification times are compared, for file systems that report no events.
const POLL: Duration = Duration::from_millis(200);

/// What a file looked like: modification time and length.
type Stamps = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// A watch on a folder and its `.status`.
#[derive(Debug)]
pub(crate) struct Watch {
    dir: PathBuf,
    events: mpsc::UnboundedReceiver<Event>,
    /// Files that were changed and not closed yet.
    open: BTreeSet<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    /// Whether `.status` is watched; it appears only with the local runner.
    status_watched: bool,
    stamps: Stamps,
    poll: tokio::time::Interval,
}

impl Watch {
    pub(crate) fn new(dir: PathBuf) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let tell = move |event: notify::Result<Event>| {
            // reading the folder is an event too, which must not lead to reading it again
            if let Ok(event) = event
                && (!event.kind.is_access() || is_close(&event.kind))
            {
                let _ = sender.send(event);
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
            open: BTreeSet::new(),
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
                Some(event) = self.events.recv() => {
                    self.note(&event);
                    self.settle().await;
                    return;
                }
                _ = self.poll.tick() => {
                    self.watch_status();
                    if stamps(&self.dir) != self.stamps {
                        self.settle().await;
                        return;
                    }
                }
            }
        }
    }

    /// Waits until no file is half written, as far as that can be known.
    async fn settle(&mut self) {
        let limit = Instant::now() + WRITING;
        tokio::time::sleep(DEBOUNCE).await;
        while let Ok(event) = self.events.try_recv() {
            self.note(&event);
        }
        while !self.open.is_empty() {
            match tokio::time::timeout_at(limit, self.events.recv()).await {
                Ok(Some(event)) => self.note(&event),
                _ => self.open.clear(),
            }
        }
        self.stamps = stamps(&self.dir);
    }

    fn note(&mut self, event: &Event) {
        let is_written = matches!(
            event.kind,
            EventKind::Create(CreateKind::File | CreateKind::Any)
                | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any)
        );
        for path in &event.paths {
            if is_written {
                self.open.insert(path.clone());
            } else if !matches!(event.kind, EventKind::Modify(ModifyKind::Metadata(_))) {
                // closed, renamed or removed
                self.open.remove(path);
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

fn is_close(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
    )
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::task::Poll;

    use super::*;

    /// Polls once.
    async fn is_done(mut future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
    }

    /// On other systems closing a file is no event.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_file_is_read_when_its_writer_closed_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        std::fs::write(&path, "old: text").unwrap();
        let mut watch = Watch::new(dir.path().to_owned());
        // emptied, and written only once the watch has heard of it and waited for a while
        let mut file = std::fs::File::create(&path).unwrap();
        while watch.open.is_empty() {
            let event = watch.events.recv().await.unwrap();
            watch.note(&event);
        }
        tokio::time::pause();
        let mut settled = std::pin::pin!(watch.settle());
        assert!(!is_done(settled.as_mut()).await);
        tokio::time::advance(2 * DEBOUNCE).await;
        assert!(!is_done(settled.as_mut()).await, "the file is still open");
        tokio::time::resume();
        file.write_all(b"new: text").unwrap();
        drop(file);
        settled.await;
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "new: text");
    }

    #[tokio::test]
    async fn a_writer_that_never_closes_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(dir.path().to_owned());
        let _open = std::fs::File::create(dir.path().join("a.yaml")).unwrap();
        watch.changed().await;
    }
}
