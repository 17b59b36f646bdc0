//! `RouteConfiguration` and its virtual hosts.

use std::{collections::HashSet, sync::Arc};

use http::HeaderValue;
use mesh_core::model::{
    PathMatcher, RequireTls, Route, RouteConfiguration, VirtualCluster, VirtualHost,
};
use mesh_proto::envoy::config::route::v3::{
    self as proto, route::Action, virtual_host::TlsRequirementType,
};

use super::{
    header_operations::header_operations,
    http_filter::filter_overrides,
    matcher, metadata,
    mirror::mirror_policies,
    rate_limit,
    retry::{hedge_on_per_try_timeout, retry_policy},
    route_action,
    route_match::route_match,
    scalar::{enumeration, header_name},
};
use crate::problems::Problems;

/// `max_direct_response_body_size_bytes` where it is not set.
const DIRECT_RESPONSE_LIMIT: u32 = 4096;

/// `RouteConfiguration`.
pub(super) fn route_configuration(
    p: &mut Problems,
    value: &proto::RouteConfiguration,
) -> Option<RouteConfiguration> {
    let mut config = RouteConfiguration::default();
    config.name = value.name.as_str().into();
    config.headers = header_operations(
        p,
        (
            &value.request_headers_to_add,
            &value.request_headers_to_remove,
        ),
        (
            &value.response_headers_to_add,
            &value.response_headers_to_remove,
        ),
    );
    config.internal_only_headers = p.each(
        "internal_only_headers",
        &value.internal_only_headers,
        |p, name| header_name(p, name),
    );
    config.most_specific_header_mutations_wins = value.most_specific_header_mutations_wins;
    config.ignore_port_in_host_matching = value.ignore_port_in_host_matching;
    config.ignore_path_parameters_in_path_matching = value.ignore_path_parameters_in_path_matching;
    config.filter_overrides = filter_overrides(p, &value.typed_per_filter_config);
    config.mirrors = mirror_policies(p, &value.request_mirror_policies);
    let body_limit = value
        .max_direct_response_body_size_bytes
        .unwrap_or(DIRECT_RESPONSE_LIMIT);
    let mut domains = HashSet::new();
    config.virtual_hosts = p.each("virtual_hosts", &value.virtual_hosts, |p, host| {
        virtual_host(p, host, body_limit, &mut domains)
    });
    Some(config)
}

fn virtual_host(
    p: &mut Problems,
    value: &proto::VirtualHost,
    body_limit: u32,
    seen: &mut HashSet<String>,
) -> Option<VirtualHost> {
    let mut host = VirtualHost::default();
    host.name = p
        .require_text("name", &value.name)
        .unwrap_or_default()
        .into();
    if value.domains.is_empty() {
        p.error_at("domains", "must not be empty");
    }
    host.domains = p.each("domains", &value.domains, |p, name| domain(p, name, seen));
    host.require_tls = match enumeration(p, "require_tls", value.require_tls)? {
        TlsRequirementType::None => RequireTls::None,
        TlsRequirementType::ExternalOnly => RequireTls::ExternalOnly,
        TlsRequirementType::All => RequireTls::All,
    };
    host.headers = header_operations(
        p,
        (
            &value.request_headers_to_add,
            &value.request_headers_to_remove,
        ),
        (
            &value.response_headers_to_add,
            &value.response_headers_to_remove,
        ),
    );
    host.hedge_on_per_try_timeout = hedge_on_per_try_timeout(p, value.hedge_policy.as_ref());
    host.retry_policy = retry_policy(p, value.retry_policy.as_ref()).map(Arc::new);
    host.include_request_attempt_count = value.include_request_attempt_count;
    host.include_attempt_count_in_response = value.include_attempt_count_in_response;
    host.include_is_timeout_retry_header = value.include_is_timeout_retry_header;
    host.request_body_buffer_limit = buffer_limit(
        p,
        value.request_body_buffer_limit,
        value.per_request_buffer_limit_bytes,
    );
    host.filter_overrides = filter_overrides(p, &value.typed_per_filter_config);
    host.mirrors = mirror_policies(p, &value.request_mirror_policies);
    host.provenance = metadata::provenance(value.metadata.as_ref());
    host.rate_limits = p.each("rate_limits", &value.rate_limits, rate_limit::of_route);
    host.virtual_clusters = p.each("virtual_clusters", &value.virtual_clusters, virtual_cluster);
    host.routes = p.each("routes", &value.routes, |p, value| {
        route(p, value, body_limit).map(Arc::new)
    });
    Some(host)
}

