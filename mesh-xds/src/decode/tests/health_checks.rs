//! Active health checks: what is accepted and what is refused.

use std::{sync::Arc, time::Duration};

use mesh_core::model::*;

use super::{super::Resource, *};

const REQUIRED: &str = "timeout: 1s, interval: 2s, unhealthy_threshold: 3, healthy_threshold: 4";

fn cluster(fields: &str) -> Arc<ClusterConfig> {
    let yaml = format!("{{name: a, {fields}}}");
    match decode(CLUSTER, &yaml).resource {
        Ok(Resource::Cluster(cluster)) => cluster,
        other => panic!("{other:?}\n{yaml}"),
    }
}

fn check(fields: &str) -> Arc<HealthCheck> {
    let cluster = cluster(&format!("health_checks: [{{{REQUIRED}, {fields}}}]"));
    cluster.health_check.clone().unwrap()
}

#[test]
fn intervals_have_envoys_defaults() {
    let plain = check("tcp_health_check: {}");
    let seconds = Duration::from_secs;
    assert_eq!((plain.timeout, plain.interval), (seconds(1), seconds(2)));
    assert_eq!((plain.unhealthy_threshold, plain.healthy_threshold), (3, 4));
    assert!(plain.reuse_connection);
    assert_eq!(plain.no_traffic_healthy_interval, seconds(60));
    assert_eq!(plain.unhealthy_edge_interval, seconds(2));
    assert_eq!(plain.healthy_edge_interval, seconds(2));
    let set = check(
        "no_traffic_interval: 5s, unhealthy_interval: 6s, interval_jitter_percent: 7, \
         reuse_connection: false, tcp_health_check: {}",
    );
    assert_eq!(set.no_traffic_healthy_interval, seconds(5));
    assert_eq!(set.unhealthy_edge_interval, seconds(6));
    assert_eq!(set.interval_jitter_percent, 7);
    assert!(!set.reuse_connection);
    let healthy = check("no_traffic_healthy_interval: 9s, tcp_health_check: {}");
    assert_eq!(healthy.no_traffic_interval, seconds(60));
    assert_eq!(healthy.no_traffic_healthy_interval, seconds(9));
}

#[test]
fn checkers_are_read_whole() {
    let http = check(
        "http_health_check: {path: /x, host: h, method: POST, send: {text: '4142'}, receive: [{text: '43'}, \
         {binary: REQ=}], response_buffer_size: 0, expected_statuses: [{start: 200, end: 300}], \
         retriable_statuses: [{start: 429, end: 430}], codec_client_type: HTTP2, \
         service_name_matcher: {prefix: a}}",
    );
    let HealthChecker::Http(http) = &http.checker else {
        panic!("{http:?}")
    };
    assert_eq!(
        (&*http.path, &*http.host, &http.method),
        ("/x", "h", &http::Method::POST)
    );
    assert_eq!(http.send, b"AB");
    assert_eq!(http.receive, [b"C".to_vec(), b"DD".to_vec()]);
    assert_eq!(http.response_buffer_size, 0);
    assert_eq!(http.expected_statuses.first(), Some(&(200..300)));
    assert_eq!(http.retriable_statuses.first(), Some(&(429..430)));
    assert!(http.http2 && http.service_name.is_some());

    // Envoy sends only what is written as text.
    let tcp = check("tcp_health_check: {send: {binary: REQ=}, receive: [{text: '44'}]}");
    let HealthChecker::Tcp(tcp) = &tcp.checker else {
        panic!("{tcp:?}")
    };
    assert_eq!((tcp.send.len(), &tcp.receive[0][..]), (0, &b"D"[..]));

    let grpc = cluster(&format!(
        "http2_protocol_options: {{}}, health_checks: [{{{REQUIRED}, grpc_health_check: \
         {{service_name: s, authority: h, initial_metadata: [{{header: {{key: x, value: y}}}}]}}}}]"
    ));
    let HealthChecker::Grpc(grpc) = &grpc.health_check.as_ref().unwrap().checker else {
        panic!("{grpc:?}")
    };
    assert_eq!((&*grpc.service_name, &*grpc.authority), ("s", "h"));
    assert_eq!(grpc.headers.add.len(), 1);
}

