//! Formats, mappers of local replies, mirrors, redirects that are followed here: value by value.

use std::sync::Arc;

use http::StatusCode;
use mesh_core::{
    access_log::{AccessLogFilter, Comparison, ComparisonOp},
    model::*,
};

use super::{super::Resource, *};

fn routes(yaml: &str) -> Arc<RouteConfiguration> {
    match decode(ROUTES, yaml).resource {
        Ok(Resource::Route(routes)) => routes,
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
fn mirrors() {
    let forward = forward(
        "cluster: a, request_mirror_policies: [\
         {cluster: b, runtime_fraction: {default_value: {numerator: 25}}, trace_sampled: true}, \
         {cluster_header: x-m, disable_shadow_host_suffix_append: true, host_rewrite_literal: h, \
          request_headers_mutations: [{remove: x-a}, {append: {header: {key: x-b, value: '%REQ(x-c)%'}}}]}]",
    );
    let [first, second] = &forward.mirrors[..] else {
        panic!("{:?}", forward.mirrors);
    };
    assert!(matches!(&first.cluster, MirrorCluster::Name(name) if **name == *"b"));
    let quarter = Fraction {
        numerator: 25,
        denominator: 100,
    };
    assert_eq!(
        (first.fraction, first.appends_suffix),
        (Some(quarter), true)
    );
    assert!(matches!(second.cluster, MirrorCluster::Header(_)));
    assert_eq!((second.fraction, second.appends_suffix), (None, false));
    assert_eq!(second.mutations.len(), 2);
    assert_eq!(second.host_rewrite_literal.as_ref().unwrap(), "h");
}

#[test]
fn internal_redirects() {
    let default = forward("cluster: a, internal_redirect_policy: {}")
        .internal_redirects
        .unwrap();
    assert_eq!(default.max_internal_redirects, 1);
    assert_eq!(default.redirect_response_codes, [StatusCode::FOUND]);
    let policy = forward(
        "cluster: a, internal_redirect_policy: {max_internal_redirects: 3, redirect_response_codes: [303, 404, 308], \
         allow_cross_scheme_redirect: true, response_headers_to_copy: [x-a], predicates: [\
         {name: p, typed_config: {'@type': type.googleapis.com/envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig}}, \
         {name: a, typed_config: {'@type': type.googleapis.com/envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig, allowed_route_names: [r]}}, \
         {name: s, typed_config: {'@type': type.googleapis.com/envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig}}]}",
    );
    let policy = policy.internal_redirects.unwrap();
    assert_eq!(policy.max_internal_redirects, 3);
    assert_eq!(
        policy.redirect_response_codes,
        [StatusCode::SEE_OTHER, StatusCode::PERMANENT_REDIRECT]
    );
    assert!(policy.allow_cross_scheme_redirect);
    assert_eq!(policy.response_headers_to_copy, ["x-a"]);
    assert_eq!(
        policy.predicates,
        [
            RedirectPredicate::PreviousRoutes,
            RedirectPredicate::AllowListedRoutes(vec!["r".into()]),
            RedirectPredicate::SafeCrossScheme,
        ]
    );
}

#[test]
fn formats_of_bodies() {
    let yaml = "{name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, \
        direct_response: {status: 200, body: {inline_string: b}, body_format: {json_format: {a: '%LOCAL_REPLY_BODY%'}, content_type: t/x}}}, \
        {match: {prefix: /}, redirect: {path_rewrite: '/n/%REQ(x)%'}}]}]}";
    let routes = routes(yaml);
    let [direct, redirect] = &routes.virtual_hosts[0].routes[..] else {
        panic!("two routes");
    };
    let RouteAction::DirectResponse(direct) = &direct.action else {
        panic!("{direct:?}");
    };
    let format = direct.body_format.as_ref().unwrap();
    assert_eq!(format.content_type(), "t/x");
    let RouteAction::Redirect(redirect) = &redirect.action else {
        panic!("{redirect:?}");
    };
    assert!(matches!(redirect.path, Some(PathRewrite::Format(_))));
}

/// The manager of a listener whose `local_reply_config` is this.
fn manager(local_reply: &str) -> String {
    format!(
        "{{name: l, address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}, filter_chains: [{{filters: [{{name: h, typed_config: {{\
         '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
         stat_prefix: s, rds: {{route_config_name: r, config_source: {{ads: {{}}}}}}, local_reply_config: {local_reply}, \
         http_filters: [{{name: envoy.filters.http.router, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}]}}]}}"
    )
}

#[test]
fn mappers_of_local_replies() {
    let yaml = manager(
        "{mappers: [{filter: {and_filter: {filters: [\
         {duration_filter: {comparison: {op: NE, value: {default_value: 5, runtime_key: k}}}}, \
         {traceable_filter: {}}, \
         {runtime_filter: {runtime_key: k, percent_sampled: {numerator: 5}}}, \
         {metadata_filter: {match_if_key_not_found: false}}, \
         {log_type_filter: {types: [NotSet, DownstreamEnd], exclude: true}}]}}, \
         status_code: 418, body: {inline_string: b}, headers_to_add: [{header: {key: x, value: y}}], \
         body_format_override: {text_format: t}}], body_format: {json_format: {a: 1}}}",
    );
    let listener = match decode(LISTENER, &yaml).resource {
        Ok(Resource::Listener(listener)) => listener,
        other => panic!("{other:?}"),
    };
    let NetworkFilter::Http(manager) = &listener.filter_chains[0].terminal else {
        panic!("no manager");
    };
    let config = manager.local_reply.as_ref().unwrap();
    assert_eq!(
        config.body_format.as_ref().unwrap().content_type(),
        "application/json"
    );
    let mapper = &config.mappers[0];
    assert_eq!(mapper.status_code, Some(StatusCode::IM_A_TEAPOT));
    assert_eq!(mapper.body.as_deref(), Some(&b"b"[..]));
    assert_eq!(mapper.headers.add.len(), 1);
    assert!(mapper.body_format.is_some());
    let AccessLogFilter::And(filters) = &mapper.filter else {
        panic!("{:?}", mapper.filter);
    };
    assert!(matches!(
        &filters[..],
        [
            AccessLogFilter::Duration(Comparison {
                op: ComparisonOp::NotEqual,
                value: 5
            }),
            AccessLogFilter::Traceable,
            AccessLogFilter::Runtime(Fraction { numerator: 5, .. }),
            AccessLogFilter::Metadata {
                matcher: None,
                if_missing: false
            },
            AccessLogFilter::LogType { exclude: true, .. },
        ]
    ));
}

#[test]
fn formatters_are_ignored_with_a_warning() {
    let yaml = manager("{body_format: {text_format: t, formatters: [{name: f}]}}");
    let warnings = decode(LISTENER, &yaml).warnings;
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("formatters[0]: f is not supported yet")),
        "{warnings:?}"
    );
}