fn virtual_cluster(p: &mut Problems, value: &proto::VirtualCluster) -> Option<VirtualCluster> {
    let name = p.require_text("name", &value.name)?;
    if value.headers.is_empty() {
        p.error_at("headers", "must not be empty");
    }
    Some(VirtualCluster {
        name: name.into(),
        headers: matcher::headers(p, "headers", &value.headers),
    })
}

/// A domain, lower case; unique within the configuration. A `*` that is neither first nor last is a letter, as in
/// Envoy.
fn domain(p: &mut Problems, name: &str, seen: &mut HashSet<String>) -> Option<String> {
    let name = name.to_ascii_lowercase();
    if !seen.insert(name.clone()) {
        p.error(format!(
            "domain {name:?} occurs twice in this route configuration"
        ));
        return None;
    }
    Some(name)
}

fn route(p: &mut Problems, value: &proto::Route, body_limit: u32) -> Option<Route> {
    let matched = p.require("match", value.r#match.as_ref());
    let matcher = matched.and_then(|matched| p.field("match", |p| route_match(p, matched)));
    let template = matcher.as_ref().and_then(|m| match &m.path {
        PathMatcher::Template(template) => Some(template),
        _ => None,
    });
    let action = match &value.action {
        Some(Action::Route(forward)) => {
            p.field("route", |p| route_action::forward(p, forward, template))
        }
        Some(Action::Redirect(redirect)) => p.field("redirect", |p| {
            route_action::redirect(p, redirect, template)
        }),
        Some(Action::DirectResponse(response)) => p.field("direct_response", |p| {
            route_action::direct_response(p, response, body_limit)
        }),
        Some(Action::NonForwardingAction(_)) => Some(mesh_core::model::RouteAction::NonForwarding),
        // found by the field table
        Some(Action::FilterAction(_)) => None,
        None => {
            p.error("must hold route, redirect, direct_response or non_forwarding_action");
            None
        }
    };
    let mut route = Route::default();
    route.name = value.name.as_str().into();
    route.headers = header_operations(
        p,
        (
            &value.request_headers_to_add,
            &value.request_headers_to_remove,
        ),
        (
            &value.response_headers_to_add,
            &value.response_headers_to_remove,
        ),
    );
    route.request_body_buffer_limit = buffer_limit(
        p,
        value.request_body_buffer_limit,
        value.per_request_buffer_limit_bytes,
    );
    route.filter_overrides = filter_overrides(p, &value.typed_per_filter_config);
    route.decorator = value.decorator.as_ref().and_then(|decorator| {
        let propagate = decorator.propagate.is_none_or(|propagate| propagate);
        let operation = HeaderValue::from_str(&decorator.operation).ok()?;
        propagate.then_some(operation)
    });
    route.stat_prefix = value.stat_prefix.as_str().into();
    route.metadata = metadata::filter_metadata(value.metadata.as_ref());
    route.provenance = metadata::provenance(value.metadata.as_ref());
    route.matcher = matcher?;
    route.action = action?;
    Some(route)
}

fn buffer_limit(p: &mut Problems, limit: Option<u64>, deprecated: Option<u32>) -> Option<u64> {
    if limit.is_some() && deprecated.is_some() {
        p.error_at(
            "per_request_buffer_limit_bytes",
            "must not be set together with request_body_buffer_limit",
        );
    }
    limit.or(deprecated.map(u64::from))
}
