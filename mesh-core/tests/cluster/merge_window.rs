//! `update_merge_window`: when an ejection is in force.

use std::time::{Duration, Instant};

use mesh_core::cluster::Cluster;

use crate::support::*;

fn cluster(hosts: u16, window_millis: u64) -> Cluster {
    let config = ejecting(1, |c, _| {
        c.update_merge_window = Duration::from_millis(window_millis);
    });
    build(&config, flat((0..hosts).map(endpoint)))
}

fn eject(cluster: &Cluster, host: u16, now: Instant) {
    cluster.observe(&find(cluster, host), response(500), now, &mut Rng(1));
    assert!(find(cluster, host).is_ejected());
}

/// A success of this host: time goes on for the cluster.
fn success(cluster: &Cluster, host: u16, now: Instant) {
    cluster.observe(&find(cluster, host), response(200), now, &mut Rng(1));
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn the_first_change_is_in_force_at_once_the_next_a_window_later() {
    let cluster = cluster(3, 1_000);
    let start = Instant::now();
    eject(&cluster, 0, start);
    assert_eq!(picked(&cluster), [1, 2]);
    eject(&cluster, 1, start + ms(300));
    assert_eq!(picked(&cluster), [1, 2], "decided, not in force");
    success(&cluster, 2, start + ms(1_299));
    assert_eq!(picked(&cluster), [1, 2]);
    success(&cluster, 2, start + ms(1_300));
    assert_eq!(picked(&cluster), [2]);
}

#[test]
fn changes_that_wait_are_merged() {
    let cluster = cluster(5, 1_000);
    let start = Instant::now();
    eject(&cluster, 0, start);
    eject(&cluster, 1, start + ms(100));
    eject(&cluster, 2, start + ms(900));
    success(&cluster, 4, start + ms(1_100));
    assert_eq!(picked(&cluster), [3, 4], "both with the first that waited");
    // That counts as a change too.
    eject(&cluster, 3, start + ms(2_000));
    assert_eq!(picked(&cluster), [3, 4]);
    success(&cluster, 4, start + ms(3_000));
    assert_eq!(picked(&cluster), [4]);
}

#[test]
fn later_than_a_window_is_at_once_again() {
    let cluster = cluster(3, 1_000);
    let start = Instant::now();
    eject(&cluster, 0, start);
    eject(&cluster, 1, start + ms(1_001));
    assert_eq!(picked(&cluster), [2]);
}

#[test]
fn without_a_window_every_change_is_in_force_at_once() {
    let cluster = cluster(3, 0);
    let start = Instant::now();
    eject(&cluster, 0, start);
    eject(&cluster, 1, start);
    assert_eq!(picked(&cluster), [2]);
}

#[test]
fn the_sweep_comes_back_in_time_and_applies_what_waits() {
    let cluster = cluster(3, 1_000);
    let start = Instant::now();
    let next = cluster.sweep(start, &mut Rng(1)).unwrap();
    assert_eq!(next, start + ms(1_000), "nobody else may look");
    eject(&cluster, 0, start + ms(100));
    eject(&cluster, 1, start + ms(200));
    assert_eq!(
        cluster.sweep(start + ms(1_000), &mut Rng(1)),
        Some(start + ms(1_200))
    );
    assert_eq!(picked(&cluster), [1, 2]);
    cluster.sweep(start + ms(1_200), &mut Rng(1));
    assert_eq!(picked(&cluster), [2]);
}

#[test]
fn a_change_of_one_priority_makes_the_others_wait() {
    let config = ejecting(1, |c, _| c.update_merge_window = ms(1_000));
    let cluster = build(
        &config,
        assignment([
            locality("", 0, None, (0..2).map(endpoint)),
            locality("", 1, None, (10..12).map(endpoint)),
        ]),
    );
    let start = Instant::now();
    eject(&cluster, 0, start);
    eject(&cluster, 10, start + ms(10));
    eject(&cluster, 1, start + ms(20));
    // P0 has lost host 0 (70 %), P1 none yet.
    assert_eq!(picked(&cluster), [1, 10, 11]);
    success(&cluster, 11, start + ms(1_010));
    assert_eq!(picked(&cluster), [11]);
}

#[test]
fn new_endpoints_end_the_wait() {
    let config = ejecting(1, |c, _| c.update_merge_window = ms(1_000));
    let before = build(&config, flat((0..3).map(endpoint)));
    let start = Instant::now();
    eject(&before, 0, start);
    eject(&before, 1, start);
    let after = build_after(Some(&before), &config, flat((0..4).map(endpoint)));
    assert_eq!(picked(&after), [2, 3]);
}
