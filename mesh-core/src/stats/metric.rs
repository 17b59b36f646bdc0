//! Counters, gauges and histograms: relaxed atomics, one cache line per thread that writes.

use std::{
    cell::Cell,
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// How many threads write without sharing a cache line; more share by turns.
const SHARDS: usize = 8;

/// The shard of the calling thread.
#[inline]
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! { static SHARD: Cell<usize> = const { Cell::new(usize::MAX) } }
    SHARD.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Relaxed) % SHARDS);
        }
        mine.get() % SHARDS
    })
}

/// A value alone on its cache lines (two of 64 bytes: the hardware fetches pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// One value per shard, allocated at the first write: a counter that never counts costs two words.
struct Sharded<T>(OnceLock<Box<[Padded<T>; SHARDS]>>);

impl<T> Default for Sharded<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T: Default> Sharded<T> {
    #[inline]
    fn mine(&self) -> &T {
        &self.0.get_or_init(Box::default)[shard()].0
    }

    fn all(&self) -> impl Iterator<Item = &T> {
        self.0
            .get()
            .into_iter()
            .flat_map(|shards| shards.iter().map(|shard| &shard.0))
    }
}

/// A number that only grows. A write is one relaxed add on the thread's own cache line; only the first ever allocates.
#[derive(Default)]
pub struct Counter(Sharded<AtomicU64>);

impl Counter {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.mine().fetch_add(n, Relaxed);
    }

    /// The sum of all threads' writes so far.
    pub fn value(&self) -> u64 {
        self.0
            .all()
            .fold(0, |sum, shard| sum.wrapping_add(shard.load(Relaxed)))
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value())
    }
}

/// Counts on a [`Gauge`] while it lives.
#[derive(Debug)]
pub struct GaugeGuard<'a>(&'a Gauge);

impl Drop for GaugeGuard<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A number that goes up and down. The same cost as a [`Counter`].
#[derive(Default)]
pub struct Gauge(Sharded<AtomicI64>);

impl Gauge {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.0.mine().fetch_add(1, Relaxed);
    }

    /// Takes one away; on any thread.
    #[inline]
    pub fn dec(&self) {
        self.0.mine().fetch_sub(1, Relaxed);
    }

    /// Adds one until the guard is dropped.
    #[must_use]
    pub fn guard(&self) -> GaugeGuard<'_> {
        self.inc();
        GaugeGuard(self)
    }

    /// Sets the value. For gauges that are only ever set: an addition on another thread meanwhile may be lost.
    pub fn set(&self, value: u64) {
        self.0.mine();
        let mut value = i64::try_from(value).unwrap_or(i64::MAX);
        for shard in self.0.all() {
            shard.store(std::mem::take(&mut value), Relaxed);
        }
    }

    /// Whether it was ever written to.
    pub(crate) fn is_used(&self) -> bool {
        self.0.0.get().is_some()
    }

    /// The value; never below zero.
    pub fn value(&self) -> u64 {
        let sum = self
            .0
            .all()
            .fold(0_i64, |sum, shard| sum.wrapping_add(shard.load(Relaxed)));
        u64::try_from(sum).unwrap_or(0)
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value())
    }
}

/// Upper bounds of a [`Histogram`]'s buckets in microseconds; one more bucket takes what is above. In milliseconds they
/// are Envoy's default bounds (0.5, 1, 5, … 3,600,000).
pub(crate) const BOUNDS_MICROS: [u64; 19] = [
    500,
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// Durations by Envoy's default buckets, with their sum. Kept in microseconds (Envoy: whole milliseconds), shown in
/// milliseconds. A write is two relaxed adds on the thread's own cache lines; a thread's first write allocates.
#[derive(Default)]
pub struct Histogram {
    shards: [OnceLock<Box<Padded<Buckets>>>; SHARDS],
}

#[derive(Default)]
struct Buckets {
    counts: [AtomicU64; BUCKETS],
    sum_micros: AtomicU64,
}

/// A duration as histograms count it: its bucket is found once for all that count it.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    micros: u64,
    bucket: usize,
}

