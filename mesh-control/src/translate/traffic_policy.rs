use http::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
    explicit_http_config::ProtocolConfig,
};
use mesh_proto::envoy::config::cluster::v3 as xds;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::extensions::upstreams::http::v3 as http;
use mesh_proto::envoy::r#type::v3::Percent;
use xds::circuit_breakers::Thresholds;
use xds::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};

use super::NodeKind;
use super::address::{any, duration};
use super::cluster::is_passthrough;
use crate::model::{
    ConnectionPool, Keepalive, LoadBalancer, OutlierDetection, Protocol, TrafficPolicy,
};

const HTTP_PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// `HttpProtocolOptions` of a cluster while it is put together.
#[derive(Default)]
pub(super) struct HttpOptions(Option<http::HttpProtocolOptions>);

impl HttpOptions {
    pub(super) fn for_protocol(protocol: Protocol, node: NodeKind) -> Self {
        match protocol {
            _ if protocol.is_http2() => HttpOptions(Some(http2())),
            // what the first bytes tell of the client's side goes for the other side too
            Protocol::Unknown if node == NodeKind::Sidecar => {
                HttpOptions(Some(http::HttpProtocolOptions {
                    upstream_protocol_options: Some(
                        UpstreamProtocolOptions::UseDownstreamProtocolConfig(
                            UseDownstreamHttpConfig {
                                http_protocol_options: Some(core::Http1ProtocolOptions::default()),
                                http2_protocol_options: Some(core::Http2ProtocolOptions::default()),
                                ..Default::default()
                            },
                        ),
                    ),
                    ..Default::default()
                }))
            }
            _ => HttpOptions(None),
        }
    }

    /// The client's protocol, with idle connections kept for five minutes.
    pub(super) fn passthrough() -> Self {
        let mut options = HttpOptions::for_protocol(Protocol::Unknown, NodeKind::Sidecar);
        options.common().idle_timeout = Some(prost_types::Duration {
            seconds: 300,
            nanos: 0,
        });
        options
    }

    pub(super) fn attach(self, cluster: &mut xds::Cluster) {
        if let Some(mut options) = self.0 {
            // Envoy wants to be told
            options.upstream_protocol_options.get_or_insert_with(http1);
            cluster
                .typed_extension_protocol_options
                .insert(HTTP_PROTOCOL_OPTIONS.to_owned(), any(&options));
        }
    }

    fn has_no_protocol(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|options| options.upstream_protocol_options.is_none())
    }

    fn common(&mut self) -> &mut core::HttpProtocolOptions {
        self.0
            .get_or_insert_default()
            .common_http_protocol_options
            .get_or_insert_default()
    }

    fn http2_mut(&mut self) -> Option<&mut core::Http2ProtocolOptions> {
        match self.0.as_mut()?.upstream_protocol_options.as_mut()? {
            UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
                protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(options)),
            }) => Some(options),
            _ => None,
        }
    }
}

fn http1() -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
        protocol_config: Some(ProtocolConfig::HttpProtocolOptions(
            core::Http1ProtocolOptions::default(),
        )),
    })
}

fn http2() -> http::HttpProtocolOptions {
    http::HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
            ExplicitHttpConfig {
                protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(
                    core::Http2ProtocolOptions::default(),
                )),
            },
        )),
        ..Default::default()
    }
}

/// Applies everything that a policy says of a cluster on the caller's side.
pub(super) fn apply(cluster: &mut xds::Cluster, http: &mut HttpOptions, policy: &TrafficPolicy) {
    apply_connection_pool(cluster, http, policy);
    let is_original_dst = cluster.cluster_discovery_type
        == Some(ClusterDiscoveryType::Type(
            DiscoveryType::OriginalDst.into(),
        ));
    if is_passthrough(policy) {
        cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(
            DiscoveryType::OriginalDst.into(),
        ));
        cluster.lb_policy = LbPolicy::ClusterProvided.into();
    } else if !is_original_dst {
        cluster.lb_policy = match policy.load_balancer {
            Some(LoadBalancer::RoundRobin) => LbPolicy::RoundRobin,
            Some(LoadBalancer::Random) => LbPolicy::Random,
            _ => LbPolicy::LeastRequest,
        }
        .into();
    }
    // endpoints that are not ready are sent too (as unhealthy), so no panic may choose them
    let min_health = policy
        .outlier_detection
        .as_ref()
        .map_or(0, |outlier| outlier.min_health_percent);
    let panic = Percent {
        value: f64::from(min_health),
    };
    cluster
        .common_lb_config
        .get_or_insert_default()
        .healthy_panic_threshold = Some(panic);
    if let Some(outlier) = &policy.outlier_detection {
        apply_outlier_detection(cluster, outlier);
    }
}

