//! Load balancing: what is accepted and what is refused.

use std::sync::Arc;

use mesh_core::model::*;

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

#[test]
fn consistent_hashing_in_both_forms() {
    let legacy = cluster(
        "{name: a, type: STRICT_DNS, lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 7, \
         maximum_ring_size: 9, hash_function: MURMUR_HASH_2}, common_lb_config: {consistent_hashing_lb_config: \
         {use_hostname_for_hashing: true, hash_balance_factor: 120}}}",
    );
    let typed = cluster(
        "{name: a, load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: \
         {'@type': type.googleapis.com/envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash, \
         minimum_ring_size: 7, maximum_ring_size: 9, hash_function: MURMUR_HASH_2, consistent_hashing_lb_config: \
         {use_hostname_for_hashing: true, hash_balance_factor: 120, hash_policy: [{query_parameter: {name: q}}]}, \
         locality_weighted_lb_config: {}}}}]}}",
    );
    let LbPolicy::RingHash(ring) = legacy.lb_policy else {
        panic!("{legacy:?}")
    };
    assert_eq!((ring.minimum_ring_size, ring.maximum_ring_size), (7, 9));
    assert_eq!(ring.hash_function, HashFunction::MurmurHash2);
    assert!(ring.hashing.use_hostname && ring.hashing.balance_factor == 120);
    assert_eq!(typed.lb_policy, legacy.lb_policy);
    assert!(typed.locality_weighted && !legacy.locality_weighted);
    assert_eq!(legacy.hash_policies, None);
    assert_eq!(typed.hash_policies.as_deref().map(<[_]>::len), Some(1));

    let maglev = cluster("{name: a, lb_policy: MAGLEV, maglev_lb_config: {table_size: 251}}");
    assert!(matches!(maglev.lb_policy, LbPolicy::Maglev(maglev) if maglev.table_size == 251));
}

#[test]
fn slow_start_in_both_forms() {
    let fields = "slow_start_config: {slow_start_window: 9s, aggression: {default_value: 2}, min_weight_percent: {value: 5}}";
    let legacy = cluster(&format!("{{name: a, round_robin_lb_config: {{{fields}}}}}"));
    let typed = cluster(&format!(
        "{{name: a, load_balancing_policy: {{policies: [{{typed_extension_config: {{name: x, typed_config: \
         {{'@type': type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest, \
         {fields}}}}}}}]}}}}"
    ));
    for cluster in [legacy, typed] {
        let slow_start = cluster.slow_start.unwrap();
        assert_eq!(slow_start.window.as_secs(), 9);
        assert_eq!(
            (slow_start.aggression, slow_start.min_weight_percent),
            (2.0, 5.0)
        );
    }
    let none = cluster(
        "{name: a, lb_policy: LEAST_REQUEST, least_request_lb_config: {slow_start_config: {}}}",
    );
    assert_eq!(none.slow_start, None);
}

#[test]
fn names_to_resolve() {
    let assignment = "load_assignment: {cluster_name: a, endpoints: [\
        {priority: 1, lb_endpoints: [{endpoint: {address: {socket_address: {address: b.test, port_value: 81}}}}]}, \
        {lb_endpoints: [{endpoint: {hostname: h, address: {socket_address: {address: a.test, port_value: 80}}}}]}]}";
    let legacy = cluster(&format!(
        "{{name: a, type: STRICT_DNS, dns_refresh_rate: 9s, dns_failure_refresh_rate: {{base_interval: 1s}}, \
         respect_dns_ttl: true, dns_lookup_family: V4_ONLY, dns_jitter: 1s, {assignment}}}"
    ));
    let typed = cluster(&format!(
        "{{name: a, cluster_type: {{name: envoy.clusters.dns, typed_config: \
         {{'@type': type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster, dns_refresh_rate: 9s, \
         dns_failure_refresh_rate: {{base_interval: 1s}}, respect_dns_ttl: true, dns_lookup_family: V4_ONLY, \
         dns_jitter: 1s}}}}, {assignment}}}"
    ));
    assert_eq!(legacy.discovery, typed.discovery);
    let ClusterDiscovery::Dns(dns) = &legacy.discovery else {
        panic!("{legacy:?}")
    };
    let names: Vec<_> = dns.names.iter().map(|name| &**name).collect();
    assert_eq!(names, ["a.test", "b.test"], "by priority");
    let second = std::time::Duration::from_secs(1);
    assert_eq!(dns.failure_refresh_rate, Some((second, second * 10)));
    assert!(dns.respect_ttl && !dns.logical && dns.jitter == second);
    assert_eq!(dns.lookup_family, DnsLookupFamily::V4Only);
}

