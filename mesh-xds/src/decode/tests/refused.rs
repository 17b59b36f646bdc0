//! What is refused, with the exact text that a control plane gets to see.

use mesh_proto::envoy::config::route::v3::{
    self as rds, retry_policy::retry_host_predicate::ConfigType,
};

use super::*;

/// One line of the table: type, resource, all errors.
fn check(cases: &[(&str, &str, &str)]) {
    for (type_name, yaml, expected) in cases {
        assert_eq!(errors(type_name, yaml), *expected, "\n{yaml}");
    }
}

#[test]
fn endpoints() {
    check(&[
        (ENDPOINTS, "{}", "cluster_name: must not be empty"),
        (
            ENDPOINTS,
            "
cluster_name: a
endpoints:
- priority: 129
  lb_endpoints:
  - endpoint: {address: {socket_address: {address: reviews, port_value: 80}}}
    load_balancing_weight: 0
  - endpoint: {address: {pipe: {path: /x}}}
  - {}",
            "endpoints[0].priority: 129 is greater than 128; \
             endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: \"reviews\" is not an IP address; \
             endpoints[0].lb_endpoints[1].endpoint.address.pipe: not supported yet; use a socket_address; \
             endpoints[0].lb_endpoints[2].endpoint: must be set",
        ),
        (
            ENDPOINTS,
            "
cluster_name: a
endpoints: [{lb_endpoints: [{load_balancing_weight: 0, endpoint: {address: {socket_address: {address: 1.2.3.4, port_value: 70000}}}}]}]",
            "endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value: 70000 is not a port",
        ),
        (
            ENDPOINTS,
            "
cluster_name: a
endpoints: [{lb_endpoints: [{load_balancing_weight: 0, endpoint: {address: {socket_address: {address: 1.2.3.4, port_value: 7}}}}]}]",
            "endpoints[0].lb_endpoints[0].load_balancing_weight: must not be 0",
        ),
        (
            ENDPOINTS,
            "{cluster_name: a, policy: {drop_overloads: [{category: x}, {}], overprovisioning_factor: 0}}",
            "policy.overprovisioning_factor: must be greater than 0; \
             policy.drop_overloads: Cluster drop_overloads config has 2 categories. Envoy only support one.",
        ),
    ]);
}

#[test]
fn clusters() {
    check(&[
        (
            CLUSTER,
            "{type: EDS}",
            "name: must not be empty; eds_cluster_config: must be set because type is EDS",
        ),
        (
            CLUSTER,
            "{name: a, type: EDS, eds_cluster_config: {eds_config: {path: /x}}, connect_timeout: 0s}",
            "eds_cluster_config.eds_config.path: not supported yet; eds_cluster_config.eds_config: only ads is supported; \
             connect_timeout: must be greater than 0s",
        ),
        (
            CLUSTER,
            "{name: a, type: LOGICAL_DNS, dns_refresh_rate: 0.001s, dns_failure_refresh_rate: {}, \
             load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [\
             {endpoint: {address: {socket_address: {address: example.com, port_value: 80}}}}, \
             {endpoint: {address: {socket_address: {address: example.com}}}}]}]}}",
            "load_assignment.endpoints[0].lb_endpoints[1].endpoint.address.socket_address.port_value: must be set; \
             load_assignment: LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint; \
             dns_refresh_rate: must be greater than 0.001s; dns_failure_refresh_rate.base_interval: must be set; \
             dns_failure_refresh_rate.base_interval: must be greater than 0.001s",
        ),
        (
            CLUSTER,
            "{name: a, cluster_type: {name: envoy.clusters.aggregate}}",
            "cluster_type: envoy.clusters.aggregate is not supported yet",
        ),
        (
            CLUSTER,
            "{name: a, type: ORIGINAL_DST}",
            "lb_policy: CLUSTER_PROVIDED goes with type ORIGINAL_DST, and only with it",
        ),
        (
            CLUSTER,
            "{name: a, lb_subset_config: {metadata_fallback_policy: FALLBACK_LIST, scale_locality_weight: true, subset_selectors: [{keys: [a], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [a]}]}}",
            "lb_subset_config.subset_selectors[0].fallback_keys_subset: fallback_keys_subset cannot be equal to keys; \
             lb_subset_config.scale_locality_weight: Locality weight aware subset LB requires that a locality_weight_aware be set",
        ),
        (
            CLUSTER,
            r#"{name: a, transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport}}}"#,
            "transport_socket: envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport is not supported here; only raw_buffer and tls are",
        ),
        (
            CLUSTER,
            "{name: a, outlier_detection: {max_ejection_percent: 101, base_ejection_time: 400s, max_ejection_time: 300s, interval: 0s}}",
            "outlier_detection.interval: must be greater than 0s; \
             outlier_detection.max_ejection_time: must not be less than base_ejection_time; \
             outlier_detection.max_ejection_percent: 101 is not a percentage from 0 to 100",
        ),
        (
            CLUSTER,
            "{name: a, common_lb_config: {healthy_panic_threshold: {value: 101}}, circuit_breakers: {per_host_thresholds: [{max_connections: 1}]}}",
            "circuit_breakers.per_host_thresholds: not supported yet; \
             common_lb_config.healthy_panic_threshold: 101 is not a percentage from 0 to 100",
        ),
        (
            CLUSTER,
            r#"{name: a, load_balancing_policy: {policies: [{typed_extension_config: {name: m, typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.pick_first.v3.PickFirst}}}]}}"#,
            "load_balancing_policy.policies: none is supported yet, found [envoy.extensions.load_balancing_policies.pick_first.v3.PickFirst]",
        ),
        (
            CLUSTER,
            r#"{name: a, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http3_protocol_options: {}}}}}"#,
            "typed_extension_protocol_options[\"envoy.extensions.upstreams.http.v3.HttpProtocolOptions\"].explicit_http_config.http3_protocol_options: not supported yet",
        ),
    ]);
}

