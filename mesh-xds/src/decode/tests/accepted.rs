//! What is understood, value by value.

use std::{sync::Arc, time::Duration};

use mesh_core::{
    filter::{FaultAbort, FilterKind, FilterOverride},
    model::*,
};

use super::{super::Resource, *};

fn routes(yaml: &str) -> Arc<RouteConfiguration> {
    match decode(ROUTES, yaml).resource {
        Ok(Resource::Route(routes)) => routes,
        other => panic!("{other:?}\n{yaml}"),
    }
}

fn cluster(yaml: &str) -> Arc<ClusterConfig> {
    match decode(CLUSTER, yaml).resource {
        Ok(Resource::Cluster(cluster)) => cluster,
        other => panic!("{other:?}\n{yaml}"),
    }
}

fn listener(yaml: &str) -> Arc<ListenerConfig> {
    match decode(LISTENER, yaml).resource {
        Ok(Resource::Listener(listener)) => listener,
        other => panic!("{other:?}\n{yaml}"),
    }
}

fn forward(fields: &str) -> Box<Forward> {
    match &routes(&with_action(fields)).virtual_hosts[0].routes[0].action {
        RouteAction::Forward(forward) => forward.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn defaults_are_envoys() {
    let forward = forward("cluster: a");
    assert_eq!(forward.timeout, Duration::from_secs(15));
    assert_eq!(forward.cluster_not_found_response_code, 503);
    assert!(forward.retry_policy.is_none());
    let cluster = cluster("{name: a, outlier_detection: {}}");
    assert_eq!(cluster.connect_timeout, Duration::from_secs(5));
    assert_eq!(cluster.lb_policy, LbPolicy::RoundRobin);
    assert_eq!(cluster.outlier_detection, Some(OutlierDetection::default()));
    assert!((cluster.healthy_panic_threshold - 50.0).abs() < f64::EPSILON);
    let listener = listener(&with_manager("", ""));
    let NetworkFilter::Http(manager) = &listener.filter_chains[0].terminal else {
        panic!("not http")
    };
    assert_eq!(manager.stream_idle_timeout, Duration::from_secs(300));
    assert_eq!(manager.server_name, "envoy");
    assert!(manager.generate_request_id && !manager.use_remote_address);
}

#[test]
fn istiods_retry_policy() {
    let forward = forward(
        "cluster: a, timeout: 0s, max_grpc_timeout: 0s, retry_policy: {retry_on: 'connect-failure,refused-stream', num_retries: 2, \
         retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts, typed_config: \
         {'@type': type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}], \
         host_selection_retry_max_attempts: 5, retry_back_off: {base_interval: 0.1s}}",
    );
    let policy = forward.retry_policy.as_ref().unwrap();
    assert_eq!(
        (
            policy.num_retries,
            policy.previous_hosts,
            policy.host_selection_retry_max_attempts
        ),
        (2, true, 5)
    );
    assert_eq!(
        (policy.base_interval, policy.max_interval),
        (Duration::from_millis(100), Duration::from_secs(1))
    );
    assert_eq!(
        (forward.timeout, forward.max_grpc_timeout),
        (Duration::ZERO, Some(Duration::ZERO))
    );
}

#[test]
fn route_actions() {
    let routes = routes(&with_route(
        "{match: {path: /a, case_sensitive: false}, redirect: {https_redirect: true, host_redirect: h, port_redirect: 8443, \
         path_redirect: /b, response_code: PERMANENT_REDIRECT, strip_query: true}}, \
         {match: {path_separated_prefix: /p}, direct_response: {status: 418, body: {inline_string: tea}}}, \
         {match: {prefix: /}, route: {cluster_header: X-Cluster, host_rewrite_literal: h, priority: HIGH, append_x_forwarded_host: true}}",
    ));
    let [redirect, direct, header] = routes.virtual_hosts[0].routes.as_slice() else {
        panic!("three routes")
    };
    let RouteAction::Redirect(redirected) = &redirect.action else {
        panic!("{redirect:?}")
    };
    assert!(redirect.matcher.case_insensitive);
    assert_eq!(
        (
            redirected.scheme.as_deref(),
            redirected.port,
            redirected.response_code.as_u16()
        ),
        (Some("https"), Some(8443), 308)
    );
    assert!(matches!(&redirected.path, Some(PathRewrite::Full(path)) if &**path == "/b"));
    let RouteAction::DirectResponse(direct) = &direct.action else {
        panic!("{direct:?}")
    };
    assert_eq!((direct.status.as_u16(), &*direct.body), (418, &b"tea"[..]));
    let RouteAction::Forward(forward) = &header.action else {
        panic!("{header:?}")
    };
    assert!(
        matches!(&forward.cluster, ClusterSpecifier::ClusterHeader(mesh_core::matcher::MatchedHeader::Name(name)) if name == "x-cluster")
    );
    assert_eq!(forward.priority, RoutingPriority::High);
}

#[test]
fn header_operations_keep_their_order_and_actions() {
    let routes = routes(&with_route(
        "{match: {prefix: /}, non_forwarding_action: {}, request_headers_to_remove: [X-Gone], request_headers_to_add: [\
         {header: {key: A, value: '1'}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: b, value: '2'}, append: false}, \
         {header: {key: c, value: '3'}}]}",
    ));
    let operations = &routes.virtual_hosts[0].routes[0].headers.request;
    assert_eq!(operations.remove, ["x-gone"]);
    let added: Vec<_> = operations
        .add
        .iter()
        .map(|add| (add.name.as_str(), add.action))
        .collect();
    assert_eq!(
        added,
        [
            ("a", AppendAction::OverwriteIfExistsOrAdd),
            ("b", AppendAction::OverwriteIfExistsOrAdd),
            ("c", AppendAction::AppendIfExistsOrAdd),
        ]
    );
}

#[test]
fn fault_and_cors_of_a_route() {
    let routes = routes(&with_route(
        "{match: {prefix: /}, non_forwarding_action: {}, typed_per_filter_config: {\
         envoy.filters.http.fault: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, \
         delay: {fixed_delay: 7s, percentage: {numerator: 1, denominator: MILLION}}, abort: {http_status: 500, percentage: {numerator: 100}}}, \
         envoy.filters.http.cors: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, \
         allow_origin_string_match: [{exact: 'https://a'}], allow_methods: GET, filter_enabled: {default_value: {numerator: 100}}}}}",
    ));
    let overrides = &routes.virtual_hosts[0].routes[0].filter_overrides;
    let names: Vec<_> = overrides.iter().map(|(name, _)| &**name).collect();
    assert_eq!(
        names,
        ["envoy.filters.http.cors", "envoy.filters.http.fault"]
    );
    let FilterOverride::Cors(cors) = &overrides[0].1 else {
        panic!("{overrides:?}")
    };
    assert_eq!(cors.allow_origins.len(), 1);
    assert_eq!(cors.allow_methods.as_ref().unwrap(), "GET");
    let FilterOverride::Fault(fault) = &overrides[1].1 else {
        panic!("{overrides:?}")
    };
    assert_eq!(fault.delay, Some(Duration::from_secs(7)));
    assert_eq!(
        fault.delay_fraction,
        Some(Fraction {
            numerator: 1,
            denominator: 1_000_000
        })
    );
    assert!(matches!(fault.abort, Some(FaultAbort::Http(status)) if status == 500));
}

#[test]
fn clusters_of_every_kind() {
    let eds = cluster(
        "{name: a, alt_stat_name: 'a;', type: EDS, eds_cluster_config: {service_name: b, eds_config: {ads: {}}}, \
         lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 3, active_request_bias: {default_value: 0.5}}, \
         common_lb_config: {healthy_panic_threshold: {}, locality_weighted_lb_config: {}, update_merge_window: 0s}, \
         metadata: {filter_metadata: {istio: {services: [{host: a.b.svc, name: a, namespace: b}]}}}}",
    );
    assert!(matches!(&eds.discovery, ClusterDiscovery::Eds(name) if &**name == "b"));
    assert_eq!(&*eds.stat_name, "a;");
    assert_eq!(
        eds.lb_policy,
        LbPolicy::LeastRequest {
            choice_count: 3,
            active_request_bias_milli: 500
        }
    );
    assert!(
        eds.healthy_panic_threshold == 0.0
            && eds.locality_weighted
            && eds.update_merge_window.is_zero()
    );
    assert_eq!(&*eds.service.as_ref().unwrap().host, "a.b.svc");

    let original =
        cluster("{name: PassthroughCluster, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}");
    assert!(matches!(original.discovery, ClusterDiscovery::OriginalDst));

    let dns = cluster(
        "{name: a, type: STRICT_DNS, load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: \
         {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}}]}]}}",
    );
    let ClusterDiscovery::Static(assignment) = &dns.discovery else {
        panic!("{dns:?}")
    };
    assert_eq!(
        assignment.localities[0].endpoints[0].address,
        "127.0.0.1:80".parse().unwrap()
    );
}

#[test]
fn upstream_protocol_and_error_codes() {
    let cluster = cluster(
        "{name: a, circuit_breakers: {thresholds: [{max_requests: 7, track_remaining: true}, {priority: HIGH, max_retries: 9}, \
         {max_requests: 8}]}, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: \
         {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, \
         common_http_protocol_options: {idle_timeout: 3s, max_requests_per_connection: 4}, \
         explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 5}}, \
         outlier_detection: {error_matcher: {or_match: {rules: [\
         {http_response_headers_match: {headers: [{name: ':status', string_match: {exact: '429'}}]}}, \
         {http_response_headers_match: {headers: [{name: ':status', string_match: {exact: '503'}}]}}]}}}}}}",
    );
    assert_eq!(cluster.http.protocol, UpstreamProtocol::Http2);
    assert_eq!(cluster.http.max_concurrent_streams, Some(5));
    assert_eq!(
        (
            cluster.http.idle_timeout,
            cluster.http.max_requests_per_connection
        ),
        (Duration::from_secs(3), 4)
    );
    assert_eq!(cluster.http.outlier_error_statuses, Some(vec![429, 503]));
    assert_eq!(
        cluster.breaker_default.max_requests, 7,
        "the first of a priority counts"
    );
    assert_eq!(cluster.breaker_high.max_retries, 9);
}

#[test]
fn load_balancing_policies_by_extension() {
    let policy = |inner: &str| {
        cluster(&format!(
            "{{name: a, load_balancing_policy: {{policies: [{inner}]}}}}"
        ))
    };
    let extension = |name: &str, fields: &str| {
        format!(
            "{{typed_extension_config: {{name: x, typed_config: {{'@type': type.googleapis.com/envoy.extensions.load_balancing_policies.{name}{fields}}}}}}}"
        )
    };
    let unknown = extension("pick_first.v3.PickFirst", "");
    let random = extension("random.v3.Random", "");
    assert_eq!(
        policy(&format!("{unknown}, {random}")).lb_policy,
        LbPolicy::Random,
        "the first that is known"
    );
    let weighted = policy(&extension(
        "wrr_locality.v3.WrrLocality",
        &format!(
            ", endpoint_picking_policy: {{policies: [{}]}}",
            extension("round_robin.v3.RoundRobin", "")
        ),
    ));
    assert!(weighted.locality_weighted && weighted.lb_policy == LbPolicy::RoundRobin);
}

#[test]
fn listeners_of_a_sidecar() {
    let outbound = listener(
        "
name: virtualOutbound
address: {socket_address: {address: 0.0.0.0, port_value: 15001}}
use_original_dst: true
traffic_direction: OUTBOUND
deprecated_v1: {bind_to_port: false}
listener_filters:
- name: envoy.filters.listener.original_dst
  typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst}
- name: envoy.filters.listener.http_inspector
listener_filters_timeout: 0s
continue_on_listener_filters_timeout: true
filter_chains:
- name: blackhole
  filter_chain_match: {destination_port: 15001, source_type: EXTERNAL, prefix_ranges: [{address_prefix: 10.1.2.3, prefix_len: 8}], application_protocols: [h2c], server_names: ['*.A.example'], source_ports: [7]}
  filters:
  - name: tcp
    typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: s, cluster: BlackHoleCluster, idle_timeout: 0s}
default_filter_chain:
  filters:
  - name: tcp
    typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: s, cluster: PassthroughCluster}
",
    );
    assert!(outbound.use_original_dst && !outbound.bind_to_port);
    assert_eq!(outbound.direction, TrafficDirection::Outbound);
    assert_eq!(
        outbound.listener_filters,
        [ListenerFilter::OriginalDst, ListenerFilter::HttpInspector]
    );
    assert!(
        outbound.listener_filters_timeout.is_zero()
            && outbound.continue_on_listener_filters_timeout
    );
    let matcher = &outbound.filter_chains[0].matcher;
    assert_eq!(matcher.prefix_ranges, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(
        (
            matcher.destination_port,
            matcher.source_local,
            &*matcher.server_names[0]
        ),
        (Some(15001), Some(false), "*.a.example")
    );
    let Some(NetworkFilter::Tcp(proxy)) = outbound
        .default_filter_chain
        .as_ref()
        .map(|chain| &chain.terminal)
    else {
        panic!("{outbound:?}")
    };
    assert_eq!(&*proxy.cluster, "PassthroughCluster");
}

