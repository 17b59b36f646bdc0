//! Which chain a call takes, in the order of the design; and which a request to the server.

use super::*;
use crate::model::FilterChainMatch;

const OUT: TrafficDirection = TrafficDirection::Outbound;
const IN: TrafficDirection = TrafficDirection::Inbound;

/// A chain with criteria.
fn with(
    mut chain: FilterChainConfig,
    criteria: impl FnOnce(&mut FilterChainMatch),
) -> FilterChainConfig {
    criteria(&mut chain.matcher);
    chain
}

/// A service whose protocol is sniffed, as istiod emits it.
fn sniffed(bind: &str, route: &str, cluster: &str) -> ListenerConfig {
    let http = with(http(route), |m| {
        m.application_protocols = vec!["http/1.1".into(), "h2c".into()];
    });
    let name = bind.replace(':', "_");
    let mut listener = listener(&name, bind, OUT, vec![http]);
    listener.default_filter_chain = Some(tcp(cluster));
    listener
}

fn virtual_outbound(cluster: &str) -> ListenerConfig {
    let trap = with(tcp("BlackHoleCluster"), |m| {
        m.destination_port = Some(15001)
    });
    let mut listener = listener("virtualOutbound", "0.0.0.0:15001", OUT, vec![trap]);
    listener.default_filter_chain = Some(tcp(cluster));
    listener.use_original_dst = true;
    listener
}

/// A mesh as istiod describes it to a sidecar in namespace default.
fn mesh() -> ConfigSet {
    let nine: &[&[&str]] = &[
        &[
            "reviews.default.svc.cluster.local",
            "reviews.default.svc.cluster.local.",
            "reviews",
            "reviews.default.svc",
            "reviews.default",
            "10.0.0.1",
        ],
        &["*.wild.example.com", "*.deep.wild.example.com"],
        &["prefix.*"],
        &["*"],
    ];
    set(
        vec![
            virtual_outbound("PassthroughCluster"),
            listener("0.0.0.0_9080", "0.0.0.0:9080", OUT, vec![http("9080")]),
            listener(
                "10.0.0.7_3306",
                "10.0.0.7:3306",
                OUT,
                vec![tcp("outbound|3306||mysql.default.svc.cluster.local")],
            ),
            sniffed(
                "10.0.0.8:7000",
                "sniffed.other.svc.cluster.local:7000",
                "outbound|7000||sniffed.other.svc.cluster.local",
            ),
            sniffed("0.0.0.0:7000", "7000", "PassthroughCluster"),
            listener("[fd00::1]_8080", "[fd00::1]:8080", OUT, vec![http("8080")]),
            listener("virtualInbound", "0.0.0.0:15006", IN, vec![http("inbound")]),
        ],
        vec![
            routes("9080", nine, "c"),
            routes(
                "sniffed.other.svc.cluster.local:7000",
                &[
                    &["sniffed.other.svc.cluster.local", "sniffed.other"],
                    &["*"],
                ],
                "c",
            ),
            routes(
                "7000",
                &[&["plain.default.svc.cluster.local", "plain"]],
                "c",
            ),
            routes("8080", &[&["six", "[fd00::1]"]], "c"),
            routes("inbound", &[&["*"]], "c"),
        ],
        ["PassthroughCluster", "BlackHoleCluster", "c"]
            .map(eds)
            .into(),
        vec![],
    )
}

/// The outcome in words: `listener` for a chain, `tcp CLUSTER`, `none`.
fn outcome(snapshot: &Snapshot, host: &str, port: u16) -> String {
    let outbound = snapshot.outbound(host, port);
    // Whatever is found by the whole authority is what is found by its parts.
    let mut authorities = vec![format!("{host}:{port}")];
    if port == 80 {
        authorities.push(host.to_owned());
    }
    for authority in authorities {
        let by_name = snapshot.outbound_by_name(&authority);
        assert!(by_name.is_none_or(|found| found == outbound), "{authority}");
    }
    match outbound {
        Outbound::Http(at) => snapshot.chain(at).unwrap().listener().to_string(),
        Outbound::Tcp(at) => {
            let name = snapshot.slots.iter().find(|(_, slot)| **slot == at);
            format!("tcp {}", name.unwrap().0)
        }
        Outbound::None => "none".into(),
    }
}

