//! Outlier detection by rates over an interval: success rate and failure percentage
//! (Envoy `DetectorImpl::processSuccessRateEjections`).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::outlier::Cause;
use crate::model::OutlierDetection;

/// Successes and totals of the interval under way, in one word: a request costs one addition, and the end of the
/// interval takes both at once. Exact up to four thousand million requests an interval.
#[derive(Debug, Default)]
pub(super) struct Tally(AtomicU64);

impl Tally {
    pub(super) fn add(&self, successes: u64, total: u64) {
        self.0.fetch_add(successes << 32 | total, Relaxed);
    }

    /// What was counted; the next interval begins.
    pub(super) fn take(&self) -> Option<Rate> {
        // An idle host has its cache line shared by all threads.
        if self.0.load(Relaxed) == 0 {
            return None;
        }
        let counted = self.0.swap(0, Relaxed);
        let (successes, total) = (counted >> 32, counted & u64::from(u32::MAX));
        (total > 0).then(|| Rate {
            success: successes as f64 * 100.0 / total as f64,
            volume: total,
        })
    }
}

/// What an interval says of one host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    /// Percent of the requests that succeeded.
    pub(super) success: f64,
    /// How many requests there were.
    pub(super) volume: u64,
}

impl Rate {
    /// Whether any of the two detectors looks at it.
    pub(super) fn counts(&self, config: &OutlierDetection) -> bool {
        let least = config
            .success_rate_request_volume
            .min(config.failure_percentage_request_volume);
        self.volume >= u64::from(least)
    }
}

/// Which errors a rate is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    External,
    Local,
}

impl Origin {
    /// Both, in Envoy's order, which is also that of what a host's monitor gives.
    pub(super) const ALL: [Self; 2] = [Self::External, Self::Local];
}

/// Whether a cluster of so many hosts is large enough for one of the detectors.
pub(super) fn is_large_enough(config: &OutlierDetection, hosts: usize) -> bool {
    let least = config
        .success_rate_minimum_hosts
        .min(config.failure_percentage_minimum_hosts);
    hosts >= least as usize
}

/// Who is an outlier, and why: indices into `rates`, which are those of the hosts that are not ejected. A host may be
/// there for both causes, and is then ejected twice, as in Envoy.
pub(super) fn outliers(
    config: &OutlierDetection,
    origin: Origin,
    rates: &[Rate],
) -> Vec<(usize, Cause)> {
    let (by_rate, by_percentage) = match origin {
        Origin::External => (Cause::SuccessRate, Cause::FailurePercentage),
        Origin::Local => (
            Cause::LocalOriginSuccessRate,
            Cause::LocalOriginFailurePercentage,
        ),
    };
    let of_volume = |least: u32| {
        let enough = move |(_, rate): &(usize, &Rate)| rate.volume >= u64::from(least);
        rates.iter().enumerate().filter(enough)
    };
    let mut found = Vec::new();
    let successes: Vec<(usize, f64)> = of_volume(config.success_rate_request_volume)
        .map(|(at, rate)| (at, rate.success))
        .collect();
    if !successes.is_empty() && successes.len() >= config.success_rate_minimum_hosts as usize {
        let threshold = success_rate_threshold(&successes, config.success_rate_stdev_factor);
        let below = successes.iter().filter(|(_, rate)| *rate < threshold);
        found.extend(below.map(|(at, _)| (*at, by_rate)));
    }
    let asked: Vec<(usize, &Rate)> = of_volume(config.failure_percentage_request_volume).collect();
    if !asked.is_empty() && asked.len() >= config.failure_percentage_minimum_hosts as usize {
        let threshold = f64::from(config.failure_percentage_threshold);
        let above = (asked.iter()).filter(|(_, rate)| 100.0 - rate.success >= threshold);
        found.extend(above.map(|(at, _)| (*at, by_percentage)));
    }
    found
}

/// So many standard deviations below the mean.
fn success_rate_threshold(rates: &[(usize, f64)], factor: u32) -> f64 {
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let squares = rates.iter().map(|(_, rate)| (rate - mean).powi(2));
    let deviation = (squares.sum::<f64>() / count).sqrt();
    mean - f64::from(factor) / 1000.0 * deviation
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(of: &[(f64, u64)]) -> Vec<Rate> {
        of.iter()
            .map(|&(success, volume)| Rate { success, volume })
            .collect()
    }

    #[test]
    fn a_tally_is_taken_once() {
        let tally = Tally::default();
        assert_eq!(tally.take(), None);
        tally.add(1, 1);
        tally.add(0, 1);
        tally.add(0, 1);
        tally.add(0, 1);
        let expected = Rate {
            success: 25.0,
            volume: 4,
        };
        assert_eq!(tally.take(), Some(expected));
        assert_eq!(tally.take(), None);
    }

    /// Envoy's own example: 50 and four times 100 have mean 90, deviation 20, threshold 52.
    #[test]
    fn the_threshold_is_envoys() {
        let rates = [50.0, 100.0, 100.0, 100.0, 100.0];
        let rates: Vec<_> = rates.into_iter().enumerate().collect();
        assert_eq!(success_rate_threshold(&rates, 1900), 52.0);
    }

    #[test]
    fn who_has_too_little_volume_neither_counts_nor_is_found() {
        let mut config = OutlierDetection {
            success_rate_minimum_hosts: 3,
            success_rate_request_volume: 10,
            ..OutlierDetection::default()
        };
        let found = |config: &OutlierDetection, of: &[(f64, u64)]| {
            outliers(config, Origin::External, &rates(of))
        };
        let good = [(100.0, 10), (100.0, 10), (100.0, 10), (100.0, 10)];
        let with = |bad: (f64, u64)| [&[bad][..], &good].concat();
        assert_eq!(found(&config, &with((50.0, 10))), [(0, Cause::SuccessRate)]);
        assert!(found(&config, &with((50.0, 9))).is_empty());
        config.success_rate_minimum_hosts = 6;
        assert!(found(&config, &with((50.0, 10))).is_empty());
        let local = outliers(&config, Origin::Local, &rates(&with((50.0, 10))));
        assert!(local.is_empty());
    }

    #[test]
    fn a_failure_percentage_counts_from_the_threshold_on() {
        let config = OutlierDetection {
            failure_percentage_minimum_hosts: 2,
            failure_percentage_request_volume: 4,
            failure_percentage_threshold: 75,
            ..OutlierDetection::default()
        };
        let rates = rates(&[(25.0, 4), (26.0, 4), (0.0, 3), (0.0, 400)]);
        for (origin, cause) in [
            (Origin::External, Cause::FailurePercentage),
            (Origin::Local, Cause::LocalOriginFailurePercentage),
        ] {
            let found = outliers(&config, origin, &rates);
            assert_eq!(found, [(0, cause), (3, cause)]);
        }
    }
}
