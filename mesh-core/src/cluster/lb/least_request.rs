//! Least request (Envoy `LeastRequestLoadBalancer`): the best of a few random samples where weights are equal, a
//! schedule with weights lowered by the requests in flight where they differ.

use std::sync::Arc;

use crate::{Entropy, cluster::endpoint::Endpoint};

/// The first of `choices` samples, drawn with replacement, unless a later one has fewer requests in flight.
pub(super) fn pick<'a>(
    endpoints: &'a [Arc<Endpoint>],
    choices: u32,
    entropy: &mut dyn Entropy,
) -> Option<&'a Arc<Endpoint>> {
    let len = endpoints.len() as u64;
    let mut sample = || endpoints.get(entropy.next_u64().checked_rem(len)? as usize);
    let mut best = sample()?;
    let mut fewest = best.active_requests();
    for _ in 1..choices {
        let other = sample()?;
        let active = other.active_requests();
        if active < fewest {
            (best, fewest) = (other, active);
        }
    }
    Some(best)
}

/// One of those with the fewest requests in flight, each as likely.
#[inline(never)]
pub(super) fn scan<'a>(
    endpoints: &'a [Arc<Endpoint>],
    entropy: &mut dyn Entropy,
) -> Option<&'a Arc<Endpoint>> {
    let mut best: Option<(&Arc<Endpoint>, u32)> = None;
    let mut tied = 1;
    for endpoint in endpoints {
        let active = endpoint.active_requests();
        best = match best {
            Some((_, fewest)) if active == fewest => {
                tied += 1;
                match entropy.next_u64() % tied {
                    0 => Some((endpoint, active)),
                    _ => best,
                }
            }
            Some((_, fewest)) if active > fewest => best,
            _ => {
                tied = 1;
                Some((endpoint, active))
            }
        };
    }
    best.map(|(endpoint, _)| endpoint)
}

/// `weight / (active + 1) ^ bias`.
pub(super) fn weight(weight: f64, active: u32, bias: f64) -> f64 {
    let load = f64::from(active) + 1.0;
    if bias == 0.0 {
        weight
    } else if bias == 1.0 {
        weight / load
    } else {
        weight / load.powf(bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::endpoint::InFlight;

    struct Script(Vec<u64>);

    impl Entropy for Script {
        fn next_u64(&mut self) -> u64 {
            self.0.remove(0)
        }
    }

    #[test]
    fn takes_the_first_sample_unless_a_later_one_has_strictly_fewer() {
        let endpoints: Vec<_> = (1..=3)
            .map(|host| Endpoint::detached(([127, 0, 0, host], 80).into()))
            .collect();
        let _busy = [0, 0, 2].map(|at: usize| InFlight::new(Arc::clone(&endpoints[at])));
        // Active requests: 2, 0, 1.
        let cases: [(u32, &[u64], usize); 5] = [
            (2, &[0, 1], 1),
            (2, &[1, 0], 1),
            (2, &[0, 3], 0),
            (3, &[0, 2, 1], 1),
            (1, &[0], 0),
        ];
        for (choices, samples, expected) in cases {
            let picked = pick(&endpoints, choices, &mut Script(samples.to_vec())).unwrap();
            assert!(Arc::ptr_eq(picked, &endpoints[expected]), "{samples:?}");
        }
    }

    #[test]
    fn a_scan_takes_any_of_those_with_the_fewest() {
        let endpoints: Vec<_> = (1..=4)
            .map(|host| Endpoint::detached(([127, 0, 0, host], 80).into()))
            .collect();
        let _busy = [0, 0, 1, 2, 3].map(|at: usize| InFlight::new(Arc::clone(&endpoints[at])));
        // Asked at the second and third of the three that are tied.
        for (samples, expected) in [([1, 1], 1), ([2, 1], 2), ([1, 0], 3), ([0, 3], 3)] {
            let picked = scan(&endpoints, &mut Script(samples.to_vec())).unwrap();
            assert!(Arc::ptr_eq(picked, &endpoints[expected]), "{samples:?}");
        }
    }

    #[test]
    fn the_bias_is_the_exponent_of_the_load() {
        assert_eq!(weight(8.0, 3, 1.0), 2.0);
        assert_eq!(weight(8.0, 3, 0.0), 8.0);
        assert_eq!(weight(8.0, 3, 0.5), 4.0);
        assert_eq!(weight(8.0, 0, 2.0), 8.0);
    }
}
