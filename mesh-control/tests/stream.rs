//! The stream of one client: what it gets, when, and what an edit changes.

mod support;

use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::config::route::v3::{RouteConfiguration, route, route_action};
use prost::Name;
use support::{Client, bookinfo, copy_of, decode, node, open, write_status};

const PODS: [(&str, &str, &str, &str, u16); 5] = [
    ("productpage", "v1", "127.9.0.1", "http", 9080),
    ("details", "v1", "127.9.0.2", "http", 9080),
    ("details", "v1", "127.9.0.3", "http", 9080),
    ("reviews", "v1", "127.9.0.4", "http", 9080),
    ("reviews", "v3", "127.9.0.5", "http", 9080),
];

fn productpage() -> mesh_proto::envoy::config::core::v3::Node {
    node(
        "sidecar",
        "127.9.0.1",
        "productpage-v1",
        &[("app", "productpage"), ("version", "v1")],
    )
}

fn weights(routes: &RouteConfiguration) -> Vec<(String, u32)> {
    let host = routes
        .virtual_hosts
        .iter()
        .find(|vh| vh.domains.contains(&"reviews".to_owned()))
        .unwrap();
    let Some(route::Action::Route(action)) = &host.routes[0].action else {
        panic!("{host:?}")
    };
    let Some(route_action::ClusterSpecifier::WeightedClusters(weighted)) =
        &action.cluster_specifier
    else {
        panic!("{action:?}")
    };
    weighted
        .clusters
        .iter()
        .map(|c| (c.name.clone(), c.weight.unwrap()))
        .collect()
}

#[tokio::test]
async fn bookinfo_is_served_to_a_sidecar() {
    let folder = copy_of(&bookinfo());
    write_status(folder.path(), &PODS);
    let control = open(folder.path());
    assert_eq!(control.problems(), []);
    let mut client = Client::new(&control, productpage());

    let clusters: Vec<Cluster> = client.fetch(&[]).await;
    let names: Vec<_> = clusters.iter().map(|c| c.name.as_str()).collect();
    for name in [
        "outbound|9080||details.default.svc.cluster.local",
        "outbound|9080|v3|reviews.default.svc.cluster.local",
        "outbound|9090||inventory.default.svc.cluster.local",
        "BlackHoleCluster",
        "PassthroughCluster",
        "inbound|9080||",
        "InboundPassthroughCluster",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }

    let v3 = "outbound|9080|v3|reviews.default.svc.cluster.local";
    let details = "outbound|9080||details.default.svc.cluster.local";
    let endpoints: Vec<ClusterLoadAssignment> = client.fetch(&[v3, details]).await;
    let counts: Vec<_> = endpoints
        .iter()
        .map(|e| {
            e.endpoints
                .iter()
                .map(|l| l.lb_endpoints.len())
                .sum::<usize>()
        })
        .collect();
    assert_eq!(counts, [1, 2], "reviews v3, then details");

    let listeners: Vec<Listener> = client.fetch(&[]).await;
    let names: Vec<_> = listeners.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "0.0.0.0_9080",
            "0.0.0.0_9090",
            "virtualOutbound",
            "virtualInbound"
        ]
    );

    let routes: Vec<RouteConfiguration> = client.fetch(&["9080"]).await;
    let expected = [
        (
            "outbound|9080|v1|reviews.default.svc.cluster.local".to_owned(),
            90,
        ),
        (
            "outbound|9080|v3|reviews.default.svc.cluster.local".to_owned(),
            10,
        ),
    ];
    assert_eq!(weights(&routes[0]), expected);
    assert!(client.is_quiet());
    let status = control.status();
    assert!(status[0].types.iter().all(|t| t.is_synced()), "{status:?}");
}

