//! How load is shared among priorities, degraded endpoints, and what happens in panic.

use mesh_core::{
    cluster::{PickContext, PickError},
    model::*,
};

use crate::support::*;

/// `good` of `total` endpoints healthy, numbered from `first`.
fn hosts(first: u16, good: u16, total: u16) -> impl Iterator<Item = EndpointConfig> {
    (0..total).map(move |i| {
        let health = match i < good {
            true => EndpointHealth::Healthy,
            false => EndpointHealth::Unhealthy,
        };
        with_health(first + i, health)
    })
}

/// The percentage of picks that each of two priorities gets, numbered below and from 100.
fn shares(assignment: std::sync::Arc<ClusterLoadAssignment>, panic_threshold: f64) -> [f64; 2] {
    let cluster = build(
        &config(|c| c.healthy_panic_threshold = panic_threshold),
        assignment,
    );
    let counts = picks(&cluster, 40_000);
    let first: usize = counts.range(..100).map(|(_, count)| count).sum();
    let first = first as f64 / 400.0;
    [first, 100.0 - first]
}

#[test]
fn load_spills_over_when_a_priority_lacks_health() {
    // Health of each priority is 140 % of its healthy share, at most 100; what P0 cannot take goes to P1.
    let cases = [
        ((10, 10), (10, 10), 100.0),
        ((8, 10), (10, 10), 100.0),
        ((7, 10), (10, 10), 98.0),
        ((5, 10), (10, 10), 70.0),
        ((1, 10), (10, 10), 14.0),
        ((0, 10), (10, 10), 0.0),
        // Together 42 + 42: scaled up to 100.
        ((3, 10), (3, 10), 50.0),
    ];
    for ((good, total), (other_good, other_total), expected) in cases {
        let assignment = assignment([
            locality("", 0, None, hosts(0, good, total)),
            locality("", 1, None, hosts(100, other_good, other_total)),
        ]);
        let [first, _] = shares(assignment, 0.0);
        let sigma = (expected * (100.0 - expected) / 40_000.0_f64).sqrt();
        assert!(
            (first - expected).abs() <= 5.0 * sigma,
            "{good}/{total}: {first} % instead of {expected} %"
        );
    }
}

#[test]
fn the_assignments_overprovisioning_counts() {
    let mut policy = ClusterLoadAssignment::default();
    policy.overprovisioning_factor = Some(100);
    policy.localities = vec![
        locality("", 0, None, hosts(0, 8, 10)),
        locality("", 1, None, hosts(100, 10, 10)),
    ];
    let [first, _] = shares(policy.into(), 0.0);
    assert!((first - 80.0).abs() < 1.0, "{first}");
}

#[test]
fn degraded_endpoints_take_what_the_healthy_cannot() {
    let p0 = (0..10).map(|n| match n {
        0..5 => with_health(n, EndpointHealth::Healthy),
        _ => with_health(n, EndpointHealth::Degraded),
    });
    let cluster = build(&plain(), flat(p0));
    let counts = picks(&cluster, 10_000);
    let healthy: usize = counts.range(..5).map(|(_, count)| count).sum();
    assert!((6_700..7_300).contains(&healthy), "{counts:?}");
    assert_eq!(counts.len(), 10);
}

#[test]
fn draining_endpoints_do_not_count_in_the_totals() {
    let p0 = hosts(0, 3, 3).chain((50..60).map(|n| with_health(n, EndpointHealth::Draining)));
    let cluster = build(
        &plain(),
        assignment([
            locality("", 0, None, p0),
            locality("", 1, None, hosts(100, 3, 3)),
        ]),
    );
    assert_eq!(picked(&cluster), [0, 1, 2]);
    let stats = cluster.stats();
    let membership = [
        stats.membership_total.value(),
        stats.membership_healthy.value(),
        stats.membership_excluded.value(),
    ];
    assert_eq!(membership, [16, 6, 10]);
}

#[test]
fn below_the_threshold_all_endpoints_are_used() {
    let cases: [(u16, f64, usize); 5] = [
        // 50 % healthy is not below 50 %.
        (5, 50.0, 5),
        (4, 50.0, 10),
        (4, 40.0, 4),
        // The threshold is rounded to a whole percent.
        (4, 40.4, 4),
        (4, 40.6, 10),
    ];
    for (good, threshold, used) in cases {
        let config = config(|c| c.healthy_panic_threshold = threshold);
        let cluster = build(&config, flat(hosts(0, good, 10)));
        assert_eq!(picked(&cluster).len(), used, "{good} of 10, {threshold} %");
        let panics = cluster.stats().lb_healthy_panic.value();
        assert_eq!(panics > 0, used == 10);
    }
}