#[test]
fn subsets_and_metadata() {
    let found = cluster(
        "{name: a, lb_subset_config: {fallback_policy: DEFAULT_SUBSET, default_subset: {b: 1, a: x}, list_as_any: true, \
         subset_selectors: [{keys: [v, stage], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [v]}, {keys: [v]}]}, \
         load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: \
         {address: 127.0.0.1, port_value: 80}}}, metadata: {filter_metadata: {envoy.lb: {v: [1, '1', true]}}}}]}]}}",
    );
    let subset = found.subset.as_ref().unwrap();
    assert_eq!(subset.fallback, SubsetFallback::Default);
    let value = |text: &str| MetadataValue::new(text);
    let expected = [("a".into(), value("\"x\"")), ("b".into(), value("1"))];
    assert_eq!(subset.default_subset, expected, "sorted");
    assert_eq!(subset.selectors[0].keys, ["stage".into(), "v".into()]);
    let ClusterDiscovery::Static(assignment) = &found.discovery else {
        panic!("{found:?}")
    };
    let (key, list) = &assignment.localities[0].endpoints[0].lb_metadata[0];
    assert_eq!(&**key, "v");
    let elements = list.elements.as_deref().unwrap();
    assert_eq!(elements, [value("1"), value("\"1\""), value("true")]);

    let routes = routes(&with_action(
        "metadata_match: {filter_metadata: {envoy.lb: {a: 1, b: 1}, other: {c: 1}}}, weighted_clusters: {clusters: [\
         {name: x, weight: 1}, {name: y, weight: 1, metadata_match: {filter_metadata: {envoy.lb: {b: 2, c: 3}}}}]}",
    ));
    let RouteAction::Forward(forward) = &routes.virtual_hosts[0].routes[0].action else {
        panic!("{routes:?}")
    };
    let told = |weighted| -> String {
        let criteria = forward.metadata_match.of(weighted).iter();
        criteria
            .map(|(key, value)| format!("{key}={value:?} "))
            .collect()
    };
    assert_eq!(told(Some(0)), told(None));
    assert_eq!(
        told(Some(1)),
        "a=MetadataValue(\"1\") b=MetadataValue(\"2\") c=MetadataValue(\"3\") "
    );
}

#[test]
fn hash_policies() {
    let routes = routes(
        "
name: r
virtual_hosts:
- name: v
  domains: ['*']
  routes:
  - match: {prefix: /}
    route:
      cluster: c
      hash_policy:
      - header: {header_name: X-A, regex_rewrite: {pattern: {regex: a}, substitution: b}}
        terminal: true
      - cookie: {name: s, ttl: 90.5s, path: /p, attributes: [{name: A, value: b}, {name: Secure}]}
      - cookie: {name: t, ttl: 0s}
      - cookie: {name: u}
      - connection_properties: {source_ip: true}
      - connection_properties: {}
      - query_parameter: {name: q}
      - filter_state: {key: f}",
    );
    let RouteAction::Forward(forward) = &routes.virtual_hosts[0].routes[0].action else {
        panic!("{routes:?}")
    };
    let policies = &forward.hash_policies;
    assert_eq!(policies.len(), 7, "one does nothing");
    assert!(policies[0].terminal && !policies[1].terminal);
    let cookies: Vec<_> = policies
        .iter()
        .filter_map(|policy| match &policy.source {
            HashSource::Cookie(cookie) => {
                let made_up = cookie.made_up.as_ref();
                Some((
                    &*cookie.name,
                    made_up.map(|m| m.attributes.to_str().unwrap()),
                ))
            }
            _ => None,
        })
        .collect();
    let expected = [
        ("s", Some("; Max-Age=90; Path=/p; A=b; Secure; HttpOnly")),
        ("t", Some("; HttpOnly")),
        ("u", None),
    ];
    assert_eq!(cookies, expected);
}

