//! Bootstraps that are refused: what is wrong and where, for people.

use mesh_xds::bootstrap::{Bootstrap, NodeOverrides};

fn envoy(text: &str) -> String {
    match Bootstrap::from_envoy(text, &NodeOverrides::default()) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(invalid) => invalid.to_string(),
    }
}

fn grpc(text: &str) -> String {
    match Bootstrap::from_grpc(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(invalid) => invalid.to_string(),
    }
}

/// ADS by the cluster `xds`, which the case adds.
const ADS: &str = "\
node: {id: n, cluster: c}
dynamic_resources:
  lds_config: {ads: {}}
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services:
    - envoy_grpc: {cluster_name: xds}
";

#[test]
fn syntax() {
    let cases = [
        ("", "the bootstrap is empty"),
        ("node: {id: a", "1:7: unclosed bracket '{'"),
        (
            "admin:\n\taddress: {}",
            "2:2: tabs disallowed within this context (block indentation)",
        ),
        ("- a\n- b", "1:1: expected a mapping"),
        (
            "{\n  \"node\": {\"id\": \"a\",}\n",
            "1:1: unclosed bracket '{'",
        ),
        (
            "node:\n  id: a\nnode:\n  id: b\n",
            "3:1: duplicate mapping key: node",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(envoy(text), expected, "\n{text}");
    }
}

#[test]
fn fields_and_types() {
    let cases = [
        ("node:\n  id: a\n  clster: b\n", "3:3: unknown field clster"),
        (
            "static_resources:\n  clusters:\n  - name: a\n    lb_policy: FASTEST\n",
            "4:16: unknown enum value FASTEST",
        ),
        (
            "static_resources:\n  clusters:\n  - name: a\n    connect_timeout: soon\n",
            "4:22: not a duration; write seconds, for example 0.25s",
        ),
        (
            "admin:\n  address:\n    socket_address: {address: 127.0.0.1, port_value: http}\n",
            "3:54: not a number",
        ),
        (
            "static_resources:\n  listeners:\n  - name: l\n    filter_chains:\n    - filters:\n      - name: f\n        typed_config:\n          \"@type\": type.googleapis.com/acme.Filter\n          x: 1\n",
            "8:11: unknown extension type acme.Filter",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(envoy(text), expected, "\n{text}");
    }
}

#[test]
fn meaning() {
    let cases = [
        (
            "admin:\n  address:\n    socket_address: {address: localhost, port_value: 1}\n",
            "3:22: admin.address.socket_address.address: \"localhost\" is not an IP address",
        ),
        (
            "static_resources:\n  clusters:\n  - name: a\n    type: EDS\n  - name: b\n    health_checks: [{}]\n",
            "3:5: static_resources.clusters[0].eds_cluster_config: must be set because type is EDS\n6:21: static_resources.clusters[1].health_checks[0].timeout: must be set\n6:21: static_resources.clusters[1].health_checks[0].interval: must be set\n6:21: static_resources.clusters[1].health_checks[0].unhealthy_threshold: must be set\n6:21: static_resources.clusters[1].health_checks[0].healthy_threshold: must be set\n6:21: static_resources.clusters[1].health_checks[0]: must hold http_health_check, grpc_health_check or tcp_health_check",
        ),
        (
            "static_resources:\n  secrets: [{name: s}]\nhds_config: {}\n",
            "3:1: hds_config: not supported yet\n2:13: static_resources.secrets[0]: must hold tls_certificate or validation_context",
        ),
        (
            "static_resources:\n  listeners:\n  - name: l\n    address: {socket_address: {address: 127.0.0.1, port_value: 1}}\n    filter_chains:\n    - filters:\n      - name: f\n        typed_config:\n          \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy\n          stat_prefix: s\n",
            "8:9: static_resources.listeners[0].filter_chains[0].filters[0].typed_config: must hold cluster or weighted_clusters",
        ),
        (
            "dynamic_resources: {lds_config: {path_config_source: {path: /x}}}\n",
            "1:21: dynamic_resources.lds_config: only ads is supported",
        ),
        (
            "dynamic_resources:\n  cds_config: {ads: {}}\n",
            "1:1: dynamic_resources.ads_config: must be set because lds_config or cds_config use ads",
        ),
        (
            "static_resources:\n  clusters: [{name: a, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}]\n",
            "2:3: static_resources.clusters: endpoints \"a\" would come over ads, but dynamic_resources.ads_config is not set",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(envoy(text), expected, "\n{text}");
    }
}

#[test]
fn control_planes() {
    let with = |clusters: &str| format!("{ADS}static_resources:\n  clusters:\n{clusters}");
    let cases = [
        (
            ADS.to_owned(),
            "8:20: dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name: static_resources.clusters has no cluster \"xds\"",
        ),
        (
            with("  - name: xds\n    type: EDS\n"),
            "8:20: dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name: cluster \"xds\" must be of type STATIC, STRICT_DNS or LOGICAL_DNS\n8:20: dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name: cluster \"xds\" has no endpoint with a socket address or a pipe",
        ),
        (
            with(
                "  - name: xds\n    type: STATIC\n    transport_socket:\n      name: envoy.transport_sockets.tls\n    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: /x}}}}]}]}\n",
            ),
            "8:20: dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name: cluster \"xds\" has a transport_socket; TLS to the control plane is not supported yet, use a plaintext port or a Unix socket",
        ),
        (
            ADS.replace("api_type: GRPC", "api_type: REST")
                .replace("V3", "V2")
                .replace("node: {id: n, cluster: c}\n", ""),
            "4:5: dynamic_resources.ads_config.api_type: REST is not supported; use GRPC\n5:5: dynamic_resources.ads_config.transport_api_version: must be V3\n7:20: dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name: static_resources.clusters has no cluster \"xds\"",
        ),
        (
            ADS.replace(
                "envoy_grpc: {cluster_name: xds}",
                "google_grpc: {target_uri: 'here', stat_prefix: x}",
            ),
            "8:21: dynamic_resources.ads_config.grpc_services[0].google_grpc.target_uri: \"here\" is not HOST:PORT or unix:PATH",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(envoy(&text), expected, "\n{text}");
    }
}

#[test]
fn grpcs_form() {
    let cases = [
        ("{\n  \"xds_servers\": [}", "2:19: expected value"),
        (
            "{}",
            "1:1: xds_servers: must name one server\n1:1: node: must be set",
        ),
        (
            "{\n  \"node\": {\"id\": \"n\"},\n  \"xds_servers\": [{\"server_uri\": \"nowhere\", \"channel_creds\": [{\"type\": \"tls\"}]}]\n}",
            "3:45: xds_servers[0].channel_creds: only insecure is supported yet, found [tls]\n3:20: xds_servers[0].server_uri: \"nowhere\" is not HOST:PORT or unix:PATH",
        ),
        (
            "{\"xds_servers\": [{\"server_uri\": 5}]}",
            "1:33: invalid type: integer `5`, expected a string",
        ),
        (
            "{\n  \"xds_servers\": [{\"server_uri\": \"a:99999\", \"channel_creds\": [{\"type\": \"insecure\"}]}],\n  \"node\": {\"id\": \"\", \"metadata\": {}}\n}",
            "2:20: xds_servers[0].server_uri: \"99999\" in \"a:99999\" is not a port\n3:12: node.id: must not be empty",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(grpc(text), expected, "\n{text}");
    }
}

#[test]
fn a_file_is_named_before_each_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("envoy.yaml");
    std::fs::write(&path, "node: {idd: a}").unwrap();
    let error = Bootstrap::from_envoy_file(&path, &NodeOverrides::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{}:1:8: unknown field idd", path.display())
    );
}
