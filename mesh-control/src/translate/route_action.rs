use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::route::v3 as rt;
use mesh_proto::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use rt::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
use rt::route::Action;
use rt::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use rt::weighted_cluster::{ClusterWeight, cluster_weight};

use super::address::{duration, zero};
use super::route::{RouteContext, add_headers, authority, header_options, removed};
use super::scope::Scope;
use super::{hash_policy, network_filters, outbound_cluster, resilience, route_match};
use crate::model::{
    Body, Destination, HttpDestination, HttpRoute, Protocol, Redirect, RedirectPort,
    VirtualService, quoted,
};

/// Gives a route its action: redirect, direct response or destinations.
pub(super) fn set_action(
    route: &mut rt::Route,
    context: &RouteContext<'_>,
    vs: &VirtualService,
    http: &HttpRoute,
    authority: Option<String>,
) {
    route.action = Some(if let Some(redirect) = &http.redirect {
        Action::Redirect(redirect_action(redirect, context))
    } else if let Some(response) = &http.direct_response {
        let body = response.body.as_ref().map(|text| core::DataSource {
            specifier: Some(match text {
                Body::Text(text) => core::data_source::Specifier::InlineString(text.clone()),
                Body::Bytes(bytes) => core::data_source::Specifier::InlineBytes(bytes.clone()),
            }),
            ..Default::default()
        });
        Action::DirectResponse(rt::DirectResponseAction {
            status: response.status,
            body,
            ..Default::default()
        })
    } else {
        Action::Route(forward(route, context, vs, http, authority))
    });
}

fn forward(
    route: &mut rt::Route,
    context: &RouteContext<'_>,
    vs: &VirtualService,
    http: &HttpRoute,
    mut host: Option<String>,
) -> rt::RouteAction {
    let mut action = rt::RouteAction {
        ..without_timeout()
    };
    if vs.is_of_gateway_api {
        // what leads nowhere is the server's fault
        action.cluster_not_found_response_code =
            rt::route_action::ClusterNotFoundResponseCode::InternalServerError.into();
    }
    if let Some(timeout) = http.timeout {
        action.timeout = Some(duration(timeout));
        action.max_grpc_timeout = Some(duration(timeout));
    }
    if let Some(rewrite) = &http.rewrite {
        match &rewrite.regex {
            Some((pattern, substitution)) => {
                action.regex_rewrite = Some(RegexMatchAndSubstitute {
                    pattern: Some(route_match::regex(pattern)),
                    substitution: substitution.clone(),
                });
            }
            None if vs.is_of_gateway_api && rewrite.uri == "/" => {
                action.regex_rewrite = Some(without_prefix(route));
            }
            None => action.prefix_rewrite = rewrite.uri.clone(),
        }
        if !rewrite.authority.is_empty() {
            host = Some(rewrite.authority.clone());
        }
    }
    for (destination, amount) in http.all_mirrors() {
        let cluster = destination_cluster(context, destination);
        action
            .request_mirror_policies
            .extend(resilience::mirror(cluster, amount));
    }
    let rule_of = |d: &HttpDestination| context.scope.destination_rule(&d.destination.host);
    let mut hashes = false;
    for destination in http
        .route
        .iter()
        .filter(|d| http.route.len() == 1 || d.weight > 0)
    {
        if let Some(rule) = rule_of(destination)
            && let Some(hash) = hash_policy::of_destination(&rule, &destination.destination)
        {
            // only a hash that every request goes by forbids to look for another host
            hashes = http.route.len() == 1;
            action.hash_policy.extend(hash_policy::route_policy(hash));
        }
    }
    match http.route.as_slice() {
        [only] => {
            let own_host = add_headers(route, &only.headers);
            host = host.or(own_host);
            action.cluster_specifier = Some(ClusterSpecifier::Cluster(destination_cluster(
                context,
                &only.destination,
            )));
        }
        several => {
            let clusters = several
                .iter()
                .filter(|d| d.weight > 0)
                .map(|d| cluster_weight(context, d))
                .collect();
            action.cluster_specifier =
                Some(ClusterSpecifier::WeightedClusters(rt::WeightedCluster {
                    clusters,
                    ..Default::default()
                }));
        }
    }
    action.host_rewrite_specifier = host.map(HostRewriteSpecifier::HostRewriteLiteral);
    let retries = http
        .retries
        .as_ref()
        .or(context.scope.config.mesh.retries.as_ref());
    action.retry_policy = resilience::retry_policy(retries, hashes);
    action
}

