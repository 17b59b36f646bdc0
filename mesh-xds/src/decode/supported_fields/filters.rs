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
         not_rule requested_server_name sourced_metadata",
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
    "envoy.config.core.v3.KeyValuePair" { "key value", silent: "", warn: "" }
};
