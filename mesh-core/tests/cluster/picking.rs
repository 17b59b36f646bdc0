//! Which endpoint a policy picks.

use std::sync::Arc;

use mesh_core::{
    cluster::{Cluster, InFlight, PickContext, PickError},
    model::*,
    stats::Stats,
};
use proptest::prelude::*;

use crate::support::*;

fn policy(policy: LbPolicy) -> Arc<ClusterConfig> {
    config(|config| config.lb_policy = policy)
}

fn least_request(bias_milli: u32) -> Arc<ClusterConfig> {
    policy(LbPolicy::LeastRequest {
        choice_count: 2,
        active_request_bias_milli: bias_milli,
    })
}

#[test]
fn nothing_to_pick() {
    for assignment in [None, Some(flat([])), Some(assignment([]))] {
        let cluster = Cluster::build(plain(), assignment, None, &Stats::default(), &mut Rng(1));
        assert_eq!(
            pick(&cluster, &mut Rng(1)),
            Err(PickError::NoHealthyUpstream)
        );
        assert_eq!(cluster.stats().upstream_cx_none_healthy.value(), 1);
    }
}

#[test]
fn round_robin_goes_in_the_order_of_the_assignment() {
    let cluster = build(&plain(), flat([3, 1, 2].map(endpoint)));
    let mut rng = Rng(1);
    let order: Vec<_> = (0..6).map(|_| pick(&cluster, &mut rng).unwrap()).collect();
    let start = [3, 1, 2].iter().position(|n| *n == order[0]).unwrap();
    let expected: Vec<_> = (0..6).map(|i| [3, 1, 2][(start + i) % 3]).collect();
    assert_eq!(order, expected);
}

#[test]
fn each_shard_has_its_own_turn() {
    let cluster = build(&plain(), flat((0..5).map(endpoint)));
    let mut rng = Rng(1);
    let mut pick_on = |shard| {
        let mut cx = PickContext::first(None);
        cx.shard = shard;
        number(&cluster.pick(&cx, &mut rng).unwrap())
    };
    let next = |n: u16| (n + 1) % 5;
    let first = [pick_on(0), pick_on(1)];
    assert_eq!([pick_on(0), pick_on(1)], first.map(next));
    assert_eq!(pick_on(0), next(next(first[0])));
    assert_eq!(pick_on(1), next(next(first[1])));
}

#[test]
fn weights_are_shares() {
    let cluster = build(&plain(), flat([weighted(1, 3), weighted(2, 1)]));
    assert_eq!(picks(&cluster, 400), [(1, 300), (2, 100)].into());
    let random = build(
        &policy(LbPolicy::Random),
        flat([weighted(1, 100), weighted(2, 1)]),
    );
    let counts = picks(&random, 10_000);
    assert!(
        (4_700..5_300).contains(&counts[&1]),
        "random ignores them: {counts:?}"
    );
}

#[test]
fn least_request_prefers_who_has_fewer_in_flight() {
    let cluster = build(&least_request(1000), flat((0..4).map(endpoint)));
    let busy: Vec<_> = (0..3).map(|n| InFlight::new(find(&cluster, n))).collect();
    let counts = picks(&cluster, 16_000);
    // The idle one wins whenever it is sampled: 1 - (3/4)^2.
    assert!((6_700..7_300).contains(&counts[&3]), "{counts:?}");
    drop(busy);
    let counts = picks(&cluster, 16_000);
    assert!((3_700..4_300).contains(&counts[&3]), "{counts:?}");
}

#[test]
fn least_request_with_weights_divides_by_the_load() {
    let endpoints = [weighted(1, 2), weighted(2, 1)];
    for (bias, expected) in [(1000, [(1, 100), (2, 200)]), (0, [(1, 200), (2, 100)])] {
        let cluster = build(&least_request(bias), flat(endpoints.clone()));
        let _busy: Vec<_> = (0..3).map(|_| InFlight::new(find(&cluster, 1))).collect();
        // The schedule starts from the weights without load, so that the first turns are not the share yet.
        picks(&cluster, 10);
        for ((endpoint, got), (_, due)) in picks(&cluster, 300).into_iter().zip(expected) {
            assert!(got.abs_diff(due) <= 2, "bias {bias}: {endpoint} got {got}");
        }
    }
}

