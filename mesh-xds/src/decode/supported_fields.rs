//! The fields of each message by what becomes of them. A message that is not listed has no field that is understood.

use std::{collections::HashMap, sync::LazyLock};

/// What becomes of a field that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Read; what is in it is checked in turn.
    Understood,
    /// Accepted in silence: it cannot be observed here, or says what is done anyway.
    NoEffect,
    /// Accepted with a warning: it changes no answer.
    Ignored,
    /// Refused.
    Refused,
}

struct Fields {
    message: &'static str,
    understood: &'static str,
    no_effect: &'static str,
    ignored: &'static str,
}

type Index = HashMap<&'static str, HashMap<&'static str, Treatment>>;

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let all = TABLES.iter().copied().flatten();
    all.map(|fields| (fields.message, by_name(fields)))
        .collect()
});

fn by_name(fields: &'static Fields) -> HashMap<&'static str, Treatment> {
    let lists = [
        (fields.understood, Treatment::Understood),
        (fields.no_effect, Treatment::NoEffect),
        (fields.ignored, Treatment::Ignored),
    ];
    let named = |(list, treatment): (&'static str, Treatment)| {
        list.split_ascii_whitespace()
            .map(move |name| (name, treatment))
    };
    lists.into_iter().flat_map(named).collect()
}

/// The treatment of a field.
pub(super) fn treatment_of(message: &str, field: &str) -> Treatment {
    let treatment = INDEX.get(message).and_then(|fields| fields.get(field));
    treatment.copied().unwrap_or(Treatment::Refused)
}

/// Whether the message is in the table.
pub(super) fn is_listed(message: &str) -> bool {
    INDEX.contains_key(message)
}

/// All entries: message and field names.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    TABLES.iter().copied().flatten().map(|fields| {
        let lists = [fields.understood, fields.no_effect, fields.ignored];
        (
            fields.message,
            lists
                .into_iter()
                .flat_map(str::split_ascii_whitespace)
                .collect(),
        )
    })
}

macro_rules! fields {
    ($($message:literal { $understood:literal, silent: $no_effect:literal, warn: $ignored:literal })*) => {
        &[$(Fields {
            message: $message,
            understood: $understood,
            no_effect: $no_effect,
            ignored: $ignored,
        }),*]
    };
}

mod cluster;
mod filters;
mod replies;
mod tls;

const TABLES: &[&[Fields]] = &[
    BOOTSTRAP,
    CORE,
    LISTENER,
    HTTP,
    filters::FIELDS,
    replies::FIELDS,
    tls::FIELDS,
    ROUTE,
    cluster::FIELDS,
    ENDPOINTS,
];

const BOOTSTRAP: &[Fields] = fields! {
    "envoy.config.bootstrap.v3.Bootstrap" {
        "dynamic_resources admin cluster_manager",
        silent: "node static_resources",
        warn: "layered_runtime stats_config stats_sinks stats_flush_interval stats_flush_on_admin stats_eviction_interval
            deferred_stat_options flags_path watchdog watchdogs overload_manager enable_dispatcher_stats
            stats_server_version_override use_tcp_for_dns_lookups dns_resolution_config typed_dns_resolver_config
            bootstrap_extensions fatal_actions default_socket_interface inline_headers perf_tracing_file_path
            application_log_config grpc_async_client_manager_config memory_allocator_manager
            enable_worker_cpu_affinity node_context_params tracing"
    }
    "envoy.config.bootstrap.v3.ClusterManager" {
        "local_cluster_name", silent: "",
        warn: "outlier_detection upstream_bind_config load_stats_config enable_deferred_cluster_creation"
    }
    "envoy.config.bootstrap.v3.Bootstrap.DynamicResources" {
        "", silent: "lds_config cds_config ads_config", warn: ""
    }
    "envoy.config.bootstrap.v3.Admin" {
        "", silent: "address", warn: "access_log access_log_path profile_path socket_options ignore_global_conn_limit"
    }
};

