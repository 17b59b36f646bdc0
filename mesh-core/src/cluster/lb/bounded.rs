//! Consistent hashing with bounded loads, `hash_balance_factor` (Envoy `BoundedLoadHashingLoadBalancer`;
//! arXiv 1608.01350 and 1908.08762).

use std::sync::Arc;

use crate::cluster::endpoint::Endpoint;

/// `chosen`, unless it has more than its part of `active`, the requests in flight: then the first that has not, in an
/// order drawn by the hash; if all have too many, the one that exceeds the least.
pub(super) fn choose(
    hosts: &[(Arc<Endpoint>, f64)],
    chosen: usize,
    hash: u64,
    factor: u32,
    active: u32,
) -> usize {
    let slots = ((u64::from(active) + 1) * u64::from(factor)).div_ceil(100);
    let load = |at: usize| {
        let (endpoint, weight) = &hosts[at];
        let own = (slots as f64 * weight).ceil().max(1.0);
        f64::from(endpoint.active_requests()) / own
    };
    let of_chosen = load(chosen);
    match of_chosen <= 1.0 {
        true => chosen,
        false => another(hosts.len(), chosen, of_chosen, hash, load),
    }
}

#[cold]
fn another(
    hosts: usize,
    chosen: usize,
    of_chosen: f64,
    hash: u64,
    load: impl Fn(usize) -> f64,
) -> usize {
    let mut order: Vec<usize> = (0..hosts).collect();
    let mut random = MersenneTwister::new(hash as u32);
    let (mut best, mut least) = (chosen, of_chosen);
    for i in 0..hosts {
        let j = random.below((hosts - i) as u32) as usize;
        order.swap(i, i + j);
        let candidate = order[i];
        if candidate == chosen {
            continue;
        }
        let load = load(candidate);
        if load <= 1.0 {
            return candidate;
        }
        if load < least {
            (best, least) = (candidate, load);
        }
    }
    best
}

const STATE: usize = 624;

/// C++'s `std::mt19937`: Envoy's order of probing is its, seeded with the hash.
struct MersenneTwister {
    state: [u32; STATE],
    next: usize,
}

impl MersenneTwister {
    fn new(seed: u32) -> Self {
        let mut state = [seed; STATE];
        for at in 1..STATE {
            let last = state[at - 1];
            let mixed = (last ^ (last >> 30)).wrapping_mul(1_812_433_253);
            state[at] = mixed.wrapping_add(at as u32);
        }
        Self { state, next: STATE }
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == STATE {
            for at in 0..STATE {
                let joined =
                    (self.state[at] & 0x8000_0000) | (self.state[(at + 1) % STATE] & 0x7fff_ffff);
                let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[at] = self.state[(at + 397) % STATE] ^ (joined >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut value = self.state[self.next];
        self.next += 1;
        value ^= value >> 11;
        value ^= (value << 7) & 0x9d2c_5680;
        value ^= (value << 15) & 0xefc6_0000;
        value ^ (value >> 18)
    }

    /// Uniform in `0..count`.
    fn below(&mut self, count: u32) -> u32 {
        let width = (1_u64 << 32) / u64::from(count.max(1));
        loop {
            let value = u64::from(self.next_u32()) / width;
            if value < u64::from(count) {
                return value as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::endpoint::InFlight;

    /// The 10,000th number of the default seed is given by the C++ standard.
    #[test]
    fn numbers_are_those_of_the_standard() {
        let mut random = MersenneTwister::new(5489);
        let last = (0..10_000).map(|_| random.next_u32()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

    #[test]
    fn an_overloaded_endpoint_is_passed_over() {
        let hosts: Vec<_> = (1..=3)
            .map(|host| {
                (
                    Endpoint::detached(([127, 0, 0, host], 80).into()),
                    1.0 / 3.0,
                )
            })
            .collect();
        let busy = |at: usize, count: usize| -> Vec<InFlight> {
            (0..count)
                .map(|_| InFlight::new(Arc::clone(&hosts[at].0)))
                .collect()
        };
        // 3 in flight: 6 slots, 2 for each.
        let _first = busy(0, 2);
        assert_eq!(choose(&hosts, 0, 1, 150, 3), 0);
        let _second = busy(0, 1);
        let chosen: Vec<_> = (0..100)
            .map(|hash| choose(&hosts, 0, hash, 150, 3))
            .collect();
        assert!(!chosen.contains(&0) && chosen.contains(&1) && chosen.contains(&2));
        let _third = (busy(1, 5), busy(2, 4));
        assert!((0..100).all(|hash| choose(&hosts, 0, hash, 150, 3) == 0));
    }
}
