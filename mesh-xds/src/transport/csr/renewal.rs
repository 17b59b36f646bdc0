//! When to ask again.

use std::time::{Duration, SystemTime};

use super::Identity;

/// Renewed once this much of the lifetime is left (Istio's `SECRET_GRACE_PERIOD_RATIO`).
const GRACE_RATIO: f64 = 0.5;
/// More or less, so that workloads that started together do not ask together (`SECRET_GRACE_PERIOD_RATIO_JITTER`; Istio
/// takes 0.01).
const JITTER: f64 = 0.05;
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);
/// Nobody is asked more often, however short lifetimes are.
const SHORTEST: Duration = Duration::from_millis(100);

/// After how long a certificate is renewed.
pub(super) fn after(identity: &Identity, now: SystemTime, random: u64) -> Duration {
    // not from when it is valid: authorities set that back, because clocks differ
    of_span(identity.received(), identity.validity().1, now, random)
}

fn of_span(from: SystemTime, to: SystemTime, now: SystemTime, random: u64) -> Duration {
    let life = to.duration_since(from).unwrap_or_default();
    let ratio = GRACE_RATIO + JITTER * (2.0 * fraction(random) - 1.0);
    let at = from + life.mul_f64(1.0 - ratio);
    at.duration_since(now).unwrap_or_default().max(SHORTEST)
}

/// After how long to try again after so many failures in a row: doubled each time, with full jitter above half.
pub(super) fn back_off(failures: u32, random: u64) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    let longest = FIRST_BACK_OFF.saturating_mul(doubled).min(LONGEST_BACK_OFF);
    longest.mul_f64(0.5 + 0.5 * fraction(random))
}

/// In [0, 1).
fn fraction(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_lifetime_is_left_when_it_is_renewed() {
        let from = SystemTime::UNIX_EPOCH;
        let to = from + Duration::from_secs(1_000);
        let at = |now: u64, random| of_span(from, to, from + Duration::from_secs(now), random);
        assert_eq!(at(0, 1 << 63), Duration::from_secs(500));
        assert_eq!(at(0, 0), Duration::from_secs(550));
        assert!(at(0, u64::MAX) >= Duration::from_secs(449));
        assert_eq!(at(100, 1 << 63), Duration::from_secs(400));
        assert_eq!(at(900, 0), SHORTEST);
    }

    #[test]
    fn failures_wait_longer_each_time_but_never_long() {
        assert_eq!(back_off(1, 0), Duration::from_millis(500));
        assert_eq!(back_off(3, 0), Duration::from_secs(2));
        for failures in [7, 32, u32::MAX] {
            assert!(back_off(failures, u64::MAX) <= LONGEST_BACK_OFF);
            assert!(back_off(failures, 0) >= LONGEST_BACK_OFF / 2);
        }
    }
}