#[tokio::test]
async fn an_edit_sends_only_the_types_that_it_changes() {
    let folder = copy_of(&bookinfo());
    write_status(folder.path(), &PODS);
    let control = open(folder.path());
    let mut client = Client::new(&control, productpage());
    let _: Vec<Cluster> = client.fetch(&[]).await;
    let _: Vec<Listener> = client.fetch(&[]).await;
    let _: Vec<RouteConfiguration> = client.fetch(&["9080"]).await;
    assert!(client.is_quiet());

    let rules = folder.path().join("rules.yaml");
    let text = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(
        &rules,
        text.replace("weight: 90", "weight: 60")
            .replace("weight: 10", "weight: 40"),
    )
    .unwrap();
    control.reload();
    let response = client.response().await;
    assert_eq!(response.type_url, RouteConfiguration::type_url());
    let routes: Vec<RouteConfiguration> = decode(&response);
    assert_eq!(
        weights(&routes[0])
            .iter()
            .map(|(_, w)| *w)
            .collect::<Vec<_>>(),
        [60, 40]
    );
    assert!(client.is_quiet());

    // a change that no client can see sends nothing
    std::fs::write(
        &rules,
        std::fs::read_to_string(&rules).unwrap() + "\n# the end\n",
    )
    .unwrap();
    control.reload();
    assert!(client.is_quiet());
}

#[tokio::test]
async fn a_bad_edit_keeps_what_was_good() {
    let folder = copy_of(&bookinfo());
    let control = open(folder.path());
    let mut client = Client::new(&control, productpage());
    let _: Vec<RouteConfiguration> = client.fetch(&["9080"]).await;

    let rules = folder.path().join("rules.yaml");
    let good = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(&rules, good.replace("weight: 90", "weight: ninety")).unwrap();
    control.reload();
    assert!(client.is_quiet());
    let problems = control.problems();
    let line = 1 + good.lines().position(|l| l.contains("weight: 90")).unwrap();
    assert_eq!(
        problems[0].to_string(),
        format!(
            "rules.yaml:{line}:7: VirtualService default/reviews: spec.http[0].route[0].weight: is the string \
             \"ninety\"; it must be a whole number from 0 to 2147483647"
        )
    );
    std::fs::write(&rules, &good).unwrap();
    control.reload();
    assert_eq!(control.problems(), []);
    assert!(client.is_quiet());
}

#[tokio::test]
async fn refusals_are_kept_and_not_sent_again() {
    let folder = copy_of(&bookinfo());
    let control = open(folder.path());
    let mut client = Client::new(&control, productpage());
    client.subscribe::<Cluster>(&[]);
    let response = client.response().await;
    client.nack(&response, &[], "too many clusters");
    assert!(client.is_quiet());
    let status = control.status();
    assert_eq!(
        status[0].types[0].nack.as_deref(),
        Some("too many clusters")
    );
    assert!(!status[0].types[0].is_synced());
}

#[tokio::test]
async fn more_names_are_answered_and_stale_nonces_are_not() {
    let folder = copy_of(&bookinfo());
    let control = open(folder.path());
    let mut client = Client::new(&control, productpage());
    client.subscribe::<RouteConfiguration>(&["9080"]);
    let first = client.response().await;
    client.ack(&first, &["9080", "9090"]);
    let second = client.response().await;
    let routes: Vec<RouteConfiguration> = decode(&second);
    assert_eq!(
        routes.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
        ["9080", "9090"]
    );
    client.ack(&first, &["9080"]);
    assert!(client.is_quiet());
}

#[tokio::test]
async fn a_client_without_a_node_is_refused() {
    let folder = copy_of(&bookinfo());
    let control = open(folder.path());
    let mut client = Client::new(&control, Default::default());
    client.subscribe::<Cluster>(&[]);
    let error = client.item().await.unwrap().unwrap_err();
    assert!(error.contains("node id \"\" is not of the form"), "{error}");
    assert_eq!(client.item().await, None);
}

#[tokio::test]
async fn the_gateway_gets_its_port_and_routes() {
    let folder = copy_of(&bookinfo());
    let control = open(folder.path());
    let gateway = node(
        "router",
        "127.9.0.9",
        "istio-ingressgateway",
        &[("istio", "ingressgateway")],
    );
    let mut client = Client::new(&control, gateway);
    let listeners: Vec<Listener> = client.fetch(&[]).await;
    assert_eq!(
        listeners
            .iter()
            .map(|l| l.name.as_str())
            .collect::<Vec<_>>(),
        ["0.0.0.0_8080"]
    );
    let routes: Vec<RouteConfiguration> = client.fetch(&["http.8080"]).await;
    let host = &routes[0].virtual_hosts[0];
    assert_eq!(
        (host.name.as_str(), host.domains.as_slice()),
        ("*:8080", ["*".to_owned()].as_slice())
    );
    assert_eq!(host.routes.len(), 6);
}

