//! How long to wait before a retry (Envoy `source/common/common/backoff_strategy.cc`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;

use crate::{
    Entropy,
    model::{RateLimitedBackOff, RetryPolicy},
};

/// `retry_back_off.base_interval` where there is no policy.
const DEFAULT_BASE: Duration = Duration::from_millis(25);

/// Exponential back-off with full jitter: the wait is uniform between zero and an interval that doubles up to a
/// maximum.
#[derive(Clone, Copy, Debug)]
pub(super) struct BackOff {
    /// In milliseconds, at least 1.
    next: u64,
    max: u64,
}

impl BackOff {
    pub(super) fn new(policy: Option<&RetryPolicy>) -> Self {
        let (base, max) = match policy {
            Some(policy) => (policy.base_interval, policy.max_interval),
            None => (DEFAULT_BASE, DEFAULT_BASE * 10),
        };
        let next = millis(base).max(1);
        Self {
            next,
            max: millis(max).max(next),
        }
    }

    /// The wait before the next retry.
    pub(super) fn next(&mut self, entropy: &mut dyn Entropy) -> Duration {
        let interval = self.next;
        self.next = match interval < self.max / 2 {
            true => interval * 2,
            false => self.max,
        };
        Duration::from_millis(entropy.next_u64() % interval)
    }
}

/// The wait that a response asks for by one of the policy's reset headers: at least as long as it says, at most half
/// of that longer. None: no header says anything usable. `clock` is read only for a time stamp.
pub(super) fn rate_limited(
    policy: &RateLimitedBackOff,
    headers: &HeaderMap,
    clock: Option<fn() -> SystemTime>,
    entropy: &mut dyn Entropy,
) -> Option<Duration> {
    let asked = policy.reset_headers.iter().find_map(|(name, is_time)| {
        let seconds: u64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
        let seconds = match is_time {
            false => seconds,
            true => {
                let now = clock?().duration_since(UNIX_EPOCH).ok()?.as_secs();
                seconds.checked_sub(now)?
            }
        };
        let asked = Duration::from_secs(seconds);
        (asked <= policy.max_interval).then_some(asked)
    })?;
    let asked = Some(millis(asked)).filter(|asked| *asked > 1)?;
    Some(Duration::from_millis(
        asked + entropy.next_u64() % (asked / 2).max(1),
    ))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    struct Fixed(u64);

    impl Entropy for Fixed {
        fn next_u64(&mut self) -> u64 {
            self.0
        }
    }

    /// The exclusive upper ends of the waits: with a random number one below an interval the wait is that interval
    /// less one.
    fn intervals(base: u64, max: u64, count: usize) -> Vec<u64> {
        let policy = RetryPolicy {
            base_interval: Duration::from_millis(base),
            max_interval: Duration::from_millis(max),
            ..Default::default()
        };
        let mut back_off = BackOff::new(Some(&policy));
        (0..count)
            .map(|_| {
                let interval = back_off.next;
                let wait = back_off.next(&mut Fixed(interval - 1));
                assert_eq!(wait, Duration::from_millis(interval - 1));
                interval
            })
            .collect()
    }

    #[test]
    fn intervals_double_up_to_the_maximum() {
        assert_eq!(intervals(25, 250, 6), [25, 50, 100, 200, 250, 250]);
        assert_eq!(intervals(0, 0, 3), [1, 1, 1]);
        assert_eq!(intervals(100, 10, 2), [100, 100]);
        assert_eq!(intervals(1, u64::MAX, 3), [1, 2, 4]);
        let mut without_policy = BackOff::new(None);
        assert_eq!((without_policy.next, without_policy.max), (25, 250));
        assert_eq!(
            without_policy.next(&mut Fixed(26)),
            Duration::from_millis(1)
        );
    }

    #[test]
    fn reset_headers() {
        let policy = RateLimitedBackOff {
            reset_headers: vec![
                (HeaderName::from_static("retry-after"), false),
                (HeaderName::from_static("x-reset"), true),
            ],
            max_interval: Duration::from_secs(300),
        };
        let clock: fn() -> SystemTime = || UNIX_EPOCH + Duration::from_secs(1_000);
        type Headers = &'static [(&'static str, &'static str)];
        let cases: [(Headers, Option<u64>); 10] = [
            (&[("retry-after", "2")], Some(2_999)),
            (&[("x-reset", "1010")], Some(14_999)),
            (&[("x-reset", "1000")], None),
            (&[("x-reset", "7")], None),
            (&[("retry-after", "0")], None),
            (&[("retry-after", "301")], None),
            (&[("retry-after", "0"), ("x-reset", "1001")], None),
            (&[("retry-after", "301"), ("x-reset", "1001")], Some(1_499)),
            (&[("retry-after", "soon")], None),
            (&[], None),
        ];
        for (headers, expected) in cases {
            let headers: HeaderMap = headers
                .iter()
                .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
                .collect();
            let random = expected.map_or(0, |most| (most + 1) / 3 - 1);
            let wait = rate_limited(&policy, &headers, Some(clock), &mut Fixed(random));
            assert_eq!(wait, expected.map(Duration::from_millis), "{headers:?}");
        }
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("x-reset"),
            HeaderValue::from_static("1010"),
        )]);
        assert_eq!(rate_limited(&policy, &headers, None, &mut Fixed(0)), None);
    }
}
