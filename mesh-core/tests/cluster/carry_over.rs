//! What of a cluster's live state the next snapshot keeps.

use std::{sync::Arc, time::Instant};

use mesh_core::{
    cluster::{Cluster, InFlight},
    model::*,
    stats::Stats,
};

use crate::support::*;

#[test]
fn requests_in_flight_are_counted_over_changes_of_the_assignment() {
    let config = plain();
    let first = build(&config, flat((0..2).map(endpoint)));
    let guard = InFlight::new(find(&first, 0));
    let moved = [
        flat([weighted(0, 7), endpoint(1)]),
        flat([with_health(0, EndpointHealth::Degraded)]),
        assignment([locality("z", 2, Some(3), [endpoint(0), endpoint(5)])]),
        {
            let mut with_workload = endpoint(0);
            with_workload.workload = Some("w;n;c;r;k".into());
            flat([with_workload])
        },
    ];
    let mut before = first;
    for assignment in moved {
        let after = build_after(Some(&before), &config, assignment);
        assert_eq!(find(&after, 0).active_requests(), 1);
        before = after;
    }
    drop(guard);
    assert_eq!(find(&before, 0).active_requests(), 0);
}

#[test]
fn an_endpoint_of_which_nothing_changed_is_the_same() {
    let config = plain();
    let first = build(&config, flat((0..2).map(endpoint)));
    let second = build_after(Some(&first), &config, flat([endpoint(0), weighted(1, 2)]));
    assert!(Arc::ptr_eq(&find(&first, 0), &find(&second, 0)));
    assert!(!Arc::ptr_eq(&find(&first, 1), &find(&second, 1)));
    assert_eq!(find(&first, 1).weight(), 1);
    assert_eq!(find(&second, 1).weight(), 2);
}

#[test]
fn the_transports_attachment_stays_with_the_endpoint() {
    let config = plain();
    let first = build(&config, flat([endpoint(0)]));
    find(&first, 0)
        .attachment()
        .get_or_init(|| Box::new(42_u32));
    let second = build_after(Some(&first), &config, flat([weighted(0, 3)]));
    let endpoint = find(&second, 0);
    let attached = endpoint.attachment().get().unwrap();
    assert_eq!(attached.downcast_ref::<u32>(), Some(&42));
}

#[test]
fn another_hostname_is_another_endpoint() {
    let config = plain();
    let first = build(&config, flat([endpoint(0)]));
    let _guard = InFlight::new(find(&first, 0));
    let mut renamed = endpoint(0);
    renamed.hostname = "b".into();
    let second = build_after(Some(&first), &config, flat([renamed]));
    assert_eq!(find(&second, 0).active_requests(), 0);
}

#[test]
fn an_endpoint_that_was_away_starts_anew() {
    let config = ejecting(1, |_, _| {});
    let first = build(&config, flat((0..3).map(endpoint)));
    first.observe(&find(&first, 0), response(500), Instant::now(), &mut Rng(1));
    let second = build_after(Some(&first), &config, flat((1..3).map(endpoint)));
    let active = &second.stats().outlier_detection.ejections_active;
    assert_eq!(active.value(), 0);
    let third = build_after(Some(&second), &config, flat((0..3).map(endpoint)));
    assert!(!find(&third, 0).is_ejected());
    assert_eq!(picked(&third), [0, 1, 2]);
}

#[test]
fn the_ejected_stay_ejected_and_errors_stay_counted() {
    let config = ejecting(2, |_, _| {});
    let now = Instant::now();
    let first = build(&config, flat((0..3).map(endpoint)));
    for (host, errors) in [(0, 2), (1, 1)] {
        for _ in 0..errors {
            first.observe(&find(&first, host), response(500), now, &mut Rng(1));
        }
    }
    let second = build_after(
        Some(&first),
        &config,
        flat([weighted(0, 5), endpoint(1), endpoint(9)]),
    );
    assert_eq!(picked(&second), [1, 9]);
    second.observe(&find(&second, 1), response(500), now, &mut Rng(1));
    assert_eq!(picked(&second), [9]);
}

#[test]
fn an_ejection_is_seen_by_every_snapshot_in_use() {
    let config = ejecting(1, |_, _| {});
    let first = build(&config, flat((0..3).map(endpoint)));
    let second = build_after(Some(&first), &config, flat((0..4).map(endpoint)));
    let now = Instant::now();
    first.observe(&find(&first, 0), response(500), now, &mut Rng(1));
    assert_eq!(
        (picked(&first), picked(&second)),
        (vec![1, 2], vec![1, 2, 3])
    );
    second.observe(&find(&second, 1), response(500), now, &mut Rng(1));
    assert_eq!((picked(&first), picked(&second)), (vec![2], vec![2, 3]));
}

