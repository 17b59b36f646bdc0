//! `BindConfig`, `UpstreamConnectionOptions`.

use std::{net::SocketAddr, time::Duration};

use mesh_core::model::{TcpKeepalive, UpstreamSocket};
use mesh_proto::envoy::config::{cluster::v3::Cluster, core::v3 as core};

use super::scalar::ip_and_port;
use crate::problems::Problems;

/// How sockets to a cluster's endpoints are made.
pub(super) fn upstream_socket(p: &mut Problems, value: &Cluster) -> UpstreamSocket {
    let mut socket = UpstreamSocket::default();
    if let Some(bind) = &value.upstream_bind_config {
        socket.source = p.field("upstream_bind_config", |p| source(p, bind));
    }
    let options = value.upstream_connection_options.as_ref();
    socket.keepalive = options
        .and_then(|o| o.tcp_keepalive.as_ref())
        .map(keepalive);
    socket
}

/// For each family the first address of it, else the first of all (Envoy `DefaultUpstreamLocalAddressSelector`).
fn source(p: &mut Problems, bind: &core::BindConfig) -> Option<[SocketAddr; 2]> {
    let main = bind.source_address.as_ref();
    let main = main.and_then(|source| p.field("source_address", |p| ip_and_port(p, source)));
    let extra = p.field("extra_source_addresses", |p| {
        let mut all = Vec::new();
        for (at, extra) in bind.extra_source_addresses.iter().enumerate() {
            p.index(at, |p| match &extra.address {
                Some(address) => all.extend(p.field("address", |p| ip_and_port(p, address))),
                None => p.error_at("address", "must be set"),
            });
        }
        all
    });
    if main.is_none() && !bind.extra_source_addresses.is_empty() {
        p.error_at("source_address", "must be set with extra_source_addresses");
    }
    let all: Vec<SocketAddr> = main.into_iter().chain(extra).collect();
    let of = |is_family: fn(&SocketAddr) -> bool| {
        let fitting = all.iter().find(|address| is_family(address));
        fitting.or(all.first()).copied()
    };
    Some([of(SocketAddr::is_ipv4)?, of(SocketAddr::is_ipv6)?])
}

fn keepalive(value: &core::TcpKeepalive) -> TcpKeepalive {
    let seconds = |seconds: Option<u32>| seconds.map(|s| Duration::from_secs(s.into()));
    let mut keepalive = TcpKeepalive::default();
    keepalive.time = seconds(value.keepalive_time);
    keepalive.interval = seconds(value.keepalive_interval);
    keepalive.probes = value.keepalive_probes;
    keepalive
}