const CORE: &[Fields] = fields! {
    "envoy.config.core.v3.Address" { "socket_address", silent: "pipe envoy_internal_address", warn: "" }
    "envoy.config.core.v3.SocketAddress" { "protocol address port_value named_port", silent: "ipv4_compat", warn: "" }
    "envoy.config.core.v3.Metadata" { "filter_metadata", silent: "typed_filter_metadata", warn: "" }
    "envoy.config.core.v3.CidrRange" { "address_prefix prefix_len", silent: "", warn: "" }
    "envoy.config.core.v3.HeaderValueOption" { "header append append_action keep_empty_value", silent: "", warn: "" }
    "envoy.config.core.v3.HeaderValue" { "key value raw_value", silent: "", warn: "" }
    "envoy.config.core.v3.RuntimeFractionalPercent" { "default_value", silent: "runtime_key", warn: "" }
    "envoy.config.core.v3.RuntimeDouble" { "default_value", silent: "runtime_key", warn: "" }
    "envoy.config.core.v3.DataSource" {
        "inline_string inline_bytes", silent: "filename environment_variable watched_directory", warn: ""
    }
    "envoy.config.core.v3.Locality" { "region zone sub_zone", silent: "", warn: "" }
    "envoy.config.core.v3.ConfigSource" { "ads self", silent: "initial_fetch_timeout resource_api_version", warn: "" }
    "envoy.config.core.v3.AggregatedConfigSource" { "", silent: "", warn: "" }
    "envoy.config.core.v3.SelfConfigSource" { "", silent: "transport_api_version", warn: "" }
    "envoy.config.core.v3.HttpProtocolOptions" {
        "idle_timeout max_connection_duration max_stream_duration max_requests_per_connection
         headers_with_underscores_action max_headers_count",
        silent: "", warn: "max_response_headers_kb max_connection_duration_jitter"
    }
    "envoy.config.core.v3.Http1ProtocolOptions" {
        "accept_http_10 default_host_for_http_10 enable_trailers",
        silent: "allow_absolute_url use_balsa_parser",
        warn: "header_key_format allow_chunked_length override_stream_error_on_invalid_http_message
            send_fully_qualified_url ignore_http_11_upgrade"
    }
    "envoy.config.core.v3.Http2ProtocolOptions" {
        "max_concurrent_streams allow_connect",
        silent: "hpack_table_size initial_stream_window_size initial_connection_window_size use_oghttp2_codec
            enable_huffman_encoding",
        warn: "allow_metadata max_outbound_frames max_outbound_control_frames
            max_consecutive_inbound_frames_with_empty_payload max_inbound_priority_frames_per_stream
            max_inbound_window_update_frames_per_data_frame_sent stream_error_on_invalid_http_messaging
            override_stream_error_on_invalid_http_message custom_settings_parameters connection_keepalive
            max_metadata_size max_header_field_size_kb disallow_obs_text stream_reset_burst stream_reset_rate"
    }
    "envoy.type.v3.FractionalPercent" { "numerator denominator", silent: "", warn: "" }
    "envoy.type.v3.Percent" { "value", silent: "", warn: "" }
    "envoy.type.v3.Int64Range" { "start end", silent: "", warn: "" }
    "envoy.type.matcher.v3.StringMatcher" {
        "exact prefix suffix safe_regex contains ignore_case", silent: "", warn: ""
    }
    "envoy.type.matcher.v3.MetadataMatcher" { "filter path value invert", silent: "", warn: "" }
    "envoy.type.matcher.v3.MetadataMatcher.PathSegment" { "key", silent: "", warn: "" }
    "envoy.type.matcher.v3.ValueMatcher" {
        "null_match double_match string_match bool_match present_match list_match or_match", silent: "", warn: ""
    }
    "envoy.type.matcher.v3.ValueMatcher.NullMatch" { "", silent: "", warn: "" }
    "envoy.type.matcher.v3.DoubleMatcher" { "range exact", silent: "", warn: "" }
    "envoy.type.matcher.v3.ListMatcher" { "one_of", silent: "", warn: "" }
    "envoy.type.matcher.v3.OrMatcher" { "value_matchers", silent: "", warn: "" }
    "envoy.type.v3.DoubleRange" { "start end", silent: "", warn: "" }
    "envoy.type.matcher.v3.RegexMatcher" { "regex", silent: "google_re2", warn: "" }
    "envoy.type.matcher.v3.RegexMatchAndSubstitute" { "pattern substitution", silent: "", warn: "" }
};

