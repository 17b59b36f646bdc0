//! Requests that wait for a connection, first come, first served.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use mesh_core::outcome::ResetReason;
use tokio::sync::oneshot;

/// Why a wait ended without a connection.
#[derive(Clone, Debug)]
pub(crate) struct ConnectFailure {
    pub(crate) reason: ResetReason,
    pub(crate) detail: String,
}

/// A queue of waiting requests. The count tells whether anybody waits without taking the lock.
#[derive(Debug)]
pub(crate) struct Waiters<C> {
    count: AtomicUsize,
    queue: Mutex<VecDeque<oneshot::Sender<Result<C, ConnectFailure>>>>,
}

impl<C> Default for Waiters<C> {
    fn default() -> Self {
        Self {
            count: AtomicUsize::new(0),
            queue: Mutex::default(),
        }
    }
}

impl<C> Waiters<C> {
    pub(crate) fn wait(&self) -> oneshot::Receiver<Result<C, ConnectFailure>> {
        let (give, take) = oneshot::channel();
        let mut queue = self.lock();
        // Rather than grow, forget those that have gone; it has room then for as many again.
        if queue.len() == queue.capacity() {
            queue.retain(|waiter| !waiter.is_closed());
            let live = queue.len();
            queue.reserve(live + 1);
        }
        queue.push_back(give);
        self.count.store(queue.len(), Ordering::SeqCst);
        take
    }

    /// How many may be waiting; some may have gone away.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Gives a connection to the first that still waits, or back.
    pub(crate) fn give(&self, mut connection: C) -> Option<C> {
        while self.len() > 0 {
            let Some(waiter) = self.pop() else { break };
            match waiter.send(Ok(connection)) {
                Ok(()) => return None,
                Err(Ok(back)) => connection = back,
                Err(Err(_)) => unreachable!("a connection was sent"),
            }
        }
        Some(connection)
    }

    /// Fails all that wait: Envoy purges a pool's pending requests when one of its connections fails to be made.
    pub(crate) fn fail(&self, failure: &ConnectFailure) {
        let waiting = std::mem::take(&mut *self.lock());
        self.count.store(0, Ordering::SeqCst);
        for waiter in waiting {
            // Whoever stopped waiting does not care.
            let _ = waiter.send(Err(failure.clone()));
        }
    }

    fn pop(&self) -> Option<oneshot::Sender<Result<C, ConnectFailure>>> {
        let mut queue = self.lock();
        let waiter = queue.pop_front();
        self.count.store(queue.len(), Ordering::SeqCst);
        waiter
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<oneshot::Sender<Result<C, ConnectFailure>>>> {
        // Nothing that can panic runs under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_have_gone_are_forgotten() {
        let waiters = Waiters::<u8>::default();
        let mut stays = waiters.wait();
        for _ in 0..10_000 {
            drop(waiters.wait());
        }
        assert!(waiters.len() < 10, "{}", waiters.len());
        assert_eq!(waiters.give(7), None);
        assert_eq!(stays.try_recv().unwrap().unwrap(), 7);
    }
}
