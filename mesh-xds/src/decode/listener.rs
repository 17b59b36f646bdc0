//! `Listener`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ipnet::IpNet;
use mesh_core::model::{FilterChainMatch, ListenerConfig, ListenerFilter, TrafficDirection};
use mesh_proto::envoy::{
    config::{
        core::v3::TrafficDirection as Direction,
        listener::v3::{self as proto, listener_filter::ConfigType},
    },
    extensions::filters::network::http_connection_manager::v3::HttpConnectionManager,
};

use super::{
    any::{extension_name, unpack_checked},
    extension::without_effect,
    filter_chain::filter_chain,
    http_connection_manager::http_connection_manager,
    metadata,
    scalar::{duration_or, enumeration, socket_address},
};
use crate::problems::Problems;

/// `Listener`, its fields already checked against the table.
pub(super) fn listener(p: &mut Problems, value: &proto::Listener) -> Option<ListenerConfig> {
    let mut config = ListenerConfig::new(value.name.as_str());
    config.api_listener = value
        .api_listener
        .as_ref()
        .and_then(|api| api_listener(p, api))
        .map(Arc::new);
    let is_api = value.api_listener.is_some();
    config.address = match &value.address {
        // an API listener is not bound; its address only has to be there for old servers
        Some(address) if is_api => p.ignoring_errors(|p| socket_address(p, address)),
        Some(address) => p.field("address", |p| socket_address(p, address)),
        None if is_api => None,
        None => p.require("address", None),
    };
    config.additional_addresses = p.each(
        "additional_addresses",
        &value.additional_addresses,
        |p, extra| {
            let address = p.require("address", extra.address.as_ref())?;
            p.field("address", |p| socket_address(p, address))
        },
    );
    config.filter_chains = p.each("filter_chains", &value.filter_chains, filter_chain);
    if let Some(chain) = &value.default_filter_chain {
        config.default_filter_chain = p.field("default_filter_chain", |p| filter_chain(p, chain));
    }
    if !is_api && value.filter_chains.is_empty() && value.default_filter_chain.is_none() {
        p.error_at("filter_chains", "must not be empty");
    }
    refuse_overlapping_matches(p, &config);
    config.listener_filters = p.each("listener_filters", &value.listener_filters, listener_filter);
    config.listener_filters_timeout = duration_or(
        p,
        "listener_filters_timeout",
        value.listener_filters_timeout.as_ref(),
        Duration::from_secs(15),
    );
    config.continue_on_listener_filters_timeout = value.continue_on_listener_filters_timeout;
    config.bind_to_port = value
        .bind_to_port
        .or(value.deprecated_v1.as_ref().and_then(|v1| v1.bind_to_port))
        .unwrap_or(true);
    config.use_original_dst = value.use_original_dst.unwrap_or(false);
    config.direction = match enumeration(p, "traffic_direction", value.traffic_direction)? {
        Direction::Unspecified => TrafficDirection::Unspecified,
        Direction::Inbound => TrafficDirection::Inbound,
        Direction::Outbound => TrafficDirection::Outbound,
    };
    config.provenance = metadata::provenance(value.metadata.as_ref());
    Some(config)
}

fn api_listener(
    p: &mut Problems,
    value: &proto::ApiListener,
) -> Option<mesh_core::model::ConnectionManagerConfig> {
    p.field("api_listener", |p| {
        let config = p.require("api_listener", value.api_listener.as_ref())?;
        p.field("api_listener", |p| {
            let manager: HttpConnectionManager = unpack_checked(p, config)?;
            http_connection_manager(p, &manager)
        })
    })
}

/// Most combinations of what the chains of a listener name, so that a small message does not take all memory.
const MOST_COMBINATIONS: usize = 1 << 18;