#[test]
fn an_earlier_host_is_avoided_while_reselection_lasts() {
    let cluster = build(&plain(), flat((0..3).map(endpoint)));
    let mut rng = Rng(3);
    let policy = |attempts| {
        let mut policy = RetryPolicy::default();
        policy.previous_hosts = true;
        policy.host_selection_retry_max_attempts = attempts;
        policy
    };
    let (twice, often) = (policy(2), policy(5));
    let previous = [find(&cluster, 0), find(&cluster, 1)];
    for _ in 0..10 {
        let mut cx = PickContext::first(None);
        cx.previous = &previous;
        cx.retry = Some(&twice);
        assert_eq!(number(&cluster.pick(&cx, &mut rng).unwrap()), 2);
    }
    let all = [0, 1, 2].map(|n| find(&cluster, n));
    let mut cx = PickContext::first(None);
    cx.previous = &all;
    cx.retry = Some(&often);
    assert!(cluster.pick(&cx, &mut rng).is_ok(), "the last pick is used");
    cx.retry = None;
    let mut seen: Vec<_> = (0..3)
        .map(|_| number(&cluster.pick(&cx, &mut rng).unwrap()))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2]);
}

#[test]
fn of_a_repeated_address_the_first_counts() {
    let mut again = weighted(1, 9);
    again.hostname = "other".into();
    let cluster = build(
        &plain(),
        assignment([
            locality("a", 0, None, [endpoint(1), again.clone()]),
            locality("b", 1, None, [again, endpoint(2)]),
        ]),
    );
    let seen: Vec<_> = cluster
        .endpoints()
        .iter()
        .map(|e| (number(e), e.weight(), e.priority()))
        .collect();
    assert_eq!(seen, [(1, 1, 0), (2, 1, 1)]);
}

#[test]
fn a_static_cluster_has_its_endpoints_in_the_configuration() {
    let config = config(|c| c.discovery = ClusterDiscovery::Static(flat([endpoint(4)])));
    let cluster = Cluster::build(config, None, None, &Stats::default(), &mut Rng(1));
    assert_eq!(picked(&cluster), [4]);
}

#[test]
fn an_original_destination_is_picked_as_it_is() {
    let config = config(|c| {
        c.discovery = ClusterDiscovery::OriginalDst;
        c.lb_policy = LbPolicy::ClusterProvided;
    });
    let cluster = Cluster::build(config, None, None, &Stats::default(), &mut Rng(1));
    let address = "192.0.2.7:443".parse().unwrap();
    let first = cluster
        .pick(&PickContext::first(Some(address)), &mut Rng(1))
        .unwrap();
    let again = cluster
        .pick(&PickContext::first(Some(address)), &mut Rng(1))
        .unwrap();
    assert_eq!(first.address(), address);
    assert!(
        Arc::ptr_eq(&first, &again),
        "one endpoint, one set of counters"
    );
    assert!(first.request_metrics(false).is_none());
    assert_eq!(cluster.original_destinations().len(), 1);
    assert_eq!(
        cluster.pick(&PickContext::first(None), &mut Rng(1)).err(),
        Some(PickError::NoOriginalDestination)
    );
}

#[test]
fn localities_share_by_weight_times_availability() {
    let zones = |bad_in_a: u16| {
        let a = (0..10).map(move |n| {
            let health = match n < bad_in_a {
                true => EndpointHealth::Unhealthy,
                false => EndpointHealth::Healthy,
            };
            with_health(n, health)
        });
        assignment([
            locality("a", 0, Some(3), a),
            locality("b", 0, Some(1), (10..12).map(endpoint)),
            locality("c", 0, None, [endpoint(20)]),
        ])
    };
    let config = config(|c| c.locality_weighted = true);
    let in_a = |bad| {
        let counts = picks(&build(&config, zones(bad)), 4_000);
        assert!(!counts.contains_key(&20), "a locality without weight");
        counts.range(..10).map(|(_, count)| count).sum::<usize>()
    };
    assert_eq!(in_a(0), 3_000);
    assert!(
        in_a(2).abs_diff(3_000) <= 2,
        "overprovisioning makes up for it"
    );
    // Half of a is left: 3 * 1.4 * 0.5 = 2.1 against 1.
    assert!(in_a(5).abs_diff(4_000 * 21 / 31) <= 2);
    let plain = picks(&build(&plain(), zones(0)), 1_300);
    assert!(
        plain.values().all(|count| *count == 100),
        "not weighted: {plain:?}"
    );
}

