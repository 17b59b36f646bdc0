//! Bootstraps that must be read, and what is made of them.

use std::time::Duration;

use mesh_xds::bootstrap::{AdsAddress, Bootstrap, NodeOverrides};

fn envoy(text: &str) -> Bootstrap {
    Bootstrap::from_envoy(text, &NodeOverrides::default()).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_one_that_istios_agent_writes_for_envoy() {
    let bootstrap = envoy(include_str!("data/istio-agent-envoy.json"));
    assert_eq!(
        bootstrap.node().id,
        "sidecar~127.0.1.7~reviews-v1-abc.default~default.svc.cluster.local"
    );
    let identity = bootstrap.identity();
    assert_eq!(&*identity.dns_domain, "default.svc.cluster.local");
    assert_eq!(
        (&*identity.workload, &*identity.namespace),
        ("reviews-v1", "default")
    );
    assert_eq!(
        (&*identity.canonical_service, &*identity.canonical_revision),
        ("reviews", "v1")
    );
    assert_eq!(&*identity.cluster, "Kubernetes");
    let ads = bootstrap.ads().unwrap();
    assert_eq!(
        ads.addresses,
        [AdsAddress::Unix("./etc/istio/proxy/XDS".into())]
    );
    assert!(ads.all_listeners && ads.all_clusters);
    assert_eq!(bootstrap.admin(), Some("127.0.0.1:15000".parse().unwrap()));
    let config = bootstrap.static_config();
    let listeners: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| &*listener.name)
        .collect();
    assert_eq!(listeners, ["0.0.0.0_15090", "0.0.0.0_15021"]);
    let mut clusters: Vec<_> = config.clusters.keys().map(|name| &**name).collect();
    clusters.sort_unstable();
    assert_eq!(
        clusters,
        ["agent", "prometheus_stats"],
        "Unix sockets carry the control plane only"
    );
    let warnings = bootstrap.warnings().join("\n");
    for expected in [
        "dynamic_resources.ads_config.api_type: DELTA_GRPC is not supported yet; GRPC (state of the world) is used",
        "layered_runtime: not supported yet; ignored",
        "stats_config: not supported yet; ignored",
        "static_resources.clusters[2]: cluster \"sds-grpc\" cannot take requests",
        "response compression (envoy.extensions.filters.http.compressor.v3.Compressor) is not supported yet; ignored",
    ] {
        assert!(warnings.contains(expected), "{expected}\nin\n{warnings}");
    }
}

#[test]
fn the_one_that_istios_agent_writes_for_grpc() {
    let bootstrap = Bootstrap::from_grpc(include_str!("data/istio-agent-grpc.json")).unwrap();
    let ads = bootstrap.ads().unwrap();
    assert_eq!(
        ads.addresses,
        [AdsAddress::Unix("/etc/istio/proxy/XDS".into())]
    );
    assert!(!ads.all_listeners, "GENERATOR: grpc subscribes by name");
    assert_eq!(
        &*bootstrap.identity().server_listener_template,
        "xds.istio.io/grpc/lds/inbound/%s"
    );
    assert_eq!(&*bootstrap.identity().workload, "reviews-v1");
}

#[test]
fn an_envoy_bootstrap_in_yaml_with_ads_over_a_dns_cluster() {
    let bootstrap = envoy(
        "
node: {id: sidecar~10.0.0.1~a.b~b.svc.cluster.local, cluster: a}
admin: {address: {socket_address: {address: 127.0.0.2, port_value: 15000}}}
dynamic_resources:
  lds_config: {ads: {}, resource_api_version: V3}
  cds_config: {ads: {}, resource_api_version: V3}
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services:
    - envoy_grpc:
        cluster_name: xds
        retry_policy: {retry_back_off: {base_interval: 0.1s, max_interval: 1s}}
      initial_metadata: [{key: Authorization, value: token}]
static_resources:
  clusters:
  - name: xds
    type: STRICT_DNS
    http2_protocol_options: {}
    load_assignment:
      cluster_name: xds
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: istiod.istio-system.svc, port_value: 15010}}}
        - endpoint: {address: {pipe: {path: /run/xds}}}
",
    );
    let ads = bootstrap.ads().unwrap();
    let host = "istiod.istio-system.svc".to_owned();
    assert_eq!(
        ads.addresses,
        [
            AdsAddress::Tcp { host, port: 15010 },
            AdsAddress::Unix("/run/xds".into())
        ]
    );
    assert_eq!(
        (ads.back_off.base, ads.back_off.max),
        (Duration::from_millis(100), Duration::from_secs(1))
    );
    assert_eq!(
        ads.metadata,
        [("authorization".to_owned(), "token".to_owned())]
    );
    assert!(bootstrap.static_config().clusters.is_empty());
}

#[test]
fn flags_win_over_the_file() {
    let overrides = NodeOverrides {
        service_node: Some("n2".into()),
        service_cluster: Some("c2".into()),
    };
    let bootstrap = Bootstrap::from_envoy("node: {id: n1, cluster: c1}", &overrides).unwrap();
    assert_eq!(
        (&*bootstrap.node().id, &*bootstrap.node().cluster),
        ("n2", "c2")
    );
    assert!(bootstrap.ads().is_none());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error =
        Bootstrap::from_envoy_file("no/such.yaml".as_ref(), &NodeOverrides::default()).unwrap_err();
    assert!(error.to_string().starts_with("no/such.yaml: "), "{error}");
}

#[test]
fn a_route_to_no_cluster_is_a_warning() {
    let text = r#"
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 1}}
    filter_chains:
    - filters:
      - name: t
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: s, cluster: gone}
"#;
    let warnings = envoy(text).warnings().to_vec();
    let expected =
        "static_resources.listeners: there is no cluster \"gone\"; its routes answer 503";
    assert_eq!(warnings, [expected]);
}
