//! Waits between attempts to open the stream.

use std::time::Duration;

use mesh_core::Entropy;

/// Exponential back-off with full jitter: the n-th wait is uniform in `0..min(base × 2ⁿ, max)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackOff {
    /// `retry_back_off.base_interval`; default 0.5 s.
    pub base: Duration,
    /// `retry_back_off.max_interval`; default 30 s.
    pub max: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(500),
            max: Duration::from_secs(30),
        }
    }
}

impl BackOff {
    /// Bounds of the waits; a maximum below the base counts as the base.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self {
            base,
            max: max.max(base),
        }
    }

    /// The wait before attempt `attempt` (0: the first repetition).
    pub(crate) fn wait(&self, attempt: u32, entropy: &mut dyn Entropy) -> Duration {
        let cap = self.base.saturating_mul(1 << attempt.min(20)).min(self.max);
        let micros = u64::try_from(cap.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(entropy.next_u64() % micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Largest;

    impl Entropy for Largest {
        fn next_u64(&mut self) -> u64 {
            u64::MAX
        }
    }

    struct Counting(u64);

    impl Entropy for Counting {
        fn next_u64(&mut self) -> u64 {
            self.0 += 7_919;
            self.0
        }
    }

    #[test]
    fn waits_stay_below_a_doubling_cap() {
        let back_off = BackOff::default();
        for (attempt, cap_ms) in [(0, 500), (1, 1_000), (3, 4_000), (6, 30_000), (90, 30_000)] {
            let mut entropy = Counting(attempt.into());
            for _ in 0..1_000 {
                assert!(back_off.wait(attempt, &mut entropy) < Duration::from_millis(cap_ms));
            }
        }
        assert!(back_off.wait(u32::MAX, &mut Largest) < Duration::from_secs(30));
    }

    #[test]
    fn a_maximum_below_the_base_is_the_base() {
        let back_off = BackOff::new(Duration::from_secs(2), Duration::from_secs(1));
        assert_eq!(back_off.max, Duration::from_secs(2));
        assert_eq!(
            BackOff::new(Duration::ZERO, Duration::ZERO).wait(0, &mut Largest),
            Duration::ZERO
        );
    }
}
