//! What a build shares, carries over and keeps in place.

use super::*;
use crate::{
    cluster::{InFlight, PickContext, PickError},
    head::{ConnectionInfo, RequestHead, StreamView},
    route::Found,
};

fn first(config: &ConfigSet) -> Snapshot {
    build(config, &Snapshot::empty(Arc::default()))
}

fn config() -> ConfigSet {
    let outbound = TrafficDirection::Outbound;
    set(
        vec![
            listener("0.0.0.0_80", "0.0.0.0:80", outbound, vec![http("80")]),
            listener("1.1.1.1_90", "1.1.1.1:90", outbound, vec![tcp("b")]),
        ],
        vec![routes("80", &[&["a"]], "a")],
        vec![eds("a"), eds("b")],
        vec![assignment("a", &["127.0.0.1:1", "127.0.0.1:2"])],
    )
}

/// The slot that a request for the host is routed to.
fn routed(snapshot: &Snapshot, listener: usize) -> Option<ClusterIndex> {
    let Some(crate::listener::Terminal::Http(chain)) =
        snapshot.listeners()[listener].terminals().first()
    else {
        panic!("no HTTP chain")
    };
    let headers = http::HeaderMap::new();
    let view = StreamView {
        head: RequestHead {
            method: &http::Method::GET,
            scheme: "http",
            authority: "a",
            path: "/",
            headers: &headers,
        },
        random: 0,
        connection: &ConnectionInfo::default(),
        metadata: None,
    };
    let table = snapshot.chain(*chain)?.routes()?;
    let Found::Route(at) = table.find(&view, &mut Default::default()) else {
        return None;
    };
    let selected = table.route(at)?.select_cluster(&view, &|_| None)?;
    Some(selected.cluster)
}

#[test]
fn unchanged_parts_are_shared() {
    let mut config = config();
    let one = first(&config);
    let two = build(&config, &one);
    assert_eq!((one.version(), two.version()), (1, 2));
    assert!(Arc::ptr_eq(&one.outbound, &two.outbound));
    for (a, b) in one.listeners().iter().zip(two.listeners()) {
        assert!(Arc::ptr_eq(a, b));
    }
    let cluster = |snapshot: &Snapshot, name| {
        let at = snapshot.cluster_by_name(name).unwrap();
        Arc::clone(snapshot.cluster(at).unwrap())
    };
    assert!(Arc::ptr_eq(&cluster(&one, "a"), &cluster(&two, "a")));

    // New endpoints touch their cluster alone.
    let endpoints = assignment("a", &["127.0.0.1:2", "127.0.0.1:3"]);
    config.endpoints.insert("a".into(), endpoints);
    let three = build(&config, &two);
    assert!(!Arc::ptr_eq(&cluster(&two, "a"), &cluster(&three, "a")));
    assert!(Arc::ptr_eq(&cluster(&two, "b"), &cluster(&three, "b")));
    assert!(Arc::ptr_eq(&two.chains[0], &three.chains[0]));

    // New routes compile their table alone.
    let changed = routes("80", &[&["a", "c"]], "a");
    config.routes.insert("80".into(), changed);
    let four = build(&config, &three);
    assert!(!Arc::ptr_eq(&three.chains[0], &four.chains[0]));
    assert!(Arc::ptr_eq(&cluster(&three, "a"), &cluster(&four, "a")));
    assert!(Arc::ptr_eq(&three.listeners[0], &four.listeners[0]));
    assert_eq!(four.outbound("c", 80), four.outbound("a", 80));
}

#[test]
fn endpoints_keep_their_live_state_while_their_address_lives() {
    let mut config = config();
    let one = first(&config);
    let endpoint = |snapshot: &Snapshot, port: u16| {
        let at = snapshot.cluster_by_name("a").unwrap();
        let endpoints = snapshot.cluster(at).unwrap().endpoints();
        let found = endpoints.iter().find(|e| e.address().port() == port);
        found.cloned()
    };
    let request = InFlight::new(endpoint(&one, 2).unwrap());
    let endpoints = assignment("a", &["127.0.0.1:2", "127.0.0.1:3"]);
    config.endpoints.insert("a".into(), endpoints);
    let two = build(&config, &one);
    drop(one);
    assert_eq!(endpoint(&two, 2).unwrap().active_requests(), 1);
    assert_eq!(endpoint(&two, 3).unwrap().active_requests(), 0);
    assert!(endpoint(&two, 1).is_none());
    drop(request);
    assert_eq!(endpoint(&two, 2).unwrap().active_requests(), 0);
}