#[test]
fn without_a_threshold_nothing_healthy_is_no_endpoint() {
    let without = config(|c| c.healthy_panic_threshold = 0.0);
    let cluster = build(&without, flat(hosts(0, 0, 3)));
    assert_eq!(
        pick(&cluster, &mut Rng(1)),
        Err(PickError::NoHealthyUpstream)
    );
    assert_eq!(picked(&build(&plain(), flat(hosts(0, 0, 3)))), [0, 1, 2]);
}

#[test]
fn a_priority_does_not_panic_while_others_can_take_its_load() {
    let assignment = assignment([
        locality("", 0, None, hosts(0, 1, 10)),
        locality("", 1, None, hosts(100, 10, 10)),
    ]);
    let counts = picks(&build(&plain(), assignment), 2_000);
    assert_eq!(counts.range(..100).count(), 1, "only the healthy one");
}

#[test]
fn in_total_panic_load_goes_by_the_number_of_endpoints() {
    let assignment = assignment([
        locality("", 0, None, hosts(0, 0, 10)),
        locality("", 1, None, hosts(100, 0, 30)),
    ]);
    let [first, _] = shares(assignment, 50.0);
    assert!((first - 25.0).abs() < 1.1, "{first}");
}

#[test]
fn a_missing_priority_takes_no_load() {
    let assignment = assignment([
        locality("", 3, None, hosts(100, 2, 2)),
        locality("", 1, None, hosts(0, 2, 2)),
    ]);
    assert_eq!(shares(assignment, 50.0), [100.0, 0.0]);
}

/// The percentage of picks in each of three priorities of full health, after attempts at these endpoints.
fn shares_after(attempts: &[u16], frequency: u32) -> [u32; 3] {
    let cluster = build(
        &plain(),
        assignment([0, 1, 2].map(|p| {
            let first = 100 * u16::try_from(p).unwrap();
            locality("", p, None, hosts(first, 2, 2))
        })),
    );
    let previous: Vec<_> = attempts.iter().map(|n| find(&cluster, *n)).collect();
    let mut cx = PickContext::first(None);
    cx.previous = &previous;
    cx.previous_priorities = Some(frequency);
    let mut rng = Rng(2);
    let mut shares = [0; 3];
    for _ in 0..100 {
        let picked = cluster.pick(&cx, &mut rng).unwrap();
        shares[picked.priority() as usize] += 1;
    }
    shares
}

#[test]
fn a_retry_leaves_out_the_priorities_that_were_tried() {
    let cases: [(&[u16], u32, [u32; 3]); 10] = [
        (&[], 1, [100, 0, 0]),
        (&[0], 1, [0, 100, 0]),
        (&[0, 100], 1, [0, 0, 100]),
        // Nothing is left: from the start.
        (&[0, 100, 200], 1, [100, 0, 0]),
        (&[0, 100, 200, 1], 1, [0, 100, 0]),
        (&[0], 2, [100, 0, 0]),
        (&[0, 1], 2, [0, 100, 0]),
        (&[0, 1, 100], 2, [0, 100, 0]),
        (&[0, 1, 100, 101], 2, [0, 0, 100]),
        (&[0, 1], 0, [100, 0, 0]),
    ];
    for (attempts, frequency, expected) in cases {
        assert_eq!(
            shares_after(attempts, frequency),
            expected,
            "{attempts:?} every {frequency}"
        );
    }
}

#[test]
fn the_load_of_a_priority_left_out_goes_by_health() {
    let cluster = build(
        &config(|c| c.healthy_panic_threshold = 0.0),
        assignment([
            locality("", 0, None, hosts(0, 2, 2)),
            locality("", 1, None, hosts(100, 1, 4)),
            locality("", 2, None, hosts(200, 1, 2)),
        ]),
    );
    let previous = [find(&cluster, 0)];
    let mut cx = PickContext::first(None);
    cx.previous = &previous;
    cx.previous_priorities = Some(1);
    let mut rng = Rng(2);
    let second = (0..10_000)
        .filter(|_| cluster.pick(&cx, &mut rng).unwrap().priority() == 1)
        .count();
    // Health 35 and 70 of at most 100: 35 % and, what is left, 65 %.
    assert!((3_250..3_750).contains(&second), "{second}");
}