#[test]
fn what_goes_with_checks_is_read_too() {
    let cluster = cluster(
        "ignore_health_on_host_removal: true, common_lb_config: {ignore_new_hosts_until_first_hc: true}, \
         outlier_detection: {enforcing_success_rate: 0, successful_active_health_check_uneject_host: false}, \
         load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: \
         {address: 127.0.0.1, port_value: 80}}, health_check_config: {port_value: 81, hostname: h, \
         disable_active_health_check: true}}}]}]}",
    );
    assert!(cluster.ignore_health_on_host_removal && cluster.ignore_new_hosts_until_first_hc);
    let outlier = cluster.outlier_detection.as_ref().unwrap();
    assert!(!outlier.successful_active_health_check_uneject_host);
    let ClusterDiscovery::Static(assignment) = &cluster.discovery else {
        panic!("{cluster:?}")
    };
    let endpoint = &assignment.localities[0].endpoints[0];
    assert_eq!(endpoint.health_check_address().to_string(), "127.0.0.1:81");
    assert!(endpoint.is_never_checked());
    assert_eq!(&*endpoint.health_check.as_ref().unwrap().hostname, "h");
}

#[test]
fn what_envoy_refuses_is_refused() {
    let one = |fields: &str| format!("{{name: a, health_checks: [{{{REQUIRED}, {fields}}}]}}");
    let cases = [
        (
            "{name: a, health_checks: [{timeout: 0s}]}".to_owned(),
            "health_checks[0].timeout: must be greater than 0s; health_checks[0].interval: must be set; \
             health_checks[0].unhealthy_threshold: must be set; health_checks[0].healthy_threshold: must be set; \
             health_checks[0]: must hold http_health_check, grpc_health_check or tcp_health_check",
        ),
        (
            format!(
                "{{name: a, health_checks: [{{{REQUIRED}, tcp_health_check: {{}}}}, {{{REQUIRED}, tcp_health_check: {{}}}}]}}"
            ),
            "health_checks: more than one is not supported yet",
        ),
        (
            one("grpc_health_check: {}"),
            "health_checks[0].grpc_health_check: cluster must support HTTP/2 for gRPC healthchecking",
        ),
        (
            one("http_health_check: {path: /, send: {text: '41'}}"),
            "health_checks[0].http_health_check.send: HTTP health check cannot specify a request payload with method 'GET'",
        ),
        (
            one("tcp_health_check: {receive: [{text: xx}]}"),
            "health_checks[0].tcp_health_check.receive[0].text: invalid hex string 'xx'",
        ),
        (
            one("http_health_check: {path: /, expected_statuses: [{start: 300, end: 200}]}"),
            "health_checks[0].http_health_check.expected_statuses[0]: Invalid http expected status range: \
             expecting start < end, but found start=300 and end=200",
        ),
        (
            one("http_health_check: {path: /, response_buffer_size: 1, receive: [{text: '4142'}]}"),
            "health_checks[0].http_health_check.receive: The expected response length '2' is over than http health \
             response buffer size '1'",
        ),
        (
            one("http_health_check: {path: /, method: CONNECT, codec_client_type: HTTP3}"),
            "health_checks[0].http_health_check.method: must not be CONNECT; \
             health_checks[0].http_health_check.codec_client_type: HTTP3 is not supported yet",
        ),
        (
            one("custom_health_check: {name: envoy.health_checkers.redis}"),
            "health_checks[0].custom_health_check: envoy.health_checkers.redis is not supported yet; use \
             http_health_check, grpc_health_check or tcp_health_check",
        ),
    ];
    for (yaml, expected) in cases {
        assert_eq!(errors(CLUSTER, &yaml), expected, "{yaml}");
    }
}
