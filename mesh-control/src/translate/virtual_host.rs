use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_proto::envoy::config::route::v3 as rt;

use super::listener::catch_all_cluster;
use super::network_filters::PASSTHROUGH;
use super::route::{RouteContext, routes_of};
use super::route_action;
use super::scope::{Egress, Scope, host_matches};
use crate::model::{ClusterIp, Protocol, Service, VirtualService};

const MAX_DIRECT_RESPONSE: u32 = 1 << 20;

/// Virtual hosts before they get names and domains.
struct Group {
    services: Vec<Arc<Service>>,
    /// Hosts of a VirtualService that are no services.
    other_hosts: Vec<String>,
    routes: Vec<rt::Route>,
}

/// The routes of a port (`9080`), or of one service whose protocol is found out (`host:9080`).
pub(super) fn route_configuration(scope: &Scope, name: &str) -> rt::RouteConfiguration {
    let (sniffed_host, port) = match name.split_once(':') {
        Some((host, port)) => (Some(host), port),
        None => (None, name),
    };
    let Ok(port) = port.parse::<u32>() else {
        return rt::RouteConfiguration {
            name: name.to_owned(),
            validate_clusters: Some(false),
            ..Default::default()
        };
    };
    let mut virtual_hosts = match scope.egress_for_port(port) {
        Some(egress) => virtual_hosts(scope, egress, port),
        None => Vec::new(),
    };
    virtual_hosts.sort_by(|a, b| a.name.cmp(&b.name));
    match sniffed_host {
        Some(host) => {
            virtual_hosts.retain(|vh| {
                vh.domains
                    .iter()
                    .any(|domain| domain == name || domain == host)
            });
            if let [only] = virtual_hosts.as_mut_slice() {
                only.domains = vec!["*".to_owned()];
            }
        }
        None => virtual_hosts.push(catch_all(scope)),
    }
    rt::RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts,
        validate_clusters: Some(false),
        max_direct_response_body_size_bytes: Some(MAX_DIRECT_RESPONSE),
        ignore_port_in_host_matching: true,
        ..Default::default()
    }
}

fn virtual_hosts(scope: &Scope, egress: &Egress, port: u32) -> Vec<rt::VirtualHost> {
    let registry: BTreeMap<&str, &Arc<Service>> = egress
        .services
        .iter()
        .filter(|s| s.port(port).is_some())
        .map(|s| (s.host.as_str(), s))
        .collect();
    let mut groups = Vec::new();
    let mut with_rules: BTreeSet<&str> = BTreeSet::new();
    for vs in &egress.virtual_services {
        let Some(group) = group_of(scope, egress, vs, &registry, port) else {
            continue;
        };
        for service in &group.services {
            if let Some((host, _)) = registry.get_key_value(service.host.as_str()) {
                with_rules.insert(host);
            }
        }
        groups.push(group);
    }
    for (host, service) in &registry {
        let is_http = service
            .port(port)
            .is_some_and(|p| is_http_or_unknown(p.protocol));
        if is_http && !with_rules.contains(host) {
            let route = route_action::default_route(scope, host, port);
            groups.push(Group {
                services: vec![(*service).clone()],
                other_hosts: Vec::new(),
                routes: vec![route],
            });
        }
    }
    named(scope, groups, port)
}

fn is_http_or_unknown(protocol: Protocol) -> bool {
    protocol.is_http() || protocol == Protocol::Unknown
}

/// What a VirtualService makes of a port; `None` if it says nothing about it.
fn group_of(
    scope: &Scope,
    egress: &Egress,
    vs: &Arc<VirtualService>,
    registry: &BTreeMap<&str, &Arc<Service>>,
    port: u32,
) -> Option<Group> {
    let mut services: Vec<Arc<Service>> = Vec::new();
    let mut other_hosts = Vec::new();
    for host in &vs.hosts {
        if !host.starts_with('*') {
            match registry.get(host.to_lowercase().as_str()) {
                Some(service) => services.push((*service).clone()),
                None => other_hosts.push(host.to_lowercase()),
            }
            continue;
        }
        let covered: Vec<_> = registry
            .values()
            .filter(|s| host_matches(host, &s.host))
            .collect();
        if covered.is_empty() {
            other_hosts.push(host.to_lowercase());
        }
        let mine = |s: &&&&Arc<Service>| {
            most_specific(egress, &s.host).is_some_and(|best| Arc::ptr_eq(best, vs))
        };
        services.extend(covered.iter().filter(mine).map(|s| (**s).clone()));
    }
    services.retain(|s| s.port(port).is_some_and(|p| is_http_or_unknown(p.protocol)));
    // hosts that are no services are served on port 80, or beside a service
    if services.is_empty() && port != 80 {
        return None;
    }
    let context = RouteContext {
        scope,
        listener_port: port,
        gateways: &["mesh"],
        destination_port: &|host| registry.contains_key(host).then_some(port),
    };
    let routes = routes_of(&context, vs);
    (!routes.is_empty()).then_some(Group {
        services,
        other_hosts,
        routes,
    })
}

