//! `FilterChain`: its match and the network filter it ends in.

use std::{sync::Arc, time::Duration};

use mesh_core::{
    model::{
        ConnectionFilter, Criteria, FilterChainConfig, FilterChainMatch, NetworkFilter,
        TcpProxyConfig, WeightedTcpCluster, merged_criteria,
    },
    rbac::ConnectionRbac,
};
use mesh_proto::envoy::{
    config::listener::v3::{
        self as proto, Filter, filter::ConfigType, filter_chain_match::ConnectionSourceType,
    },
    extensions::filters::network::{
        http_connection_manager::v3::HttpConnectionManager,
        rbac::v3::{Rbac, rbac::EnforcementType},
        sni_cluster::v3::SniCluster,
        tcp_proxy::v3::{
            TcpProxy,
            tcp_proxy::{ClusterSpecifier, WeightedCluster},
        },
    },
    r#type::v3::hash_policy::PolicySpecifier,
};

use super::{
    access_log::access_logs,
    any::{extension_name, unpack_checked},
    extension::without_effect,
    http_connection_manager::http_connection_manager,
    http_filter,
    scalar::{cidr_range, duration, duration_or, enumeration, percent},
    subset::metadata_match,
    transport_socket,
};
use crate::problems::Problems;

const HTTP_CONNECTION_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const RBAC: &str = "envoy.extensions.filters.network.rbac.v3.RBAC";
const SNI_CLUSTER: &str = "envoy.extensions.filters.network.sni_cluster.v3.SniCluster";
const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