/// A connection that two entries of chains would fit equally well: which one answers would be chance (Envoy
/// `FilterChainManagerImpl::addFilterChains`).
fn refuse_overlapping_matches(p: &mut Problems, config: &ListenerConfig) {
    let chains = &config.filter_chains;
    let total = chains.iter().fold(0_usize, |total, chain| {
        total.saturating_add(Combination::count(&chain.matcher))
    });
    if total > MOST_COMBINATIONS {
        let most = format!("name more than {MOST_COMBINATIONS} combinations");
        return p.error_at("filter_chains", most);
    }
    let mut seen = HashMap::new();
    for (at, chain) in chains.iter().enumerate() {
        let combinations = Combination::all_of(&chain.matcher).into_iter();
        let mut before = combinations.filter_map(|combination| seen.insert(combination, at));
        let Some(earlier) = before.next() else {
            continue;
        };
        before.for_each(drop);
        let message = match chain.matcher == chains[earlier].matcher && earlier != at {
            true => format!("is the same as that of filter_chains[{earlier}]"),
            false => format!("overlaps that of filter_chains[{earlier}]"),
        };
        p.field("filter_chains", |p| {
            p.index(at, |p| p.error_at("filter_chain_match", message));
        });
    }
}

/// One of each that a match names; None and empty: anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Combination<'a> {
    destination_port: Option<u16>,
    destination: Option<IpNet>,
    server_name: Option<&'a str>,
    transport_protocol: &'a str,
    application_protocol: Option<&'a str>,
    direct_source: Option<IpNet>,
    source_local: Option<bool>,
    source: Option<IpNet>,
    source_port: Option<u16>,
}

impl<'a> Combination<'a> {
    fn count(matcher: &FilterChainMatch) -> usize {
        let lengths = [
            matcher.prefix_ranges.len(),
            matcher.server_names.len(),
            matcher.application_protocols.len(),
            matcher.direct_source_prefix_ranges.len(),
            matcher.source_prefix_ranges.len(),
            matcher.source_ports.len(),
        ];
        let lengths = lengths.into_iter();
        lengths.fold(1, |product: usize, n| product.saturating_mul(n.max(1)))
    }

    fn all_of(matcher: &'a FilterChainMatch) -> Vec<Self> {
        let single = Self {
            destination_port: matcher.destination_port,
            transport_protocol: &matcher.transport_protocol,
            source_local: matcher.source_local,
            ..Self::default()
        };
        let all = vec![single];
        let all = Self::with(all, &matcher.prefix_ranges, |c, range| {
            c.destination = Some(range.trunc());
        });
        let all = Self::with(all, &matcher.server_names, |c, name| {
            c.server_name = Some(name);
        });
        let all = Self::with(all, &matcher.application_protocols, |c, protocol| {
            c.application_protocol = Some(protocol);
        });
        let all = Self::with(all, &matcher.direct_source_prefix_ranges, |c, range| {
            c.direct_source = Some(range.trunc());
        });
        let all = Self::with(all, &matcher.source_prefix_ranges, |c, range| {
            c.source = Some(range.trunc());
        });
        Self::with(all, &matcher.source_ports, |c, port| {
            c.source_port = Some(*port);
        })
    }

    /// Each of `all` with each of the values, if there are any.
    fn with<T>(all: Vec<Self>, values: &'a [T], set: fn(&mut Self, &'a T)) -> Vec<Self> {
        if values.is_empty() {
            return all;
        }
        let mut next = Vec::with_capacity(all.len() * values.len());
        for combination in &all {
            for value in values {
                let mut combination = combination.clone();
                set(&mut combination, value);
                next.push(combination);
            }
        }
        next
    }
}

fn listener_filter(p: &mut Problems, value: &proto::ListenerFilter) -> Option<ListenerFilter> {
    let extension = match &value.config_type {
        Some(ConfigType::TypedConfig(config)) => extension_name(config),
        // found by the field table
        Some(ConfigType::ConfigDiscovery(_)) => return None,
        None => value.name.clone(),
    };
    match extension.as_str() {
        "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
        | "envoy.filters.listener.original_dst" => Some(ListenerFilter::OriginalDst),
        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
        | "envoy.filters.listener.tls_inspector" => Some(ListenerFilter::TlsInspector),
        "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
        | "envoy.filters.listener.http_inspector" => Some(ListenerFilter::HttpInspector),
        other => {
            match without_effect(other, &value.name) {
                Some(what) => p.warn(format!("{what} ({other}) is not supported yet; ignored")),
                None => p.error(format!("listener filter {other} is not supported yet")),
            }
            None
        }
    }
}
