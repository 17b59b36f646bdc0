//! Telling that nothing happens any more.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Ready once a counter of what happens has stood still for a whole `timeout`; zero: never.
pub(crate) async fn idle(passed: &AtomicU64, timeout: Duration) {
    if timeout.is_zero() {
        return std::future::pending().await;
    }
    let mut before = None;
    loop {
        let now = passed.load(Ordering::Relaxed);
        if before == Some(now) {
            return;
        }
        before = Some(now);
        tokio::time::sleep(timeout).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_happens_puts_the_end_off() {
        let counter = AtomicU64::new(0);
        let start = Instant::now();
        let busy = async {
            for _ in 0..5 {
                advance(Duration::from_secs(3)).await;
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        tokio::join!(idle(&counter, Duration::from_secs(4)), busy);
        assert!(
            start.elapsed() >= Duration::from_secs(15 + 4),
            "{:?}",
            start.elapsed()
        );
    }
}