/// `FilterChain`.
pub(super) fn filter_chain(
    p: &mut Problems,
    value: &proto::FilterChain,
) -> Option<FilterChainConfig> {
    let socket = transport_socket::downstream(p, value.transport_socket.as_ref());
    let matcher = match &value.filter_chain_match {
        Some(matcher) => p.field("filter_chain_match", |p| filter_chain_match(p, matcher)),
        None => Some(FilterChainMatch::default()),
    };
    let (filters, terminal) = network_filters(p, &value.filters)?;
    let mut chain = FilterChainConfig::new(terminal);
    chain.filters = filters;
    chain.name = value.name.as_str().into();
    chain.matcher = matcher?;
    chain.transport_socket = socket;
    let timeout = value.transport_socket_connect_timeout.as_ref();
    if let Some(timeout) = duration(p, "transport_socket_connect_timeout", timeout) {
        chain.transport_socket_connect_timeout = timeout;
    }
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

/// What a network filter is.
enum Found {
    Before(ConnectionFilter),
    Terminal(NetworkFilter),
}

/// The filters before the terminal one, which must be the last, and that.
fn network_filters(
    p: &mut Problems,
    filters: &[Filter],
) -> Option<(Arc<[ConnectionFilter]>, NetworkFilter)> {
    let decoded = p.each("filters", filters, network_filter);
    let last = filters.len().checked_sub(1);
    let mut before = Vec::new();
    let mut terminal = None;
    for (at, filter) in decoded {
        let filter = match filter {
            Found::Before(filter) => {
                before.push(filter);
                continue;
            }
            Found::Terminal(filter) => filter,
        };
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
    Some((before.into(), terminal?))
}

/// A filter with its place, which the caller compares; None: ignored or refused.
fn network_filter(p: &mut Problems, filter: &Filter) -> Option<(usize, Found)> {
    let at = p.last_index()?;
    let Some(ConfigType::TypedConfig(config)) = &filter.config_type else {
        if filter.config_type.is_none() {
            p.require("typed_config", None::<()>);
        }
        return None;
    };
    let found = p.field("typed_config", |p| match extension_name(config).as_str() {
        HTTP_CONNECTION_MANAGER => {
            let manager: HttpConnectionManager = unpack_checked(p, config)?;
            let manager = http_connection_manager(p, &manager)?;
            Some(Found::Terminal(NetworkFilter::Http(Arc::new(manager))))
        }
        TCP_PROXY => {
            let proxy: TcpProxy = unpack_checked(p, config)?;
            let proxy = tcp_proxy(p, &proxy)?;
            Some(Found::Terminal(NetworkFilter::Tcp(Arc::new(proxy))))
        }
        RBAC => {
            let config: Rbac = unpack_checked(p, config)?;
            let rbac = connection_rbac(p, &config)?;
            Some(Found::Before(ConnectionFilter::Rbac(Arc::new(rbac))))
        }
        SNI_CLUSTER => unpack_checked::<SniCluster>(p, config)
            .map(|_| Found::Before(ConnectionFilter::SniCluster)),
        other => {
            match without_effect(other, &filter.name) {
                Some(what) => p.warn(format!("{what} ({other}) is not supported yet; ignored")),
                None => p.error(format!("network filter {other} is not supported yet")),
            }
            None
        }
    })?;
    Some((at, found))
}

fn connection_rbac(p: &mut Problems, value: &Rbac) -> Option<ConnectionRbac> {
    let mut rbac = ConnectionRbac::default();
    let mut rules_of = |name: &'static str, value: Option<&_>| {
        let value = value?;
        p.field(name, |p| http_filter::rbac_rules(p, value))
    };
    rbac.rules = rules_of("rules", value.rules.as_ref());
    rbac.shadow_rules = rules_of("shadow_rules", value.shadow_rules.as_ref());
    rbac.shadow_rules_stat_prefix = value.shadow_rules_stat_prefix.as_str().into();
    rbac.stat_prefix = p.require_text("stat_prefix", &value.stat_prefix)?.into();
    let enforcement: EnforcementType = enumeration(p, "enforcement_type", value.enforcement_type)?;
    if enforcement == EnforcementType::Continuous {
        p.field("enforcement_type", |p| {
            p.warn("CONTINUOUS is not supported yet; checked once, at the connection's first data");
        });
    }
    rbac.delay_deny = duration_or(p, "delay_deny", value.delay_deny.as_ref(), Duration::ZERO);
    Some(rbac)
}

fn tcp_proxy(p: &mut Problems, value: &TcpProxy) -> Option<TcpProxyConfig> {
    let stat_prefix = p.require_text("stat_prefix", &value.stat_prefix);
    let criteria = metadata_match(value.metadata_match.as_ref());
    let mut weighted = Vec::new();
    let cluster = match &value.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => p.require_text("cluster", name).map(Arc::from),
        Some(ClusterSpecifier::WeightedClusters(clusters)) => {
            weighted = p.field("weighted_clusters", |p| {
                weighted_clusters(p, clusters, &criteria)
            });
            weighted.first().map(|first| Arc::clone(&first.name))
        }
        None => {
            p.error("must hold cluster or weighted_clusters");
            None
        }
    };
    let mut config = TcpProxyConfig::new(stat_prefix?, cluster?);
    config.weighted = weighted;
    config.criteria = criteria;
    config.idle_timeout = duration_or(
        p,
        "idle_timeout",
        value.idle_timeout.as_ref(),
        config.idle_timeout,
    );
    config.max_duration = duration(
        p,
        "max_downstream_connection_duration",
        value.max_downstream_connection_duration.as_ref(),
    );
    if config
        .max_duration
        .is_some_and(|limit| limit < Duration::from_millis(1))
    {
        p.error_at("max_downstream_connection_duration", "must be at least 1ms");
    }
    config.max_duration_jitter_percent = percent(
        p,
        "max_downstream_connection_duration_jitter_percentage",
        value
            .max_downstream_connection_duration_jitter_percentage
            .as_ref(),
    )
    .unwrap_or_default();
    config.access_logs = access_logs(p, &value.access_log);
    config.max_connect_attempts = value.max_connect_attempts.unwrap_or(1);
    if config.max_connect_attempts == 0 {
        p.error_at("max_connect_attempts", "must be at least 1");
    }
    if value.hash_policy.len() > 1 {
        p.error_at("hash_policy", "must hold at most 1");
    }
    p.each("hash_policy", &value.hash_policy, |p, policy| {
        match &policy.policy_specifier {
            Some(PolicySpecifier::SourceIp(_)) => config.hashes_source_ip = true,
            // Nothing here sets filter state, so there is no hash.
            Some(PolicySpecifier::FilterState(_)) => {}
            None => p.error("must hold a policy_specifier"),
        }
        Some(())
    });
    Some(config)
}

fn weighted_clusters(
    p: &mut Problems,
    value: &WeightedCluster,
    under: &Criteria,
) -> Vec<WeightedTcpCluster> {
    if value.clusters.is_empty() {
        p.error_at("clusters", "must not be empty");
    }
    p.each("clusters", &value.clusters, |p, cluster| {
        let name = p.require_text("name", &cluster.name);
        if cluster.weight == 0 {
            p.error_at("weight", "must be at least 1");
        }
        let over = metadata_match(cluster.metadata_match.as_ref());
        Some(WeightedTcpCluster {
            name: name?.into(),
            weight: cluster.weight,
            criteria: merged_criteria(under, &over),
        })
    })
}
