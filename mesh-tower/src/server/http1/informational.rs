//! 1xx responses on their way from an upstream to the client that waits.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use http::{HeaderMap, StatusCode};

/// In a request's extensions: where informational responses to it go. One per request.
#[derive(Clone, Debug, Default)]
pub struct Informational(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    heads: Mutex<Vec<(StatusCode, HeaderMap)>>,
    waker: AtomicWaker,
}

impl Informational {
    /// Sends one on.
    pub(crate) fn push(&self, status: StatusCode, headers: HeaderMap) {
        let mut heads = self.0.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.push((status, headers));
        drop(heads);
        self.0.waker.wake();
    }

    /// Those that have come since.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Vec<(StatusCode, HeaderMap)>> {
        self.0.waker.register(cx.waker());
        let mut heads = self.0.heads.lock().unwrap_or_else(PoisonError::into_inner);
        match heads.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(std::mem::take(&mut *heads)),
        }
    }
}