impl From<Duration> for Sample {
    #[inline]
    fn from(duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        Self { micros, bucket }
    }
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn record(&self, sample: impl Into<Sample>) {
        let Sample { micros, bucket } = sample.into();
        let mine = &self.shards[shard()].get_or_init(Box::default).0;
        mine.counts[bucket].fetch_add(1, Relaxed);
        mine.sum_micros.fetch_add(micros, Relaxed);
    }

    /// What was recorded so far.
    pub fn read(&self) -> HistogramValues {
        let mut values = HistogramValues::default();
        for shard in self.shards.iter().filter_map(OnceLock::get) {
            for (total, count) in values.counts.iter_mut().zip(&shard.0.counts) {
                *total = total.wrapping_add(count.load(Relaxed));
            }
            values.sum_micros = values
                .sum_micros
                .wrapping_add(shard.0.sum_micros.load(Relaxed));
        }
        values
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.read(), f)
    }
}

/// A [`Histogram`] read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramValues {
    counts: [u64; BUCKETS],
    sum_micros: u64,
}

impl HistogramValues {
    /// How many durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum in milliseconds.
    pub fn sum_millis(&self) -> f64 {
        self.sum_micros as f64 / 1000.0
    }

    /// Upper bound in milliseconds (the last one infinite) and the count up to it, for each bucket.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS_MICROS
            .iter()
            .map(|bound| *bound as f64 / 1000.0)
            .chain([f64::INFINITY]);
        let mut sum = 0;
        bounds.zip(self.counts).map(move |(bound, count)| {
            sum += count;
            (bound, sum)
        })
    }

    /// The quantile (0 to 1) in milliseconds, linear inside its bucket as PromQL's `histogram_quantile`; None: empty.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * total as f64;
        let (mut low, mut below) = (0.0, 0);
        for (bound, upto) in self.cumulative() {
            if upto > below && upto as f64 >= rank {
                if bound.is_infinite() {
                    return Some(low);
                }
                let inside = (rank - below as f64) / (upto - below) as f64;
                return Some(low + (bound - low) * inside);
            }
            (low, below) = (bound, upto);
        }
        Some(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_sums_what_all_threads_added() {
        let counter = Counter::default();
        assert_eq!(counter.value(), 0);
        std::thread::scope(|scope| {
            for _ in 0..SHARDS + 3 {
                scope.spawn(|| (0..1000).for_each(|_| counter.inc()));
            }
        });
        counter.add(5);
        assert_eq!(counter.value(), (SHARDS as u64 + 3) * 1000 + 5);
    }

    #[test]
    fn a_gauge_goes_down_on_another_thread_and_can_be_set() {
        let gauge = Gauge::default();
        gauge.inc();
        gauge.inc();
        std::thread::scope(|scope| {
            scope.spawn(|| gauge.dec());
        });
        assert_eq!(gauge.value(), 1);
        gauge.set(7);
        assert_eq!(gauge.value(), 7);
        std::thread::scope(|scope| {
            scope.spawn(|| gauge.set(3));
        });
        assert_eq!(gauge.value(), 3);
    }

    #[test]
    fn bounds_are_inclusive_and_the_last_bucket_takes_the_rest() {
        let histogram = Histogram::default();
        for micros in [0, 500, 501, 1_000, 4_000_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        let values = histogram.read();
        let cumulative: Vec<_> = values.cumulative().collect();
        assert_eq!(cumulative[0], (0.5, 2));
        assert_eq!(cumulative[1], (1.0, 4));
        assert_eq!(cumulative[18], (3_600_000.0, 4));
        assert_eq!(cumulative[19], (f64::INFINITY, 5));
        assert_eq!(values.count(), 5);
        assert_eq!(values.sum_millis(), 4_000_002.001);
    }

    #[test]
    fn a_quantile_is_linear_inside_its_bucket() {
        let histogram = Histogram::default();
        assert_eq!(histogram.read().quantile(0.5), None);
        for _ in 0..10 {
            histogram.record(Duration::from_millis(2));
        }
        assert_eq!(histogram.read().quantile(0.5), Some(3.0));
        assert_eq!(histogram.read().quantile(1.0), Some(5.0));
        histogram.record(Duration::from_secs(7200));
        assert_eq!(histogram.read().quantile(1.0), Some(3_600_000.0));
    }
}
