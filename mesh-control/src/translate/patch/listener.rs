use hcm::http_connection_manager::RouteSpecifier;
use hcm::http_filter::ConfigType as HttpConfigType;
use mesh_proto::envoy::config::core::v3::address::Address;
use mesh_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use mesh_proto::envoy::config::listener::v3::filter::ConfigType;
use mesh_proto::envoy::config::listener::v3::listener_filter::ConfigType as ListenerConfigType;
use mesh_proto::envoy::config::listener::v3::{Filter, FilterChain, Listener, ListenerFilter};
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;

use super::super::address::any;
use super::cluster::merge_socket;
use super::route;
use super::{Patches, change_list, merge, value};
use crate::model::{ApplyTo, ChainMatch, ListenerMatch, Patch, PatchContext, PatchOperation};

const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// Listeners that are patched together.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Group {
    pub(in super::super) context: PatchContext,
    /// Whether there may be others beside them.
    pub(in super::super) can_grow: bool,
}

/// Patches the listeners of a group, and adds what is added to it.
pub(in super::super) fn listeners(
    patches: &Patches,
    group: Group,
    listeners: Vec<Listener>,
) -> Vec<Listener> {
    let Group { context, can_grow } = group;
    let mut patched: Vec<Listener> = listeners
        .into_iter()
        .filter_map(|mut listener| {
            if context == PatchContext::SidecarInbound {
                patch_inline_routes(patches, &mut listener);
            }
            patch_listener(patches, context, &mut listener).then_some(listener)
        })
        .collect();
    if can_grow {
        patched.extend(patches.added(ApplyTo::Listener, context));
    }
    // one without a name is none
    patched.retain(|listener| !listener.name.is_empty());
    patched
}

/// Routes of inbound listeners are made, and patched, with them.
fn patch_inline_routes(patches: &Patches, listener: &mut Listener) {
    let default = listener.default_filter_chain.iter_mut();
    for filter in listener
        .filter_chains
        .iter_mut()
        .chain(default)
        .flat_map(|chain| &mut chain.filters)
    {
        with_manager(filter, |manager| {
            if let Some(RouteSpecifier::RouteConfig(routes)) = &mut manager.route_specifier {
                route::patch(patches, PatchContext::SidecarInbound, &|_, _| false, routes);
            }
        });
    }
}

fn with_manager(filter: &mut Filter, change: impl FnOnce(&mut hcm::HttpConnectionManager)) {
    if filter.name != CONNECTION_MANAGER {
        return;
    }
    if let Some(ConfigType::TypedConfig(config)) = &mut filter.config_type
        && let Ok(mut manager) = config.to_msg::<hcm::HttpConnectionManager>()
    {
        change(&mut manager);
        *config = any(&manager);
    }
}

/// Whether it is still there.
fn patch_listener(patches: &Patches, context: PatchContext, listener: &mut Listener) -> bool {
    for patch in patches.of_object(ApplyTo::Listener, context) {
        if !is_listener(listener, patch) {
            continue;
        }
        if patch.operation == PatchOperation::Remove {
            return false;
        }
        if patch.operation.is_merge() {
            merge::into(listener, patch);
        }
    }
    patch_listener_filters(patches, context, listener);
    patch_chains(patches, context, listener);
    true
}

fn patch_listener_filters(patches: &Patches, context: PatchContext, listener: &mut Listener) {
    for patch in patches.of_object(ApplyTo::ListenerFilter, context) {
        if !is_listener(listener, patch) {
            continue;
        }
        let wanted = patch
            .listener
            .as_ref()
            .map(|matched| matched.listener_filter.as_str())
            .filter(|name| !name.is_empty());
        if patch.operation == PatchOperation::Merge {
            // whatever filter is named, the configuration goes into every one of the same type
            if wanted.is_some()
                && let Some(other) = value::<ListenerFilter>(patch)
            {
                for filter in &mut listener.listener_filters {
                    if let (
                        Some(ListenerConfigType::TypedConfig(own)),
                        Some(ListenerConfigType::TypedConfig(other)),
                    ) = (&mut filter.config_type, &other.config_type)
                        && let Some(merged) = merge::any(own, other)
                    {
                        *own = merged;
                    }
                }
            }
            continue;
        }
        let fits = wanted.map(|name| move |filter: &ListenerFilter| filter.name == name);
        change_list(
            &mut listener.listener_filters,
            patch.operation,
            value(patch),
            fits,
        );
    }
}

