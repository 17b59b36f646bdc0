use http::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
    explicit_http_config::ProtocolConfig,
};
use mesh_proto::envoy::config::cluster::v3 as xds;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use mesh_proto::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use mesh_proto::envoy::extensions::upstreams::http::v3 as http;
use mesh_proto::envoy::r#type::v3::Percent;
use xds::circuit_breakers::Thresholds;
use xds::circuit_breakers::thresholds::RetryBudget;

use super::address::{any, duration};
use super::endpoints::Group;
use super::scope::Scope;
use super::{NodeKind, load_balancer, outlier_detection, tls, upstream_tls};
use crate::model::{ConnectionPool, DestinationRule, Keepalive, Protocol, TrafficPolicy};
use crate::registry::Service;

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
                let mut options = HttpOptions::default();
                options.set_use_downstream();
                options
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

    /// Unless another protocol was chosen.
    fn set_http2(&mut self) {
        let options = self.0.get_or_insert_default();
        if options.upstream_protocol_options.is_none() {
            options.upstream_protocol_options = http2().upstream_protocol_options;
        }
    }

    fn set_use_downstream(&mut self) {
        self.0.get_or_insert_default().upstream_protocol_options = Some(
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(core::Http1ProtocolOptions::default()),
                http2_protocol_options: Some(core::Http2ProtocolOptions::default()),
                ..Default::default()
            }),
        );
    }

    /// The names of TLS are those of each request.
    pub(super) fn set_auto(&mut self, sni: bool, san_validation: bool) {
        if sni || san_validation {
            let options = self.0.get_or_insert_default();
            let upstream = options
                .upstream_http_protocol_options
                .get_or_insert_default();
            upstream.auto_sni = sni;
            upstream.auto_san_validation = san_validation;
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(
            self.0
                .as_ref()
                .and_then(|o| o.upstream_protocol_options.as_ref()),
            Some(UpstreamProtocolOptions::ExplicitHttpConfig(
                ExplicitHttpConfig {
                    protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(_)),
                }
            ))
        )
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

/// What a cluster is for.
pub(super) struct Target<'a> {
    pub(super) service: &'a Service,
    pub(super) port: u32,
    pub(super) protocol: Protocol,
    /// Empty: all of the service.
    pub(super) subset: &'a str,
    pub(super) rule: Option<&'a DestinationRule>,
    /// Whether load balancing is off by what the rule, or its subset, says of all ports.
    pub(super) is_passthrough: bool,
}

/// Applies everything that a policy says of a cluster on the caller's side. `inline`: the endpoints that stand
/// in the cluster itself.
pub(super) fn apply(
    scope: &Scope,
    of: &Target<'_>,
    cluster: &mut xds::Cluster,
    http: &mut HttpOptions,
    policy: &TrafficPolicy,
    inline: Vec<Group>,
) {
    let (service, protocol) = (of.service, of.protocol);
    let pool = policy.connection_pool.as_ref();
    let mesh = &scope.config.mesh;
    let upgrades = match pool {
        Some(pool) if pool.use_client_protocol => false,
        pool => pool
            .and_then(|pool| pool.h2_upgrade)
            .unwrap_or(mesh.h2_upgrade && protocol.is_http()),
    };
    if upgrades {
        http.set_http2();
    }
    apply_connection_pool(scope, cluster, http, policy);
    // endpoints that are not ready are sent too (as unhealthy), so no panic may choose them
    let min_health = match service.traffic_distribution {
        Some(_) => 0,
        None => policy
            .outlier_detection
            .as_ref()
            .map_or(0, |outlier| outlier.min_health_percent),
    };
    let common = cluster.common_lb_config.get_or_insert_default();
    common.healthy_panic_threshold = Some(Percent {
        value: f64::from(min_health),
    });
    if let Some(outlier) = &policy.outlier_detection {
        outlier_detection::apply(cluster, outlier);
    }
    load_balancer::apply(scope, service, cluster, policy, inline);
    upstream_tls::apply(scope, of, cluster, http, policy);
    if let Some(version) = policy.proxy_protocol {
        let wrap = |inner| Some(upstream_proxy_protocol(version, inner));
        for matched in &mut cluster.transport_socket_matches {
            matched.transport_socket = matched.transport_socket.take().and_then(wrap);
        }
        if cluster.transport_socket_matches.is_empty() {
            let inner = cluster.transport_socket.take();
            cluster.transport_socket = wrap(
                inner.unwrap_or_else(|| tls::socket("raw_buffer", any(&RawBuffer::default()))),
            );
        }
    }
}