#[tokio::test]
async fn edits_are_seen_without_asking() {
    let folder = copy_of(&bookinfo());
    let control = open(folder.path());
    let mut client = Client::new(&control, productpage());
    let _: Vec<RouteConfiguration> = client.fetch(&["9080"]).await;
    let running = control.clone();
    let watch = tokio::spawn(async move { running.run().await });
    let rules = folder.path().join("rules.yaml");
    let text = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(&rules, text.replace("weight: 90", "weight: 55")).unwrap();
    let response = tokio::time::timeout(std::time::Duration::from_secs(5), client.response())
        .await
        .unwrap();
    let routes: Vec<RouteConfiguration> = decode(&response);
    assert_eq!(weights(&routes[0])[0].1, 55);
    watch.abort();
}

/// Answers every connection with these keys.
async fn issuer(keys: &'static str) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let length = keys.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{keys}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn keys_that_are_fetched_reach_clients() {
    const KEYS: &str = r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0IGtleXM"}]}"#;
    let issuer = issuer(KEYS).await;
    let folder = copy_of(&bookinfo());
    write_status(folder.path(), &PODS);
    let policy = format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: tokens}}\n\
         spec: {{jwtRules: [{{issuer: me, jwksUri: 'http://{issuer}/keys'}}]}}\n"
    );
    std::fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    let control = open(folder.path());
    assert_eq!(control.problems(), []);
    let mut client = Client::new(&control, productpage());
    client.subscribe::<Listener>(&[]);
    let has_keys = |response: &mesh_proto::envoy::service::discovery::v3::DiscoveryResponse| {
        let part = b"c2VjcmV0IGtleXM";
        let mut values = response.resources.iter().map(|any| &any.value);
        values.any(|value| value.windows(part.len()).any(|window| window == part))
    };
    let first = client.response().await;
    assert!(!has_keys(&first));
    client.ack(&first, &[]);
    let pushed = tokio::select! {
        () = control.run() => unreachable!("it never returns"),
        pushed = client.response() => pushed,
    };
    assert!(has_keys(&pushed));
}

#[tokio::test]
async fn gateways_end_tls_by_name() {
    use mesh_proto::envoy::config::core::v3::transport_socket::ConfigType;
    use mesh_proto::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;

    let data =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/istiod/gateway_tls");
    let folder = copy_of(&data);
    let control = open(folder.path());
    let gateway = node(
        "router",
        "127.9.1.3",
        "gate",
        &[("istio", "ingressgateway")],
    );
    let mut client = Client::new(&control, gateway);
    let listeners: Vec<Listener> = client.fetch(&[]).await;
    let https = listeners.iter().find(|l| l.name == "0.0.0.0_443").unwrap();
    let chains: Vec<_> = https
        .filter_chains
        .iter()
        .map(|chain| {
            let names = chain.filter_chain_match.as_ref();
            let socket = chain.transport_socket.as_ref().unwrap();
            let Some(ConfigType::TypedConfig(any)) = &socket.config_type else {
                panic!("{socket:?}")
            };
            let context: DownstreamTlsContext = any.to_msg().unwrap();
            let common = context.common_tls_context.unwrap();
            let secret = common.tls_certificate_sds_secret_configs[0].name.clone();
            (
                names.map(|m| m.server_names.clone()).unwrap_or_default(),
                secret,
                context.require_client_certificate == Some(true),
            )
        })
        .collect();
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        chains,
        [
            (
                names(&["a.example.com"]),
                "kubernetes://cert-a".to_owned(),
                false
            ),
            (
                names(&["b.example.com", "c.example.com"]),
                "kubernetes://cert-b".to_owned(),
                true
            ),
            (names(&[]), "file-cert:/c.pem~/k.pem".to_owned(), false),
        ]
    );
    let routes: Vec<RouteConfiguration> = client.fetch(&["https.443.https-a.one.default"]).await;
    assert_eq!(routes[0].virtual_hosts[0].domains, ["a.example.com"]);
}