#[test]
fn routes() {
    let action = |fields: &str, expected: &str| {
        let place = "virtual_hosts[0].routes[0].route.";
        let expected = expected.replace("^", place);
        assert_eq!(errors(ROUTES, &with_action(fields)), expected, "\n{fields}");
    };
    action(
        "timeout: 1s",
        "virtual_hosts[0].routes[0].route: must hold cluster, weighted_clusters or cluster_header",
    );
    action(
        "cluster: a, path_rewrite_policy: {name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig, path_template_rewrite: /x}}",
        "^path_rewrite_policy: needs a path_match_policy with a uri_template",
    );
    action(
        "cluster: a, path_rewrite: '%NONE%'",
        "^path_rewrite: Not supported field in StreamInfo: NONE",
    );
    action(
        "weighted_clusters: {clusters: [{name: a, cluster_header: b, weight: 1}]}",
        "^weighted_clusters.clusters[0]: must hold either name or cluster_header",
    );
    action(
        "cluster: a, timeout: -1s",
        "^timeout: -1s is not a duration from 0 to 315576000000s",
    );
    action(
        "cluster: a, regex_rewrite: {pattern: {regex: '('}, substitution: x}, prefix_rewrite: /",
        "virtual_hosts[0].routes[0].route: prefix_rewrite, regex_rewrite, path_rewrite_policy and path_rewrite exclude each other",
    );
    action(
        "weighted_clusters: {clusters: [{name: a, weight: 0}, {weight: 0}]}",
        "^weighted_clusters.clusters[1]: must hold either name or cluster_header; \
         ^weighted_clusters.clusters: the sum of weights must be from 1 to 4294967295, it is 0",
    );
    action(
        "cluster: a, internal_redirect_action: HANDLE_INTERNAL_REDIRECT",
        "^internal_redirect_action: not supported yet",
    );
    action(
        "cluster: a, internal_redirect_policy: {redirect_response_codes: [1, 2, 3, 4, 5, 6], response_headers_to_copy: [host], \
         predicates: [{name: x, typed_config: {'@type': type.googleapis.com/envoy.config.route.v3.Route}}]}",
        "^internal_redirect_policy.redirect_response_codes: must not hold more than 5 codes; \
         ^internal_redirect_policy.predicates[0].typed_config: envoy.config.route.v3.Route is not supported; \
         ^internal_redirect_policy.response_headers_to_copy[0]: \"host\": :-prefixed or host headers may not be modified",
    );
    action(
        "cluster: a, request_mirror_policies: [{}, {cluster: a, cluster_header: b}]",
        "^request_mirror_policies[0]: must hold cluster or cluster_header; \
         ^request_mirror_policies[1]: must not hold both cluster and cluster_header",
    );
    action(
        "cluster: a, retry_policy: {retry_back_off: {base_interval: 1s, max_interval: 0.5s}, retry_host_predicate: [{name: x}]}",
        "^retry_policy.retry_back_off.max_interval: must not be less than base_interval; \
         ^retry_policy.retry_host_predicate[0]: x is no predicate that is known",
    );

    check(&[
        (
            ROUTES,
            "{name: r, virtual_hosts: [{name: v, domains: [a.example, A.example, 'a*b', '']}, {domains: ['*', '*']}], vhds: {}}",
            "vhds: not supported yet; \
             virtual_hosts[0].domains[1]: domain \"a.example\" occurs twice in this route configuration; \
             virtual_hosts[1].name: must not be empty; \
             virtual_hosts[1].domains[1]: domain \"*\" occurs twice in this route configuration",
        ),
        (
            ROUTES,
            &with_route(
                "{match: {cookies: [{name: a}]}, direct_response: {status: 99, body: {filename: /x}}}",
            ),
            "virtual_hosts[0].routes[0].match: must hold prefix, path, safe_regex, path_separated_prefix, path_match_policy or connect_matcher; \
             virtual_hosts[0].routes[0].match.cookies[0].string_match: must be set; \
             virtual_hosts[0].routes[0].direct_response.status: 99 is not a status from 200 to 599; \
             virtual_hosts[0].routes[0].direct_response.body.filename: \"/x\" cannot be read: No such file or directory (os error 2)",
        ),
        (
            ROUTES,
            &with_route("{match: {path_separated_prefix: /a/}}"),
            "virtual_hosts[0].routes[0].match.path_separated_prefix: \"/a/\" must begin with /, not end with / and hold no ? or #; \
             virtual_hosts[0].routes[0]: must hold route, redirect, direct_response or non_forwarding_action",
        ),
        (
            ROUTES,
            &with_route(
                "{match: {prefix: /}, redirect: {port_redirect: 70000}, request_headers_to_remove: [':path'], \
                 response_headers_to_add: [{header: {key: 'a b', value: x}}, {header: {key: Host, value: x}}]}",
            ),
            "virtual_hosts[0].routes[0].redirect.port_redirect: 70000 is not a port; \
             virtual_hosts[0].routes[0].request_headers_to_remove[0]: \":path\": :-prefixed or host headers may not be modified; \
             virtual_hosts[0].routes[0].response_headers_to_add[0].header.key: \"a b\" is not a header name; \
             virtual_hosts[0].routes[0].response_headers_to_add[1].header.key: \"Host\": :-prefixed or host headers may not be modified",
        ),
        (
            ROUTES,
            &with_route(
                "{match: {prefix: /, headers: [{name: '', range_match: {start: 2, end: 3}}, {name: x, string_match: {prefix: ''}}]}, non_forwarding_action: {}}",
            ),
            "virtual_hosts[0].routes[0].match.headers[0].name: must not be empty; \
             virtual_hosts[0].routes[0].match.headers[1].string_match.prefix: must not be empty",
        ),
        (
            ROUTES,
            &with_route(&format!(
                "{{match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: {}}}}}}}",
                "x".repeat(4097)
            )),
            "virtual_hosts[0].routes[0].direct_response.body: response body size is 4097 bytes; maximum is 4096",
        ),
        (
            ROUTES,
            r#"{name: r, typed_per_filter_config: {envoy.filters.http.ext_authz: {"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute}}}"#,
            "typed_per_filter_config[\"envoy.filters.http.ext_authz\"]: filter configuration envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute is not supported yet",
        ),
    ]);
}

