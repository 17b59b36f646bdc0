//! A body that several attempts read, kept up to a cap.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use mesh_core::filter::RequestBodyFilters;

use super::{BodyError, Progress, Tee, to_bytes};
use crate::error::BoxError;

/// Makes one [`Reader`] per attempt.
pub(crate) struct Replay<B> {
    shared: Arc<Mutex<Shared<B>>>,
}

/// What all attempts share. The lock is held while the caller's body is polled; only the attempt in force and one that
/// was superseded ever meet there.
struct Shared<B> {
    body: Option<Pin<Box<B>>>,
    progress: Arc<Progress>,
    size: SizeHint,
    /// What was read so far; empty once more than `cap` was, or once no retry can follow.
    frames: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    /// How many bytes were read.
    read: usize,
    /// How many of them came with the end of the stream, if that can be.
    passing: usize,
    cap: usize,
    can_replay: bool,
    /// The attempt in force; readers of earlier ones get an error.
    attempt: u32,
    /// Nobody reads, from the end of an attempt to the next.
    between: bool,
    /// The reader's task, to be woken when it is superseded: its connection would be held otherwise.
    waiting: Option<Waker>,
}

impl<B: Body> Replay<B> {
    pub(crate) fn new(body: B, cap: usize, progress: Arc<Progress>) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                size: body.size_hint(),
                body: Some(Box::pin(body)),
                progress,
                frames: Vec::new(),
                trailers: None,
                read: 0,
                passing: 0,
                cap,
                can_replay: true,
                attempt: 0,
                between: false,
                waiting: None,
            })),
        }
    }
}

impl<B> Replay<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// Reads what has arrived of the body, into what is kept, as far as nobody else reads it: after an attempt, so that
    /// a body that came in time counts as complete, or as too long, although no upstream took it. Supersedes the reader.
    pub(crate) fn read_arrived(&self, cx: &mut Context<'_>) {
        // Once: afterwards it is the caller itself who waits.
        if !lock(&self.shared).between {
            self.supersede();
        }
        let mut shared = lock(&self.shared);
        shared.between = true;
        let mut at = shared.frames.len();
        while shared.body.is_some()
            && shared.can_replay
            && let Poll::Ready(Some(Ok(_))) = shared.poll_source(&mut at, cx)
        {}
    }
}

impl<B> Replay<B> {
    /// A reader from the start; the one before reads an error from now on.
    pub(crate) fn reader(&self) -> Reader<B> {
        Reader {
            attempt: self.supersede(),
            shared: Arc::clone(&self.shared),
            at: 0,
        }
    }

    /// A reader from the start, beside those that read already: of a body that is here whole.
    pub(crate) fn reader_beside(&self) -> Reader<B> {
        Reader {
            attempt: lock(&self.shared).attempt,
            shared: Arc::clone(&self.shared),
            at: 0,
        }
    }

    /// Whoever reads now reads an error from now on. The number of the next attempt.
    fn supersede(&self) -> u32 {
        let mut shared = lock(&self.shared);
        shared.attempt += 1;
        shared.between = false;
        let (attempt, waiting) = (shared.attempt, shared.waiting.take());
        drop(shared);
        if let Some(waker) = waiting {
            waker.wake();
        }
        attempt
    }

    /// Whether everything that was read is still there.
    pub(crate) fn can_replay(&self) -> bool {
        lock(&self.shared).can_replay
    }

    /// No retry will follow: what was kept is dropped as far as the reader has passed it.
    pub(crate) fn release(&self) {
        lock(&self.shared).cap = 0;
    }
}

impl<B> fmt::Debug for Replay<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").finish_non_exhaustive()
    }
}

/// What came of reading a body to its end.
#[derive(Debug)]
pub(crate) enum Filled {
    /// It has so many bytes.
    Whole(u64),
    /// It is too long. Whether it was read to its end.
    TooLong(bool),
    /// The caller's body failed.
    Failed,
}