#[test]
fn wrong_hashing_is_refused() {
    let cases = [
        (
            "type: STATIC, lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 8388609, maximum_ring_size: 5}, \
             common_lb_config: {consistent_hashing_lb_config: {use_hostname_for_hashing: true, hash_balance_factor: 99}}",
            "common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing: goes only with type STRICT_DNS; \
             common_lb_config.consistent_hashing_lb_config.hash_balance_factor: 99 is less than 100; \
             ring_hash_lb_config.minimum_ring_size: 8388609 is greater than 8388608; \
             ring_hash_lb_config.minimum_ring_size: ring hash: minimum_ring_size (1024) > maximum_ring_size (5)",
        ),
        (
            "lb_policy: MAGLEV, maglev_lb_config: {table_size: 65536}",
            "maglev_lb_config.table_size: The table size of maglev must be prime number",
        ),
        (
            "common_lb_config: {locality_weighted_lb_config: {}}, load_balancing_policy: {policies: [{typed_extension_config: \
             {name: x, typed_config: {'@type': type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}",
            "common_lb_config: load_balancing_policy cannot be combined with zone_aware_lb_config, \
             locality_weighted_lb_config or consistent_hashing_lb_config",
        ),
    ];
    for (fields, expected) in cases {
        let yaml = format!("{{name: a, {fields}}}");
        assert_eq!(errors(CLUSTER, &yaml), expected, "{yaml}");
    }
    let route = with_action(
        "cluster: c, hash_policy: [{}, {header: {}}, {cookie: {}}, {query_parameter: {}}, {filter_state: {}}]",
    );
    let found = errors(ROUTES, &route);
    assert_eq!(found.matches("hash_policy[").count(), 5, "{found}");
}

#[test]
fn zones_in_both_forms() {
    let legacy = cluster(
        "{name: a, common_lb_config: {zone_aware_lb_config: {routing_enabled: {value: 49.6}, min_cluster_size: 3, \
         fail_traffic_on_panic: true}}}",
    );
    let zones = legacy.zone_aware;
    assert_eq!((zones.routing_enabled, zones.min_cluster_size), (50, 3));
    assert!(zones.fail_traffic_on_panic && !zones.force_locality_direct_routing);
    let typed = cluster(
        "{name: a, load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: \
         {'@type': type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random, \
         locality_lb_config: {zone_aware_lb_config: {force_locality_direct_routing: true}}}}}]}}",
    );
    let zones = typed.zone_aware;
    assert_eq!((zones.routing_enabled, zones.min_cluster_size), (100, 6));
    assert!(zones.force_locality_direct_routing);
}

#[test]
fn subsets_and_full_scans_as_typed_policies() {
    let typed = cluster(
        "{name: a, load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: \
         {'@type': type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset, \
         allow_redundant_keys: true, metadata_fallback_policy: FALLBACK_LIST, subset_selectors: [{keys: [k], \
         single_host_per_subset: true}], subset_lb_policy: {policies: [{typed_extension_config: {name: y, \
         typed_config: {'@type': type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest, \
         selection_method: FULL_SCAN}}}]}}}}]}}",
    );
    let subset = typed.subset.as_ref().unwrap();
    assert!(subset.allow_redundant_keys && subset.fallback_list);
    assert!(subset.selectors[0].single_host);
    assert!(matches!(
        typed.lb_policy,
        LbPolicy::LeastRequest {
            choice_count: 0,
            ..
        }
    ));
}