#[test]
fn a_bad_regex_is_refused_with_its_reason() {
    let error = errors(
        ROUTES,
        &with_route("{match: {safe_regex: {regex: 'a('}}, non_forwarding_action: {}}"),
    );
    let place = "virtual_hosts[0].routes[0].match.safe_regex.regex: regex \"a(\": ";
    assert!(error.starts_with(place), "{error}");
}

#[test]
fn listeners() {
    check(&[
        (
            LISTENER,
            "{name: l}",
            "address: must be set; filter_chains: must not be empty",
        ),
        (
            LISTENER,
            "{name: l, address: {socket_address: {address: localhost, protocol: UDP}}, udp_listener_config: {}, filter_chains: [{}]}",
            "udp_listener_config: not supported yet; address.socket_address.protocol: only TCP is supported; \
             address.socket_address.address: \"localhost\" is not an IP address; address.socket_address.port_value: must be set",
        ),
        (
            LISTENER,
            "{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 80}}, filter_chains: [{}]}",
            "filter_chains[0].filters: must end with http_connection_manager or tcp_proxy",
        ),
    ]);
    for (type_name, extension) in [
        ("filters.http.ext_authz.v3.ExtAuthz", "ext_authz"),
        ("filters.http.ext_authz.v3.ExtAuthz", "ext_authz"),
    ] {
        let type_name = format!("envoy.extensions.{type_name}");
        let yaml = with_manager("", &filter(extension, &type_name, ""));
        let expected = format!(
            "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config: filter {type_name} is not supported yet"
        );
        assert_eq!(errors(LISTENER, &yaml), expected);
    }
    let manager = |fields: &str, filters: &str, expected: &str| {
        let expected = expected.replace("^", "filter_chains[0].filters[0].typed_config.");
        assert_eq!(errors(LISTENER, &with_manager(fields, filters)), expected);
    };
    let router = filter(
        "router",
        "envoy.extensions.filters.http.router.v3.Router",
        "",
    );
    manager(
        "",
        &router,
        "^http_filters: must end with the router filter, and hold it once",
    );
    manager(
        "local_reply_config: {mappers: [{status_code: 700}], body_format: {text_format: '%NONE%'}}\n      max_request_headers_kb: 9000\n      codec_type: HTTP3",
        "",
        "^codec_type: HTTP3 is not supported yet; \
         ^local_reply_config.mappers[0].filter: must be set; \
         ^local_reply_config.mappers[0].status_code: 700 is not a status from 200 to 599; \
         ^local_reply_config.body_format.text_format: Not supported field in StreamInfo: NONE; \
         ^max_request_headers_kb: 9000 is not from 1 to 8192",
    );
    manager(
        "",
        &filter(
            "f",
            "envoy.extensions.filters.http.fault.v3.HTTPFault",
            "abort: {http_status: 100}, delay: {}",
        ),
        "^http_filters[0].typed_config.delay: must hold fixed_delay or header_delay; \
         ^http_filters[0].typed_config.abort.http_status: 100 is not a status from 200 to 599",
    );
}

