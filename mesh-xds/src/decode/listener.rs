//! `Listener`.

use std::{sync::Arc, time::Duration};

use mesh_core::model::{ListenerConfig, ListenerFilter, TrafficDirection};
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
    refuse_equal_matches(p, &config);
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

/// Two chains with the same match: which one answers would be chance.
fn refuse_equal_matches(p: &mut Problems, config: &ListenerConfig) {
    for (at, chain) in config.filter_chains.iter().enumerate() {
        let earlier = config
            .filter_chains
            .iter()
            .take(at)
            .position(|other| other.matcher == chain.matcher);
        if let Some(earlier) = earlier {
            p.field("filter_chains", |p| {
                p.index(at, |p| {
                    p.error_at(
                        "filter_chain_match",
                        format!("is the same as that of filter_chains[{earlier}]"),
                    );
                });
            });
        }
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
