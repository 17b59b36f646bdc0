//! Ring hash and maglev: golden vectors of the real Envoy, and what happens when endpoints come and go.

use std::{collections::BTreeMap, sync::Arc};

use mesh_core::{
    cluster::{Cluster, PickContext, PickError},
    model::*,
};
use xxhash_rust::xxh64::xxh64;

use crate::support::*;

fn at_port(port: u16) -> EndpointConfig {
    EndpointConfig::new(([127, 0, 0, 1], port).into())
}

fn ring() -> Arc<ClusterConfig> {
    config(|config| config.lb_policy = LbPolicy::RingHash(RingHash::default()))
}

fn maglev() -> Arc<ClusterConfig> {
    config(|config| config.lb_policy = LbPolicy::Maglev(Maglev::default()))
}

fn with_hash(hash: u64) -> PickContext<'static> {
    let mut cx = PickContext::first(None);
    cx.hash = Some(hash);
    cx
}

fn port_of(cluster: &Cluster, key: &str) -> u16 {
    let cx = with_hash(xxh64(key.as_bytes(), 0));
    let endpoint = cluster.pick(&cx, &mut Rng(1)).expect("an endpoint");
    endpoint.address().port()
}

#[test]
fn keys_go_where_envoy_sends_them() {
    let hosts = || flat([19101, 19103, 19104].map(at_port));
    let cluster = build(&ring(), hosts());
    let keys = ["alice", "bob", "carol", "dave", "erin"];
    let ports = keys.map(|key| port_of(&cluster, key));
    assert_eq!(ports, [19101, 19104, 19104, 19101, 19101]);

    let cluster = build(&maglev(), hosts());
    let keys = ["alice", "bob", "carol", "dave", "erin", "frank"];
    let ports = keys.map(|key| port_of(&cluster, key));
    assert_eq!(ports, [19104, 19104, 19103, 19104, 19104, 19103]);
}

#[test]
fn weights_are_shares() {
    for config in [ring(), maglev()] {
        let cluster = build(&config, flat([weighted(1, 1), weighted(2, 3)]));
        let mut seen = BTreeMap::<u16, usize>::new();
        for hash in 0..20_000_u64 {
            let cx = with_hash(xxh64(&hash.to_le_bytes(), 0));
            let endpoint = cluster.pick(&cx, &mut Rng(1)).unwrap();
            *seen.entry(number(&endpoint)).or_default() += 1;
        }
        assert!((4_000..6_000).contains(&seen[&1]), "{seen:?}");
    }
}

#[test]
fn few_keys_move_when_an_endpoint_goes() {
    for config in [ring(), maglev()] {
        let all = build(&config, flat((1..=10).map(endpoint)));
        let less = build(&config, flat((1..=9).map(endpoint)));
        let moved = (0..2_000_u64).filter(|hash| {
            let cx = with_hash(xxh64(&hash.to_le_bytes(), 0));
            let [before, after] =
                [&all, &less].map(|cluster| number(&cluster.pick(&cx, &mut Rng(1)).unwrap()));
            before != 10 && before != after
        });
        assert!(moved.count() < 300);
    }
}

#[test]
fn without_a_hash_chance_decides() {
    assert_eq!(
        picked(&build(&ring(), flat((1..=3).map(endpoint)))),
        [1, 2, 3]
    );
}

#[test]
fn a_degraded_priority_has_no_host_for_a_hash() {
    let config = config(|config| {
        config.lb_policy = LbPolicy::Maglev(Maglev::default());
        config.healthy_panic_threshold = 0.0;
    });
    let cluster = build(&config, flat([with_health(1, EndpointHealth::Degraded)]));
    assert_eq!(
        pick(&cluster, &mut Rng(1)),
        Err(PickError::NoHealthyUpstream)
    );
}

#[test]
fn a_retry_takes_the_next_host() {
    let mut policy = RetryPolicy::default();
    policy.previous_hosts = true;
    policy.host_selection_retry_max_attempts = 10;
    for config in [ring(), maglev()] {
        let cluster = build(&config, flat((1..=10).map(endpoint)));
        let mut moved = 0;
        for hash in 0..100_u64 {
            let mut cx = with_hash(xxh64(&hash.to_le_bytes(), 0));
            let first = [cluster.pick(&cx, &mut Rng(1)).unwrap()];
            cx.previous = &first;
            assert_eq!(
                number(&cluster.pick(&cx, &mut Rng(1)).unwrap()),
                number(&first[0])
            );
            cx.retry = Some(&policy);
            let second = cluster.pick(&cx, &mut Rng(1)).unwrap();
            moved += u32::from(number(&second) != number(&first[0]));
        }
        assert!(moved > 95, "{moved}");
    }
}