#[test]
fn network_filters_that_decide_who_is_answered() {
    let yaml = r#"
name: l
address: {socket_address: {address: 127.0.0.1, port_value: 80}}
filter_chains:
- transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext}}
  filters:
  - name: rbac
    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC}
  - name: tcp
    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, weighted_clusters: {}, tunneling_config: {hostname: h}}
- filters:
  - name: tcp
    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: a}
"#;
    assert_eq!(
        errors(LISTENER, yaml),
        "filter_chains[0].transport_socket.typed_config.common_tls_context: must hold a certificate; \
         filter_chains[0].filters[0].typed_config.stat_prefix: must not be empty; \
         filter_chains[0].filters[1].typed_config.tunneling_config: not supported yet; \
         filter_chains[0].filters[1].typed_config.weighted_clusters.clusters: must not be empty"
    );
}

#[test]
fn equal_filter_chain_matches() {
    let chain = r#"{filters: [{name: t, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: a}}]}"#;
    let yaml = format!(
        "{{name: l, address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}, filter_chains: [{chain}, {chain}]}}"
    );
    assert_eq!(
        errors(LISTENER, &yaml),
        "filter_chains[1].filter_chain_match: is the same as that of filter_chains[0]"
    );
}

#[test]
fn what_cannot_be_read_has_no_name() {
    let decoded = decode_resource(&Any {
        type_url: format!("type.googleapis.com/{CLUSTER}"),
        value: vec![0x0a, 0xff],
    });
    assert_eq!(decoded.name, None);
    assert!(
        decoded
            .resource
            .unwrap_err()
            .to_string()
            .starts_with("cannot be read: ")
    );
    let decoded = decode_resource(&Any {
        type_url: "type.googleapis.com/x.Y".into(),
        value: Vec::new(),
    });
    assert_eq!(
        decoded.resource.unwrap_err().to_string(),
        "type \"type.googleapis.com/x.Y\" is not one that is subscribed to"
    );
}

#[test]
fn extensions_nested_without_end() {
    use mesh_proto::envoy::config::route::v3::{FilterConfig, RouteConfiguration};
    let mut config = Any::default();
    for _ in 0..5_000 {
        let outer = FilterConfig {
            config: Some(config),
            ..Default::default()
        };
        config = Any::from_msg(&outer).unwrap();
    }
    let routes = RouteConfiguration {
        name: "r".into(),
        typed_per_filter_config: [("f".to_owned(), config)].into(),
        ..Default::default()
    };
    let decoded = decode_resource(&Any::from_msg(&routes).unwrap());
    let error = decoded.resource.unwrap_err().to_string();
    assert!(error.ends_with(".config: is nested too deeply"), "{error}");
}