fn patch_chains(patches: &Patches, context: PatchContext, listener: &mut Listener) {
    let mut chains = std::mem::take(&mut listener.filter_chains);
    chains.retain_mut(|chain| {
        !chain.filters.is_empty() && patch_chain(patches, context, listener, chain)
    });
    if let Some(mut chain) = listener.default_filter_chain.take() {
        let stays = chain.filters.is_empty() || patch_chain(patches, context, listener, &mut chain);
        listener.default_filter_chain = stays.then_some(chain);
    }
    for patch in patches.of_object(ApplyTo::FilterChain, context) {
        if patch.operation == PatchOperation::Add && is_listener(listener, patch) {
            let added = value::<FilterChain>(patch);
            chains.extend(added.filter(|chain| !chain.filters.is_empty()));
        }
    }
    listener.filter_chains = chains;
}

/// Whether it is still there.
fn patch_chain(
    patches: &Patches,
    context: PatchContext,
    listener: &Listener,
    chain: &mut FilterChain,
) -> bool {
    for patch in patches.of_object(ApplyTo::FilterChain, context) {
        if !is_listener(listener, patch) || !is_chain(listener, chain, patch) {
            continue;
        }
        if patch.operation == PatchOperation::Remove {
            return false;
        }
        if !patch.operation.is_merge() {
            continue;
        }
        let socket = value::<FilterChain>(patch).and_then(|chain| chain.transport_socket);
        match (&mut chain.transport_socket, &socket) {
            // of the same name: only that
            (Some(own), Some(other)) if own.name == other.name => merge_socket(own, other),
            _ => merge::into(chain, patch),
        }
    }
    patch_filters(patches, context, listener, chain);
    true
}

fn patch_filters(
    patches: &Patches,
    context: PatchContext,
    listener: &Listener,
    chain: &mut FilterChain,
) {
    for patch in patches.of_object(ApplyTo::NetworkFilter, context) {
        if patch.operation.is_merge()
            || !is_listener(listener, patch)
            || !is_chain(listener, chain, patch)
        {
            continue;
        }
        let name = chain_match(patch).and_then(|matched| matched.filter.as_deref());
        let fits = name.map(|name| move |filter: &Filter| filter.name == name);
        change_list(&mut chain.filters, patch.operation, value(patch), fits);
    }
    let mut filters = std::mem::take(&mut chain.filters);
    for filter in &mut filters {
        patch_filter(patches, context, listener, chain, filter);
    }
    chain.filters = filters;
}

fn patch_filter(
    patches: &Patches,
    context: PatchContext,
    listener: &Listener,
    chain: &FilterChain,
    filter: &mut Filter,
) {
    for patch in patches.of_object(ApplyTo::NetworkFilter, context) {
        if patch.operation != PatchOperation::Merge
            || !is_listener(listener, patch)
            || !is_chain(listener, chain, patch)
            || !is_filter(&filter.name, patch)
        {
            continue;
        }
        let (Some(ConfigType::TypedConfig(own)), Some(other)) =
            (&mut filter.config_type, value::<Filter>(patch))
        else {
            continue;
        };
        if let Some(ConfigType::TypedConfig(other)) = &other.config_type
            && let Some(merged) = merge::any(own, other)
        {
            *own = merged;
        }
        if !other.name.is_empty() {
            filter.name = other.name;
        }
    }
    let name = filter.name.clone();
    with_manager(filter, |manager| {
        patch_http_filters(patches, context, listener, chain, &name, manager);
    });
}

