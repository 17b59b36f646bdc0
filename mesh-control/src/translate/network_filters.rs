use mesh_proto::envoy::config::listener::v3 as listener;
use mesh_proto::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier,
};

use super::address::any;

pub(super) const BLACK_HOLE: &str = "BlackHoleCluster";
pub(super) const PASSTHROUGH: &str = "PassthroughCluster";
pub(super) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";

/// The filter `envoy.filters.network.tcp_proxy` to one cluster.
pub(super) fn tcp_proxy(cluster: &str) -> listener::Filter {
    let proxy = TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    };
    listener::Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(any(&proxy))),
    }
}