#[track_caller]
fn check(config: &ConfigSet, cases: &[(&str, u16, &str)]) {
    let snapshot = build(config, &Snapshot::empty(Arc::default()));
    for (host, port, expected) in cases {
        assert_eq!(outcome(&snapshot, host, *port), *expected, "{host}:{port}");
    }
}

#[test]
fn a_sidecars_listeners_answer_by_domain_address_and_port() {
    let long = "x".repeat(300);
    check(
        &mesh(),
        &[
            // Domains of the routes of the port, in any case, with the root's dot.
            ("reviews", 9080, "0.0.0.0_9080"),
            ("Reviews.Default.SVC.cluster.local", 9080, "0.0.0.0_9080"),
            ("reviews.default.svc.cluster.local.", 9080, "0.0.0.0_9080"),
            ("a.wild.example.com", 9080, "0.0.0.0_9080"),
            ("a.deep.wild.example.com", 9080, "0.0.0.0_9080"),
            ("prefix.example.com", 9080, "0.0.0.0_9080"),
            ("10.0.0.1", 9080, "0.0.0.0_9080"),
            ("[fd00::1]", 8080, "[fd00::1]_8080"),
            ("fd00:0::1", 8080, "[fd00::1]_8080"),
            ("six", 8080, "[fd00::1]_8080"),
            // A TCP-only service, by name and by address.
            (
                "mysql",
                3306,
                "tcp outbound|3306||mysql.default.svc.cluster.local",
            ),
            (
                "mysql.default.svc",
                3306,
                "tcp outbound|3306||mysql.default.svc.cluster.local",
            ),
            (
                "10.0.0.7",
                3306,
                "tcp outbound|3306||mysql.default.svc.cluster.local",
            ),
            // A sniffed service has a route configuration of its own.
            ("sniffed.other", 7000, "10.0.0.8_7000"),
            ("sniffed.other.svc", 7000, "10.0.0.8_7000"),
            ("10.0.0.8", 7000, "10.0.0.8_7000"),
            ("plain", 7000, "0.0.0.0_7000"),
            // 0.0.0.0_PORT takes any other host.
            ("outside.example.com", 9080, "0.0.0.0_9080"),
            ("9.9.9.9", 9080, "0.0.0.0_9080"),
            (&long, 9080, "0.0.0.0_9080"),
            // virtualOutbound takes any other port.
            ("reviews", 81, "tcp PassthroughCluster"),
            ("outside.example.com", 443, "tcp PassthroughCluster"),
            ("other", 3306, "tcp PassthroughCluster"),
            ("", 81, "tcp PassthroughCluster"),
            ("reviews", 15001, "tcp BlackHoleCluster"),
        ],
    );
}

#[test]
fn an_api_listener_comes_first_and_is_found_by_short_names() {
    let mut config = mesh();
    let api = [
        api("reviews.default.svc.cluster.local:9080", "9080"),
        api("any.default.svc.cluster.local", "9080"),
    ];
    config.listeners.extend(api.map(Arc::new));
    let name = "reviews.default.svc.cluster.local:9080";
    let any = "any.default.svc.cluster.local";
    check(
        &config,
        &[
            ("reviews", 9080, name),
            ("reviews.default", 9080, name),
            ("reviews.default.svc", 9080, name),
            ("reviews.default.svc.cluster.local", 9080, name),
            ("reviews", 81, "tcp PassthroughCluster"),
            ("any", 1, any),
            ("any", 9080, any),
            ("other", 9080, "0.0.0.0_9080"),
        ],
    );
}

#[test]
fn domains_with_a_port_name_hosts_of_that_port_only() {
    let api = listener("l", "127.0.0.1:50051", OUT, vec![http("r")]);
    let domains: &[&str] = &["a", "a:50051", "b:50051", "c:1", "[::1]:50051", "*:50051"];
    let config = set(
        vec![api],
        vec![routes("r", &[domains], "c")],
        vec![],
        vec![],
    );
    check(
        &config,
        &[
            ("a", 50051, "l"),
            ("b", 50051, "l"),
            ("c", 50051, "none"),
            ("c", 1, "none"),
            ("::1", 50051, "l"),
            ("127.0.0.1", 50051, "l"),
        ],
    );
}