#[test]
fn localities_without_any_weight_are_not_weighted() {
    let config = config(|c| c.locality_weighted = true);
    let cluster = build(
        &config,
        assignment([
            locality("a", 0, None, [endpoint(1)]),
            locality("b", 0, Some(0), [endpoint(2)]),
        ]),
    );
    assert_eq!(picked(&cluster), [1, 2]);
}

proptest! {
    /// Every endpoint gets its turn within a round, whatever the order of health changes before.
    #[test]
    fn round_robin_is_fair(hosts in 1u16..40, seed in any::<u64>(), before in 0usize..50) {
        let cluster = Cluster::build(
            plain(),
            Some(flat((0..hosts).map(endpoint))),
            None,
            &Stats::default(),
            &mut Rng(seed),
        );
        let mut rng = Rng(seed);
        for _ in 0..before {
            pick(&cluster, &mut rng).unwrap();
        }
        let mut round: Vec<_> = (0..hosts).map(|_| pick(&cluster, &mut rng).unwrap()).collect();
        round.sort_unstable();
        prop_assert_eq!(round, (0..hosts).collect::<Vec<_>>());
    }

    /// Only eligible endpoints are picked, by any policy.
    #[test]
    fn only_the_healthy_are_picked(
        health in prop::collection::vec((0u8..4, 1u32..5), 1..20),
        which in 0usize..3,
        seed in any::<u64>(),
    ) {
        let healths = [
            EndpointHealth::Healthy,
            EndpointHealth::Degraded,
            EndpointHealth::Unhealthy,
            EndpointHealth::Draining,
        ];
        let policies = [
            LbPolicy::RoundRobin,
            LbPolicy::Random,
            LbPolicy::LeastRequest { choice_count: 2, active_request_bias_milli: 1000 },
        ];
        let config = config(|c| {
            c.lb_policy = policies[which];
            c.healthy_panic_threshold = 0.0;
        });
        let endpoints = health.iter().enumerate().map(|(n, (health, weight))| {
            let mut endpoint = weighted(n as u16, *weight);
            endpoint.health = healths[*health as usize];
            endpoint
        });
        let cluster = build(&config, flat(endpoints));
        let available = health.iter().any(|(health, _)| *health < 2);
        let mut rng = Rng(seed);
        for _ in 0..50 {
            match cluster.pick(&PickContext::first(None), &mut rng) {
                Ok(endpoint) => prop_assert!(matches!(
                    endpoint.health(),
                    EndpointHealth::Healthy | EndpointHealth::Degraded
                )),
                Err(_) => prop_assert!(!available),
            }
        }
    }
}

#[test]
fn the_assignments_policy_drops_its_part() {
    let dropping = |numerator| {
        let mut policy = ClusterLoadAssignment::clone(&flat([endpoint(1)]));
        policy.drop_overload = Some(Fraction {
            numerator,
            denominator: 100,
        });
        build(&plain(), Arc::new(policy))
    };
    let mut rng = Rng(1);
    let some = dropping(30);
    let replies: Vec<_> = (0..10_000)
        .filter_map(|_| some.drops(false, &mut rng))
        .collect();
    assert!((2_700..3_300).contains(&replies.len()), "{}", replies.len());
    let text = |reply: &mesh_core::local_reply::LocalReply| {
        let [(name, value)] = reply.headers.as_slice() else {
            panic!("{reply:?}")
        };
        format!(
            "{} {:?} {} {name}: {value:?}",
            reply.status, reply.body, reply.details
        )
    };
    assert_eq!(
        text(&replies[0]),
        "503 Service Unavailable b\"drop overload\" drop_overload x-envoy-drop-overload: \"true\""
    );
    let all = dropping(100).drops(false, &mut rng).unwrap();
    assert_eq!(
        text(&all),
        "503 Service Unavailable b\"unconditional drop overload\" unconditional_drop_overload \
         x-envoy-unconditional-drop-overload: \"true\""
    );
    assert!(
        dropping(100)
            .drops(true, &mut rng)
            .unwrap()
            .headers
            .is_empty()
    );
    assert!(
        build(&plain(), flat([endpoint(1)]))
            .drops(false, &mut rng)
            .is_none()
    );
}