/// The VirtualService whose host fits a service best: by name, else the longest wildcard, else the oldest.
fn most_specific<'a>(egress: &'a Egress, host: &str) -> Option<&'a Arc<VirtualService>> {
    let mut best: Option<(usize, &Arc<VirtualService>)> = None;
    for vs in &egress.virtual_services {
        for pattern in vs.hosts.iter().filter(|p| host_matches(p, host)) {
            let rank = if pattern.starts_with('*') {
                pattern.len()
            } else {
                usize::MAX
            };
            if best.is_none_or(|(found, _)| rank > found) {
                best = Some((rank, vs));
            }
        }
    }
    best.map(|(_, vs)| vs)
}

/// Gives every group its virtual hosts; a domain belongs to the first that claims it.
fn named(scope: &Scope, groups: Vec<Group>, port: u32) -> Vec<rt::VirtualHost> {
    let known: BTreeSet<String> = groups
        .iter()
        .flat_map(|g| &g.services)
        .map(|s| s.host.clone())
        .collect();
    let mut names = BTreeSet::new();
    let mut taken = BTreeSet::new();
    let mut built = Vec::new();
    for group in groups {
        let others = group
            .other_hosts
            .iter()
            .map(|host| (host.clone(), vec![host.clone()]));
        let services = group
            .services
            .iter()
            .map(|s| (s.host.clone(), domains(scope, s)));
        for (host, mut domains) in others.chain(services) {
            let name = format!("{host}:{port}");
            if !names.insert(name.clone()) {
                continue;
            }
            domains
                .retain(|d| (*d == host || !known.contains(d)) && taken.insert(d.to_lowercase()));
            if domains.is_empty() {
                continue;
            }
            built.push(rt::VirtualHost {
                name,
                domains,
                routes: group.routes.clone(),
                include_request_attempt_count: true,
                ..Default::default()
            });
        }
    }
    built
}

/// The names by which the node may call a service.
fn domains(scope: &Scope, service: &Service) -> Vec<String> {
    let host = &service.host;
    let mut domains = vec![host.clone(), format!("{host}.")];
    let (name, namespace) = (&service.metadata.name, &service.metadata.namespace);
    if let Some((own, suffix)) = scope.node.dns_domain.split_once(".svc.")
        && host.ends_with(&format!(".svc.{suffix}"))
    {
        if own == namespace {
            domains.push(name.clone());
            domains.push(format!("{name}.{namespace}.svc"));
            domains.push(format!("{name}.{namespace}"));
        } else {
            domains.push(format!("{name}.{namespace}"));
            domains.push(format!("{name}.{namespace}.svc"));
        }
    }
    match &service.cluster_ip {
        ClusterIp::Headless => {
            let wildcards: Vec<_> = domains.iter().map(|domain| format!("*.{domain}")).collect();
            domains.extend(wildcards);
        }
        ClusterIp::Addresses(addresses) => {
            domains.extend(addresses.iter().map(ToString::to_string))
        }
        ClusterIp::Unset => {}
    }
    domains
}

/// The virtual host for everything else.
fn catch_all(scope: &Scope) -> rt::VirtualHost {
    let cluster = catch_all_cluster(scope);
    let (name, action) = match cluster {
        PASSTHROUGH => ("allow_any", route_action::passthrough(cluster)),
        _ => (
            "block_all",
            rt::route::Action::DirectResponse(rt::DirectResponseAction {
                status: 502,
                ..Default::default()
            }),
        ),
    };
    let route = rt::Route {
        name: name.to_owned(),
        r#match: Some(rt::RouteMatch {
            path_specifier: Some(rt::route_match::PathSpecifier::Prefix("/".to_owned())),
            ..Default::default()
        }),
        action: Some(action),
        ..Default::default()
    };
    rt::VirtualHost {
        name: name.to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![route],
        include_request_attempt_count: true,
        ..Default::default()
    }
}