/// Circuit breakers, timeouts and connection settings.
pub(super) fn apply_connection_pool(
    cluster: &mut xds::Cluster,
    http: &mut HttpOptions,
    policy: &TrafficPolicy,
) {
    let pool = policy.connection_pool.as_ref();
    cluster.circuit_breakers = Some(circuit_breakers(pool));
    let Some(pool) = pool else { return };
    if let Some(timeout) = pool.connect_timeout {
        cluster.connect_timeout = Some(duration(timeout));
    }
    if let Some(keepalive) = &pool.keepalive {
        cluster.upstream_connection_options = Some(xds::UpstreamConnectionOptions {
            tcp_keepalive: Some(tcp_keepalive(keepalive)),
            ..Default::default()
        });
    }
    if pool.upgrade_to_h2 && http.has_no_protocol() {
        http.0 = Some(http2());
    }
    if let Some(idle) = pool.idle_timeout {
        http.common().idle_timeout = Some(duration(idle));
    }
    if pool.max_requests_per_connection > 0 {
        http.common().max_requests_per_connection = Some(pool.max_requests_per_connection);
    }
    if let Some(limit) = pool.max_connection_duration {
        http.common().max_connection_duration = Some(duration(limit));
    }
    if pool.max_concurrent_streams > 0 {
        http.common();
        if let Some(http2) = http.http2_mut() {
            http2.max_concurrent_streams = Some(pool.max_concurrent_streams);
        }
    }
}

/// Without limits unless a pool sets them: Istio leaves Envoy's defaults aside.
pub(super) fn circuit_breakers(pool: Option<&ConnectionPool>) -> xds::CircuitBreakers {
    let limit = |of: fn(&ConnectionPool) -> u32| match pool.map(of) {
        Some(limit) if limit > 0 => Some(limit),
        _ => Some(u32::MAX),
    };
    let threshold = Thresholds {
        max_connections: limit(|p| p.max_connections),
        max_pending_requests: limit(|p| p.http1_max_pending_requests),
        max_requests: limit(|p| p.http2_max_requests),
        max_retries: limit(|p| p.max_retries),
        ..Default::default()
    };
    xds::CircuitBreakers {
        thresholds: vec![threshold],
        ..Default::default()
    }
}

fn tcp_keepalive(keepalive: &Keepalive) -> core::TcpKeepalive {
    let seconds = |d: std::time::Duration| u32::try_from(d.as_secs()).unwrap_or(u32::MAX);
    core::TcpKeepalive {
        keepalive_probes: (keepalive.probes > 0).then_some(keepalive.probes),
        keepalive_time: keepalive.time.map(seconds),
        keepalive_interval: keepalive.interval.map(seconds),
    }
}

fn apply_outlier_detection(cluster: &mut xds::Cluster, outlier: &OutlierDetection) {
    // a threshold of 0 turns a detector off
    let enforcing = |threshold: u32| Some(if threshold > 0 { 100 } else { 0 });
    let mut out = xds::OutlierDetection {
        enforcing_success_rate: Some(0),
        consecutive_5xx: outlier.consecutive_5xx,
        enforcing_consecutive_5xx: outlier.consecutive_5xx.and_then(enforcing),
        consecutive_gateway_failure: outlier.consecutive_gateway,
        enforcing_consecutive_gateway_failure: outlier.consecutive_gateway.and_then(enforcing),
        interval: outlier.interval.map(duration),
        base_ejection_time: outlier.base_ejection_time.map(duration),
        max_ejection_percent: (outlier.max_ejection_percent > 0)
            .then_some(outlier.max_ejection_percent),
        ..Default::default()
    };
    if outlier.old_consecutive_errors {
        out.enforcing_consecutive_5xx = Some(0);
    }
    if outlier.split_local_origin {
        out.split_external_local_origin_errors = true;
        if let Some(failures) = outlier.consecutive_local_origin.filter(|n| *n > 0) {
            out.consecutive_local_origin_failure = Some(failures);
            out.enforcing_consecutive_local_origin_failure = Some(100);
        }
        out.enforcing_local_origin_success_rate = Some(0);
    }
    cluster.outlier_detection = Some(out);
}
