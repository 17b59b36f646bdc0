//! The subscriber as its owner sees it: responses in, complete configurations out.

pub(super) mod scene;
mod secrets;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use mesh_proto::envoy::config::core::v3::Node;
use prost_types::Any;

use self::scene::{Test, Zero, any, bad_cluster, cluster, endpoints, listener, routes};
use super::{Action, Severity, Subscriber};
use crate::{
    ResourceKind::{Cluster, Endpoints, Listener, Route},
    bootstrap::Bootstrap,
};

fn keys<V>(map: &std::collections::HashMap<Arc<str>, V>) -> BTreeSet<&str> {
    map.keys().map(|name| &**name).collect()
}

#[test]
fn nothing_is_published_before_everything_that_is_referred_to_came() {
    let mut test = Test::open();
    test.sent();
    test.respond(Cluster, "1", &[cluster("a"), cluster("b")]);
    assert_eq!(test.names(Endpoints), ["a", "b"]);
    test.respond(Listener, "1", &[listener("l", "r")]);
    assert_eq!(test.names(Route), ["r"]);
    test.respond(Endpoints, "1", &[endpoints("a", 1)]);
    test.respond(Route, "1", &[routes("r", "a")]);
    assert!(test.published().is_none());
    assert_eq!(
        test.subscriber.waiting_for(),
        Some((Endpoints, Some("b".into())))
    );
    test.respond(Endpoints, "1", &[endpoints("b", 2)]);
    let (config, info) = test.published().unwrap();
    assert!(info.first);
    assert_eq!(keys(&config.clusters), BTreeSet::from(["a", "b"]));
    assert_eq!(keys(&config.endpoints), BTreeSet::from(["a", "b"]));
    assert_eq!(keys(&config.routes), BTreeSet::from(["r"]));
    assert_eq!(&*config.listeners[0].name, "l");
}

#[test]
fn what_does_not_come_in_15_seconds_counts_as_absent() {
    let mut test = Test::open();
    test.sent();
    test.respond(Cluster, "1", &[cluster("a")]);
    test.respond(Listener, "1", &[listener("l", "r")]);
    test.after(Duration::from_secs(15));
    let (config, _) = test.published().unwrap();
    assert_eq!(keys(&config.clusters), BTreeSet::from(["a"]));
    assert!(config.endpoints.is_empty() && config.routes.is_empty());
    let absent: Vec<_> = test
        .findings
        .iter()
        .map(|f| (f.severity, f.kind, &*f.name))
        .collect();
    assert_eq!(
        absent,
        [
            (Severity::Absent, Endpoints, "a"),
            (Severity::Absent, Route, "r")
        ]
    );
    // and comes after all
    test.respond(Endpoints, "1", &[endpoints("a", 1)]);
    let (config, info) = test.published().unwrap();
    assert_eq!(keys(&config.endpoints), BTreeSet::from(["a"]));
    assert!(!info.first);
}

#[test]
fn an_empty_control_plane_is_complete() {
    let mut test = Test::open();
    test.sent();
    test.respond(Cluster, "1", &[]);
    assert!(test.published().is_none());
    test.respond(Listener, "1", &[]);
    assert!(test.published().unwrap().0.listeners.is_empty());
}

#[test]
fn a_refused_resource_keeps_its_last_good_version() {
    let mut test = Test::open();
    let before = test.complete();
    test.respond(Cluster, "2", &[bad_cluster("a"), cluster("b")]);
    let nack = test
        .sent()
        .into_iter()
        .find(|request| request.type_url == Cluster.type_url())
        .unwrap();
    assert_eq!((&*nack.version_info, &*nack.response_nonce), ("1", "5"));
    assert_eq!(
        nack.error_detail.unwrap().message,
        "a: eds_cluster_config: must be set because type is EDS; load_balancing_policy: must be set because lb_policy is LOAD_BALANCING_POLICY_CONFIG"
    );
    test.respond(Endpoints, "2", &[endpoints("a", 1), endpoints("b", 2)]);
    let (config, _) = test.published().unwrap();
    assert!(
        Arc::ptr_eq(&config.clusters["a"], &before.clusters["a"]),
        "the last good one stays"
    );
    assert_eq!(
        keys(&config.clusters),
        BTreeSet::from(["a", "b"]),
        "the good ones of the response are taken"
    );
    let refused: Vec<_> = test
        .findings
        .iter()
        .map(|f| (f.severity, f.kind, &*f.name))
        .collect();
    assert_eq!(refused, [(Severity::Refused, Cluster, "a")]);
}

#[test]
fn a_route_configuration_that_was_never_good_does_not_hold_up_the_rest() {
    let mut test = Test::open();
    test.sent();
    test.respond(Cluster, "1", &[]);
    test.respond(Listener, "1", &[listener("l", "r")]);
    test.respond(
        Route,
        "1",
        &[any(
            "envoy.config.route.v3.RouteConfiguration",
            "{name: r, vhds: {}}",
        )],
    );
    let (config, _) = test.published().unwrap();
    assert!(
        config.routes.is_empty(),
        "the listener answers without routes"
    );
}

