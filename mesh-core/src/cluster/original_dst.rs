//! Endpoints made on demand for the addresses that connections wanted (Envoy `original_dst_cluster.cc`).

use std::{
    collections::HashMap,
    hash::BuildHasher,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::endpoint::Endpoint;

/// Independent maps, so that adding an address copies little.
const SHARDS: usize = 16;

/// Addresses kept in each shard: 1,024 in all.
const CAPACITY: usize = 64;

/// One endpoint for each address lately used, so that breakers and outlier detection work on them. Bounded: beyond
/// the capacity an endpoint that nobody uses makes room; if all are in use, the new one is not kept.
///
/// Reading takes no lock and allocates nothing; a new address copies one shard.
#[derive(Debug, Default)]
pub(super) struct OriginalDestinations([Shard; SHARDS]);

#[derive(Debug, Default)]
struct Shard {
    hosts: ArcSwap<Hosts>,
    /// Held while the map is replaced.
    writing: Mutex<()>,
}

type Hosts = FxHashMap<SocketAddr, Host>;

#[derive(Clone, Debug)]
struct Host {
    endpoint: Arc<Endpoint>,
    /// Picked since the last look for unused ones.
    used: Arc<AtomicBool>,
}

impl OriginalDestinations {
    /// The endpoint of an address.
    pub(super) fn endpoint(&self, address: SocketAddr) -> Arc<Endpoint> {
        let hash = FxBuildHasher.hash_one(address) as usize;
        // The low bits of this hash are the weak ones.
        let shard = &self.0[(hash >> 20) % SHARDS];
        shard.find(&address).unwrap_or_else(|| shard.add(address))
    }

    pub(super) fn for_each(&self, mut visit: impl FnMut(&Arc<Endpoint>)) {
        for shard in &self.0 {
            for host in shard.hosts.load().values() {
                visit(&host.endpoint);
            }
        }
    }

    /// All endpoints now kept.
    pub(super) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        let shards = self.0.iter().map(|shard| shard.hosts.load());
        shards
            .flat_map(|hosts| {
                let hosts = hosts.values();
                hosts
                    .map(|host| Arc::clone(&host.endpoint))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Forgets endpoints that nobody uses and that were not picked since the last call.
    pub(super) fn retire_unused(&self) {
        for shard in &self.0 {
            if !shard.hosts.load().is_empty() {
                let _writing = shard.writing.lock().unwrap_or_else(PoisonError::into_inner);
                shard.hosts.store(Arc::new(retained(&shard.hosts.load())));
            }
        }
    }
}

impl Shard {
    fn find(&self, address: &SocketAddr) -> Option<Arc<Endpoint>> {
        let hosts = self.hosts.load();
        let host = hosts.get(address)?;
        if !host.used.load(Relaxed) {
            host.used.store(true, Relaxed);
        }
        Some(Arc::clone(&host.endpoint))
    }

    fn add(&self, address: SocketAddr) -> Arc<Endpoint> {
        let _writing = match self.writing.try_lock() {
            Ok(writing) => writing,
            Err(TryLockError::Poisoned(writing)) => writing.into_inner(),
            // Rather an endpoint that is not kept than a wait.
            Err(TryLockError::WouldBlock) => return Endpoint::detached(address),
        };
        if let Some(endpoint) = self.find(&address) {
            return endpoint;
        }
        let endpoint = Endpoint::detached(address);
        let before = self.hosts.load();
        let mut hosts = match before.len() < CAPACITY {
            true => HashMap::clone(&before),
            false => retained(&before),
        };
        if hosts.len() < CAPACITY {
            let host = Host {
                endpoint: Arc::clone(&endpoint),
                used: Arc::new(AtomicBool::new(true)),
            };
            hosts.insert(address, host);
        }
        self.hosts.store(Arc::new(hosts));
        endpoint
    }
}

/// The hosts in use or picked since the last look.
fn retained(hosts: &Hosts) -> Hosts {
    let used = |host: &Host| host.used.swap(false, Relaxed) || host.endpoint.active_requests() > 0;
    hosts
        .iter()
        .filter(|(_, host)| used(host) || host.endpoint.is_ejected())
        .map(|(address, host)| (*address, host.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::InFlight;

    fn address(i: u32) -> SocketAddr {
        (std::net::Ipv4Addr::from(0x7f00_0000 + i), 80).into()
    }

    #[test]
    fn an_address_has_one_endpoint() {
        let kept = OriginalDestinations::default();
        let first = kept.endpoint(address(1));
        assert!(Arc::ptr_eq(&first, &kept.endpoint(address(1))));
        assert!(!Arc::ptr_eq(&first, &kept.endpoint(address(2))));
        assert_eq!(first.address(), address(1));
    }

    #[test]
    fn the_unused_make_room_and_those_in_use_stay() {
        let kept = OriginalDestinations::default();
        let busy = InFlight::new(kept.endpoint(address(1)));
        for i in 2..20_000 {
            kept.endpoint(address(i));
        }
        assert!(kept.endpoints().len() <= SHARDS * CAPACITY);
        assert!(kept.endpoints().len() > SHARDS * CAPACITY / 4);
        assert!(Arc::ptr_eq(busy.endpoint(), &kept.endpoint(address(1))));
        kept.retire_unused();
        kept.retire_unused();
        let left = kept.endpoints();
        assert!(left.len() == 1 && Arc::ptr_eq(busy.endpoint(), &left[0]));
    }

    #[test]
    fn with_all_in_use_the_next_is_served_but_not_kept() {
        let kept = OriginalDestinations::default();
        let busy: Vec<_> = (0..20_000)
            .map(|i| InFlight::new(kept.endpoint(address(i))))
            .collect();
        assert_eq!(kept.endpoints().len(), SHARDS * CAPACITY);
        drop(busy);
    }
}
