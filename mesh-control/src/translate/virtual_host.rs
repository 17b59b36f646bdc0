use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_proto::envoy::config::route::v3 as rt;

use super::listener::catch_all_cluster;
use super::route::{RouteContext, routes_of};
use super::route_action;
use super::scope::{Egress, Scope};
use crate::model::{VirtualService, names};
use crate::registry::{Origin, Resolution, Service, UNSPECIFIED};

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
    // of several addresses of a host the last one counts, as in istiod's map
    let registry: BTreeMap<String, &Arc<Service>> = egress
        .services
        .iter()
        .filter(|s| s.port(port).is_some())
        .map(|s| (s.host.to_lowercase(), s))
        .collect();
    let mut groups = Vec::new();
    let mut with_rules: BTreeSet<String> = BTreeSet::new();
    let relevant = |vs: &&Arc<VirtualService>| {
        // hosts that are no services are served on port 80 only
        port == 80
            || vs.hosts.iter().any(|host| {
                let host = host.to_lowercase();
                registry.contains_key(&host)
                    || registry.keys().any(|service| {
                        (host.starts_with('*') || service.starts_with('*'))
                            && names::overlaps(&host, service)
                    })
            })
    };
    for vs in egress.virtual_services.iter().filter(relevant) {
        let Some(group) = group_of(scope, egress, vs, &registry, port) else {
            continue;
        };
        with_rules.extend(group.services.iter().map(|s| s.host.to_lowercase()));
        groups.push(group);
    }
    for (host, service) in &registry {
        let is_http = service
            .port(port)
            .is_some_and(|p| p.protocol.is_http_or_unknown());
        if is_http && service.resolution != Resolution::Alias && !with_rules.contains(host) {
            let route = route_action::default_route(scope, &service.host, port);
            groups.push(Group {
                services: vec![(*service).clone()],
                other_hosts: Vec::new(),
                routes: vec![route],
            });
        }
    }
    named(scope, groups, port)
}

/// What a VirtualService makes of a port; `None` if it says nothing about it.
fn group_of(
    scope: &Scope,
    egress: &Egress,
    vs: &Arc<VirtualService>,
    registry: &BTreeMap<String, &Arc<Service>>,
    port: u32,
) -> Option<Group> {
    let mut services: Vec<Arc<Service>> = Vec::new();
    let mut other_hosts = Vec::new();
    for host in &vs.hosts {
        if !host.starts_with('*') {
            match registry.get(&host.to_lowercase()) {
                Some(service) => services.push((*service).clone()),
                None => other_hosts.push(host.to_lowercase()),
            }
            continue;
        }
        if vs.is_of_gateway_api {
            other_hosts.push(host.to_lowercase());
            continue;
        }
        let covered: Vec<_> = registry
            .values()
            .filter(|s| names::overlaps(host, &s.host))
            .collect();
        if covered.is_empty() {
            other_hosts.push(host.to_lowercase());
        }
        let mine = |s: &&&&Arc<Service>| {
            most_specific(egress, &s.host).is_some_and(|best| Arc::ptr_eq(best, vs))
        };
        services.extend(covered.iter().filter(mine).map(|s| (**s).clone()));
    }
    // a route of the Gateway API is of its service's namespace, or of the caller's
    if vs.is_of_gateway_api {
        let namespace = &vs.metadata.namespace;
        let is_own = *namespace == scope.node.namespace;
        if !services.iter().any(|s| is_own || s.namespace == *namespace) {
            return None;
        }
    }
    services.retain(|s| {
        s.port(port)
            .is_some_and(|p| p.protocol.is_http_or_unknown())
    });
    // hosts that are no services are served on port 80, or beside a service
    if services.is_empty() && port != 80 {
        return None;
    }
    let lookup = |host: &str| {
        let service = registry.get(host)?;
        // of the port that is called only
        service.with_ports(|number| number == port)
    };
    let context = RouteContext {
        scope,
        is_tls: false,
        listener_port: port,
        gateways: &["mesh"],
        service: &lookup,
    };
    let routes = routes_of(&context, vs);
    (!routes.is_empty()).then_some(Group {
        services,
        other_hosts,
        routes,
    })
}

/// The VirtualService whose host fits a service best: by name, else the longest wildcard, else the oldest.
pub(super) fn most_specific<'a>(egress: &'a Egress, host: &str) -> Option<&'a Arc<VirtualService>> {
    let mut best: Option<(usize, &Arc<VirtualService>)> = None;
    for vs in &egress.virtual_services {
        for pattern in vs.hosts.iter().filter(|p| covers(p, host)) {
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

fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => host.strip_prefix('*').unwrap_or(host).ends_with(suffix),
        None => pattern == host,
    }
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
    let mut domains = Vec::new();
    for host in std::iter::once(&service.host).chain(&service.aliases) {
        domains.push(host.clone());
        domains.extend(short_names(scope, host));
    }
    if service.resolution == Resolution::Passthrough && service.origin == Origin::Kubernetes {
        let wildcards: Vec<_> = domains.iter().map(|domain| format!("*.{domain}")).collect();
        domains.extend(wildcards);
    }
    let addresses = service.addresses.iter().filter(|a| *a != UNSPECIFIED);
    domains.extend(addresses.map(|address| match address.contains(':') {
        true => format!("[{address}]"),
        false => address.clone(),
    }));
    domains
}

/// Other spellings of a host: with a dot at the end, and without what it shares with the node's domain.
pub(super) fn short_names(scope: &Scope, host: &str) -> Vec<String> {
    let mut found = Vec::new();
    if host.parse::<std::net::IpAddr>().is_err() {
        found.push(format!("{host}."));
    }
    let domain = scope.node.dns_domain.as_str();
    let Some((own, suffix)) = domain.split_once(".svc.") else {
        found.extend(by_shared_domain(host, domain));
        return found;
    };
    let Some(rest) = host.strip_suffix(&format!(".svc.{suffix}")) else {
        return found;
    };
    let Some((name, namespace)) = rest.split_once('.') else {
        return found;
    };
    if own == namespace {
        found.push(name.to_owned());
        found.push(format!("{rest}.svc"));
        found.push(rest.to_owned());
    } else {
        found.push(rest.to_owned());
        found.push(format!("{rest}.svc"));
    }
    found
}

/// For a domain that is not Kubernetes': what the host has before the shared end, and with its first part.
fn by_shared_domain(host: &str, domain: &str) -> Vec<String> {
    let shared = host
        .rsplit('.')
        .zip(domain.rsplit('.'))
        .take_while(|(a, b)| a == b)
        .count();
    let parts: Vec<&str> = host.split('.').collect();
    if shared == 0 {
        return Vec::new();
    }
    let (unique, common) = parts.split_at(parts.len() - shared);
    let mut found = vec![unique.join(".")];
    if let ([_, _], [first, ..]) = (unique, common) {
        found.push(format!("{}.{first}", unique.join(".")));
    }
    found
}

/// The virtual host for everything else.
fn catch_all(scope: &Scope) -> rt::VirtualHost {
    let cluster = catch_all_cluster(scope);
    let (name, action) = match scope.registry_only {
        false => ("allow_any", route_action::passthrough(&cluster)),
        true => (
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