#[test]
fn an_api_listener_needs_no_address() {
    let api = listener(
        "
name: svc:80
api_listener:
  api_listener:
    '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
    stat_prefix: s
    route_config: {name: inline, virtual_hosts: [{name: v, domains: ['*'], metadata: {filter_metadata: {mesh.provenance: {file: a.yaml, line: 3, object: VirtualService default/a}}}}]}
    upgrade_configs: [{upgrade_type: WebSocket}]
    http_filters:
    - name: fault
      typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}
      disabled: true
    - name: router
      typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, suppress_envoy_headers: true}
",
    );
    let manager = api.api_listener.as_ref().unwrap();
    assert!(manager.suppress_envoy_headers);
    assert_eq!(*manager.upgrades, ["websocket".into()]);
    assert!(
        manager.http_filters[0].disabled
            && matches!(manager.http_filters[0].kind, FilterKind::Fault(_))
    );
    let RouteSource::Inline(routes) = &manager.routes else {
        panic!("{manager:?}")
    };
    let provenance = &routes.virtual_hosts[0].provenance;
    assert_eq!(
        (provenance.object.as_deref(), provenance.place.as_deref()),
        (Some("VirtualService default/a"), Some("a.yaml:3"))
    );
}

#[test]
fn endpoints_by_priority_with_health_and_workload() {
    let yaml = "
cluster_name: a
endpoints:
- priority: 1
  lb_endpoints: [{endpoint: {address: {socket_address: {address: 10.0.0.2, port_value: 1}}}}]
- locality: {region: r, zone: z, sub_zone: s}
  load_balancing_weight: 3
  lb_endpoints:
  - endpoint: {hostname: h, address: {socket_address: {address: 10.0.0.1, port_value: 1}}}
    health_status: DRAINING
    load_balancing_weight: 2
    metadata: {filter_metadata: {istio: {workload: 'reviews-v1;default;reviews;v1;Kubernetes'}}}
";
    let Ok(Resource::Endpoints(assignment)) = decode(ENDPOINTS, yaml).resource else {
        panic!("refused")
    };
    let priorities: Vec<_> = assignment
        .localities
        .iter()
        .map(|locality| locality.priority)
        .collect();
    assert_eq!(priorities, [0, 1]);
    let first = &assignment.localities[0];
    assert_eq!((&*first.locality.zone, first.weight), ("z", Some(3)));
    let endpoint = &first.endpoints[0];
    assert_eq!(
        (endpoint.health, endpoint.weight, &*endpoint.hostname),
        (EndpointHealth::Draining, 2, "h")
    );
    assert_eq!(
        endpoint.workload.as_deref(),
        Some("reviews-v1;default;reviews;v1;Kubernetes")
    );
}