#[test]
fn hosts_that_are_named_are_found_by_the_whole_authority() {
    let config = set(
        vec![
            listener("l", "127.0.0.1:80", OUT, vec![http("r")]),
            listener("m", "127.0.0.1:81", OUT, vec![http("r")]),
        ],
        vec![routes("r", &[&["a", "b:81", "*.c"]], "c")],
        vec![],
        vec![],
    );
    let snapshot = build(&config, &Snapshot::empty(Arc::default()));
    let by_name = |authority| snapshot.outbound_by_name(authority).is_some();
    for authority in ["a", "a:80", "a:81", "b:81"] {
        assert!(by_name(authority), "{authority}");
    }
    for authority in [
        "b",
        "b:80",
        "A",
        "x.c",
        "a.",
        "user@a",
        "127.0.0.1:80",
        "a:082",
        "",
    ] {
        assert!(!by_name(authority), "{authority}");
    }
}

#[test]
fn without_passthrough_the_black_hole_takes_the_rest() {
    let mut config = mesh();
    config.listeners[0] = Arc::new(virtual_outbound("BlackHoleCluster"));
    check(&config, &[("outside", 81, "tcp BlackHoleCluster")]);
    config.listeners.remove(0);
    check(
        &config,
        &[("outside", 81, "none"), ("outside", 9080, "0.0.0.0_9080")],
    );
    check(&ConfigSet::default(), &[("a", 80, "none")]);
}

#[test]
fn inbound_listeners_take_no_calls_out() {
    let inbound = listener("in", "0.0.0.0:80", IN, vec![http("r")]);
    let config = set(
        vec![inbound],
        vec![routes("r", &[&["a"]], "c")],
        vec![],
        vec![],
    );
    check(&config, &[("a", 80, "none")]);
}

#[test]
fn a_server_finds_its_chain_by_port() {
    let port = |port| move |m: &mut FilterChainMatch| m.destination_port = Some(port);
    let mut captured = listener(
        "virtualInbound",
        "0.0.0.0:15006",
        IN,
        vec![
            with(tcp("BlackHoleCluster"), port(15006)),
            with(http("8080"), |m| {
                m.destination_port = Some(8080);
                m.transport_protocol = "tls".into();
            }),
            with(http("8080"), port(8080)),
            with(http("8443"), |m| {
                m.destination_port = Some(8443);
                m.transport_protocol = "tls".into();
            }),
            with(tcp("db"), port(5432)),
        ],
    );
    captured.default_filter_chain = Some(http("rest"));
    let bound = listener("bound", "127.0.0.1:9090", IN, vec![http("9090")]);
    let prefix = "xds.example/grpc/inbound";
    let grpc = format!("{prefix}/0.0.0.0:50051?x");
    let grpc = listener(&grpc, "0.0.0.0:50051", IN, vec![http("50051")]);
    let mut config = set(vec![captured, bound, grpc], vec![], vec![], vec![]);
    config.node = Arc::new(NodeIdentity {
        server_listener_template: format!("{prefix}/%s?x").into(),
        ..NodeIdentity::default()
    });
    let snapshot = build(&config, &Snapshot::empty(Arc::default()));
    let route = |port| {
        let at = snapshot.inbound(port).chain()?;
        match &snapshot.chain(at)?.manager().routes {
            RouteSource::Rds(name) => Some(name.to_string()),
            RouteSource::Inline(_) => None,
        }
    };
    assert_eq!(route(8080).as_deref(), Some("8080"));
    assert_eq!(route(9090).as_deref(), Some("9090"));
    assert_eq!(route(50051).as_deref(), Some("50051"));
    assert_eq!(route(1234).as_deref(), Some("rest"));
    // Not what is for other ports.
    assert_eq!(snapshot.inbound(5432), Inbound::Pass);

    // Envoy's default chain takes what no other does, whatever was meant for the port.
    assert_eq!(route(8443).as_deref(), Some("rest"));
    let mut strict = (*config.listeners[0]).clone();
    strict.default_filter_chain = None;
    config.listeners[0] = Arc::new(strict);
    let snapshot = build(&config, &snapshot);
    assert_eq!(snapshot.inbound(8443), Inbound::Refused);

    config.listeners.remove(0);
    let snapshot = build(&config, &snapshot);
    assert_eq!(snapshot.inbound(8080), Inbound::Pass);
    assert!(snapshot.inbound(9090).chain().is_some());
}
