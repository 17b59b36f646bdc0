//! How far the request's body is, seen from the other side: the router's timers start when the request is complete.

use std::{
    cell::RefCell,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::Frame;
use mesh_core::filter::RequestBodyFilters;

use super::Tee;
use crate::clock::Moment;

/// Shared by a request's body (read by the transport) and its stream (the caller's future, then the response's body).
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// What filters do to the body on its way, until its end.
    filters: Option<Mutex<Option<RequestBodyFilters>>>,
    /// Its copies for mirrors.
    tee: Option<Box<Tee>>,
    ended: AtomicU64,
    active: AtomicU64,
    failed: AtomicBool,
    /// Bytes that left for the first attempt.
    bytes: AtomicU64,
    stream: AtomicWaker,
}

/// How many are kept per thread for reuse, so that a request with a body costs no allocation.
const KEPT: usize = 64;

thread_local! {
    static POOL: RefCell<Vec<Arc<Progress>>> = const { RefCell::new(Vec::new()) };
}

impl Progress {
    /// A new one, or one that nobody uses any more.
    pub(crate) fn new() -> Arc<Self> {
        POOL.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// The same for a body that filters see, or mirrors.
    pub(crate) fn watched(filters: Option<RequestBodyFilters>, tee: Option<Box<Tee>>) -> Arc<Self> {
        let mut progress = Self::new();
        if (filters.is_some() || tee.is_some())
            && let Some(own) = Arc::get_mut(&mut progress)
        {
            own.filters = filters.map(|filters| Mutex::new(Some(filters)));
            own.tee = tee;
        }
        progress
    }

    /// Whether more may be read of the body: no mirror is too far behind.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        match &self.tee {
            None => Poll::Ready(()),
            Some(tee) => tee.poll_room(cx),
        }
    }

    /// A frame leaves for the first attempt.
    pub(crate) fn pass(&self, frame: &mut Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        self.filter(frame);
        if let Some(tee) = &self.tee {
            tee.push(frame);
        }
    }

    fn filter(&self, frame: &mut Frame<Bytes>) {
        let Some(filters) = &self.filters else { return };
        let mut filters = filters.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(filters) = &mut *filters else { return };
        if let Some(trailers) = frame.trailers_mut() {
            filters.on_trailers(trailers);
        } else if let Some(data) = frame.data_ref() {
            filters.on_data(data);
        }
    }

    /// Gives it back, if the other side is gone.
    pub(crate) fn recycle(mut self: Arc<Self>) {
        let Some(own) = Arc::get_mut(&mut self) else {
            return;
        };
        *own = Self::default();
        // The thread may be ending: then it is dropped.
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut()
                && pool.len() < KEPT
            {
                pool.push(self);
            }
        });
    }

    /// The body ended now.
    pub(crate) fn end(&self) {
        if let Some(filters) = &self.filters {
            let ended = filters
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            drop(ended);
        }
        if let Some(tee) = &self.tee {
            tee.end();
        }
        self.ended.store(Moment::now().nanos(), Ordering::Release);
        self.stream.wake();
    }

    /// The body failed: the caller's fault, nobody else's.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// A frame passed.
    pub(crate) fn touch(&self) {
        self.active.store(Moment::now().nanos(), Ordering::Relaxed);
    }

    /// When the body ended.
    pub(crate) fn ended(&self) -> Option<Moment> {
        match self.ended.load(Ordering::Acquire) {
            0 => None,
            nanos => Some(Moment::from_nanos(nanos)),
        }
    }

    /// When the last frame passed.
    pub(crate) fn active(&self) -> Option<Moment> {
        match self.active.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Moment::from_nanos(nanos)),
        }
    }

    /// Bytes that left for the first attempt.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the body failed.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Who is to be woken when the body ends.
    pub(crate) fn register(&self, waker: &Waker) {
        self.stream.register(waker);
    }
}