impl<B> Replay<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// Reads the body to its end before any attempt does, no more than so many bytes. `streamed`: its end comes with its
    /// last frame, as in HTTP/2; that frame may then be of any length, since Envoy does not hold it either.
    pub(crate) fn poll_fill(
        &self,
        max: usize,
        streamed: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Filled> {
        let mut shared = lock(&self.shared);
        let mut at = shared.frames.len();
        while shared.body.is_some() {
            let frame = ready!(shared.poll_source(&mut at, cx));
            if let Some(Err(_)) = frame {
                return Poll::Ready(Filled::Failed);
            }
            let data = frame.and_then(|frame| frame.ok()?.into_data().ok());
            if streamed && shared.body.is_none() {
                shared.passing = data.map_or(0, |data| data.len());
            }
            if shared.read - shared.passing > max {
                return Poll::Ready(Filled::TooLong(false));
            }
        }
        // An earlier filter may have kept more.
        if shared.read - shared.passing > max {
            return Poll::Ready(Filled::TooLong(true));
        }
        // The filter's limit is the router's too: what passed beyond it is not sent again.
        shared.can_replay = shared.read <= max;
        shared.size = match shared.trailers {
            None => SizeHint::with_exact(shared.read as u64),
            Some(_) => SizeHint::new(),
        };
        Poll::Ready(Filled::Whole(shared.read as u64))
    }
}

impl<B> Replay<B> {
    /// Lets filters see a body that was read before they could.
    pub(crate) fn pass(&self, mut filters: RequestBodyFilters) {
        let mut shared = lock(&self.shared);
        for frame in &shared.frames {
            filters.on_data(frame);
        }
        if let Some(trailers) = &mut shared.trailers {
            filters.on_trailers(trailers);
        }
    }
}

impl<B> Replay<B> {
    /// Copies a body that was read to its end before it could be mirrored.
    pub(crate) fn copy_to(&self, tee: &Tee) {
        let shared = lock(&self.shared);
        for frame in &shared.frames {
            tee.push(&Frame::data(frame.clone()));
        }
        if let Some(trailers) = &shared.trailers {
            tee.push(&Frame::trailers(trailers.clone()));
        }
        tee.end();
    }
}

/// One attempt's view of the body.
pub(crate) struct Reader<B> {
    shared: Arc<Mutex<Shared<B>>>,
    attempt: u32,
    /// The next frame; one past the last means trailers, beyond that the end.
    at: usize,
}

impl<B> Reader<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut shared = lock(&self.shared);
        if shared.attempt != self.attempt {
            let superseded = BodyError("superseded by a retry".into());
            return Poll::Ready(Some(Err(superseded)));
        }
        if let Some(kept) = shared.frames.get(self.at) {
            self.at += 1;
            return Poll::Ready(Some(Ok(Frame::data(kept.clone()))));
        }
        shared.poll_source(&mut self.at, cx)
    }
}

impl<B> Reader<B> {
    pub(crate) fn is_end_stream(&self) -> bool {
        let shared = lock(&self.shared);
        shared.attempt == self.attempt
            && shared.body.is_none()
            && self.at >= shared.frames.len()
            && (shared.trailers.is_none() || self.at > shared.frames.len())
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.at {
            0 => lock(&self.shared).size,
            _ => SizeHint::new(),
        }
    }
}

impl<B> Shared<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    fn poll_source(
        &mut self,
        at: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else {
            let trailers = (*at == self.frames.len())
                .then(|| self.trailers.clone())
                .flatten();
            *at = self.frames.len() + 1;
            return Poll::Ready(trailers.map(|t| Ok(Frame::trailers(t))));
        };
        if !self
            .waiting
            .as_ref()
            .is_some_and(|w| w.will_wake(cx.waker()))
        {
            self.waiting = Some(cx.waker().clone());
        }
        ready!(self.progress.poll_room(cx));
        let frame = ready!(body.as_mut().poll_frame(cx));
        let ended = frame.is_none() || body.is_end_stream();
        let mut frame = frame.map(|f| f.map(to_bytes).map_err(|e| BodyError(e.into())));
        match &mut frame {
            Some(Ok(frame)) => {
                self.progress.touch();
                self.progress.pass(frame);
                if let Some(data) = frame.data_ref() {
                    self.keep(data, at);
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.trailers = self.can_replay.then(|| trailers.clone());
                    *at = self.frames.len() + 1;
                }
            }
            Some(Err(_)) => {
                self.can_replay = false;
                self.progress.fail();
            }
            None => *at = self.frames.len() + 1,
        }
        if ended {
            self.body = None;
            self.waiting = None;
            self.progress.end();
        }
        Poll::Ready(frame)
    }
}

impl<B> Shared<B> {
    fn keep(&mut self, data: &Bytes, at: &mut usize) {
        self.read = self.read.saturating_add(data.len());
        if self.can_replay && self.read <= self.cap {
            self.frames.push(data.clone());
            *at = self.frames.len();
        } else {
            self.can_replay = false;
            self.frames = Vec::new();
            *at = 0;
        }
    }
}

