//! The streams of one HTTP connection: since when it has had none, and whether its client only opens and resets them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// From how many streams on resets are held against a client (Envoy `overload.premature_reset_total_stream_count`).
const PREMATURE_RESETS: u64 = 500;
/// How long a stream may be for its reset to count (`overload.premature_reset_min_stream_lifetime_seconds`: whole seconds,
/// more than one).
const PREMATURE: Duration = Duration::from_secs(2);

/// Shared by a connection and its open streams.
#[derive(Debug)]
pub(crate) struct Streams {
    began: Instant,
    open: AtomicU64,
    /// When the last one ended, in nanoseconds since the connection began.
    ended: AtomicU64,
    closed: AtomicU64,
    reset_early: AtomicU64,
    too_many: Notify,
}

/// A stream: open until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenStream {
    streams: Arc<Streams>,
    began: Duration,
    answered: AtomicBool,
}

impl Streams {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            open: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            reset_early: AtomicU64::new(0),
            too_many: Notify::new(),
        })
    }

    pub(crate) fn open(self: &Arc<Self>) -> OpenStream {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenStream {
            streams: Arc::clone(self),
            began: self.began.elapsed(),
            answered: AtomicBool::new(false),
        }
    }

    /// Ready once there has been no stream for a whole `timeout`; zero: never.
    pub(crate) async fn idle(&self, timeout: Duration) {
        if timeout.is_zero() {
            return std::future::pending().await;
        }
        let mut look = self.began + timeout;
        loop {
            tokio::time::sleep_until(look).await;
            // Whatever is open now ends later than now.
            let idle_since = match self.open.load(Ordering::Relaxed) {
                0 => self.began + Duration::from_nanos(self.ended.load(Ordering::Relaxed)),
                _ => look,
            };
            if idle_since + timeout <= look {
                return;
            }
            look = idle_since + timeout;
        }
    }

    /// Ready once too many streams were reset before they were answered (Envoy
    /// `ConnectionManagerImpl::maybeDrainDueToPrematureResets`).
    pub(crate) async fn too_many_resets(&self) {
        self.too_many.notified().await;
    }
}

impl OpenStream {
    /// It has a response.
    pub(crate) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let streams = &self.streams;
        let now = streams.began.elapsed();
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        streams.ended.store(nanos, Ordering::Relaxed);
        streams.open.fetch_sub(1, Ordering::Relaxed);
        let closed = streams.closed.fetch_add(1, Ordering::Relaxed) + 1;
        if self.answered.load(Ordering::Relaxed) || now - self.began >= PREMATURE {
            return;
        }
        let early = streams.reset_early.fetch_add(1, Ordering::Relaxed) + 1;
        // Half of all; or of those that would be all, were each further one a good one.
        if early * 2 >= closed.max(PREMATURE_RESETS) {
            streams.too_many.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(4);

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_stream_is_not_idle() {
        let streams = Streams::new();
        let start = Instant::now();
        let busy = async {
            advance(Duration::from_secs(1)).await;
            let stream = streams.open();
            advance(Duration::from_secs(20)).await;
            drop(stream);
        };
        tokio::join!(streams.idle(TIMEOUT), busy);
        let idle = start.elapsed();
        let exactly = Duration::from_secs(1 + 20 + 4);
        assert!(
            (exactly..exactly + Duration::from_millis(10)).contains(&idle),
            "{idle:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_idle_from_its_start() {
        let streams = Streams::new();
        let start = Instant::now();
        streams.idle(TIMEOUT).await;
        assert!(start.elapsed() < TIMEOUT + Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_only_resets_is_told_from_others() {
        for (resets, answers, is_bad) in [(249, 0, false), (250, 0, true), (300, 400, false)] {
            let streams = Streams::new();
            for _ in 0..answers {
                streams.open().answered();
            }
            for _ in 0..resets {
                drop(streams.open());
            }
            let told = tokio::time::timeout(Duration::from_secs(1), streams.too_many_resets());
            assert_eq!(
                told.await.is_ok(),
                is_bad,
                "{resets} of {}",
                resets + answers
            );
        }
        // Those that were open for long are no attack.
        let streams = Streams::new();
        let long: Vec<_> = (0..300).map(|_| streams.open()).collect();
        advance(PREMATURE).await;
        drop(long);
        let told = tokio::time::timeout(Duration::from_secs(1), streams.too_many_resets());
        assert!(told.await.is_err());
    }
}