/// Takes the matched prefix away, so that a slash is left of it at most.
fn without_prefix(route: &rt::Route) -> RegexMatchAndSubstitute {
    use rt::route_match::PathSpecifier;
    let specifier = route
        .r#match
        .as_ref()
        .and_then(|m| m.path_specifier.as_ref());
    let prefix = match specifier {
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => quoted(prefix),
        _ => String::new(),
    };
    RegexMatchAndSubstitute {
        pattern: Some(route_match::regex(&format!("^{prefix}(/?)(.*)"))),
        substitution: r"/\2".to_owned(),
    }
}

fn cluster_weight(context: &RouteContext<'_>, destination: &HttpDestination) -> ClusterWeight {
    let headers = &destination.headers;
    ClusterWeight {
        name: destination_cluster(context, &destination.destination),
        weight: Some(destination.weight),
        request_headers_to_add: header_options(&headers.request),
        request_headers_to_remove: removed(&headers.request).collect(),
        response_headers_to_add: header_options(&headers.response),
        response_headers_to_remove: removed(&headers.response).collect(),
        host_rewrite_specifier: authority(&headers.request)
            .map(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
        ..Default::default()
    }
}

fn destination_cluster(context: &RouteContext<'_>, destination: &Destination) -> String {
    let service = (context.service)(&destination.host);
    network_filters::destination_cluster(destination, service.as_ref(), context.listener_port)
}

fn redirect_action(redirect: &Redirect, context: &RouteContext<'_>) -> rt::RedirectAction {
    let scheme = match redirect.scheme.as_str() {
        "" if context.is_tls => "https",
        "" => "http",
        scheme => scheme,
    };
    let port = match redirect.port {
        Some(RedirectPort::Number(port)) => port,
        Some(RedirectPort::Request) => context.listener_port,
        Some(RedirectPort::ProtocolDefault) | None => 0,
    };
    let is_default = (scheme == "http" && port == 80) || (scheme == "https" && port == 443);
    let code = match redirect.code {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    rt::RedirectAction {
        host_redirect: redirect.authority.clone(),
        port_redirect: if is_default { 0 } else { port },
        response_code: code.into(),
        scheme_rewrite_specifier: (!redirect.scheme.is_empty())
            .then(|| SchemeRewriteSpecifier::SchemeRedirect(redirect.scheme.clone())),
        path_rewrite_specifier: Some(match redirect.prefix_rewrite.as_str() {
            "" => PathRewriteSpecifier::PathRedirect(redirect.uri.clone()),
            prefix => PathRewriteSpecifier::PrefixRewrite(prefix.to_owned()),
        }),
        ..Default::default()
    }
}

/// Istio turns Envoy's default timeout off.
fn without_timeout() -> rt::RouteAction {
    rt::RouteAction {
        timeout: Some(zero()),
        max_grpc_timeout: Some(zero()),
        ..Default::default()
    }
}

/// The route of a service without a VirtualService.
pub(super) fn default_route(scope: &Scope, host: &str, port: u32) -> rt::Route {
    let action = rt::RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(outbound_cluster(port, "", host))),
        retry_policy: resilience::retry_policy(scope.config.mesh.retries.as_ref(), false),
        hash_policy: scope
            .destination_rule(host)
            .and_then(|rule| hash_policy::route_policy(hash_policy::of_service(&rule, port)?))
            .into_iter()
            .collect(),
        ..without_timeout()
    };
    named_default(action, &format!("{host}:{port}/*"))
}

/// The only route of an inbound port.
pub(super) fn inbound_route(cluster: &str, operation: &str, protocol: Protocol) -> rt::Route {
    let action = rt::RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        timeout: Some(zero()),
        max_stream_duration: Some(rt::route_action::MaxStreamDuration {
            max_stream_duration: Some(zero()),
            grpc_timeout_header_max: Some(zero()),
            ..Default::default()
        }),
        retry_policy: (!matches!(protocol, Protocol::Grpc | Protocol::GrpcWeb))
            .then(resilience::inbound_retry_policy),
        ..Default::default()
    };
    named_default(action, operation)
}

/// Sends what nobody claims where it wanted to go.
pub(super) fn passthrough(cluster: &str) -> Action {
    Action::Route(rt::RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..without_timeout()
    })
}

fn named_default(action: rt::RouteAction, operation: &str) -> rt::Route {
    rt::Route {
        name: "default".to_owned(),
        r#match: Some(route_match::route_match(None)),
        decorator: Some(rt::Decorator {
            operation: operation.to_owned(),
            propagate: None,
        }),
        action: Some(Action::Route(action)),
        ..Default::default()
    }
}