/// Sends the PROXY protocol before anything else.
fn upstream_proxy_protocol(version: u32, inner: core::TransportSocket) -> core::TransportSocket {
    let config = ProxyProtocolUpstreamTransport {
        config: Some(core::ProxyProtocolConfig {
            version: i32::try_from(version).unwrap_or_default(),
            ..Default::default()
        }),
        transport_socket: Some(inner),
        ..Default::default()
    };
    tls::socket(
        "envoy.transport_sockets.upstream_proxy_protocol",
        any(&config),
    )
}

/// Circuit breakers, timeouts and connection settings.
pub(super) fn apply_connection_pool(
    scope: &Scope,
    cluster: &mut xds::Cluster,
    http: &mut HttpOptions,
    policy: &TrafficPolicy,
) {
    let pool = policy.connection_pool.as_ref();
    let mut breakers = circuit_breakers(pool);
    if let Some(budget) = &policy.retry_budget {
        for threshold in &mut breakers.thresholds {
            threshold.retry_budget = Some(RetryBudget {
                budget_percent: Some(Percent {
                    value: budget.percent.unwrap_or(20.0),
                }),
                min_retry_concurrency: Some(match budget.min_concurrency {
                    0 => 3,
                    given => given,
                }),
                budget_interval: budget.interval.map(duration),
            });
        }
    }
    cluster.circuit_breakers = Some(breakers);
    let keepalives = [
        scope.config.mesh.keepalive.as_ref(),
        pool.and_then(|pool| pool.keepalive.as_ref()),
    ];
    for keepalive in keepalives.into_iter().flatten() {
        let options = cluster.upstream_connection_options.get_or_insert_default();
        set_keepalive(options.tcp_keepalive.get_or_insert_default(), keepalive);
    }
    let Some(pool) = pool else { return };
    if let Some(timeout) = pool.connect_timeout {
        cluster.connect_timeout = Some(duration(timeout));
    }
    let idle = pool.http_idle_timeout.or(pool.tcp_idle_timeout);
    let has_options = idle.is_some()
        || pool.max_requests_per_connection > 0
        || pool.max_connection_duration.is_some()
        || pool.max_concurrent_streams > 0
        || pool.http2_keepalive.is_some();
    if has_options {
        let common = http.common();
        common.idle_timeout = idle.map(duration);
        common.max_requests_per_connection =
            (pool.max_requests_per_connection > 0).then_some(pool.max_requests_per_connection);
        common.max_connection_duration = pool.max_connection_duration.map(duration);
        if let Some(http2) = http.http2_mut() {
            if pool.max_concurrent_streams > 0 {
                http2.max_concurrent_streams = Some(pool.max_concurrent_streams);
            }
            if let Some((interval, timeout)) = pool.http2_keepalive {
                http2.connection_keepalive = Some(core::KeepaliveSettings {
                    interval: Some(duration(interval)),
                    timeout: Some(duration(timeout)),
                    ..Default::default()
                });
            }
        }
    }
    if pool.use_client_protocol {
        http.set_use_downstream();
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

/// Sets what is given.
fn set_keepalive(options: &mut core::TcpKeepalive, keepalive: &Keepalive) {
    let seconds = |d: std::time::Duration| u32::try_from(d.as_secs()).unwrap_or(u32::MAX);
    if keepalive.probes > 0 {
        options.keepalive_probes = Some(keepalive.probes);
    }
    if let Some(time) = keepalive.time {
        options.keepalive_time = Some(seconds(time));
    }
    if let Some(interval) = keepalive.interval {
        options.keepalive_interval = Some(seconds(interval));
    }
}