/// What Envoy refuses, by the real one's `--mode validate`.
#[test]
fn what_envoy_refuses() {
    check(&[
        (
            CLUSTER,
            "{name: a, load_assignment: {endpoints: [{load_balancing_weight: 0}]}}",
            "load_assignment.cluster_name: must not be empty; \
             load_assignment.endpoints[0].load_balancing_weight: must not be 0",
        ),
        (
            ROUTES,
            &with_action("cluster: a, upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: WebSocket}]"),
            "virtual_hosts[0].routes[0].route.upgrade_configs: \"websocket\" occurs twice",
        ),
        (
            LISTENER,
            &with_manager("", "").replace("stat_prefix: s", "upgrade_configs: [{upgrade_type: a}, {upgrade_type: A}]"),
            "filter_chains[0].filters[0].typed_config.stat_prefix: must not be empty; \
             filter_chains[0].filters[0].typed_config.upgrade_configs: \"a\" occurs twice",
        ),
        (
            LISTENER,
            &with_manager("", "").replace("- filters:", "- filter_chain_match: {source_ports: [0], server_names: ['*a.b', '*']}\n  filters:"),
            "filter_chains[0].filter_chain_match.server_names[0]: \"*a.b\": a wildcard must be the first label, as in *.example.com; \
             filter_chains[0].filter_chain_match.server_names[1]: \"*\": a wildcard must be the first label, as in *.example.com; \
             filter_chains[0].filter_chain_match.source_ports[0]: 0 is not a port",
        ),
    ]);
}

#[test]
fn filters_that_say_nonsense() {
    let refused = |config: &str, expected: &str| {
        let yaml = with_route(&format!(
            "{{match: {{prefix: /}}, route: {{cluster: a}}, typed_per_filter_config: {{f: {config}}}}}"
        ));
        let all = errors(ROUTES, &yaml);
        let place = "virtual_hosts[0].routes[0].typed_per_filter_config[\"f\"]";
        assert_eq!(all, format!("{place}{expected}"));
    };
    refused(
        "{'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig}",
        ".config: must be set",
    );
    refused(
        "{'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute, buffer: {}}",
        ".buffer.max_request_bytes: must be set",
    );
    refused(
        "{'@type': type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute, \
         mutations: {request_mutations: [{append: {header: {key: ':path', value: x}}}]}}",
        ".mutations.request_mutations[0].append.header.key: \":path\": :-prefixed or host headers may not be modified",
    );
    refused(
        "{'@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute, rbac: {rules: {policies: {p: \
         {principals: [{any: true}], permissions: [{destination_port: 70000}]}}}}}",
        ".rbac.rules.policies[\"p\"].permissions[0].destination_port: 70000 is not a port",
    );
    refused(
        "{'@type': type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig}",
        ": must hold disabled or requirement_name",
    );
    refused(
        "{'@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute, rbac: {matcher: {}}}",
        ".rbac.matcher: not supported yet",
    );
}

#[test]
fn jwt_requirements_that_cannot_be_met() {
    let jwt = |config: &str| {
        let filter = filter(
            "jwt",
            "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            config,
        );
        let place = "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config";
        errors(LISTENER, &with_manager("", &filter)).replace(place, "^")
    };
    assert_eq!(
        jwt("providers: {p: {remote_jwks: {}}}"),
        "^.providers[\"p\"].remote_jwks: not supported yet"
    );
    assert_eq!(
        jwt("rules: [{match: {prefix: /}, requires: {provider_name: p}}]"),
        "^: a provider of Provider(\"p\", None) is not configured"
    );
    assert_eq!(
        jwt("rules: [{match: {prefix: /}, requirement_name: r}]"),
        "^: Wrong requirement_name: r. It should be one of []"
    );
}