#[test]
fn an_equal_configuration_keeps_and_another_starts_anew() {
    let assignment = || flat((0..2).map(endpoint));
    let first = build(&plain(), assignment());
    let _guard = InFlight::new(find(&first, 0));
    let _permit = first.breaker(RoutingPriority::High).request().unwrap();

    let equal = config(|c| c.provenance.place = Some("b.yaml:9".into()));
    let same = build_after(Some(&first), &equal, assignment());
    assert_eq!(find(&same, 0).active_requests(), 1);
    assert_eq!(same.breaker(RoutingPriority::High).active_requests(), 1);
    assert_eq!(same.breaker(RoutingPriority::Default).active_requests(), 0);

    let changed = config(|c| c.connect_timeout *= 2);
    let anew = build_after(Some(&first), &changed, assignment());
    assert_eq!(find(&anew, 0).active_requests(), 0);
    assert_eq!(anew.breaker(RoutingPriority::High).active_requests(), 0);
}

#[test]
fn a_changed_assignment_of_a_static_cluster_is_another_configuration() {
    let with =
        |weight| config(|c| c.discovery = ClusterDiscovery::Static(flat([weighted(0, weight)])));
    let make = |config, previous: Option<&Cluster>| {
        Cluster::build(config, None, previous, &Stats::default(), &mut Rng(1))
    };
    let first = make(with(1), None);
    let _guard = InFlight::new(find(&first, 0));
    assert_eq!(find(&make(with(1), Some(&first)), 0).active_requests(), 1);
    assert_eq!(find(&make(with(2), Some(&first)), 0).active_requests(), 0);
}

#[test]
fn round_robin_goes_on_where_it_was() {
    let config = plain();
    let first = build(&config, flat((0..5).map(endpoint)));
    let mut rng = Rng(1);
    let last = pick(&first, &mut rng).unwrap();
    let second = build_after(Some(&first), &config, flat((0..5).map(endpoint)));
    assert_eq!(pick(&second, &mut rng).unwrap(), (last + 1) % 5);
}

#[test]
fn original_destinations_outlive_the_snapshot() {
    let config = config(|c| c.discovery = ClusterDiscovery::OriginalDst);
    let make = |previous: Option<&Cluster>| {
        Cluster::build(
            Arc::clone(&config),
            None,
            previous,
            &Stats::default(),
            &mut Rng(1),
        )
    };
    let mut cx = mesh_core::cluster::PickContext::first(None);
    cx.original_destination = Some("192.0.2.1:80".parse().unwrap());
    let first = make(None);
    let picked = first.pick(&cx, &mut Rng(1)).unwrap();
    let again = make(Some(&first)).pick(&cx, &mut Rng(1)).unwrap();
    assert!(Arc::ptr_eq(&picked, &again));
}

#[test]
fn metrics_follow_the_workload() {
    let mut of_workload = endpoint(0);
    of_workload.workload = Some("reviews-v1;default;reviews;v1;Kubernetes".into());
    let cluster = build(&plain(), flat([of_workload, endpoint(1)]));
    let of = |host, grpc| Arc::clone(find(&cluster, host).request_metrics(grpc).unwrap());
    assert!(!Arc::ptr_eq(&of(0, false), &of(1, false)));
    assert!(!Arc::ptr_eq(&of(0, false), &of(0, true)));
    // An endpoint that says nothing of itself counts as no endpoint does.
    assert!(Arc::ptr_eq(&of(1, false), cluster.request_metrics(false)));
    assert!(Arc::ptr_eq(&of(1, true), cluster.request_metrics(true)));
}

/// As Envoy: `StaticClusterImpl` takes each entry, `updateDynamicHostList` each address once.
#[test]
fn only_a_static_cluster_has_an_address_twice() {
    let twice = || flat([endpoint(0), endpoint(1), weighted(0, 2)]);
    let eds = build(&plain(), twice());
    assert_eq!(eds.endpoints().len(), 2);
    let config = config(|c| c.discovery = ClusterDiscovery::Static(twice()));
    let first = build(&config, flat([]));
    let weights = |cluster: &Cluster| -> Vec<_> {
        let endpoints = cluster.endpoints().iter();
        endpoints.map(|endpoint| endpoint.weight()).collect()
    };
    assert_eq!(weights(&first), [1, 1, 2]);
    let second = build_after(Some(&first), &config, flat([]));
    assert_eq!(weights(&second), [1, 1, 2]);
    for (a, b) in first.endpoints().iter().zip(second.endpoints()) {
        assert!(Arc::ptr_eq(a, b), "nothing changed");
    }
}
