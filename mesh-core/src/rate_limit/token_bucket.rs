//! A token bucket without a lock (Envoy `AtomicTokenBucketImpl`): one atomic moment from which the bucket fills.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// What rounding may take of a token.
const ROUNDING: f64 = 1e-9;

/// The slowest bucket: a token a year.
const SLOWEST: f64 = 1.0 / (365.0 * 24.0 * 60.0 * 60.0);

/// `envoy.type.v3.TokenBucket`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucketConfig {
    /// `max_tokens`: how many it holds, and how many it starts with.
    pub max_tokens: u32,
    /// `tokens_per_fill`; default 1.
    pub tokens_per_fill: u32,
    /// `fill_interval`; at least 50 ms. Tokens come evenly, not at once.
    pub fill_interval: Duration,
}

/// A bucket that fills evenly. One compare-and-swap for each use.
#[derive(Debug)]
pub struct TokenBucket {
    max: f64,
    per_second: f64,
    /// The moment that others are counted from: the first use.
    began: OnceLock<Instant>,
    /// Seconds after `began` at which it was empty, had it filled ever since; an `f64`.
    empty_at: AtomicU64,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(config: TokenBucketConfig) -> Self {
        let max = f64::from(config.max_tokens);
        let per_second = f64::from(config.tokens_per_fill) / config.fill_interval.as_secs_f64();
        let per_second = per_second.max(SLOWEST);
        Self {
            max,
            per_second,
            began: OnceLock::new(),
            // A second earlier than that, lest rounding takes a part of the last token.
            empty_at: AtomicU64::new((-max / per_second - 1.0).to_bits()),
        }
    }

    fn seconds(&self, now: Instant) -> f64 {
        let began = *self.began.get_or_init(|| now);
        now.saturating_duration_since(began).as_secs_f64()
    }

    fn level(&self, now: f64, empty_at: f64) -> f64 {
        ((now - empty_at) * self.per_second).min(self.max)
    }

    /// Replaces the level by what `change` makes of it; None: nothing changes.
    fn change(&self, now: Instant, change: impl Fn(f64) -> Option<f64>) -> bool {
        let now = self.seconds(now);
        let update = self.empty_at.fetch_update(Relaxed, Relaxed, |bits| {
            let level = change(self.level(now, f64::from_bits(bits)))?;
            Some((now - level / self.per_second).to_bits())
        });
        update.is_ok()
    }

    /// Takes so many tokens; false: there are not enough, and none is taken. Nothing is never there to take, as in
    /// Envoy.
    pub fn consume(&self, tokens: u64, now: Instant) -> bool {
        let tokens = tokens as f64;
        tokens > 0.0
            && self.change(now, |level| {
                let left = level - tokens;
                (left >= -ROUNDING).then_some(left)
            })
    }

    /// Puts so many tokens back.
    pub fn refill(&self, tokens: u64, now: Instant) {
        self.change(now, |level| Some((level + tokens as f64).min(self.max)));
    }

    /// Tokens per second.
    pub fn fill_rate(&self) -> f64 {
        self.per_second
    }

    /// How many it holds.
    pub fn max_tokens(&self) -> u64 {
        self.max as u64
    }

    /// How many whole tokens there are.
    pub fn remaining(&self, now: Instant) -> u64 {
        self.tokens(now) as u64
    }

    fn tokens(&self, now: Instant) -> f64 {
        let now = self.seconds(now);
        self.level(now, f64::from_bits(self.empty_at.load(Relaxed)))
    }

    /// Whole seconds until there is a token, rounded down.
    pub fn reset_seconds(&self, now: Instant) -> u64 {
        let tokens = self.tokens(now);
        match tokens >= 1.0 {
            true => 0,
            false => ((1.0 - tokens) / self.per_second) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(max_tokens: u32, tokens_per_fill: u32, fill_interval: Duration) -> TokenBucket {
        TokenBucket::new(TokenBucketConfig {
            max_tokens,
            tokens_per_fill,
            fill_interval,
        })
    }

    #[test]
    fn starts_full_and_fills_evenly_up_to_its_size() {
        let bucket = bucket(2, 1, Duration::from_secs(10));
        let start = Instant::now();
        let after = |seconds: f64| start + Duration::from_secs_f64(seconds);
        assert_eq!(bucket.remaining(start), 2);
        assert!(bucket.consume(1, start) && bucket.consume(1, start));
        assert!(!bucket.consume(1, start));
        assert_eq!(bucket.reset_seconds(after(0.5)), 9);
        assert!(!bucket.consume(1, after(9.9)));
        assert!(bucket.consume(1, after(10.1)));
        assert_eq!(bucket.remaining(after(1000.0)), 2);
        assert_eq!(bucket.reset_seconds(after(1000.0)), 0);
        assert!(!bucket.consume(3, after(1000.0)) && bucket.consume(2, after(1000.0)));
        bucket.refill(5, after(1000.0));
        assert_eq!(bucket.remaining(after(1000.0)), 2);
        assert!(!bucket.consume(0, after(1000.0)));
    }

    #[test]
    fn threads_take_no_token_twice() {
        let bucket = bucket(1000, 1, Duration::from_secs(3600));
        let now = Instant::now();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..500).filter(|_| bucket.consume(1, now)).count()))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }

    #[test]
    fn a_bucket_of_nothing_is_always_empty() {
        let bucket = bucket(0, 1, Duration::from_millis(50));
        let now = Instant::now();
        assert!(!bucket.consume(1, now));
        assert!(!bucket.consume(1, now + Duration::from_secs(60)));
    }
}
