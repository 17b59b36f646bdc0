//! Closing connections that nobody uses (`common_http_protocol_options.idle_timeout`).

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::pool::Pool;

/// How exactly idle time is kept.
const TICK: Duration = Duration::from_secs(1);

/// A coarse clock, in ticks: reading it is one load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tick(Arc<AtomicU32>);

impl Tick {
    pub(crate) fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Watches the pools of all runtimes that a transport is used in: one task per runtime, ended with its last pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdleReaper {
    watched: Arc<Mutex<Vec<(tokio::runtime::Id, Watched)>>>,
    tick: Tick,
}

type Pools = Mutex<Vec<(Weak<Pool>, u32)>>;

type Watched = Weak<Pools>;

impl IdleReaper {
    pub(crate) fn tick(&self) -> &Tick {
        &self.tick
    }

    /// Watches a pool of the current runtime.
    pub(crate) fn watch(&self, pool: &Arc<Pool>, idle_timeout: Duration) {
        if idle_timeout.is_zero() {
            return;
        }
        let ticks = u32::try_from(idle_timeout.as_secs().max(1)).unwrap_or(u32::MAX);
        let entry = (Arc::downgrade(pool), ticks);
        let runtime = tokio::runtime::Handle::current();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|(_, pools)| pools.strong_count() > 0);
        let id = runtime.id();
        if let Some(pools) = watched
            .iter()
            .find_map(|(of, pools)| (*of == id).then(|| pools.upgrade()).flatten())
        {
            pools
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(entry);
            return;
        }
        let pools = Arc::new(Mutex::new(vec![entry]));
        watched.push((id, Arc::downgrade(&pools)));
        runtime.spawn(reap(pools, self.tick.clone()));
    }
}

async fn reap(pools: Arc<Pools>, tick: Tick) {
    loop {
        tokio::time::sleep(TICK).await;
        let now = tick.0.fetch_add(1, Ordering::Relaxed) + 1;
        let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|(pool, ticks)| {
            let Some(pool) = pool.upgrade() else {
                return false;
            };
            pool.close_idle(now.saturating_sub(*ticks));
            true
        });
        if pools.is_empty() {
            return;
        }
    }
}