fn lock<B>(shared: &Mutex<Shared<B>>) -> MutexGuard<'_, Shared<B>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::atomic::AtomicUsize, task::Wake};

    use super::*;

    /// Yields what it is given; `None` is "not yet".
    struct Scripted(Vec<Option<Frame<Bytes>>>);

    impl Body for Scripted {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.0.is_empty() {
                return Poll::Ready(None);
            }
            match self.0.remove(0) {
                Some(frame) => Poll::Ready(Some(Ok(frame))),
                None => Poll::Pending,
            }
        }
    }

    fn data(text: &'static str) -> Option<Frame<Bytes>> {
        Some(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    fn trailers() -> Option<Frame<Bytes>> {
        let mut map = HeaderMap::new();
        map.insert("x-t", http::HeaderValue::from_static("1"));
        Some(Frame::trailers(map))
    }

    fn replay(frames: Vec<Option<Frame<Bytes>>>, cap: usize) -> Replay<Scripted> {
        Replay::new(Scripted(frames), cap, Progress::new())
    }

    /// What a reader yields until it is pending or at its end.
    fn read(reader: &mut Reader<Scripted>) -> String {
        let mut cx = Context::from_waker(Waker::noop());
        let mut out = String::new();
        loop {
            match reader.poll_frame(&mut cx) {
                Poll::Pending => return out + "…",
                Poll::Ready(None) => return out + "|",
                Poll::Ready(Some(Err(e))) => return out + &format!("!{}", e.0),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => out += &String::from_utf8_lossy(&data),
                    Err(_) => out += "+t",
                },
            }
        }
    }

    #[test]
    fn a_second_attempt_reads_everything_again() {
        let body = replay(vec![data("ab"), data("cd"), trailers()], 100);
        assert_eq!(read(&mut body.reader()), "abcd+t|");
        assert!(body.can_replay());
        assert_eq!(read(&mut body.reader()), "abcd+t|");
    }

    #[test]
    fn an_attempt_in_the_middle_reads_what_was_read_and_goes_on() {
        let body = replay(vec![data("ab"), None, data("cd")], 100);
        assert_eq!(read(&mut body.reader()), "ab…");
        assert_eq!(read(&mut body.reader()), "abcd|");
        assert_eq!(read(&mut body.reader()), "abcd|");
    }

    #[test]
    fn beyond_the_cap_there_is_no_replay_and_the_stream_goes_on() {
        let body = replay(vec![data("ab"), data("cd"), data("ef"), trailers()], 3);
        let mut reader = body.reader();
        assert_eq!(read(&mut reader), "abcdef+t|");
        assert!(!body.can_replay());
    }

    #[test]
    fn after_release_nothing_more_is_kept() {
        let body = replay(vec![data("ab"), None, data("cd"), data("ef")], 100);
        let mut reader = body.reader();
        assert_eq!(read(&mut reader), "ab…");
        body.release();
        assert_eq!(read(&mut reader), "cdef|");
        assert!(!body.can_replay());
        assert!(lock(&body.shared).frames.is_empty());
    }

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[test]
    fn who_waits_for_a_retry_does_not_wake_itself() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        let body = replay(vec![None, None, None, data("ab")], 100);
        let mut first = body.reader();
        assert_eq!(read(&mut first), "…");
        body.read_arrived(&mut cx);
        body.read_arrived(&mut cx);
        assert_eq!(count.0.load(std::sync::atomic::Ordering::SeqCst), 0);
        assert_eq!(read(&mut first), "!superseded by a retry");
        let mut second = body.reader();
        assert_eq!(read(&mut second), "ab|");
        body.read_arrived(&mut cx);
        assert_eq!(read(&mut second), "!superseded by a retry");
    }

    #[test]
    fn a_superseded_reader_is_woken_and_reads_an_error() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let body = replay(vec![None, data("ab")], 100);
        let mut first = body.reader();
        assert!(
            first
                .poll_frame(&mut Context::from_waker(&waker))
                .is_pending()
        );
        let mut second = body.reader();
        assert_eq!(count.0.load(std::sync::atomic::Ordering::SeqCst), 1);
        assert_eq!(read(&mut first), "!superseded by a retry");
        assert_eq!(read(&mut second), "ab|");
    }
}
