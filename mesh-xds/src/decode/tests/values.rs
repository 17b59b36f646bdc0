//! Fields that no comparison with Envoy sets: what they say is in the model.

use super::*;

/// The debug text of an accepted resource.
fn model(type_name: &str, yaml: &str) -> String {
    match decode(type_name, yaml).resource {
        Ok(resource) => format!("{resource:?}"),
        Err(problems) => panic!("refused: {problems}\n{yaml}"),
    }
}

fn says(type_name: &str, yaml: &str, expected: &[&str]) {
    let text = model(type_name, yaml);
    for expected in expected {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

#[test]
fn clusters() {
    says(
        CLUSTER,
        "{name: a, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, original_dst_lb_config: {}}",
        &["OriginalDst"],
    );
    says(
        CLUSTER,
        "{name: a, outlier_detection: {max_ejection_time_jitter: 7s, always_eject_one_host: true}}",
        &[
            "max_ejection_time_jitter: 7s",
            "always_eject_one_host: true",
        ],
    );
    let rates = "{name: a, outlier_detection: {\
        success_rate_minimum_hosts: 11, success_rate_request_volume: 12, success_rate_stdev_factor: 13, \
        enforcing_success_rate: 14, enforcing_local_origin_success_rate: 15, failure_percentage_threshold: 16, \
        failure_percentage_minimum_hosts: 17, failure_percentage_request_volume: 18, enforcing_failure_percentage: 19, \
        enforcing_failure_percentage_local_origin: 20, successful_active_health_check_uneject_host: false, \
        detect_degraded_hosts: true}}";
    says(
        CLUSTER,
        rates,
        &[
            "success_rate_minimum_hosts: 11",
            "success_rate_request_volume: 12",
            "success_rate_stdev_factor: 13",
            "enforcing_success_rate: 14",
            "enforcing_local_origin_success_rate: 15",
            "failure_percentage_threshold: 16",
            "failure_percentage_minimum_hosts: 17",
            "failure_percentage_request_volume: 18",
            "enforcing_failure_percentage: 19",
            "enforcing_failure_percentage_local_origin: 20",
            "successful_active_health_check_uneject_host: false",
            "detect_degraded_hosts: true",
        ],
    );
    let dns = |single: bool| {
        format!(
            "{{name: a, cluster_type: {{name: envoy.clusters.dns, typed_config: {{'@type': \
             type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster, all_addresses_in_single_endpoint: {single}}}}}, \
             load_assignment: {{cluster_name: a, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: \
             {{address: a.test, port_value: 80}}}}}}}}]}}]}}}}"
        )
    };
    assert_ne!(model(CLUSTER, &dns(true)), model(CLUSTER, &dns(false)));
}

#[test]
fn endpoints() {
    let drop = "{cluster_name: a, policy: {drop_overloads: [{category: c, drop_percentage: {numerator: 17}}]}}";
    says(ENDPOINTS, drop, &["numerator: 17"]);
    let named = "{cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, named_port: http}}}}]}]}";
    assert!(errors(ENDPOINTS, named).contains("named_port: not supported; use port_value"));
}

#[test]
fn listeners() {
    let listener = "
name: l
address: {socket_address: {address: 127.0.0.1, port_value: 80}}
filter_chains:
- filter_chain_match:
    source_prefix_ranges: [{address_prefix: 10.1.0.0, prefix_len: 16}]
    direct_source_prefix_ranges: [{address_prefix: 10.2.0.0, prefix_len: 16}]
  filters:
  - name: tcp
    typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c}
";
    says(LISTENER, listener, &["10.1.0.0", "10.2.0.0"]);
    says(
        LISTENER,
        &with_manager("request_headers_timeout: 9s", ""),
        &["9s"],
    );
    assert!(errors(LISTENER, &with_manager("request_timeout: 9s", "")).contains("request_timeout"));
}

#[test]
fn routes() {
    for matcher in [
        "prefix_match: abc",
        "suffix_match: abc",
        "contains_match: abc",
        "safe_regex_match: {regex: abc}",
    ] {
        let route = format!(
            "{{match: {{prefix: /, headers: [{{name: x, {matcher}}}]}}, route: {{cluster: a}}}}"
        );
        says(ROUTES, &with_route(&route), &["abc"]);
    }
    says(
        ROUTES,
        &with_action(
            "cluster: a, cluster_not_found_response_code: NOT_FOUND, auto_host_rewrite: true",
        ),
        &["cluster_not_found_response_code: 404", "Auto"],
    );
    says(
        ROUTES,
        "{name: r, virtual_hosts: [{name: v, domains: ['*'], request_body_buffer_limit: 71, routes: [{match: {prefix: /}, \
         request_body_buffer_limit: 72, route: {cluster: a}}]}]}",
        &["Some(71)", "Some(72)"],
    );
    says(
        ROUTES,
        &with_route(
            "{match: {prefix: /}, direct_response: {status: 200, body: {inline_bytes: aGVsbG8=}}, \
             request_headers_to_add: [{header: {key: x, raw_value: d29ybGQ=}}]}",
        ),
        &["hello", "world"],
    );
    for (matcher, expected) in [
        ("null_match: {}", "Null"),
        ("bool_match: true", "Bool(true)"),
    ] {
        let route = format!(
            "{{match: {{prefix: /, dynamic_metadata: [{{filter: f, path: [{{key: k}}], value: {{{matcher}}}}}]}}, \
             route: {{cluster: a}}}}"
        );
        says(ROUTES, &with_route(&route), &[expected]);
    }
}

#[test]
fn filters() {
    for (name, type_name, fields, expected) in [
        (
            "envoy.filters.http.fault",
            "envoy.extensions.filters.http.fault.v3.HTTPFault",
            "delay: {header_delay: {}, percentage: {numerator: 3}}, max_active_faults: 19",
            "Some(19)",
        ),
        (
            "envoy.filters.http.header_mutation",
            "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations: {request_trailers_mutations: [{remove: x-rt}], response_trailers_mutations: [{remove: x-st}]}",
            "x-st",
        ),
        (
            "envoy.filters.http.jwt_authn",
            "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers: {p: {local_jwks: {inline_string: '{\"keys\":[]}'}, header_in_metadata: him, clear_route_cache: true}}",
            "him",
        ),
        (
            "envoy.filters.http.rbac",
            "envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules_stat_prefix: rsp",
            "rsp",
        ),
    ] {
        says(
            LISTENER,
            &with_manager("", &filter(name, type_name, fields)),
            &[expected],
        );
    }
    let cors = "{match: {prefix: /}, route: {cluster: a}, typed_per_filter_config: {envoy.filters.http.cors: {'@type': \
                type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, allow_private_network_access: true}}}";
    says(
        ROUTES,
        &with_route(cors),
        &["allow_private_network_access: Some(true)"],
    );
}

#[test]
fn hedge_policies() {
    let policy = |fields: &str| with_action(&format!("cluster: a, hedge_policy: {{{fields}}}"));
    let hedges = policy("hedge_on_per_try_timeout: true, initial_requests: 2");
    assert_eq!(warnings(ROUTES, &hedges), [""; 0]);
    says(ROUTES, &hedges, &["hedge_on_per_try_timeout: Some(true)"]);
    says(
        ROUTES,
        &policy(""),
        &["hedge_on_per_try_timeout: Some(false)"],
    );
    assert_eq!(
        errors(ROUTES, &policy("initial_requests: 0")),
        "virtual_hosts[0].routes[0].route.hedge_policy.initial_requests: must be at least 1"
    );
}

/// Envoy matches any value then, but unlike a matcher that says nothing it needs one.
#[test]
fn an_empty_exact_match_is_no_presence() {
    let yaml = "
name: r
virtual_hosts:
- name: v
  domains: ['*']
  routes:
  - match: {prefix: /, headers: [{name: x-a, exact_match: '', invert_match: true}]}
    route: {cluster: a}";
    says(
        ROUTES,
        yaml,
        &["condition: String(Prefix { value: \"\", ignore_case: false })"],
    );
}

#[test]
fn rules_of_tokens_know_only_path_headers_and_query() {
    let jwt = |conditions: &str| {
        let fields = format!("rules: [{{match: {{prefix: /a{conditions}}}}}]");
        let type_name = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
        model(
            LISTENER,
            &with_manager("", &filter("jwt", type_name, &fields)),
        )
    };
    let path = "[{key: k}]";
    let ignored = format!(
        ", grpc: {{}}, runtime_fraction: {{default_value: {{numerator: 1}}}}, tls_context: {{presented: true}}, \
         cookies: [{{name: c, string_match: {{exact: v}}}}], \
         dynamic_metadata: [{{filter: f, path: {path}, value: {{present_match: true}}}}], \
         filter_state: [{{key: k, string_match: {{exact: v}}}}]"
    );
    assert_eq!(jwt(&ignored), jwt(""));
    assert_ne!(
        jwt(", headers: [{name: x-a, present_match: true}]"),
        jwt("")
    );
}

#[test]
fn typed_protocol_options_stand_alone() {
    const TYPED: &str = "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: \
        {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, \
        explicit_http_config: {http_protocol_options: {}}}}";
    let older = "common_http_protocol_options: {idle_timeout: 7s, max_stream_duration: 8s}, \
        upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true}";
    says(
        CLUSTER,
        &format!("{{name: a, {older}}}"),
        &[
            "idle_timeout: 7s",
            "auto_sni: true",
            "auto_san_validation: true",
        ],
    );
    let both = model(CLUSTER, &format!("{{name: a, {older}, {TYPED}}}"));
    assert_eq!(both, model(CLUSTER, &format!("{{name: a, {TYPED}}}")));
    // Only this one is asked for in both places.
    says(
        CLUSTER,
        &format!("{{name: a, max_requests_per_connection: 9, {TYPED}}}"),
        &["max_requests_per_connection: 9"],
    );
}