const LISTENER: &[Fields] = fields! {
    "envoy.config.listener.v3.Listener" {
        "name address additional_addresses filter_chains default_filter_chain api_listener listener_filters
         listener_filters_timeout continue_on_listener_filters_timeout bind_to_port use_original_dst deprecated_v1
         traffic_direction",
        silent: "metadata stat_prefix drain_type reuse_port enable_reuse_port ignore_global_conn_limit
            bypass_overload_manager connection_balance_config tcp_backlog_size
            max_connections_to_accept_per_socket_event enable_mptcp",
        warn: "access_log stats_matcher per_connection_buffer_limit_bytes per_connection_buffer_high_watermark_timeout
            socket_options tcp_keepalive freebind tcp_fast_open_queue_length"
    }
    "envoy.config.listener.v3.AdditionalAddress" { "address", silent: "", warn: "socket_options tcp_keepalive" }
    "envoy.config.listener.v3.Listener.DeprecatedV1" { "bind_to_port", silent: "", warn: "" }
    "envoy.config.listener.v3.ApiListener" { "api_listener", silent: "", warn: "" }
    "envoy.config.listener.v3.ListenerFilter" {
        "name typed_config", silent: "", warn: "filter_disabled"
    }
    "envoy.extensions.filters.listener.original_dst.v3.OriginalDst" { "", silent: "", warn: "" }
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector" {
        "", silent: "initial_read_buffer_size max_client_hello_size", warn: "enable_ja3_fingerprinting
            enable_ja4_fingerprinting close_connection_on_client_hello_parsing_errors"
    }
    "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector" { "", silent: "", warn: "" }
    "envoy.config.listener.v3.FilterChain" {
        "filter_chain_match filters name transport_socket_connect_timeout",
        silent: "transport_socket metadata", warn: ""
    }
    "envoy.config.listener.v3.FilterChainMatch" {
        "destination_port prefix_ranges direct_source_prefix_ranges source_type source_prefix_ranges source_ports
         server_names transport_protocol application_protocols",
        silent: "", warn: ""
    }
    "envoy.config.listener.v3.Filter" { "name", silent: "typed_config", warn: "" }
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy" {
        "stat_prefix cluster weighted_clusters idle_timeout max_connect_attempts hash_policy metadata_match
         max_downstream_connection_duration max_downstream_connection_duration_jitter_percentage access_log",
        silent: "check_drain_close",
        warn: "access_log_options access_log_flush_interval flush_access_log_on_connected backoff_options"
    }
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster" { "clusters", silent: "", warn: "" }
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight" {
        "name weight metadata_match", silent: "", warn: ""
    }
    "envoy.type.v3.HashPolicy" { "source_ip filter_state", silent: "", warn: "" }
    "envoy.type.v3.HashPolicy.SourceIp" { "", silent: "", warn: "" }
    "envoy.type.v3.HashPolicy.FilterState" { "key", silent: "", warn: "" }
    "envoy.extensions.filters.network.rbac.v3.RBAC" {
        "rules shadow_rules stat_prefix shadow_rules_stat_prefix delay_deny enforcement_type", silent: "", warn: ""
    }
    "envoy.extensions.filters.network.sni_cluster.v3.SniCluster" { "", silent: "", warn: "" }
};

const HTTP: &[Fields] = fields! {
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager" {
        "codec_type stat_prefix rds route_config http_filters common_http_protocol_options http_protocol_options
         http2_protocol_options server_name server_header_transformation max_request_headers_kb stream_idle_timeout
         request_timeout request_headers_timeout use_remote_address xff_num_trusted_hops
         internal_address_config skip_xff_append via generate_request_id preserve_external_request_id
         always_set_request_id_in_response forward_client_cert_details upgrade_configs normalize_path merge_slashes
         path_with_escaped_slashes_action strip_matching_host_port strip_any_host_port proxy_100_continue
         strip_trailing_host_dot scheme_header_transformation original_ip_detection_extensions delayed_close_timeout
         local_reply_config access_log set_current_client_cert_details",
        silent: "request_id_extension append_local_overload
            add_proxy_protocol_connection_state http1_safe_max_connection_duration flush_access_log_on_new_request
            access_log_flush_interval",
        warn: "tracing access_log_options drain_timeout drain_timeout_jitter stream_flush_timeout
            stream_error_on_invalid_http_message represent_ipv4_remote_address_as_ipv4_mapped_ipv6"
    }
    "envoy.config.core.v3.TypedExtensionConfig" { "name typed_config", silent: "", warn: "" }
    "envoy.type.v3.HttpStatus" { "code", silent: "", warn: "" }
    "envoy.config.core.v3.SchemeHeaderTransformation" { "scheme_to_overwrite", silent: "", warn: "" }
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.SetCurrentClientCertDetails" {
        "subject cert chain dns uri", silent: "", warn: ""
    }
    "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig" {
        "xff_num_trusted_hops xff_trusted_cidrs skip_xff_append", silent: "", warn: ""
    }
    "envoy.extensions.http.original_ip_detection.xff.v3.XffTrustedCidrs" { "cidrs", silent: "", warn: "" }
    "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig" {
        "header_name allow_extension_to_set_address_as_trusted reject_with_status", silent: "", warn: ""
    }
    "envoy.extensions.filters.network.http_connection_manager.v3.Rds" {
        "config_source route_config_name", silent: "", warn: ""
    }
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter" {
        "name disabled", silent: "typed_config is_optional", warn: ""
    }
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig" {
        "upgrade_type enabled", silent: "", warn: ""
    }
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.InternalAddressConfig" {
        "cidr_ranges", silent: "", warn: "unix_sockets"
    }
    "envoy.extensions.filters.http.router.v3.Router" {
        "suppress_envoy_headers respect_expected_rq_timeout",
        silent: "dynamic_stats suppress_grpc_request_failure_code_stats reject_connect_request_early_data",
        warn: "start_child_span upstream_log upstream_log_options"
    }
};

