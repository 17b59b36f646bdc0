//! The weight of endpoints that are new.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use mesh_core::{
    cluster::{Cluster, PickContext},
    model::*,
    stats::Stats,
};

use crate::support::*;

const WINDOW: Duration = Duration::from_secs(60);

fn slow(policy: LbPolicy, change: impl FnOnce(&mut SlowStart)) -> Arc<ClusterConfig> {
    config(|config| {
        let mut slow_start = SlowStart::new(WINDOW);
        change(&mut slow_start);
        config.lb_policy = policy;
        config.slow_start = Some(slow_start);
    })
}

fn at(
    config: &Arc<ClusterConfig>,
    hosts: u16,
    previous: Option<&Cluster>,
    now: Instant,
) -> Cluster {
    Cluster::build_at(
        Arc::clone(config),
        Some(flat((1..=hosts).map(endpoint))),
        previous,
        &Stats::default(),
        &mut Rng(1),
        Some(now),
    )
}

/// How many of 2,100 picks host 3 gets, which came at `now`, some time later.
fn share_of_the_third(config: &Arc<ClusterConfig>, after: Duration) -> usize {
    let start = Instant::now();
    let added = start + 2 * WINDOW;
    let two = at(config, 2, None, start);
    let three = at(config, 3, Some(&two), added);
    let mut cx = PickContext::first(None);
    cx.now = Some(added + after);
    let mut seen = BTreeMap::<u16, usize>::new();
    for _ in 0..2_100 {
        let picked = three.pick(&cx, &mut Rng(7)).unwrap();
        *seen.entry(number(&picked)).or_default() += 1;
    }
    let difference = seen[&1].abs_diff(seen[&2]);
    assert!(difference <= 2, "{seen:?}");
    seen.get(&3).copied().unwrap_or_default()
}

#[test]
fn a_new_endpoint_gets_its_part_by_and_by() {
    let least_request = LbPolicy::LeastRequest {
        choice_count: 2,
        active_request_bias_milli: 1_000,
    };
    for policy in [LbPolicy::RoundRobin, least_request] {
        let linear = slow(policy, |_| {});
        let share = |seconds| share_of_the_third(&linear, Duration::from_secs(seconds));
        // Weights 1, 1 and 0.1: 100; 0.5: 420; 1: 700. The schedule starts somewhere, so that a few turns are off.
        for (seconds, expected) in [(0, 100), (6, 100), (30, 420), (60, 700), (90, 700)] {
            let got = share(seconds);
            assert!(
                got.abs_diff(expected) <= 12,
                "{policy:?} {seconds} s: {got}"
            );
        }
    }
}

#[test]
fn aggression_and_the_least_weight() {
    let quick = slow(LbPolicy::RoundRobin, |s| s.aggression = 2.0);
    // (15 s / 60 s)^(1/2) = 0.5
    let got = share_of_the_third(&quick, Duration::from_secs(15));
    assert!(got.abs_diff(420) <= 12, "{got}");
    let half = slow(LbPolicy::RoundRobin, |s| s.min_weight_percent = 50.0);
    let got = share_of_the_third(&half, Duration::from_secs(1));
    assert!(got.abs_diff(420) <= 12, "{got}");
}

#[test]
fn without_new_endpoints_the_turns_are_plain() {
    let config = slow(LbPolicy::RoundRobin, |_| {});
    let start = Instant::now();
    let first = at(&config, 3, None, start);
    let later = Cluster::build_at(
        Arc::clone(&config),
        Some(flat([3, 2, 1].map(endpoint))),
        Some(&first),
        &Stats::default(),
        &mut Rng(1),
        Some(start + 2 * WINDOW),
    );
    let mut rng = Rng(1);
    let order: Vec<_> = (0..3).map(|_| pick(&later, &mut rng).unwrap()).collect();
    let again: Vec<_> = (0..3).map(|_| pick(&later, &mut rng).unwrap()).collect();
    assert_eq!(order, again);
}
