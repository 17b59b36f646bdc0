use std::collections::HashMap;
use std::sync::Arc;

use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use mesh_proto::envoy::config::route::v3 as rt;

use super::scope::Scope;
use super::{metadata, resilience, route_action, route_match};
use crate::model::{HeaderOps, Headers, HttpMatch, HttpRoute, VirtualService};
use crate::registry::Service;

/// For whom the routes of a VirtualService are made.
pub(super) struct RouteContext<'a> {
    pub(super) scope: &'a Scope,
    /// Port of the listener or of the gateway's server.
    pub(super) listener_port: u32,
    /// Clients come by TLS.
    pub(super) is_tls: bool,
    /// Names by which matches may mean this place: `mesh`, or `namespace/gateway`.
    pub(super) gateways: &'a [&'a str],
    /// A service by its full name, if it is known here.
    pub(super) service: &'a dyn Fn(&str) -> Option<Arc<Service>>,
}

/// The routes of a VirtualService for one place, in order, up to the first that matches everything.
pub(super) fn routes_of(context: &RouteContext<'_>, vs: &VirtualService) -> Vec<rt::Route> {
    let mut routes = Vec::new();
    for http in &vs.http {
        if http.matches.is_empty() {
            routes.push(route(context, vs, http, None));
            break;
        }
        for matched in http.matches.iter().filter(|m| applies(context, m)) {
            let route = route(context, vs, http, Some(matched));
            let last = route
                .r#match
                .as_ref()
                .is_some_and(route_match::is_catch_all);
            routes.push(route);
            if last {
                return routes;
            }
        }
    }
    routes
}

/// What of a match is decided here and not per request: port, gateways, source.
fn applies(context: &RouteContext<'_>, matched: &HttpMatch) -> bool {
    let node = &context.scope.node;
    if matched
        .port
        .is_some_and(|port| port != context.listener_port)
    {
        return false;
    }
    if !matched.gateways.is_empty() {
        return matched
            .gateways
            .iter()
            .any(|g| context.gateways.contains(&g.as_str()));
    }
    matched
        .source_labels
        .iter()
        .all(|(k, v)| context.scope.labels.get(k) == Some(v))
        && (matched.source_namespace.is_empty() || matched.source_namespace == node.namespace)
}

fn route(
    context: &RouteContext<'_>,
    vs: &VirtualService,
    http: &HttpRoute,
    matched: Option<&HttpMatch>,
) -> rt::Route {
    let name = match matched {
        Some(matched) if !matched.name.is_empty() => format!("{}.{}", http.name, matched.name),
        _ => http.name.clone(),
    };
    let metadata = metadata::of_object("virtual-service", &vs.metadata);
    let mut route = rt::Route {
        name,
        r#match: Some(route_match::route_match(matched)),
        metadata: Some(metadata::with_provenance(
            metadata,
            "VirtualService",
            &vs.metadata,
            http.mark.line,
        )),
        stat_prefix: matched.map(|m| m.stat_prefix.clone()).unwrap_or_default(),
        typed_per_filter_config: per_filter_config(http),
        ..Default::default()
    };
    let authority = http
        .headers
        .as_ref()
        .and_then(|headers| add_headers(&mut route, headers));
    route_action::set_action(&mut route, context, vs, http, authority);
    route.decorator = Some(rt::Decorator {
        operation: operation(&route, vs, context.listener_port),
        propagate: None,
    });
    route
}

fn per_filter_config(http: &HttpRoute) -> HashMap<String, prost_types::Any> {
    let mut configs = HashMap::new();
    if let Some(fault) = &http.fault {
        configs.insert(
            "envoy.filters.http.fault".to_owned(),
            resilience::fault(fault),
        );
    }
    if let Some(cors) = &http.cors {
        configs.insert("envoy.filters.http.cors".to_owned(), resilience::cors(cors));
    }
    configs
}

/// Adds header operations to a route; returns what they make of `:authority`.
pub(super) fn add_headers(route: &mut rt::Route, headers: &Headers) -> Option<String> {
    route
        .request_headers_to_add
        .extend(header_options(&headers.request));
    route
        .request_headers_to_remove
        .extend(removed(&headers.request));
    route
        .response_headers_to_add
        .extend(header_options(&headers.response));
    route
        .response_headers_to_remove
        .extend(removed(&headers.response));
    authority(&headers.request)
}

pub(super) fn header_options(ops: &HeaderOps) -> Vec<core::HeaderValueOption> {
    let option = |action: HeaderAppendAction| {
        move |(key, value): (&String, &String)| core::HeaderValueOption {
            header: Some(core::HeaderValue {
                key: key.clone(),
                value: value.clone(),
                ..Default::default()
            }),
            append_action: action.into(),
            ..Default::default()
        }
    };
    let set = ops
        .set
        .iter()
        .filter(|(k, _)| !is_internal(k))
        .map(option(HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = ops
        .add
        .iter()
        .filter(|(k, _)| !is_internal(k))
        .map(option(HeaderAppendAction::AppendIfExistsOrAdd));
    set.chain(add).collect()
}

pub(super) fn removed(ops: &HeaderOps) -> impl Iterator<Item = String> {
    ops.remove.iter().filter(|name| !is_internal(name)).cloned()
}

/// The host that requests get by setting `:authority` or `Host`.
pub(super) fn authority(ops: &HeaderOps) -> Option<String> {
    let find = |map: &std::collections::BTreeMap<String, String>| {
        let is_authority =
            |k: &str| k.eq_ignore_ascii_case(":authority") || k.eq_ignore_ascii_case("host");
        map.iter()
            .find(|(k, _)| is_authority(k))
            .map(|(_, v)| v.clone())
    };
    find(&ops.set).or_else(|| find(&ops.add))
}

/// Headers that Envoy does not let configuration change.
fn is_internal(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

/// The span's name: host, port and path of the route.
fn operation(route: &rt::Route, vs: &VirtualService, port: u32) -> String {
    use rt::route_match::PathSpecifier;
    let path = match route
        .r#match
        .as_ref()
        .and_then(|m| m.path_specifier.as_ref())
    {
        Some(PathSpecifier::Prefix(prefix)) => format!("{prefix}*"),
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex.clone(),
        _ => "/*".to_owned(),
    };
    let cluster = match &route.action {
        Some(rt::route::Action::Route(rt::RouteAction {
            cluster_specifier: Some(rt::route_action::ClusterSpecifier::Cluster(cluster)),
            ..
        })) => cluster.as_str(),
        _ => "",
    };
    let parts: Vec<&str> = cluster.split('|').collect();
    match parts[..] {
        [_, port, _, host] => format!("{host}:{port}{path}"),
        _ => format!("{}:{port}{path}", vs.metadata.name),
    }
}