#[test]
fn a_name_that_occurs_twice_is_refused() {
    let mut test = Test::open();
    test.complete();
    test.respond(Cluster, "2", &[cluster("a"), cluster("b"), cluster("b")]);
    let nack = test
        .sent()
        .into_iter()
        .find(|request| request.type_url == Cluster.type_url())
        .unwrap();
    assert_eq!(
        nack.error_detail.unwrap().message,
        "b: occurs twice in the response"
    );
    assert_eq!(nack.version_info, "1");
}

#[test]
fn an_unreadable_resource_removes_nothing() {
    let mut test = Test::open();
    test.complete();
    let junk = Any {
        type_url: Cluster.type_url().to_owned(),
        value: vec![0xff],
    };
    test.respond(Cluster, "2", &[junk]);
    let nack = test
        .sent()
        .into_iter()
        .find(|request| request.type_url == Cluster.type_url())
        .unwrap();
    let message = nack.error_detail.unwrap().message;
    assert!(
        message.starts_with("resources[0]: cannot be read: "),
        "{message}"
    );
    assert!(test.published().is_none());
}

#[test]
fn unchanged_resources_are_neither_decoded_nor_published_again() {
    let mut test = Test::open();
    let before = test.complete();
    test.respond(Cluster, "2", &[cluster("a")]);
    assert!(test.published().is_none());
    assert_eq!(test.subscriber.version(Cluster), "2");
    test.respond(Cluster, "3", &[cluster("a"), cluster("b")]);
    test.respond(Endpoints, "2", &[endpoints("b", 2)]);
    let (config, _) = test.published().unwrap();
    assert!(Arc::ptr_eq(&config.clusters["a"], &before.clusters["a"]));
    assert!(Arc::ptr_eq(&config.endpoints["a"], &before.endpoints["a"]));
    assert!(Arc::ptr_eq(&config.routes["r"], &before.routes["r"]));
}

#[test]
fn an_update_of_several_types_is_published_whole() {
    let mut test = Test::open();
    test.complete();
    test.respond(Cluster, "2", &[cluster("a"), cluster("b")]);
    assert_eq!(test.names(Endpoints), ["a", "b"]);
    test.respond(Route, "2", &[routes("r", "b")]);
    assert!(
        test.published().is_none(),
        "routes to b would find a cluster without endpoints"
    );
    test.respond(Endpoints, "2", &[endpoints("b", 2)]);
    let (config, _) = test.published().unwrap();
    assert!(config.endpoints.contains_key("b") && config.clusters.contains_key("b"));
}

#[test]
fn a_removed_cluster_stays_until_its_routes_are_changed() {
    let mut test = Test::open();
    test.complete();
    test.respond(Cluster, "2", &[]);
    let (config, _) = test.published().unwrap();
    assert!(
        config.clusters.contains_key("a") && config.endpoints.contains_key("a"),
        "break after make"
    );
    test.respond(Route, "2", &[routes("r", "other")]);
    let (config, _) = test.published().unwrap();
    assert!(config.clusters.is_empty() && config.endpoints.is_empty());
    assert_eq!(test.subscriber.poll_timeout(), None);
}

#[test]
fn a_removed_cluster_does_not_stay_for_ever() {
    let mut test = Test::open();
    test.complete();
    test.respond(Cluster, "2", &[]);
    test.published();
    assert_eq!(
        test.subscriber.poll_timeout(),
        Some(test.now + Duration::from_secs(1))
    );
    test.after(Duration::from_secs(1));
    let (config, _) = test.published().unwrap();
    assert!(
        config.clusters.is_empty(),
        "routes to it answer NC, as in Envoy"
    );
}

#[test]
fn a_cluster_that_comes_back_gets_new_endpoints() {
    let mut test = Test::open();
    test.complete();
    test.respond(Cluster, "2", &[]);
    assert_eq!(test.names(Endpoints), Vec::<String>::new());
    test.after(Duration::from_secs(1));
    test.published();
    test.respond(Cluster, "3", &[cluster("a")]);
    assert_eq!(test.names(Endpoints), ["a"]);
    assert!(
        test.published().is_none(),
        "the old endpoints are forgotten"
    );
    test.respond(Endpoints, "2", &[endpoints("a", 9)]);
    let (config, _) = test.published().unwrap();
    assert_eq!(
        config.endpoints["a"].localities[0].endpoints[0].address,
        "127.0.0.9:80".parse().unwrap()
    );
}

