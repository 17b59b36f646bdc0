//! What is accepted without effect, and reported (design rule 8: it changes neither who is answered nor who is allowed).

use super::*;

#[test]
fn listeners() {
    let yaml = with_manager(
        "access_log_options: {flush_access_log_on_new_request: true}\n      tracing: {client_sampling: {value: 100}}",
        &[
            filter("istio.metadata_exchange", "udpa.type.v1.TypedStruct", "type_url: type.googleapis.com/io.istio.http.peer_metadata.Config, value: {}"),
            filter("istio.alpn", "udpa.type.v1.TypedStruct", "type_url: type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"),
            filter("istio.stats", "xds.type.v3.TypedStruct", "type_url: type.googleapis.com/stats.PluginConfig"),
            filter("envoy.filters.http.grpc_stats", "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig", "emit_filter_state: true"),
            filter("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors", ""),
        ]
        .join("\n"),
    );
    let at = "filter_chains[0].filters[0].typed_config";
    assert_eq!(
        warnings(LISTENER, &yaml),
        [
            format!("{at}.tracing: not supported yet; ignored"),
            format!("{at}.access_log_options: not supported yet; ignored"),
            format!(
                "{at}.http_filters[0].typed_config: peer metadata exchange (io.istio.http.peer_metadata.Config) is not supported yet; ignored"
            ),
            format!(
                "{at}.http_filters[1].typed_config: Istio's ALPN override (istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig) is not supported yet; ignored"
            ),
            format!(
                "{at}.http_filters[2].typed_config: Istio's statistics extension (stats.PluginConfig) is not supported yet; ignored"
            ),
            format!(
                "{at}.http_filters[3].typed_config: gRPC statistics are not supported yet; ignored"
            ),
        ]
    );
}

#[test]
fn a_connection_filter_that_would_check_again() {
    let yaml = r#"
name: l
address: {socket_address: {address: 127.0.0.1, port_value: 1}}
filter_chains:
- filters:
  - name: rbac
    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC, stat_prefix: r, enforcement_type: CONTINUOUS}
  - name: tcp
    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c}
"#;
    assert_eq!(
        warnings(LISTENER, yaml),
        [
            "filter_chains[0].filters[0].typed_config.enforcement_type: CONTINUOUS is not supported yet; checked once, at the connection's first data"
        ]
    );
}

#[test]
fn an_optional_filter() {
    let yaml = with_manager(
        "",
        &filter(
            "x",
            "envoy.extensions.filters.http.health_check.v3.HealthCheck",
            "",
        ),
    )
    .replace("- name: x\n", "- name: x\n        is_optional: true\n");
    assert_eq!(
        warnings(LISTENER, &yaml),
        [
            "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config: \
          optional filter envoy.extensions.filters.http.health_check.v3.HealthCheck is not supported yet; ignored"
        ]
    );
}

#[test]
fn istios_network_filters() {
    let yaml = r#"
name: l
address: {socket_address: {address: 127.0.0.1, port_value: 80}}
access_log: [{name: x}]
filter_chains:
- filters:
  - name: istio.metadata_exchange
    typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange}
  - name: istio.stats
    typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: type.googleapis.com/stats.PluginConfig}
  - name: tcp
    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: a}
"#;
    assert_eq!(
        warnings(LISTENER, yaml),
        [
            "access_log: not supported yet; ignored",
            "filter_chains[0].filters[0].typed_config: Istio's metadata exchange (envoy.tcp.metadataexchange.config.MetadataExchange) is not supported yet; ignored",
            "filter_chains[0].filters[1].typed_config: Istio's statistics extension (stats.PluginConfig) is not supported yet; ignored",
        ]
    );
}

#[test]
fn routes() {
    let yaml = with_action(
        "cluster: a, retry_policy: {retry_on: '5xx,nonsense'}, \
         hash_policy: [{header: {header_name: x}}]",
    );
    let at = "virtual_hosts[0].routes[0].route";
    assert_eq!(
        warnings(ROUTES, &yaml),
        [format!(
            "{at}.retry_policy.retry_on: \"nonsense\" is not a retry condition; ignored"
        ),]
    );
}

#[test]
fn clusters() {
    let yaml = "
name: a
respect_dns_ttl: true
upstream_bind_config: {source_address: {address: 127.0.0.6, port_value: 0}}
upstream_connection_options: {tcp_keepalive: {keepalive_time: 300}}
outlier_detection: {monitors: [{name: m}]}
filters:
- name: istio.metadata_exchange
  typed_config: {'@type': type.googleapis.com/udpa.type.v1.TypedStruct, type_url: type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange}
";
    let mut found = warnings(CLUSTER, yaml);
    found.sort();
    assert_eq!(
        found,
        [
            "filters[0]: Istio's metadata exchange is not supported yet; ignored",
            "outlier_detection.monitors: not supported yet; ignored",
            "respect_dns_ttl: not supported yet; ignored",
        ]
    );
}

#[test]
fn endpoints() {
    let yaml = "
cluster_name: a
policy: {endpoint_stale_after: 5s}
endpoints:
- lb_endpoints:
  - endpoint:
      address: {socket_address: {address: 1.2.3.4, port_value: 7}}
      additional_addresses: [{address: {socket_address: {address: '::1', port_value: 7}}}]
";
    assert_eq!(
        warnings(ENDPOINTS, yaml),
        [
            "endpoints[0].lb_endpoints[0].endpoint.additional_addresses: not supported yet; ignored",
            "policy.endpoint_stale_after: not supported yet; ignored",
        ]
    );
}

#[test]
fn fields_of_a_newer_envoy() {
    let mut cluster = any(CLUSTER, "{name: a}");
    // field 1000, a varint
    cluster.value.extend([0xc0, 0x3e, 0x01]);
    let decoded = decode_resource(&cluster);
    assert!(decoded.resource.is_ok());
    assert_eq!(
        decoded.warnings,
        ["field number 1000 of envoy.config.cluster.v3.Cluster is not known; ignored"]
    );
}
