//! HTTP filters, and what only they use.

use super::Fields;

pub(super) const FIELDS: &[Fields] = fields! {
    "envoy.extensions.filters.http.cors.v3.Cors" { "", silent: "", warn: "" }
    "envoy.extensions.filters.http.cors.v3.CorsPolicy" {
        "allow_origin_string_match allow_methods allow_headers expose_headers max_age allow_credentials filter_enabled
         shadow_enabled allow_private_network_access forward_not_matching_preflights",
        silent: "", warn: ""
    }
    "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig" {
        "", silent: "emit_filter_state stats_for_all_methods enable_upstream_stats
            individual_method_stats_allowlist replace_dots_in_grpc_service_name", warn: ""
    }
    "envoy.extensions.filters.http.fault.v3.HTTPFault" {
        "delay abort upstream_cluster headers downstream_nodes max_active_faults",
        silent: "disable_downstream_cluster_stats",
        warn: "delay_percent_runtime abort_percent_runtime delay_duration_runtime abort_http_status_runtime
            max_active_faults_runtime response_rate_limit_percent_runtime abort_grpc_status_runtime filter_metadata"
    }
    "envoy.extensions.filters.http.fault.v3.FaultAbort" {
        "percentage http_status grpc_status header_abort", silent: "", warn: ""
    }
    "envoy.extensions.filters.http.fault.v3.FaultAbort.HeaderAbort" { "", silent: "", warn: "" }
    "envoy.extensions.filters.common.fault.v3.FaultDelay" {
        "percentage fixed_delay header_delay", silent: "", warn: ""
    }
    "envoy.extensions.filters.common.fault.v3.FaultDelay.HeaderDelay" { "", silent: "", warn: "" }
    "envoy.extensions.filters.http.buffer.v3.Buffer" { "max_request_bytes", silent: "", warn: "" }
    "envoy.extensions.filters.http.buffer.v3.BufferPerRoute" { "disabled buffer", silent: "", warn: "" }
    "envoy.extensions.filters.http.csrf.v3.CsrfPolicy" {
        "filter_enabled shadow_enabled additional_origins", silent: "", warn: ""
    }
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation" {
        "mutations most_specific_header_mutations_wins", silent: "", warn: ""
    }
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute" { "mutations", silent: "", warn: "" }
    "envoy.extensions.filters.http.header_mutation.v3.Mutations" {
        "request_mutations query_parameter_mutations response_mutations response_trailers_mutations
         request_trailers_mutations",
        silent: "", warn: ""
    }
    "envoy.config.common.mutation_rules.v3.HeaderMutation" { "remove append remove_on_match", silent: "", warn: "" }
    "envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch" { "key_matcher", silent: "", warn: "" }
    "envoy.config.core.v3.KeyValueMutation" { "append remove", silent: "", warn: "" }
    "envoy.config.core.v3.KeyValueAppend" { "record action", silent: "", warn: "" }
    "envoy.extensions.filters.http.rbac.v3.RBAC" {
        "rules shadow_rules rules_stat_prefix shadow_rules_stat_prefix", silent: "", warn: "track_per_rule_stats"
    }
    "envoy.extensions.filters.http.rbac.v3.RBACPerRoute" { "rbac", silent: "", warn: "" }
    "envoy.config.rbac.v3.RBAC" { "action policies", silent: "", warn: "audit_logging_options" }
    "envoy.config.rbac.v3.Policy" { "permissions principals", silent: "", warn: "" }
    "envoy.config.rbac.v3.Permission" {
        "and_rules or_rules any header url_path destination_ip destination_port destination_port_range metadata
         not_rule requested_server_name sourced_metadata uri_template",
        silent: "", warn: ""
    }
    "envoy.config.rbac.v3.Permission.Set" { "rules", silent: "", warn: "" }
    "envoy.config.rbac.v3.Principal" {
        "and_ids or_ids any authenticated source_ip direct_remote_ip remote_ip header url_path metadata not_id
         sourced_metadata",
        silent: "", warn: ""
    }
    "envoy.config.rbac.v3.Principal.Set" { "ids", silent: "", warn: "" }
    "envoy.config.rbac.v3.Principal.Authenticated" { "principal_name", silent: "", warn: "" }
    "envoy.config.rbac.v3.SourcedMetadata" { "metadata_matcher metadata_source", silent: "", warn: "" }
    "envoy.type.v3.Int32Range" { "start end", silent: "", warn: "" }
    "envoy.type.matcher.v3.PathMatcher" { "path", silent: "", warn: "" }
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication" {
        "providers rules bypass_cors_preflight requirement_map strip_failure_response", silent: "", warn: "stat_prefix"
    }
    "envoy.extensions.filters.http.jwt_authn.v3.JwtProvider" {
        "issuer audiences subjects require_expiration max_lifetime local_jwks forward from_headers from_params
         from_cookies forward_payload_header pad_forward_payload_header payload_in_metadata header_in_metadata
         normalize_payload_in_metadata clock_skew_seconds claim_to_headers clear_route_cache",
        silent: "jwt_cache_config", warn: "failed_status_in_metadata"
    }
    "envoy.extensions.filters.http.jwt_authn.v3.JwtProvider.NormalizePayload" {
        "space_delimited_claims", silent: "", warn: ""
    }
    "envoy.extensions.filters.http.jwt_authn.v3.JwtHeader" { "name value_prefix", silent: "", warn: "" }
    "envoy.extensions.filters.http.jwt_authn.v3.JwtClaimToHeader" { "header_name claim_name", silent: "", warn: "" }
    "envoy.extensions.filters.http.jwt_authn.v3.RequirementRule" {
        "match requires requirement_name", silent: "", warn: ""
    }
    "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirement" {
        "provider_name provider_and_audiences requires_any requires_all allow_missing allow_missing_or_failed",
        silent: "", warn: ""
    }
    "envoy.extensions.filters.http.jwt_authn.v3.ProviderWithAudiences" {
        "provider_name audiences", silent: "", warn: ""
    }
    "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementOrList" { "requirements", silent: "", warn: "" }
    "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementAndList" { "requirements", silent: "", warn: "" }
    "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig" { "disabled requirement_name", silent: "", warn: "" }
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit" {
        "stat_prefix status token_bucket filter_enabled filter_enforced request_headers_to_add_when_not_enforced
         response_headers_to_add descriptors stage local_rate_limit_per_downstream_connection
         enable_x_ratelimit_headers vh_rate_limits always_consume_default_token_bucket
         rate_limited_as_resource_exhausted rate_limits max_dynamic_descriptors enable_retry_after_header",
        silent: "", warn: ""
    }
    "envoy.type.v3.TokenBucket" { "max_tokens tokens_per_fill fill_interval", silent: "", warn: "" }
    "envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor" {
        "entries token_bucket shadow_mode", silent: "", warn: ""
    }
    "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry" { "key value", silent: "", warn: "" }
    "envoy.config.route.v3.RateLimit" {
        "stage disable_key actions hits_addend x_ratelimit_option", silent: "", warn: ""
    }
    "envoy.config.route.v3.RateLimit.HitsAddend" { "number is_negative_hits", silent: "", warn: "format" }
    "envoy.config.route.v3.RateLimit.Action" {
        "source_cluster destination_cluster request_headers query_parameters remote_address generic_key
         header_value_match dynamic_metadata metadata masked_remote_address query_parameter_value_match",
        silent: "", warn: ""
    }
    "envoy.config.route.v3.RateLimit.Action.SourceCluster" { "", silent: "", warn: "" }
    "envoy.config.route.v3.RateLimit.Action.DestinationCluster" { "", silent: "", warn: "" }
    "envoy.config.route.v3.RateLimit.Action.RemoteAddress" { "", silent: "", warn: "" }
    "envoy.config.route.v3.RateLimit.Action.MaskedRemoteAddress" {
        "v4_prefix_mask_len v6_prefix_mask_len", silent: "", warn: ""
    }
    "envoy.config.route.v3.RateLimit.Action.RequestHeaders" {
        "header_name descriptor_key skip_if_absent", silent: "", warn: ""
    }
    "envoy.config.route.v3.RateLimit.Action.QueryParameters" {
        "query_parameter_name descriptor_key skip_if_absent", silent: "", warn: ""
    }
    "envoy.config.route.v3.RateLimit.Action.GenericKey" {
        "descriptor_value descriptor_key", silent: "default_value", warn: ""
    }
    "envoy.config.route.v3.RateLimit.Action.HeaderValueMatch" {
        "descriptor_value descriptor_key expect_match headers", silent: "default_value", warn: ""
    }
    "envoy.config.route.v3.RateLimit.Action.QueryParameterValueMatch" {
        "descriptor_value descriptor_key expect_match query_parameters", silent: "default_value", warn: ""
    }
    "envoy.config.route.v3.RateLimit.Action.DynamicMetaData" {
        "descriptor_key metadata_key default_value", silent: "", warn: ""
    }
    "envoy.config.route.v3.RateLimit.Action.MetaData" {
        "descriptor_key metadata_key default_value source skip_if_absent", silent: "", warn: ""
    }
    "envoy.type.metadata.v3.MetadataKey" { "key path", silent: "", warn: "" }
    "envoy.type.metadata.v3.MetadataKey.PathSegment" { "key", silent: "", warn: "" }
    "envoy.config.accesslog.v3.AccessLog" { "filter", silent: "name typed_config", warn: "" }
    "envoy.extensions.access_loggers.file.v3.FileAccessLog" {
        "path format json_format typed_json_format log_format", silent: "", warn: ""
    }
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog" { "log_format", silent: "", warn: "" }
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog" { "log_format", silent: "", warn: "" }
    "envoy.config.core.v3.KeyValuePair" { "key value", silent: "", warn: "" }
};