#[test]
fn everything_stays_in_force_while_the_control_plane_is_away() {
    let mut test = Test::open();
    test.complete();
    test.subscriber.handle_close(test.now, &mut Zero);
    test.after(Duration::from_secs(3_600));
    assert!(test.published().is_none());
    test.subscriber.handle_open(test.now);
    let sent = test.sent();
    let versions: Vec<_> = sent.iter().map(|request| &*request.version_info).collect();
    assert_eq!(versions, ["1", "1", "1", "1"]);
    test.respond(Cluster, "1", &[cluster("a")]);
    test.after(Duration::from_secs(60));
    assert!(test.published().is_none(), "nothing changed");
}

#[test]
fn a_wrapped_resource_is_the_resource() {
    let mut test = Test::open();
    test.sent();
    let wrapper = mesh_proto::envoy::service::discovery::v3::Resource {
        name: "a".into(),
        resource: Some(cluster("a")),
        ..Default::default()
    };
    test.respond(Cluster, "1", &[Any::from_msg(&wrapper).unwrap()]);
    assert_eq!(test.names(Endpoints), ["a"]);
}

#[test]
fn a_grpc_node_subscribes_by_name_down_the_graph() {
    use prost_types::{Struct, Value, value::Kind};
    let generator = Value {
        kind: Some(Kind::StringValue("grpc".into())),
    };
    let metadata = Struct {
        fields: [("GENERATOR".to_owned(), generator)].into(),
    };
    let mut test = {
        let now = Instant::now();
        let node = Node {
            id: "n".into(),
            metadata: Some(metadata),
            ..Default::default()
        };
        let mut subscriber = Subscriber::new(&Bootstrap::in_process(node), now);
        subscriber.handle_open(now);
        Test {
            subscriber,
            now,
            nonce: 0,
            findings: Vec::new(),
            wanted: BTreeSet::new(),
        }
    };
    test.published();
    assert_eq!(test.sent(), [], "nothing is asked for by itself");
    test.subscriber
        .require_listeners(test.now, ["svc:80".into()]);
    assert_eq!(test.names(Listener), ["svc:80"]);
    test.respond(Listener, "1", &[listener("svc:80", "r")]);
    assert_eq!(test.names(Route), ["r"]);
    test.respond(Route, "1", &[routes("r", "a")]);
    assert_eq!(test.names(Cluster), ["a"]);
    test.respond(Cluster, "1", &[cluster("a")]);
    assert_eq!(test.names(Endpoints), ["a"]);
    assert!(test.published().is_none());
    test.respond(Endpoints, "1", &[endpoints("a", 1)]);
    let (config, _) = test.published().unwrap();
    assert_eq!(keys(&config.clusters), BTreeSet::from(["a"]));
}

#[test]
fn without_a_control_plane_the_static_resources_are_published_at_once() {
    let text = "static_resources: {clusters: [{name: a, type: STATIC}]}";
    let bootstrap = Bootstrap::from_envoy(text, &Default::default()).unwrap();
    let mut subscriber = Subscriber::new(&bootstrap, Instant::now());
    let Some(Action::Publish(config, info)) = subscriber.poll_action() else {
        panic!("not published")
    };
    assert!(info.first);
    assert_eq!(keys(&config.clusters), BTreeSet::from(["a"]));
    assert!(subscriber.poll_action().is_none() && subscriber.poll_timeout().is_none());
}

#[test]
fn a_static_cluster_wins_over_a_dynamic_one() {
    let text = "
node: {id: n, cluster: c}
dynamic_resources:
  cds_config: {ads: {}}
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services: [{google_grpc: {target_uri: '127.0.0.1:1', stat_prefix: x}}]
static_resources: {clusters: [{name: a, type: STATIC, alt_stat_name: fixed}]}";
    let bootstrap = Bootstrap::from_envoy(text, &Default::default()).unwrap();
    let now = Instant::now();
    let mut subscriber = Subscriber::new(&bootstrap, now);
    subscriber.handle_open(now);
    let mut test = Test {
        subscriber,
        now,
        nonce: 0,
        findings: Vec::new(),
        wanted: BTreeSet::new(),
    };
    test.sent();
    test.respond(
        Cluster,
        "1",
        &[any(
            "envoy.config.cluster.v3.Cluster",
            "{name: a, type: STATIC}",
        )],
    );
    assert_eq!(
        &*test.published().unwrap().0.clusters["a"].stat_name,
        "fixed"
    );
}

#[test]
fn a_removed_cluster_that_was_never_in_force_does_not_stay() {
    let mut test = Test::open();
    test.complete();
    test.respond(Cluster, "2", &[cluster("a"), cluster("b")]);
    test.respond(Route, "2", &[routes("r", "b")]);
    assert!(test.published().is_none(), "its endpoints are waited for");
    test.respond(Cluster, "3", &[cluster("a")]);
    let (config, _) = test.published().unwrap();
    assert_eq!(keys(&config.clusters), BTreeSet::from(["a"]));
}