/// Each `Any` starts protobuf's count anew: what is nested in them must not exhaust the stack.
#[test]
fn messages_nested_without_end() {
    const URL: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
    // From the innermost, back to front: a level is the fields `type_url` and `value`, in `typed_config` (2).
    let mut reversed: Vec<u8> = Vec::new();
    let before = |reversed: &mut Vec<u8>, key: u8| {
        let mut length = Vec::new();
        prost::encoding::encode_varint(reversed.len() as u64, &mut length);
        reversed.extend(length.iter().rev());
        reversed.push(key);
    };
    for _ in 0..100_000 {
        before(&mut reversed, 0x12);
        reversed.extend(URL.bytes().rev());
        reversed.extend([URL.len() as u8, 0x0a]);
        before(&mut reversed, 0x12);
    }
    reversed.reverse();
    let any = Any {
        type_url: URL.to_owned(),
        value: reversed,
    };
    let predicate = rds::retry_policy::RetryHostPredicate {
        name: "x".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any)),
    };
    let host = rds::VirtualHost {
        name: "v".to_owned(),
        domains: vec!["*".to_owned()],
        retry_policy: Some(rds::RetryPolicy {
            retry_host_predicate: vec![predicate],
            ..rds::RetryPolicy::default()
        }),
        ..rds::VirtualHost::default()
    };
    let routes = rds::RouteConfiguration {
        name: "r".to_owned(),
        virtual_hosts: vec![host],
        ..rds::RouteConfiguration::default()
    };
    let resource = Any {
        type_url: format!("type.googleapis.com/{ROUTES}"),
        value: routes.encode_to_vec(),
    };
    let problems = decode_resource(&resource).resource.unwrap_err().to_string();
    assert!(problems.contains("is nested too deeply"), "{problems}");
}

/// Each of these is what `envoy --mode validate` refuses, or accepts where `expected` is empty.
#[test]
fn filter_chains_that_overlap() {
    let chains = |matches: &[String]| {
        let filter = "{name: t, typed_config: {'@type': \
            type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: a}}";
        let chains = matches
            .iter()
            .map(|matcher| format!("{{filter_chain_match: {{{matcher}}}, filters: [{filter}]}}"));
        let chains = chains.collect::<Vec<_>>().join(", ");
        format!(
            "{{name: l, address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}, filter_chains: [{chains}]}}"
        )
    };
    let range =
        |address: &str| format!("prefix_ranges: [{{address_prefix: {address}, prefix_len: 8}}]");
    let two = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
    let same = "filter_chains[1].filter_chain_match: is the same as that of filter_chains[0]";
    let second = "filter_chains[1].filter_chain_match: overlaps that of filter_chains[0]";
    for (matches, expected) in [
        (two("source_ports: [1, 2]", "source_ports: [2]"), second),
        (
            two(
                "application_protocols: [h2, x]",
                "application_protocols: [x]",
            ),
            second,
        ),
        (two(&range("10.0.0.1"), &range("10.0.0.0")), same),
        (two("source_ports: [1]", "source_ports: [1]"), same),
        (
            vec!["application_protocols: [x, x]".to_owned()],
            "filter_chains[0].filter_chain_match: overlaps that of filter_chains[0]",
        ),
        (two("source_ports: [1, 2]", "source_ports: [3]"), ""),
        (
            two(
                "source_ports: [1]",
                "destination_port: 1, source_ports: [1]",
            ),
            "",
        ),
    ] {
        match expected {
            "" => drop(warnings(LISTENER, &chains(&matches))),
            expected => {
                let found = errors(LISTENER, &chains(&matches));
                assert!(found.contains(expected), "{matches:?}: {found}");
            }
        }
    }
    let ports = (1..1_000)
        .map(|n| n.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    let names = (1..1_000)
        .map(|n| format!("p{n}"))
        .collect::<Vec<_>>()
        .join(", ");
    let many = format!("source_ports: [{ports}], application_protocols: [{names}]");
    assert_eq!(
        errors(LISTENER, &chains(&[many])),
        "filter_chains: name more than 262144 combinations"
    );
}

#[test]
fn what_envoy_refuses_in_a_connection_manager() {
    let at = "filter_chains[0].filters[0].typed_config";
    for (fields, expected) in [
        (
            "strip_matching_host_port: true\n      strip_any_host_port: true",
            "strip_any_host_port: cannot be combined with strip_matching_host_port",
        ),
        (
            "common_http_protocol_options: {max_response_headers_kb: 10}",
            "common_http_protocol_options.max_response_headers_kb: is for clusters only",
        ),
    ] {
        let found = errors(LISTENER, &with_manager(fields, ""));
        assert_eq!(found, format!("{at}.{expected}"));
    }
    assert_eq!(
        errors(
            CLUSTER,
            "{name: a, http_protocol_options: {}, http2_protocol_options: {}}"
        ),
        "http_protocol_options: cannot be combined with http2_protocol_options"
    );
}
