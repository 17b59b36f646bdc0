use std::collections::BTreeSet;

use mesh_proto::envoy::config::route::v3::route::Action;
use mesh_proto::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost};

use super::super::gateway_servers::merged_servers;
use super::super::scope::Scope;
use super::{Patches, change_list, merge, outbound, value};
use crate::model::{ApplyTo, Patch, PatchContext, PatchOperation, RouteKind, RouteMatch};

/// Whether a gateway's port (of its pod) is one that a server names, with the port of the patch.
type IsServerPort<'a> = &'a dyn Fn(u32, u32) -> bool;

/// Patches the routes that a client or a gateway uses.
pub(in super::super) fn route_configuration(
    scope: &Scope,
    patches: &Patches,
    routes: &mut RouteConfiguration,
) {
    if patches.is_empty() {
        return;
    }
    let context = outbound(scope);
    if context != PatchContext::Gateway {
        return patch(patches, context, &|_, _| false, routes);
    }
    let ports: BTreeSet<(u32, u32)> = merged_servers(scope)
        .iter()
        .flat_map(|merged| &merged.servers)
        .filter(|bound| bound.server.protocol.is_http())
        .map(|bound| (gateway_port(&bound.route_name()), bound.server.port))
        .collect();
    let is_server_port = |own: u32, wanted: u32| {
        let mut mapped = ports.iter().filter(|(port, _)| *port == own).peekable();
        match mapped.peek() {
            Some(_) => mapped.any(|(_, server)| *server == wanted),
            None => own == wanted,
        }
    };
    patch(patches, context, &is_server_port, routes);
}

pub(super) fn patch(
    patches: &Patches,
    context: PatchContext,
    ports: IsServerPort<'_>,
    routes: &mut RouteConfiguration,
) {
    let of = |apply_to| patches.of_object(apply_to, context);
    for patch in of(ApplyTo::RouteConfiguration) {
        if patch.operation.is_merge() && is_configuration(context, ports, &routes.name, patch) {
            merge::into(routes, patch);
        }
    }
    let name = routes.name.clone();
    let is_meant = |patch: &&Patch| is_configuration(context, ports, &name, patch);
    let mut removed = BTreeSet::new();
    for host in &mut routes.virtual_hosts {
        if !patch_host(patches, context, &is_meant, host) {
            removed.insert(host.name.clone());
        }
    }
    for patch in of(ApplyTo::VirtualHost).filter(is_meant) {
        if patch.operation == PatchOperation::Add {
            routes.virtual_hosts.extend(value::<VirtualHost>(patch));
        }
    }
    routes
        .virtual_hosts
        .retain(|host| !removed.contains(&host.name));
}

/// Whether it is still there.
fn patch_host(
    patches: &Patches,
    context: PatchContext,
    is_meant: &dyn Fn(&&Patch) -> bool,
    host: &mut VirtualHost,
) -> bool {
    for patch in patches
        .of_object(ApplyTo::VirtualHost, context)
        .filter(is_meant)
    {
        if !is_host(host, patch) {
            continue;
        }
        match patch.operation {
            PatchOperation::Remove => return false,
            PatchOperation::Replace => {
                if let Some(other) = value(patch) {
                    *host = other;
                }
            }
            operation if operation.is_merge() => merge::into(host, patch),
            _ => {}
        }
    }
    let of_routes = || {
        let all = patches.of_object(ApplyTo::HttpRoute, context);
        all.filter(is_meant)
    };
    // those that are removed keep their place until all is inserted
    let mut routes: Vec<Option<Route>> = std::mem::take(&mut host.routes)
        .into_iter()
        .map(|mut route| patch_route(of_routes(), host, &mut route).then_some(route))
        .collect();
    for patch in of_routes().filter(|patch| is_host(host, patch)) {
        let matched = route_match(patch);
        let fits = matched.map(|matched| {
            move |route: &Option<Route>| route.as_ref().is_some_and(|r| is_route(r, matched))
        });
        let value = value(patch).map(Some);
        match (patch.operation, &fits) {
            // routes are removed one by one, above, and never replaced
            (PatchOperation::Remove | PatchOperation::Replace, _) => {}
            (PatchOperation::InsertFirst, Some(fits)) if !routes.iter().any(fits) => {}
            (operation, _) => change_list(&mut routes, operation, value, fits),
        }
    }
    host.routes = routes.into_iter().flatten().collect();
    true
}

/// Whether it is still there.
fn patch_route<'a>(
    patches: impl Iterator<Item = &'a Patch>,
    host: &VirtualHost,
    route: &mut Route,
) -> bool {
    for patch in patches.filter(|patch| is_host(host, patch)) {
        if !route_match(patch).is_none_or(|matched| is_route(route, matched)) {
            continue;
        }
        if patch.operation == PatchOperation::Remove {
            return false;
        }
        if patch.operation.is_merge() {
            merge::into(route, patch);
        }
    }
    true
}

fn is_configuration(
    context: PatchContext,
    is_server_port: IsServerPort<'_>,
    name: &str,
    patch: &Patch,
) -> bool {
    let Some(matched) = &patch.route_configuration else {
        return true;
    };
    if !matched.name.is_empty() && matched.name != name {
        return false;
    }
    if context != PatchContext::Gateway {
        return matched.port == 0 || matched.port == port_of(name);
    }
    // http.PORT, https.PORT.NAME.GATEWAY.NAMESPACE
    let parts: Vec<&str> = name.split('.').collect();
    let (port_name, gateway) = match parts[..] {
        ["https", _, name, gateway, namespace] => (name, format!("{namespace}/{gateway}")),
        _ => ("", String::new()),
    };
    let port = gateway_port(name);
    (matched.port_name.is_empty() || matched.port_name == port_name)
        && (matched.gateway.is_empty() || matched.gateway == gateway)
        && (matched.port == 0 || is_server_port(port, matched.port))
}

/// Of a gateway's routes: `http.80`; istiod understands none where the name has an address, too.
fn gateway_port(name: &str) -> u32 {
    let port = match name.split('.').collect::<Vec<_>>()[..] {
        ["https", port, _, _, _] | ["http", port] => port,
        _ => "",
    };
    port.parse().unwrap_or_default()
}

/// Of a sidecar's routes: `9080`, `inbound|9080||`; of others 0.
fn port_of(name: &str) -> u32 {
    let port = match name.strip_prefix("inbound|") {
        Some(rest) => rest.split('|').next().unwrap_or_default(),
        None => name,
    };
    port.parse().unwrap_or_default()
}

fn is_host(host: &VirtualHost, patch: &Patch) -> bool {
    let matched = patch.route_configuration.as_ref();
    let Some(matched) = matched.and_then(|matched| matched.host.as_ref()) else {
        return true;
    };
    (matched.name.is_empty() || matched.name == host.name)
        && (matched.domain.is_empty() || host.domains.contains(&matched.domain))
}

fn route_match(patch: &Patch) -> Option<&RouteMatch> {
    patch
        .route_configuration
        .as_ref()?
        .host
        .as_ref()?
        .route
        .as_ref()
}

fn is_route(route: &Route, matched: &RouteMatch) -> bool {
    let is_kind = match &route.action {
        _ if matched.action == RouteKind::Any => true,
        Some(Action::Route(_)) => matched.action == RouteKind::Route,
        Some(Action::Redirect(_)) => matched.action == RouteKind::Redirect,
        Some(Action::DirectResponse(_)) => matched.action == RouteKind::DirectResponse,
        _ => true,
    };
    is_kind && (matched.name.is_empty() || matched.name == route.name)
}
