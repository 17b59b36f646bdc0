//! Clusters and load balancing.

use super::Fields;

pub(super) const FIELDS: &[Fields] = fields! {
    "envoy.config.cluster.v3.Cluster" {
        "name alt_stat_name type eds_cluster_config connect_timeout lb_policy circuit_breakers
         outlier_detection common_lb_config load_balancing_policy least_request_lb_config round_robin_lb_config
         ring_hash_lb_config maglev_lb_config lb_subset_config dns_refresh_rate dns_jitter dns_failure_refresh_rate
         dns_lookup_family
         original_dst_lb_config max_requests_per_connection common_http_protocol_options http2_protocol_options
         upstream_connection_options upstream_bind_config http_protocol_options
         health_checks ignore_health_on_host_removal upstream_http_protocol_options",
        silent: "metadata cluster_type load_assignment transport_socket transport_socket_matches filters
            typed_extension_protocol_options dns_resolvers use_tcp_for_dns_lookups dns_resolution_config typed_dns_resolver_config
            wait_for_warm_on_init cleanup_interval",
        // The system's resolver does not say how long an answer lives.
        warn: "respect_dns_ttl per_connection_buffer_limit_bytes
            per_connection_buffer_high_watermark_timeout close_connections_on_host_health_failure
            track_timeout_budgets track_cluster_stats lrs_server lrs_report_endpoint_metrics preconnect_policy
            connection_pool_per_downstream_connection stats_matcher queuing_policies"
    }
    "envoy.config.core.v3.HealthCheck" {
        "timeout interval initial_jitter interval_jitter interval_jitter_percent unhealthy_threshold healthy_threshold
         reuse_connection no_traffic_interval no_traffic_healthy_interval unhealthy_interval unhealthy_edge_interval
         healthy_edge_interval http_health_check tcp_health_check grpc_health_check custom_health_check",
        silent: "alt_port always_log_health_check_failures always_log_health_check_success tls_options
            transport_socket_match_criteria",
        warn: "event_log_path event_logger event_service"
    }
    "envoy.config.core.v3.HealthCheck.HttpHealthCheck" {
        "host path send receive response_buffer_size request_headers_to_add request_headers_to_remove expected_statuses
         retriable_statuses codec_client_type service_name_matcher method",
        silent: "", warn: ""
    }
    "envoy.config.core.v3.HealthCheck.TcpHealthCheck" { "send receive", silent: "", warn: "" }
    "envoy.config.core.v3.HealthCheck.GrpcHealthCheck" {
        "service_name authority initial_metadata", silent: "", warn: ""
    }
    "envoy.config.core.v3.HealthCheck.Payload" { "text binary", silent: "", warn: "" }
    "envoy.config.core.v3.HealthCheck.CustomHealthCheck" { "name", silent: "typed_config", warn: "" }
    "envoy.config.cluster.v3.Cluster.LbSubsetConfig" {
        "fallback_policy default_subset subset_selectors locality_weight_aware scale_locality_weight panic_mode_any
         list_as_any metadata_fallback_policy",
        silent: "", warn: ""
    }
    "envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector" {
        "keys single_host_per_subset fallback_policy fallback_keys_subset", silent: "", warn: ""
    }
    "envoy.config.cluster.v3.Cluster.RefreshRate" { "base_interval max_interval", silent: "", warn: "" }
    "envoy.extensions.clusters.dns.v3.DnsCluster" {
        "dns_refresh_rate dns_failure_refresh_rate dns_jitter dns_lookup_family
         all_addresses_in_single_endpoint",
        silent: "typed_dns_resolver_config", warn: "dns_min_refresh_rate respect_dns_ttl"
    }
    "envoy.extensions.clusters.dns.v3.DnsCluster.RefreshRate" {
        "base_interval max_interval", silent: "", warn: ""
    }
    "envoy.config.cluster.v3.UpstreamConnectionOptions" { "tcp_keepalive", silent: "", warn: "" }
    "envoy.config.core.v3.BindConfig" {
        "source_address extra_source_addresses", silent: "freebind", warn: ""
    }
    "envoy.config.core.v3.ExtraSourceAddress" { "address", silent: "", warn: "" }
    "envoy.config.core.v3.TcpKeepalive" { "keepalive_time keepalive_interval keepalive_probes", silent: "", warn: "" }
    "envoy.config.cluster.v3.Cluster.EdsClusterConfig" { "service_name eds_config", silent: "", warn: "" }
    "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig" {
        "choice_count active_request_bias slow_start_config", silent: "", warn: ""
    }
    "envoy.config.cluster.v3.Cluster.RoundRobinLbConfig" { "slow_start_config", silent: "", warn: "" }
    "envoy.config.cluster.v3.Cluster.SlowStartConfig" {
        "slow_start_window aggression min_weight_percent", silent: "", warn: ""
    }
    "envoy.config.cluster.v3.Cluster.OriginalDstLbConfig" { "", silent: "", warn: "" }
    "envoy.config.cluster.v3.Cluster.CommonLbConfig" {
        "healthy_panic_threshold update_merge_window locality_weighted_lb_config consistent_hashing_lb_config
         ignore_new_hosts_until_first_hc zone_aware_lb_config",
        silent: "override_host_status",
        warn: "close_connections_on_host_set_change"
    }
    "envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig" { "", silent: "", warn: "" }
    "envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig" {
        "use_hostname_for_hashing hash_balance_factor", silent: "", warn: ""
    }
    "envoy.config.cluster.v3.Cluster.RingHashLbConfig" {
        "minimum_ring_size hash_function maximum_ring_size", silent: "", warn: ""
    }
    "envoy.config.cluster.v3.Cluster.MaglevLbConfig" { "table_size", silent: "", warn: "" }
    "envoy.config.cluster.v3.CircuitBreakers" { "thresholds", silent: "", warn: "" }
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds" {
        "priority max_connections max_pending_requests max_requests max_retries retry_budget track_remaining",
        silent: "", warn: "max_connection_pools"
    }
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget" {
        "budget_percent min_retry_concurrency", silent: "", warn: "budget_interval"
    }
    "envoy.config.cluster.v3.OutlierDetection" {
        "consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx
         consecutive_gateway_failure enforcing_consecutive_gateway_failure split_external_local_origin_errors
         consecutive_local_origin_failure enforcing_consecutive_local_origin_failure max_ejection_time
         max_ejection_time_jitter always_eject_one_host enforcing_success_rate enforcing_failure_percentage
         enforcing_local_origin_success_rate success_rate_minimum_hosts success_rate_request_volume
         success_rate_stdev_factor failure_percentage_threshold failure_percentage_minimum_hosts
         failure_percentage_request_volume enforcing_failure_percentage_local_origin
         successful_active_health_check_uneject_host detect_degraded_hosts",
        silent: "", warn: "monitors"
    }
    "envoy.config.cluster.v3.LoadBalancingPolicy" { "policies", silent: "", warn: "" }
    "envoy.config.cluster.v3.LoadBalancingPolicy.Policy" { "", silent: "typed_extension_config", warn: "" }
    "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin" {
        "locality_lb_config slow_start_config", silent: "", warn: ""
    }
    "envoy.extensions.load_balancing_policies.random.v3.Random" { "locality_lb_config", silent: "", warn: "" }
    "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest" {
        "choice_count active_request_bias locality_lb_config slow_start_config selection_method", silent: "", warn: ""
    }
    "envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig" {
        "slow_start_window aggression min_weight_percent", silent: "", warn: ""
    }
    "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash" {
        "hash_function minimum_ring_size maximum_ring_size use_hostname_for_hashing hash_balance_factor
         consistent_hashing_lb_config locality_weighted_lb_config",
        silent: "", warn: ""
    }
    "envoy.extensions.load_balancing_policies.maglev.v3.Maglev" {
        "table_size consistent_hashing_lb_config locality_weighted_lb_config", silent: "", warn: ""
    }
    "envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig" {
        "use_hostname_for_hashing hash_balance_factor hash_policy", silent: "", warn: ""
    }
    "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided" { "", silent: "", warn: "" }
    "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality" {
        "endpoint_picking_policy", silent: "", warn: ""
    }
    "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig" {
        "locality_weighted_lb_config zone_aware_lb_config", silent: "", warn: ""
    }
    "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig" {
        "routing_enabled min_cluster_size fail_traffic_on_panic force_locality_direct_routing", silent: "", warn: ""
    }
    "envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig" {
        "routing_enabled min_cluster_size fail_traffic_on_panic", silent: "", warn: ""
    }
    "envoy.extensions.load_balancing_policies.subset.v3.Subset" {
        "fallback_policy default_subset subset_selectors allow_redundant_keys locality_weight_aware
         scale_locality_weight panic_mode_any list_as_any metadata_fallback_policy subset_lb_policy",
        silent: "", warn: ""
    }
    "envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetSelector" {
        "keys single_host_per_subset fallback_policy fallback_keys_subset", silent: "", warn: ""
    }
    "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.LocalityWeightedLbConfig" {
        "", silent: "", warn: ""
    }
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions" {
        "common_http_protocol_options explicit_http_config use_downstream_protocol_config outlier_detection
         request_mirror_policies upstream_http_protocol_options",
        silent: "", warn: ""
    }
    "envoy.config.core.v3.UpstreamHttpProtocolOptions" {
        "auto_sni auto_san_validation override_auto_sni_header", silent: "", warn: ""
    }
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig" {
        "http_protocol_options http2_protocol_options", silent: "", warn: ""
    }
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig" {
        "http_protocol_options http2_protocol_options", silent: "", warn: "http3_protocol_options"
    }
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.OutlierDetection" {
        "", silent: "error_matcher", warn: ""
    }
};
