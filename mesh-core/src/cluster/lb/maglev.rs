//! Maglev (Envoy `maglev_lb.cc`; section 3.4 of the paper).

use super::consistent::WeightedHosts;
use crate::{hash::xx_hash, model};

/// A table of hosts: a hash's host is found in one step.
#[derive(Debug)]
pub(super) struct Maglev(Table);

/// Places among the hosts, as narrow as they fit: a table is as large for two hosts as for a thousand.
#[derive(Debug)]
enum Table {
    Narrow(Box<[u8]>),
    Wide(Box<[u32]>),
}

/// A host while the table is filled.
struct Filling {
    host: u32,
    weight: f64,
    /// What its weight times the round must reach for the next turn.
    target: f64,
    offset: u64,
    skip: u64,
    next: u64,
}

impl Maglev {
    /// Fills the table: in every round each host takes the next free place of its own permutation; one that weighs less
    /// than the heaviest sits out rounds.
    pub(super) fn new(config: &model::Maglev, hosts: &WeightedHosts) -> Self {
        if hosts.hosts.is_empty() {
            return Self(Table::Narrow(Box::default()));
        }
        let size = config.table_size.max(2);
        let mut filling: Vec<_> = (0..)
            .zip(&hosts.hosts)
            .map(|(host, (endpoint, weight))| {
                let key = config.hashing.key(endpoint);
                let filling = Filling {
                    host,
                    weight: *weight,
                    target: 0.0,
                    offset: xx_hash(key.as_bytes(), 0) % size,
                    skip: xx_hash(key.as_bytes(), 1) % (size - 1) + 1,
                    next: 0,
                };
                (key, filling)
            })
            .collect();
        filling.sort_by(|a, b| a.0.cmp(&b.0));
        const FREE: u32 = u32::MAX;
        let mut table = vec![FREE; usize::try_from(size).unwrap_or(usize::MAX)];
        let mut free = table.len();
        let mut round = 0.0;
        while free > 0 {
            round += 1.0;
            for (_, host) in &mut filling {
                if free == 0 {
                    break;
                }
                if round * host.weight < host.target {
                    continue;
                }
                host.target += hosts.heaviest;
                let place = loop {
                    let at = (host.offset + host.skip * host.next) % size;
                    host.next += 1;
                    let place = &mut table[at as usize];
                    if *place == FREE {
                        break place;
                    }
                };
                *place = host.host;
                free -= 1;
            }
        }
        Self(match hosts.hosts.len() <= 256 {
            true => Table::Narrow(table.iter().map(|host| *host as u8).collect()),
            false => Table::Wide(table.into()),
        })
    }

    /// The host of a hash; each further attempt changes most bits of the hash.
    pub(super) fn choose(&self, mut hash: u64, attempt: u32) -> Option<u32> {
        if attempt > 0 {
            hash ^= u64::from(attempt).wrapping_neg();
        }
        match &self.0 {
            Table::Narrow(table) => {
                let at = hash.checked_rem(table.len() as u64)?;
                table.get(at as usize).map(|host| u32::from(*host))
            }
            Table::Wide(table) => {
                let at = hash.checked_rem(table.len() as u64)?;
                table.get(at as usize).copied()
            }
        }
    }
}
