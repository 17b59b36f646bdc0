//! Local rate limits, TCP proxies and RBAC of connections.

use super::*;

const LIMIT: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";

fn limit(fields: &str) -> String {
    with_manager(
        "",
        &filter("limit", LIMIT, &format!("stat_prefix: x, {fields}")),
    )
}

fn refuses(fields: &str, expected: &str) {
    let expected = expected.replace(
        '^',
        "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.",
    );
    assert_eq!(errors(LISTENER, &limit(fields)), expected, "{fields}");
}

#[test]
fn what_a_local_rate_limit_must_say() {
    refuses(
        "token_bucket: {max_tokens: 1, fill_interval: 0.049s}",
        "^token_bucket.fill_interval: local rate limit token bucket fill timer must be >= 50ms",
    );
    refuses(
        "token_bucket: {max_tokens: 1, tokens_per_fill: 0, fill_interval: 1s}, status: {code: 999}, stage: 11",
        "^token_bucket.tokens_per_fill: must be greater than 0; ^status.code: 999 is not a known status; \
         ^stage: 11 is greater than 10",
    );
    refuses(
        "descriptors: [{entries: [{key: a, value: b}]}, {entries: []}]",
        "^descriptors[0].token_bucket: must be set; ^descriptors[1].entries: must not be empty; \
         ^descriptors[1].token_bucket: must be set",
    );
    let twice = "{entries: [{key: a}], token_bucket: {max_tokens: 1, fill_interval: 1s}}";
    refuses(
        &format!("descriptors: [{twice}, {twice}], max_dynamic_descriptors: 0"),
        "^descriptors: duplicate descriptor in the local rate descriptor; \
         ^max_dynamic_descriptors: must be greater than 0",
    );
    refuses(
        "rate_limits: [{stage: 1, disable_key: k, actions: []}]",
        "^rate_limits[0]: 'stage' field and 'disable_key' field are not supported; \
         ^rate_limits[0].actions: must not be empty",
    );
    let per_route = format!(
        "{{name: r, typed_per_filter_config: {{l: {{'@type': type.googleapis.com/{LIMIT}, stat_prefix: x}}}}}}"
    );
    assert_eq!(
        errors(ROUTES, &per_route),
        "typed_per_filter_config[\"l\"].token_bucket: local rate limit token bucket must be set for per filter configs"
    );
}

#[test]
fn actions_of_routes() {
    let with = |action: &str| {
        with_action(&format!(
            "cluster: a, rate_limits: [{{actions: [{action}]}}]"
        ))
    };
    for action in [
        "{source_cluster: {}}",
        "{masked_remote_address: {v4_prefix_mask_len: 24, v6_prefix_mask_len: 64}}",
        "{dynamic_metadata: {descriptor_key: k, metadata_key: {key: f, path: [{key: p}]}, default_value: d}}",
        "{header_value_match: {descriptor_key: k, descriptor_value: v, headers: [{name: a}]}}",
        "{query_parameter_value_match: {descriptor_key: k, descriptor_value: v, query_parameters: [{name: a}]}}",
    ] {
        assert_eq!(warnings(ROUTES, &with(action)), [""; 0], "{action}");
    }
    let at = "virtual_hosts[0].routes[0].route.rate_limits[0].actions[0]";
    for (action, field) in [
        ("{extension: {name: x}}", "extension"),
        (
            "{remote_address_match: {descriptor_value: v}}",
            "remote_address_match",
        ),
        (
            "{metadata: {descriptor_key: k, source: CLUSTER_ENTRY, metadata_key: {key: f, path: [{key: p}]}}}",
            "metadata.source",
        ),
    ] {
        let expected = format!("{at}.{field}: not supported yet");
        assert_eq!(errors(ROUTES, &with(action)), expected);
    }
    let entry = |field: &str| {
        with_action(&format!(
            "cluster: a, rate_limits: [{{actions: [{{source_cluster: {{}}}}], {field}}}]"
        ))
    };
    for (field, name) in [
        ("apply_on_stream_done: true", "apply_on_stream_done"),
        (
            "limit: {dynamic_metadata: {metadata_key: {key: f, path: [{key: p}]}}}",
            "limit",
        ),
    ] {
        let expected =
            format!("virtual_hosts[0].routes[0].route.rate_limits[0].{name}: not supported yet");
        assert_eq!(errors(ROUTES, &entry(field)), expected);
    }
    for (action, expected) in [
        (
            "{masked_remote_address: {v4_prefix_mask_len: 33}}",
            "masked_remote_address.v4_prefix_mask_len: 33 is greater than 32",
        ),
        (
            "{request_headers: {header_name: a}}",
            "request_headers.descriptor_key: must not be empty",
        ),
        ("{}", "must hold an action_specifier"),
    ] {
        let expected = match expected.contains(": ") {
            true => format!("{at}.{expected}"),
            false => format!("{at}: {expected}"),
        };
        assert_eq!(errors(ROUTES, &with(action)), expected);
    }
}

fn tcp(fields: &str) -> String {
    format!(
        "{{name: l, address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}, filter_chains: [{{filters: [\
         {{name: s, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.sni_cluster.v3.SniCluster}}}}, \
         {{name: t, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, \
         stat_prefix: x, {fields}}}}}]}}]}}"
    )
}

#[test]
fn what_a_tcp_proxy_must_say() {
    assert_eq!(
        warnings(
            LISTENER,
            &tcp("cluster: a, hash_policy: [{filter_state: {key: k}}], check_drain_close: true")
        ),
        [""; 0]
    );
    for (fields, expected) in [
        (
            "weighted_clusters: {clusters: [{name: a}]}",
            "weighted_clusters.clusters[0].weight: must be at least 1",
        ),
        (
            "cluster: a, max_connect_attempts: 0, hash_policy: [{source_ip: {}}, {source_ip: {}}]",
            "max_connect_attempts: must be at least 1; ^hash_policy: must hold at most 1",
        ),
        (
            "cluster: a, max_downstream_connection_duration: 0s",
            "max_downstream_connection_duration: must be at least 1ms",
        ),
        (
            "cluster: a, tunneling_config: {hostname: a}",
            "tunneling_config: not supported yet",
        ),
    ] {
        let at = "filter_chains[0].filters[1].typed_config.";
        let expected = format!("{at}{}", expected.replace('^', at));
        assert_eq!(errors(LISTENER, &tcp(fields)), expected);
    }
}
