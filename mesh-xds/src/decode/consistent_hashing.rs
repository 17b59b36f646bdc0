//! Ring hash and maglev: `*_lb_config` of a cluster, and the typed policies.

use mesh_core::model::{ConsistentHashing, HashFunction, LbPolicy, Maglev, RingHash};
use mesh_proto::envoy::{
    config::cluster::v3::cluster::{
        MaglevLbConfig, RingHashLbConfig,
        common_lb_config::ConsistentHashingLbConfig as LegacyConsistentHashing,
        ring_hash_lb_config::HashFunction as LegacyHashFunction,
    },
    extensions::load_balancing_policies::{
        common::v3::ConsistentHashingLbConfig,
        maglev::v3::Maglev as TypedMaglev,
        ring_hash::v3::{RingHash as TypedRingHash, ring_hash::HashFunction as TypedHashFunction},
    },
};

use super::{hash_policy::hash_policies, lb_policy::Chosen, scalar::enumeration};
use crate::problems::Problems;

/// Envoy's limits.
const MAX_RING: u64 = 8 * 1024 * 1024;
const MAX_TABLE: u64 = 5_000_011;

/// `ring_hash_lb_config` beside `lb_policy: RING_HASH`.
pub(super) fn legacy_ring_hash(
    p: &mut Problems,
    config: Option<&RingHashLbConfig>,
    common: Option<&LegacyConsistentHashing>,
) -> Option<LbPolicy> {
    let hashing = legacy_hashing(p, common);
    p.field("ring_hash_lb_config", |p| {
        let default = RingHashLbConfig::default();
        let config = config.unwrap_or(&default);
        let function = match enumeration(p, "hash_function", config.hash_function)? {
            LegacyHashFunction::XxHash => HashFunction::XxHash,
            LegacyHashFunction::MurmurHash2 => HashFunction::MurmurHash2,
        };
        let sizes = (config.minimum_ring_size, config.maximum_ring_size);
        Some(ring_hash(p, sizes, function, hashing))
    })
}

/// `maglev_lb_config` beside `lb_policy: MAGLEV`.
pub(super) fn legacy_maglev(
    p: &mut Problems,
    config: Option<&MaglevLbConfig>,
    common: Option<&LegacyConsistentHashing>,
) -> LbPolicy {
    let hashing = legacy_hashing(p, common);
    p.field("maglev_lb_config", |p| {
        maglev(p, config.and_then(|config| config.table_size), hashing)
    })
}

/// The typed `RingHash`. Its deprecated fields count where `consistent_hashing_lb_config` is not set.
pub(super) fn typed_ring_hash(p: &mut Problems, config: &TypedRingHash) -> Option<Chosen> {
    let function = match enumeration(p, "hash_function", config.hash_function)? {
        TypedHashFunction::DefaultHash | TypedHashFunction::XxHash => HashFunction::XxHash,
        TypedHashFunction::MurmurHash2 => HashFunction::MurmurHash2,
    };
    let hashing = match &config.consistent_hashing_lb_config {
        Some(common) => typed_hashing(p, common),
        None => hashing(
            p,
            config.use_hostname_for_hashing,
            config.hash_balance_factor,
        ),
    };
    let sizes = (config.minimum_ring_size, config.maximum_ring_size);
    let mut chosen = Chosen::from(ring_hash(p, sizes, function, hashing));
    chosen.locality_weighted = config.locality_weighted_lb_config.is_some();
    chosen.hash_policies = own_policies(p, config.consistent_hashing_lb_config.as_ref());
    Some(chosen)
}

/// The typed `Maglev`.
pub(super) fn typed_maglev(p: &mut Problems, config: &TypedMaglev) -> Chosen {
    let common = config.consistent_hashing_lb_config.as_ref();
    let hashing = common.map_or_else(ConsistentHashing::default, |common| {
        typed_hashing(p, common)
    });
    let mut chosen = Chosen::from(maglev(p, config.table_size, hashing));
    chosen.locality_weighted = config.locality_weighted_lb_config.is_some();
    chosen.hash_policies = own_policies(p, common);
    chosen
}

fn own_policies(
    p: &mut Problems,
    common: Option<&ConsistentHashingLbConfig>,
) -> Option<Box<[mesh_core::model::HashPolicy]>> {
    let list = common.map(|common| common.hash_policy.as_slice())?;
    if list.is_empty() {
        return None;
    }
    Some(p.field("consistent_hashing_lb_config", |p| {
        hash_policies(p, "hash_policy", list)
    }))
}

fn ring_hash(
    p: &mut Problems,
    sizes: (Option<u64>, Option<u64>),
    hash_function: HashFunction,
    hashing: ConsistentHashing,
) -> LbPolicy {
    let mut config = RingHash::default();
    config.minimum_ring_size = at_most(
        p,
        "minimum_ring_size",
        sizes.0,
        MAX_RING,
        config.minimum_ring_size,
    );
    config.maximum_ring_size = at_most(
        p,
        "maximum_ring_size",
        sizes.1,
        MAX_RING,
        config.maximum_ring_size,
    );
    if config.minimum_ring_size > config.maximum_ring_size {
        p.error_at(
            "minimum_ring_size",
            format!(
                "ring hash: minimum_ring_size ({}) > maximum_ring_size ({})",
                config.minimum_ring_size, config.maximum_ring_size
            ),
        );
    }
    config.hash_function = hash_function;
    config.hashing = hashing;
    LbPolicy::RingHash(config)
}

fn maglev(p: &mut Problems, table_size: Option<u64>, hashing: ConsistentHashing) -> LbPolicy {
    let mut config = Maglev::default();
    config.table_size = at_most(p, "table_size", table_size, MAX_TABLE, config.table_size);
    if !is_prime(config.table_size) {
        p.error_at(
            "table_size",
            "The table size of maglev must be prime number",
        );
    }
    config.hashing = hashing;
    LbPolicy::Maglev(config)
}

fn at_most(
    p: &mut Problems,
    name: &'static str,
    value: Option<u64>,
    limit: u64,
    default: u64,
) -> u64 {
    let value = value.unwrap_or(default);
    if value > limit {
        p.error_at(name, format!("{value} is greater than {limit}"));
        return default;
    }
    value
}

fn legacy_hashing(p: &mut Problems, common: Option<&LegacyConsistentHashing>) -> ConsistentHashing {
    let Some(common) = common else {
        return ConsistentHashing::default();
    };
    p.field("common_lb_config", |p| {
        p.field("consistent_hashing_lb_config", |p| {
            hashing(
                p,
                common.use_hostname_for_hashing,
                common.hash_balance_factor,
            )
        })
    })
}

fn typed_hashing(p: &mut Problems, common: &ConsistentHashingLbConfig) -> ConsistentHashing {
    p.field("consistent_hashing_lb_config", |p| {
        hashing(
            p,
            common.use_hostname_for_hashing,
            common.hash_balance_factor,
        )
    })
}

fn hashing(p: &mut Problems, use_hostname: bool, balance_factor: Option<u32>) -> ConsistentHashing {
    if let Some(factor @ ..100) = balance_factor {
        p.error_at("hash_balance_factor", format!("{factor} is less than 100"));
    }
    let mut hashing = ConsistentHashing::default();
    hashing.use_hostname = use_hostname;
    hashing.balance_factor = balance_factor.unwrap_or(0);
    hashing
}

fn is_prime(number: u64) -> bool {
    let divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    number >= 2
        && divisors
            .into_iter()
            .all(|divisor| !number.is_multiple_of(divisor))
}