/// Odd, and accepted by the real Envoy's `--mode validate`.
#[test]
fn what_envoy_accepts() {
    routes(
        "{name: r, virtual_hosts: [{name: v, domains: ['a*b', '*a*', '']}, {name: v, domains: [x]}]}",
    );
    routes(&with_route(
        "{match: {prefix: '', headers: [{name: x, range_match: {start: 2, end: 1}}]}, non_forwarding_action: {}}",
    ));
    let cors = filter("f", "envoy.extensions.filters.http.cors.v3.Cors", "");
    listener(&with_manager("", &[cors.clone(), cors].join("\n")));
    let clamped = listener(&with_manager("", "").replace(
        "- filters:",
        "- filter_chain_match: {prefix_ranges: [{address_prefix: 1.2.3.4, prefix_len: 40}]}\n  filters:",
    ));
    assert_eq!(
        clamped.filter_chains[0].matcher.prefix_ranges,
        ["1.2.3.4/32".parse().unwrap()]
    );
    cluster("{name: a, type: STRICT_DNS}");
}

#[test]
fn filters_of_a_route_by_their_own_types() {
    let route = decode(
        ROUTES,
        &with_route(
            "{match: {prefix: /}, route: {cluster: a}, metadata: {filter_metadata: {m: {k: v}}}, typed_per_filter_config: {\
             a: {'@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute}, \
             b: {'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}, \
             c: {'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, is_optional: true, \
                 config: {'@type': type.googleapis.com/envoy.config.core.v3.Node}}, \
             d: {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute, disabled: true}}}",
        ),
    );
    let Ok(crate::Resource::Route(routes)) = route.resource else {
        panic!("{route:?}")
    };
    let route = &routes.virtual_hosts[0].routes[0];
    assert!(route.metadata.contains("m"));
    let kinds: Vec<_> = route
        .filter_overrides
        .iter()
        .map(|(name, config)| (&**name, config))
        .collect();
    assert!(
        matches!(
            kinds[..],
            [
                ("a", FilterOverride::Rbac(_)),
                ("b", FilterOverride::Disabled),
                ("c", FilterOverride::Enabled),
                ("d", FilterOverride::Buffer(_)),
            ]
        ),
        "{kinds:?}"
    );
}