const ROUTE: &[Fields] = fields! {
    "envoy.config.route.v3.RouteConfiguration" {
        "name virtual_hosts response_headers_to_add response_headers_to_remove request_headers_to_add
         request_headers_to_remove most_specific_header_mutations_wins max_direct_response_body_size_bytes
         ignore_port_in_host_matching internal_only_headers ignore_path_parameters_in_path_matching
         request_mirror_policies",
        silent: "typed_per_filter_config validate_clusters metadata",
        warn: ""
    }
    "envoy.config.route.v3.VirtualHost" {
        "name domains routes require_tls request_headers_to_add request_headers_to_remove response_headers_to_add
         response_headers_to_remove include_request_attempt_count include_attempt_count_in_response retry_policy
         per_request_buffer_limit_bytes request_body_buffer_limit virtual_clusters
         include_is_timeout_retry_header request_mirror_policies rate_limits
         hedge_policy",
        silent: "typed_per_filter_config metadata", warn: ""
    }
    "envoy.config.route.v3.HedgePolicy" {
        "hedge_on_per_try_timeout", silent: "initial_requests additional_request_chance", warn: ""
    }
    "envoy.config.route.v3.VirtualCluster" { "headers name", silent: "", warn: "" }
    "envoy.config.route.v3.Route" {
        "name match route redirect direct_response non_forwarding_action decorator request_headers_to_add
         request_headers_to_remove response_headers_to_add response_headers_to_remove
         per_request_buffer_limit_bytes request_body_buffer_limit stat_prefix",
        silent: "typed_per_filter_config metadata", warn: "tracing"
    }
    "envoy.config.route.v3.NonForwardingAction" { "", silent: "", warn: "" }
    "envoy.config.route.v3.Decorator" { "operation propagate", silent: "", warn: "" }
    "envoy.config.route.v3.RouteMatch" {
        "prefix path safe_regex connect_matcher path_separated_prefix case_sensitive runtime_fraction headers
         query_parameters grpc dynamic_metadata cookies tls_context path_match_policy",
        silent: "filter_state", warn: ""
    }
    "envoy.config.route.v3.RouteMatch.TlsContextMatchOptions" { "presented validated", silent: "", warn: "" }
    "envoy.config.route.v3.CookieMatcher" { "name string_match invert_match", silent: "", warn: "" }
    "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig" { "path_template", silent: "", warn: "" }
    "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig" {
        "path_template_rewrite", silent: "", warn: ""
    }
    "envoy.config.route.v3.RouteMatch.ConnectMatcher" { "", silent: "", warn: "" }
    "envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions" { "", silent: "", warn: "" }
    "envoy.config.route.v3.HeaderMatcher" {
        "name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match
         string_match invert_match treat_missing_header_as_empty",
        silent: "", warn: ""
    }
    "envoy.config.route.v3.QueryParameterMatcher" { "name string_match present_match", silent: "", warn: "" }
    "envoy.config.route.v3.RouteAction" {
        "cluster cluster_header weighted_clusters cluster_not_found_response_code prefix_rewrite regex_rewrite
         host_rewrite_literal auto_host_rewrite host_rewrite_header host_rewrite_path_regex host_rewrite path_rewrite
         path_rewrite_policy append_x_forwarded_host timeout idle_timeout
         retry_policy priority max_grpc_timeout grpc_timeout_offset upgrade_configs max_stream_duration
         hash_policy metadata_match request_mirror_policies internal_redirect_policy rate_limits include_vh_rate_limits
         hedge_policy",
        silent: "early_data_policy",
        warn: "flush_timeout"
    }
    "envoy.config.route.v3.RouteAction.HashPolicy" {
        "header cookie connection_properties query_parameter filter_state terminal", silent: "", warn: ""
    }
    "envoy.config.route.v3.RouteAction.HashPolicy.Header" { "header_name regex_rewrite", silent: "", warn: "" }
    "envoy.config.route.v3.RouteAction.HashPolicy.Cookie" { "name ttl path attributes", silent: "", warn: "" }
    "envoy.config.route.v3.RouteAction.HashPolicy.CookieAttribute" { "name value", silent: "", warn: "" }
    "envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties" { "source_ip", silent: "", warn: "" }
    "envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter" { "name", silent: "", warn: "" }
    "envoy.config.route.v3.RouteAction.HashPolicy.FilterState" { "key", silent: "", warn: "" }
    "envoy.config.route.v3.RouteAction.MaxStreamDuration" {
        "max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset", silent: "", warn: ""
    }
    "envoy.config.route.v3.RouteAction.UpgradeConfig" { "upgrade_type enabled", silent: "", warn: "" }
    "envoy.config.route.v3.WeightedCluster" { "clusters header_name use_hash_policy", silent: "total_weight runtime_key_prefix", warn: "" }
    "envoy.config.route.v3.WeightedCluster.ClusterWeight" {
        "name cluster_header weight request_headers_to_add request_headers_to_remove response_headers_to_add
         response_headers_to_remove host_rewrite_literal metadata_match",
        silent: "typed_per_filter_config", warn: ""
    }
    "envoy.config.route.v3.RetryPolicy" {
        "retry_on num_retries per_try_timeout per_try_idle_timeout retry_priority retry_host_predicate
         host_selection_retry_max_attempts retriable_status_codes retry_back_off rate_limited_retry_back_off
         retriable_headers retriable_request_headers",
        silent: "", warn: ""
    }
    "envoy.config.route.v3.RetryPolicy.RetryPriority" { "name typed_config", silent: "", warn: "" }
    "envoy.config.route.v3.RetryPolicy.RetryHostPredicate" { "name typed_config", silent: "", warn: "" }
    "envoy.config.route.v3.RetryPolicy.RetryBackOff" { "base_interval max_interval", silent: "", warn: "" }
    "envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff" {
        "reset_headers max_interval", silent: "", warn: ""
    }
    "envoy.config.route.v3.RetryPolicy.ResetHeader" { "name format", silent: "", warn: "" }
    "envoy.config.route.v3.RedirectAction" {
        "https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite
         path_rewrite response_code strip_query",
        silent: "", warn: ""
    }
    "envoy.config.route.v3.DirectResponseAction" { "status body body_format", silent: "", warn: "" }
    "envoy.config.route.v3.FilterConfig" { "disabled", silent: "config is_optional", warn: "" }
};

const ENDPOINTS: &[Fields] = fields! {
    "envoy.config.endpoint.v3.ClusterLoadAssignment" { "cluster_name endpoints policy", silent: "", warn: "" }
    "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy" {
        "drop_overloads overprovisioning_factor", silent: "", warn: "endpoint_stale_after"
    }
    "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload" {
        "category drop_percentage", silent: "", warn: ""
    }
    "envoy.config.endpoint.v3.LocalityLbEndpoints" {
        "locality lb_endpoints load_balancing_weight priority", silent: "metadata proximity", warn: ""
    }
    "envoy.config.endpoint.v3.LbEndpoint" {
        "endpoint health_status load_balancing_weight", silent: "metadata", warn: ""
    }
    "envoy.config.endpoint.v3.Endpoint" {
        "address hostname health_check_config", silent: "observability_name", warn: "additional_addresses"
    }
    "envoy.config.endpoint.v3.Endpoint.HealthCheckConfig" {
        "port_value hostname address disable_active_health_check", silent: "", warn: ""
    }
};
