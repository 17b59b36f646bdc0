//! Ring hash, a weighted ketama (Envoy `ring_hash_lb.cc`).

use std::fmt::Write;

use super::consistent::WeightedHosts;
use crate::{
    hash::{murmur_hash_2, xx_hash},
    model::{HashFunction, RingHash},
};

/// Points on a circle of 64-bit numbers, each an endpoint's.
#[derive(Debug)]
pub(super) struct Ring {
    /// Ascending.
    points: Box<[u64]>,
    /// Whose point, by place among the hosts.
    hosts: Box<[u32]>,
}

impl Ring {
    /// As many points for every host as its weight asks for. How far points and weights have come is counted over all
    /// hosts, in their order.
    pub(super) fn new(config: &RingHash, hosts: &WeightedHosts) -> Self {
        let whole = (hosts.lightest * config.minimum_ring_size as f64).ceil() / hosts.lightest;
        let scale = whole.min(config.maximum_ring_size as f64);
        let hash = |key: &str| match config.hash_function {
            HashFunction::XxHash => xx_hash(key.as_bytes(), 0),
            HashFunction::MurmurHash2 => murmur_hash_2(key.as_bytes()),
        };
        let mut points: Vec<(u64, u32)> = Vec::new();
        let (mut made, mut due) = (0.0, 0.0);
        let mut key = String::new();
        for (host, (endpoint, weight)) in (0..).zip(&hosts.hosts) {
            key.clear();
            key.push_str(&config.hashing.key(endpoint));
            key.push('_');
            let start = key.len();
            due += scale * weight;
            let mut i = 0_u64;
            while made < due {
                key.truncate(start);
                // A text takes everything.
                let _ = write!(key, "{i}");
                points.push((hash(&key), host));
                i += 1;
                made += 1.0;
            }
        }
        points.sort_by_key(|(point, _)| *point);
        Self {
            points: points.iter().map(|(point, _)| *point).collect(),
            hosts: points.iter().map(|(_, host)| *host).collect(),
        }
    }

    /// The host of the first point at or after the hash, around the circle; each further attempt takes the next point.
    pub(super) fn choose(&self, hash: u64, attempt: u32) -> Option<u32> {
        let first = match self.points.partition_point(|point| *point < hash) {
            beyond if beyond == self.points.len() => 0,
            first => first,
        };
        let at = (first + attempt as usize).checked_rem(self.points.len())?;
        self.hosts.get(at).copied()
    }
}
