//! `FilterChain`: its match and the network filter it ends in.

use std::sync::Arc;

use mesh_core::model::{FilterChainConfig, FilterChainMatch, NetworkFilter, TcpProxyConfig};
use mesh_proto::envoy::{
    config::listener::v3::{
        self as proto, Filter, filter::ConfigType, filter_chain_match::ConnectionSourceType,
    },
    extensions::filters::network::{
        http_connection_manager::v3::HttpConnectionManager,
        tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier},
    },
};

use super::{
    any::{extension_name, unpack_checked},
    extension::without_effect,
    http_connection_manager::http_connection_manager,
    scalar::{cidr_range, duration_or, enumeration},
    transport_socket,
};
use crate::problems::Problems;

const HTTP_CONNECTION_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

/// `FilterChain`.
pub(super) fn filter_chain(
    p: &mut Problems,
    value: &proto::FilterChain,
) -> Option<FilterChainConfig> {
    transport_socket::must_be_plaintext(p, value.transport_socket.as_ref());
    let matcher = match &value.filter_chain_match {
        Some(matcher) => p.field("filter_chain_match", |p| filter_chain_match(p, matcher)),
        None => Some(FilterChainMatch::default()),
    };
    let mut chain = FilterChainConfig::new(terminal(p, &value.filters)?);
    chain.name = value.name.as_str().into();
    chain.matcher = matcher?;
    Some(chain)
}

fn filter_chain_match(
    p: &mut Problems,
    value: &proto::FilterChainMatch,
) -> Option<FilterChainMatch> {
    let port = |p: &mut Problems, port: &u32| {
        p.check(u16::try_from(*port).map_err(|_| format!("{port} is not a port")))
    };
    let mut matcher = FilterChainMatch::default();
    matcher.destination_port = value
        .destination_port
        .as_ref()
        .and_then(|n| p.field("destination_port", |p| port(p, n)));
    matcher.prefix_ranges = p.each("prefix_ranges", &value.prefix_ranges, cidr_range);
    matcher.server_names = p.each("server_names", &value.server_names, |p, name| {
        if name.strip_prefix("*.").unwrap_or(name).contains('*') {
            p.error(format!(
                "{name:?}: a wildcard must be the first label, as in *.example.com"
            ));
        }
        Some(name.to_ascii_lowercase().into())
    });
    matcher.transport_protocol = value.transport_protocol.as_str().into();
    matcher.application_protocols = value
        .application_protocols
        .iter()
        .map(|name| name.as_str().into())
        .collect();
    matcher.direct_source_prefix_ranges = p.each(
        "direct_source_prefix_ranges",
        &value.direct_source_prefix_ranges,
        cidr_range,
    );
    matcher.source_local = match enumeration(p, "source_type", value.source_type)? {
        ConnectionSourceType::Any => None,
        ConnectionSourceType::SameIpOrLoopback => Some(true),
        ConnectionSourceType::External => Some(false),
    };
    matcher.source_prefix_ranges = p.each(
        "source_prefix_ranges",
        &value.source_prefix_ranges,
        cidr_range,
    );
    matcher.source_ports = p.each("source_ports", &value.source_ports, |p, number| {
        if *number == 0 {
            p.error("0 is not a port");
        }
        port(p, number)
    });
    Some(matcher)
}

/// The last filter must be terminal, the others must have no effect.
fn terminal(p: &mut Problems, filters: &[Filter]) -> Option<NetworkFilter> {
    let decoded = p.each("filters", filters, network_filter);
    let last = filters.len().checked_sub(1);
    let mut terminal = None;
    for (at, filter) in decoded {
        if Some(at) != last {
            p.field("filters", |p| {
                p.index(at, |p| p.error("a terminal filter must be the last one"))
            });
        }
        terminal = Some(filter);
    }
    if terminal.is_none() && p.is_ok() {
        p.error_at(
            "filters",
            "must end with http_connection_manager or tcp_proxy",
        );
    }
    terminal
}

/// A terminal filter with its place, which the caller compares; None: ignored or refused.
fn network_filter(p: &mut Problems, filter: &Filter) -> Option<(usize, NetworkFilter)> {
    let at = p.last_index()?;
    let Some(ConfigType::TypedConfig(config)) = &filter.config_type else {
        if filter.config_type.is_none() {
            p.require("typed_config", None::<()>);
        }
        return None;
    };
    p.field("typed_config", |p| match extension_name(config).as_str() {
        HTTP_CONNECTION_MANAGER => {
            let manager: HttpConnectionManager = unpack_checked(p, config)?;
            let manager = http_connection_manager(p, &manager)?;
            Some((at, NetworkFilter::Http(Arc::new(manager))))
        }
        TCP_PROXY => {
            let proxy: TcpProxy = unpack_checked(p, config)?;
            Some((at, NetworkFilter::Tcp(Arc::new(tcp_proxy(p, &proxy)?))))
        }
        other => {
            match without_effect(other, &filter.name) {
                Some(what) => p.warn(format!("{what} ({other}) is not supported yet; ignored")),
                None => p.error(format!("network filter {other} is not supported yet")),
            }
            None
        }
    })
}

fn tcp_proxy(p: &mut Problems, value: &TcpProxy) -> Option<TcpProxyConfig> {
    let stat_prefix = p.require_text("stat_prefix", &value.stat_prefix);
    let cluster = match &value.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => p.require_text("cluster", name),
        // found by the field table
        Some(ClusterSpecifier::WeightedClusters(_)) => None,
        None => {
            p.error("must hold cluster");
            None
        }
    };
    let mut config = TcpProxyConfig::new(stat_prefix?, cluster?);
    config.idle_timeout = duration_or(
        p,
        "idle_timeout",
        value.idle_timeout.as_ref(),
        config.idle_timeout,
    );
    Some(config)
}