#[test]
fn updates_and_changes_of_membership_are_counted() {
    let mut config = config();
    let one = first(&config);
    let at = one.cluster_by_name("a").unwrap();
    let counted = |snapshot: &Snapshot| {
        let stats = snapshot.cluster(at).unwrap().stats();
        let updates = stats.update_success.value();
        (updates, stats.membership_change.value())
    };
    assert_eq!(counted(&one), (1, 1));
    // The same addresses in another order, then one address less, then nothing.
    let turned = assignment("a", &["127.0.0.1:2", "127.0.0.1:1"]);
    config.endpoints.insert("a".into(), turned);
    let two = build(&config, &one);
    assert_eq!(counted(&two), (2, 1));
    let fewer = assignment("a", &["127.0.0.1:2"]);
    config.endpoints.insert("a".into(), fewer);
    let three = build(&config, &two);
    assert_eq!(counted(&three), (3, 2));
    assert_eq!(counted(&build(&config, &three)), (3, 2));
}

#[test]
fn a_cluster_without_its_assignment_has_no_endpoint() {
    let snapshot = first(&config());
    let at = snapshot.cluster_by_name("b").unwrap();
    let cluster = snapshot.cluster(at).unwrap();
    assert!(cluster.endpoints().is_empty());
    let picked = cluster.pick(&PickContext::first(None), &mut Any);
    assert_eq!(picked.err(), Some(PickError::NoHealthyUpstream));
}

#[test]
fn a_route_to_an_unknown_cluster_finds_it_once_it_comes_without_being_compiled_again() {
    let mut config = config();
    let a = config.clusters.remove("a").unwrap();
    let one = first(&config);
    let slot = routed(&one, 0).unwrap();
    assert!(one.cluster(slot).is_none());
    assert_eq!(one.cluster_by_name("a"), None);

    config.clusters.insert("a".into(), a);
    let two = build(&config, &one);
    assert!(Arc::ptr_eq(&one.chains[0], &two.chains[0]));
    assert_eq!(&*two.cluster(slot).unwrap().config().name, "a");
    assert_eq!(two.cluster_by_name("a"), Some(slot));

    // Gone and back: the slot stays, because the routes name it.
    config.clusters.remove("a");
    let three = build(&config, &two);
    assert!(three.cluster(slot).is_none());
    config.clusters.insert("c".into(), eds("c"));
    let four = build(&config, &three);
    assert_ne!(four.cluster_by_name("c"), Some(slot));
    assert!(four.cluster(slot).is_none());
}

#[test]
fn a_removed_and_added_cluster_starts_anew() {
    let mut config = config();
    let one = first(&config);
    let a = config.clusters.remove("a").unwrap();
    let two = build(&config, &one);
    config.clusters.insert("a".into(), a);
    let three = build(&config, &two);
    let endpoint = |snapshot: &Snapshot| {
        let at = snapshot.cluster_by_name("a").unwrap();
        Arc::clone(&snapshot.cluster(at).unwrap().endpoints()[0])
    };
    assert!(!Arc::ptr_eq(&endpoint(&one), &endpoint(&three)));
}

#[test]
fn routes_that_have_not_come_are_missing_and_then_there() {
    let mut config = config();
    let routes = config.routes.remove("80").unwrap();
    let one = first(&config);
    assert!(one.chains[0].routes().is_none());
    assert_eq!(routed(&one, 0), None);
    config.routes.insert("80".into(), routes);
    let two = build(&config, &one);
    assert_eq!(routed(&two, 0), two.cluster_by_name("a"));
}

#[test]
fn listeners_are_found_by_name() {
    let snapshot = first(&config());
    let found = snapshot.listener("1.1.1.1_90").unwrap();
    assert_eq!(found.config().address, Some(address("1.1.1.1:90")));
    assert!(snapshot.listener("x").is_none());
    let names: Vec<_> = snapshot.clusters().map(|c| c.config().name.len()).collect();
    assert_eq!(names, [1, 1]);
}

#[test]
fn an_inbound_chain_reports_as_the_destination() {
    let mut cluster = ClusterConfig::new("inbound|9080||", ClusterDiscovery::OriginalDst);
    cluster.service = Some(crate::model::IstioService {
        host: "reviews.default.svc.cluster.local".into(),
        name: "reviews".into(),
        namespace: "default".into(),
    });
    let inbound = TrafficDirection::Inbound;
    let mut config = set(
        vec![listener(
            "virtualInbound",
            "0.0.0.0:15006",
            inbound,
            vec![http("in")],
        )],
        vec![routes("in", &[&["*"]], "inbound|9080||")],
        vec![Arc::new(cluster)],
        vec![],
    );
    config.node = Arc::new(NodeIdentity {
        workload: "reviews-v1".into(),
        ..NodeIdentity::default()
    });
    let snapshot = first(&config);
    let labels = snapshot.chains[0].request_metrics(true).labels();
    assert!(labels.grpc && !labels.reporter_source);
    assert_eq!(&*labels.destination_service_name, "reviews");
    assert_eq!(&*labels.destination_workload, "reviews-v1");
}