fn patch_http_filters(
    patches: &Patches,
    context: PatchContext,
    listener: &Listener,
    chain: &FilterChain,
    name: &str,
    manager: &mut hcm::HttpConnectionManager,
) {
    let meant = || {
        let all = patches.of_object(ApplyTo::HttpFilter, context);
        all.filter(|patch| {
            is_listener(listener, patch)
                && is_chain(listener, chain, patch)
                && is_filter(name, patch)
        })
    };
    for patch in meant().filter(|patch| !patch.operation.is_merge()) {
        let fits =
            sub_filter(patch).map(|name| move |filter: &hcm::HttpFilter| filter.name == name);
        change_list(
            &mut manager.http_filters,
            patch.operation,
            value(patch),
            fits,
        );
    }
    for filter in &mut manager.http_filters {
        for patch in meant().filter(|patch| patch.operation == PatchOperation::Merge) {
            if sub_filter(patch).is_some_and(|name| name != filter.name) {
                continue;
            }
            let (Some(HttpConfigType::TypedConfig(own)), Some(other)) =
                (&mut filter.config_type, value::<hcm::HttpFilter>(patch))
            else {
                continue;
            };
            if let Some(HttpConfigType::TypedConfig(other)) = &other.config_type
                && let Some(merged) = merge::any(own, other)
            {
                *own = merged;
            }
            if !other.name.is_empty() {
                filter.name = other.name;
            }
        }
    }
}

fn is_virtual(listener: &Listener) -> bool {
    matches!(listener.name.as_str(), "virtualInbound" | "virtualOutbound")
}

fn is_listener(listener: &Listener, patch: &Patch) -> bool {
    let Some(matched) = &patch.listener else {
        return true;
    };
    if !matched.name.is_empty() && matched.name != listener.name {
        return false;
    }
    // in those the port is one of their chains'
    if patch.apply_to != ApplyTo::Listener && is_virtual(listener) {
        return true;
    }
    matched.port == 0 || port(listener) == Some(matched.port)
}

fn port(listener: &Listener) -> Option<u32> {
    match listener.address.as_ref()?.address.as_ref()? {
        Address::SocketAddress(address) => match address.port_specifier {
            Some(PortSpecifier::PortValue(port)) => Some(port),
            _ => None,
        },
        _ => None,
    }
}

fn chain_match(patch: &Patch) -> Option<&ChainMatch> {
    patch.listener.as_ref()?.chain.as_ref()
}

fn is_chain(listener: &Listener, chain: &FilterChain, patch: &Patch) -> bool {
    let Some(ListenerMatch {
        port,
        chain: matched,
        ..
    }) = &patch.listener
    else {
        return true;
    };
    let conditions = chain.filter_chain_match.as_ref();
    let destination = conditions.and_then(|conditions| conditions.destination_port);
    if is_virtual(listener) && *port > 0 && destination.unwrap_or_default() != *port {
        return false;
    }
    let Some(matched) = matched else {
        return true;
    };
    let has = |wanted: &str,
               list: fn(
        &mesh_proto::envoy::config::listener::v3::FilterChainMatch,
    ) -> &Vec<String>| {
        conditions.is_some_and(|conditions| list(conditions).iter().any(|one| one == wanted))
    };
    (matched.name.is_empty() || matched.name == chain.name)
        && (matched.sni.is_empty() || has(&matched.sni, |c| &c.server_names))
        && (matched.transport_protocol.is_empty()
            || conditions.is_some_and(|c| c.transport_protocol == matched.transport_protocol))
        && (matched.application_protocols.is_empty()
            || matched
                .application_protocols
                .split(',')
                .all(|protocol| has(protocol, |c| &c.application_protocols)))
        && (matched.destination_port == 0 || destination == Some(matched.destination_port))
}

fn is_filter(name: &str, patch: &Patch) -> bool {
    let wanted = chain_match(patch).and_then(|matched| matched.filter.as_deref());
    wanted.is_none_or(|wanted| wanted == name)
}

/// The HTTP filter that a patch names.
fn sub_filter(patch: &Patch) -> Option<&str> {
    chain_match(patch)?.sub_filter.as_deref()
}
