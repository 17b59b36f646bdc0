//! `BindConfig`, `UpstreamConnectionOptions`.

use std::time::Duration;

use mesh_core::model::{TcpKeepalive, UpstreamSocket};
use mesh_proto::envoy::config::{cluster::v3::Cluster, core::v3 as core};

use super::scalar::ip_and_port;
use crate::problems::Problems;

/// How sockets to a cluster's endpoints are made.
pub(super) fn upstream_socket(p: &mut Problems, value: &Cluster) -> UpstreamSocket {
    let mut socket = UpstreamSocket::default();
    let source = value.upstream_bind_config.as_ref();
    if let Some(source) = source.and_then(|bind| bind.source_address.as_ref()) {
        socket.source = p.field("upstream_bind_config", |p| {
            p.field("source_address", |p| ip_and_port(p, source))
        });
    }
    let options = value.upstream_connection_options.as_ref();
    socket.keepalive = options
        .and_then(|o| o.tcp_keepalive.as_ref())
        .map(keepalive);
    socket
}

fn keepalive(value: &core::TcpKeepalive) -> TcpKeepalive {
    let seconds = |seconds: Option<u32>| seconds.map(|s| Duration::from_secs(s.into()));
    let mut keepalive = TcpKeepalive::default();
    keepalive.time = seconds(value.keepalive_time);
    keepalive.interval = seconds(value.keepalive_interval);
    keepalive.probes = value.keepalive_probes;
    keepalive
}
