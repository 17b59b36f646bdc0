//! Copies of a request's body for its mirrors.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::BodyError;

/// Writes to the copies what passes to the upstream. Dropped before the body's end it breaks them off.
pub(crate) struct Tee {
    copies: Vec<Arc<Mutex<Copy>>>,
    /// So many bytes wait for a mirror; more are not read from the caller meanwhile, as in Envoy.
    limit: usize,
}

/// The body of one mirrored request.
pub(crate) struct MirrorBody(Arc<Mutex<Copy>>);

#[derive(Default)]
struct Copy {
    frames: VecDeque<Frame<Bytes>>,
    waiting: usize,
    ended: bool,
    broken: bool,
    /// Nobody reads any more.
    gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Tee {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            copies: Vec::new(),
            limit,
        }
    }

    /// One more copy.
    pub(crate) fn copy(&mut self) -> MirrorBody {
        let copy = Arc::<Mutex<Copy>>::default();
        self.copies.push(Arc::clone(&copy));
        MirrorBody(copy)
    }

    /// Whether more may be read: as long as no mirror is too far behind.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        for copy in &self.copies {
            let mut copy = lock(copy);
            if copy.waiting > self.limit && !copy.gone {
                copy.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// A frame passed.
    pub(super) fn push(&self, frame: &Frame<Bytes>) {
        for copy in &self.copies {
            let mut copy = lock(copy);
            if copy.gone {
                continue;
            }
            if let Some(data) = frame.data_ref() {
                copy.waiting += data.len();
                copy.frames.push_back(Frame::data(data.clone()));
            } else if let Some(trailers) = frame.trailers_ref() {
                copy.frames.push_back(Frame::trailers(trailers.clone()));
            }
            copy.wake_reader();
        }
    }

    /// The body has ended.
    pub(super) fn end(&self) {
        for copy in &self.copies {
            let mut copy = lock(copy);
            copy.ended = true;
            copy.wake_reader();
        }
    }
}

impl Copy {
    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        for copy in &self.copies {
            let mut copy = lock(copy);
            if !copy.ended {
                copy.broken = true;
                copy.wake_reader();
            }
        }
    }
}

impl fmt::Debug for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tee").finish_non_exhaustive()
    }
}

impl MirrorBody {
    /// Of a request without a body.
    pub(crate) fn empty() -> Self {
        let copy = Copy {
            ended: true,
            ..Copy::default()
        };
        Self(Arc::new(Mutex::new(copy)))
    }
}

impl Body for MirrorBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut copy = lock(&self.0);
        if let Some(frame) = copy.frames.pop_front() {
            copy.waiting -= frame.data_ref().map_or(0, Bytes::len);
            copy.wake_writer();
            return Poll::Ready(Some(Ok(frame)));
        }
        if copy.ended {
            return Poll::Ready(None);
        }
        if copy.broken {
            let gone = BodyError("the mirrored request was broken off".into());
            return Poll::Ready(Some(Err(gone)));
        }
        copy.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        let copy = lock(&self.0);
        copy.ended && copy.frames.is_empty()
    }
}

impl Drop for MirrorBody {
    fn drop(&mut self) {
        let mut copy = lock(&self.0);
        copy.gone = true;
        copy.frames.clear();
        copy.wake_writer();
    }
}

fn lock(copy: &Mutex<Copy>) -> MutexGuard<'_, Copy> {
    copy.lock().unwrap_or_else(PoisonError::into_inner)
}
