//! Local replies, formats, filters of access logs; mirrors and redirects that are followed here.

use super::Fields;

pub(super) const FIELDS: &[Fields] = fields! {
    "envoy.config.route.v3.RouteAction.RequestMirrorPolicy" {
        "cluster cluster_header runtime_fraction disable_shadow_host_suffix_append request_headers_mutations
         host_rewrite_literal",
        silent: "trace_sampled", warn: ""
    }
    "envoy.config.route.v3.InternalRedirectPolicy" {
        "max_internal_redirects redirect_response_codes predicates allow_cross_scheme_redirect
         response_headers_to_copy",
        silent: "", warn: ""
    }
    "envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig" { "", silent: "", warn: "" }
    "envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig" { "", silent: "", warn: "" }
    "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig" {
        "allowed_route_names", silent: "", warn: ""
    }
    "envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig" {
        "mappers body_format", silent: "", warn: ""
    }
    "envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper" {
        "filter status_code body body_format_override headers_to_add", silent: "", warn: ""
    }
    "envoy.config.core.v3.SubstitutionFormatString" {
        "text_format json_format text_format_source omit_empty_values content_type formatters",
        silent: "json_format_options", warn: ""
    }
    "envoy.config.accesslog.v3.AccessLogFilter" {
        "status_code_filter duration_filter not_health_check_filter traceable_filter runtime_filter and_filter
         or_filter header_filter response_flag_filter grpc_status_filter metadata_filter log_type_filter",
        silent: "", warn: "extension_filter"
    }
    "envoy.config.accesslog.v3.StatusCodeFilter" { "comparison", silent: "", warn: "" }
    "envoy.config.accesslog.v3.DurationFilter" { "comparison", silent: "", warn: "" }
    "envoy.config.accesslog.v3.ComparisonFilter" { "op value", silent: "", warn: "" }
    "envoy.config.accesslog.v3.NotHealthCheckFilter" { "", silent: "", warn: "" }
    "envoy.config.accesslog.v3.TraceableFilter" { "", silent: "", warn: "" }
    "envoy.config.accesslog.v3.RuntimeFilter" {
        "percent_sampled", silent: "runtime_key use_independent_randomness", warn: ""
    }
    "envoy.config.accesslog.v3.AndFilter" { "filters", silent: "", warn: "" }
    "envoy.config.accesslog.v3.OrFilter" { "filters", silent: "", warn: "" }
    "envoy.config.accesslog.v3.HeaderFilter" { "header", silent: "", warn: "" }
    "envoy.config.accesslog.v3.ResponseFlagFilter" { "flags", silent: "", warn: "" }
    "envoy.config.accesslog.v3.GrpcStatusFilter" { "statuses exclude", silent: "", warn: "" }
    "envoy.config.accesslog.v3.MetadataFilter" { "matcher match_if_key_not_found", silent: "", warn: "" }
    "envoy.config.accesslog.v3.LogTypeFilter" { "types exclude", silent: "", warn: "" }
    "envoy.config.core.v3.RuntimeUInt32" { "default_value runtime_key", silent: "", warn: "" }
};
