//! Clusters (`envoy.config.cluster.v3`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    ClusterLoadAssignment, DnsDiscovery, HashPolicy, HealthCheck, Maglev, MirrorPolicy, Provenance,
    RingHash, SubsetConfig, TransportSocketMatch, UpstreamTls,
};

/// `Cluster`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterConfig {
    /// `name`.
    pub name: Arc<str>,
    /// `alt_stat_name`, else the name.
    pub stat_name: Arc<str>,
    /// The discovery type.
    pub discovery: ClusterDiscovery,
    /// `lb_policy` or `load_balancing_policy`.
    pub lb_policy: LbPolicy,
    /// `consistent_hashing_lb_config.hash_policy` of a typed policy: instead of the routes'; None: the routes' count.
    pub hash_policies: Option<Box<[HashPolicy]>>,
    /// `lb_subset_config`.
    pub subset: Option<Arc<SubsetConfig>>,
    /// `slow_start_config` of round robin or least request.
    pub slow_start: Option<SlowStart>,
    /// `connect_timeout`; default 5 s.
    pub connect_timeout: Duration,
    /// `circuit_breakers.thresholds`, DEFAULT.
    pub breaker_default: BreakerThresholds,
    /// `circuit_breakers.thresholds`, HIGH.
    pub breaker_high: BreakerThresholds,
    /// `outlier_detection`.
    pub outlier_detection: Option<OutlierDetection>,
    /// `health_checks`: Envoy has at most one.
    pub health_check: Option<Arc<HealthCheck>>,
    /// `ignore_health_on_host_removal`: otherwise an endpoint that its assignment forgets stays while it passes its
    /// health checks.
    pub ignore_health_on_host_removal: bool,
    /// `common_lb_config.ignore_new_hosts_until_first_hc`: endpoints not checked yet do not count in the totals.
    pub ignore_new_hosts_until_first_hc: bool,
    /// `common_lb_config.healthy_panic_threshold`, percent; default 50.
    pub healthy_panic_threshold: f64,
    /// `common_lb_config.locality_weighted_lb_config` is set.
    pub locality_weighted: bool,
    /// `zone_aware_lb_config`, of the cluster or of its policy: counts where the bootstrap names a local cluster.
    pub zone_aware: ZoneAware,
    /// `common_lb_config.update_merge_window`; default 1 s.
    pub update_merge_window: Duration,
    /// `upstream_bind_config` and `upstream_connection_options`: how sockets to endpoints are made.
    pub socket: UpstreamSocket,
    /// `transport_socket`; None: cleartext.
    pub transport_socket: Option<Arc<UpstreamTls>>,
    /// `transport_socket_matches`: instead of it, for endpoints whose metadata says so.
    pub transport_socket_matches: Vec<TransportSocketMatch>,
    /// `HttpProtocolOptions`.
    pub http: UpstreamHttpOptions,
    /// `metadata.filter_metadata["istio"].services[0]`: host, name and namespace of the service.
    pub service: Option<IstioService>,
    /// Where it came from.
    pub provenance: Provenance,
}

impl ClusterConfig {
    /// A cluster with Envoy's defaults.
    pub fn new(name: impl Into<Arc<str>>, discovery: ClusterDiscovery) -> Self {
        let name = name.into();
        Self {
            stat_name: Arc::clone(&name),
            name,
            discovery,
            lb_policy: LbPolicy::RoundRobin,
            hash_policies: None,
            subset: None,
            slow_start: None,
            connect_timeout: Duration::from_secs(5),
            breaker_default: BreakerThresholds::default(),
            breaker_high: BreakerThresholds::default(),
            outlier_detection: None,
            health_check: None,
            ignore_health_on_host_removal: false,
            ignore_new_hosts_until_first_hc: false,
            healthy_panic_threshold: 50.0,
            locality_weighted: false,
            zone_aware: ZoneAware::default(),
            update_merge_window: Duration::from_secs(1),
            socket: UpstreamSocket::default(),
            transport_socket: None,
            transport_socket_matches: Vec::new(),
            http: UpstreamHttpOptions::default(),
            service: None,
            provenance: Provenance::default(),
        }
    }
}

/// Everything but the provenance: a line that moved in a file changes nothing of the cluster.
impl PartialEq for ClusterConfig {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            stat_name,
            discovery,
            lb_policy,
            hash_policies,
            subset,
            slow_start,
            connect_timeout,
            breaker_default,
            breaker_high,
            outlier_detection,
            health_check,
            ignore_health_on_host_removal,
            ignore_new_hosts_until_first_hc,
            healthy_panic_threshold,
            locality_weighted,
            zone_aware,
            update_merge_window,
            socket,
            transport_socket,
            transport_socket_matches,
            http,
            service,
            provenance: _,
        } = self;
        *name == other.name
            && *stat_name == other.stat_name
            && *discovery == other.discovery
            && *lb_policy == other.lb_policy
            && *hash_policies == other.hash_policies
            && *subset == other.subset
            && *slow_start == other.slow_start
            && *connect_timeout == other.connect_timeout
            && *breaker_default == other.breaker_default
            && *breaker_high == other.breaker_high
            && *outlier_detection == other.outlier_detection
            && *health_check == other.health_check
            && *ignore_health_on_host_removal == other.ignore_health_on_host_removal
            && *ignore_new_hosts_until_first_hc == other.ignore_new_hosts_until_first_hc
            && *healthy_panic_threshold == other.healthy_panic_threshold
            && *locality_weighted == other.locality_weighted
            && *zone_aware == other.zone_aware
            && *update_merge_window == other.update_merge_window
            && *socket == other.socket
            && *transport_socket == other.transport_socket
            && *transport_socket_matches == other.transport_socket_matches
            && *http == other.http
            && *service == other.service
    }
}

/// Where a cluster's endpoints come from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClusterDiscovery {
    /// `EDS`; the name of the assignment (`service_name`, else the cluster's name).
    Eds(Arc<str>),
    /// `STATIC` with `load_assignment`.
    Static(Arc<ClusterLoadAssignment>),
    /// `STRICT_DNS` and `LOGICAL_DNS`: what the names resolve to comes in [`crate::snapshot::ConfigSet::resolved`].
    Dns(Arc<DnsDiscovery>),
    /// `ORIGINAL_DST`: the address that the connection was made to, or for calls from inside the process the
    /// authority resolved by DNS.
    OriginalDst,
}

/// `Cluster.LbPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LbPolicy {
    /// `ROUND_ROBIN`.
    #[default]
    RoundRobin,
    /// `LEAST_REQUEST` with `choice_count` (default 2) and `active_request_bias` (default 1.0).
    LeastRequest {
        /// `choice_count`; 0: `selection_method` FULL_SCAN, which looks at all endpoints.
        choice_count: u32,
        /// `active_request_bias` in thousandths (1,000 is 1.0).
        active_request_bias_milli: u32,
    },
    /// `RANDOM`.
    Random,
    /// `RING_HASH` with `ring_hash_lb_config`.
    RingHash(RingHash),
    /// `MAGLEV` with `maglev_lb_config`.
    Maglev(Maglev),
    /// `CLUSTER_PROVIDED`: only with [`ClusterDiscovery::OriginalDst`].
    ClusterProvided,
}

/// `ZoneAwareLbConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZoneAware {
    /// `routing_enabled`: percent of requests that zones bind, rounded; default 100.
    pub routing_enabled: u32,
    /// `min_cluster_size`: with fewer healthy endpoints zones do not count; default 6.
    pub min_cluster_size: u64,
    /// `fail_traffic_on_panic`: no endpoint instead of all.
    pub fail_traffic_on_panic: bool,
    /// `force_locality_direct_routing`: all to the own locality.
    pub force_locality_direct_routing: bool,
}

impl Default for ZoneAware {
    fn default() -> Self {
        Self {
            routing_enabled: 100,
            min_cluster_size: 6,
            fail_traffic_on_panic: false,
            force_locality_direct_routing: false,
        }
    }
}

/// `SlowStartConfig`: a new endpoint's weight grows over a while.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct SlowStart {
    /// `slow_start_window`.
    pub window: Duration,
    /// `aggression.default_value`; default 1.0, which grows linearly; higher ones grow faster at first.
    pub aggression: f64,
    /// `min_weight_percent`, percent; default 10.
    pub min_weight_percent: f64,
}

impl SlowStart {
    /// Grows linearly from 10 %.
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            aggression: 1.0,
            min_weight_percent: 10.0,
        }
    }

    /// The part of its weight that an endpoint has which has been healthy for so long.
    pub(crate) fn factor(&self, healthy_for: Duration) -> f64 {
        let [healthy, window] = [healthy_for, self.window].map(|time| time.as_millis() as f64);
        if healthy >= window {
            return 1.0;
        }
        let time = healthy.max(1.0) / window;
        let grown = match self.aggression == 1.0 {
            true => time,
            false => time.powf(1.0 / self.aggression),
        };
        grown.max(self.min_weight_percent / 100.0)
    }
}

/// `CircuitBreakers.Thresholds` of one priority.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BreakerThresholds {
    /// `max_connections`; default 1,024.
    pub max_connections: u32,
    /// `max_pending_requests`; default 1,024.
    pub max_pending_requests: u32,
    /// `max_requests`; default 1,024.
    pub max_requests: u32,
    /// `max_retries`; default 3.
    pub max_retries: u32,
    /// `retry_budget`: percent of active and pending requests (default 20 %), at least `min_retry_concurrency` (3).
    pub retry_budget: Option<(f64, u32)>,
    /// `track_remaining`.
    pub track_remaining: bool,
}

impl Default for BreakerThresholds {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
            track_remaining: false,
        }
    }
}

/// `OutlierDetection` with Envoy's defaults filled in.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OutlierDetection {
    /// `consecutive_5xx`; default 5.
    pub consecutive_5xx: u32,
    /// `enforcing_consecutive_5xx`, percent; default 100.
    pub enforcing_consecutive_5xx: u32,
    /// `consecutive_gateway_failure`; default 5.
    pub consecutive_gateway_failure: u32,
    /// `enforcing_consecutive_gateway_failure`, percent; default 0.
    pub enforcing_consecutive_gateway_failure: u32,
    /// `split_external_local_origin_errors`; default false.
    pub split_external_local_origin_errors: bool,
    /// `consecutive_local_origin_failure`; default 5.
    pub consecutive_local_origin_failure: u32,
    /// `enforcing_consecutive_local_origin_failure`, percent; default 100.
    pub enforcing_consecutive_local_origin_failure: u32,
    /// `success_rate_minimum_hosts`: so many must have `success_rate_request_volume`; default 5.
    pub success_rate_minimum_hosts: u32,
    /// `success_rate_request_volume` of an interval; default 100.
    pub success_rate_request_volume: u32,
    /// `success_rate_stdev_factor`, in thousandths of a standard deviation below the mean; default 1,900.
    pub success_rate_stdev_factor: u32,
    /// `enforcing_success_rate`, percent; default 100.
    pub enforcing_success_rate: u32,
    /// `enforcing_local_origin_success_rate`, percent; default 100.
    pub enforcing_local_origin_success_rate: u32,
    /// `failure_percentage_threshold`, percent; default 85.
    pub failure_percentage_threshold: u32,
    /// `failure_percentage_minimum_hosts`: so many must have `failure_percentage_request_volume`; default 5.
    pub failure_percentage_minimum_hosts: u32,
    /// `failure_percentage_request_volume` of an interval; default 50.
    pub failure_percentage_request_volume: u32,
    /// `enforcing_failure_percentage`, percent; default 0.
    pub enforcing_failure_percentage: u32,
    /// `enforcing_failure_percentage_local_origin`, percent; default 0.
    pub enforcing_failure_percentage_local_origin: u32,
    /// `interval`; default 10 s.
    pub interval: Duration,
    /// `base_ejection_time`; default 30 s.
    pub base_ejection_time: Duration,
    /// `max_ejection_time`; default the larger of 300 s and the base.
    pub max_ejection_time: Duration,
    /// `max_ejection_time_jitter`; default 0.
    pub max_ejection_time_jitter: Duration,
    /// `max_ejection_percent`; default 10.
    pub max_ejection_percent: u32,
    /// `always_eject_one_host`; default false.
    pub always_eject_one_host: bool,
    /// `successful_active_health_check_uneject_host`; default true.
    pub successful_active_health_check_uneject_host: bool,
    /// `detect_degraded_hosts`: a response with `x-envoy-degraded` makes its host degraded for a while; default false.
    pub detect_degraded_hosts: bool,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            enforcing_consecutive_5xx: 100,
            consecutive_gateway_failure: 5,
            enforcing_consecutive_gateway_failure: 0,
            split_external_local_origin_errors: false,
            consecutive_local_origin_failure: 5,
            enforcing_consecutive_local_origin_failure: 100,
            success_rate_minimum_hosts: 5,
            success_rate_request_volume: 100,
            success_rate_stdev_factor: 1900,
            enforcing_success_rate: 100,
            enforcing_local_origin_success_rate: 100,
            failure_percentage_threshold: 85,
            failure_percentage_minimum_hosts: 5,
            failure_percentage_request_volume: 50,
            enforcing_failure_percentage: 0,
            enforcing_failure_percentage_local_origin: 0,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one_host: false,
            successful_active_health_check_uneject_host: true,
            detect_degraded_hosts: false,
        }
    }
}

/// How sockets to a cluster's endpoints are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamSocket {
    /// `upstream_bind_config`: the first of its addresses for endpoints with an IPv4 address, and for those with an
    /// IPv6 address; of another family where no address fits. None: the system chooses.
    pub source: Option<[SocketAddr; 2]>,
    /// `upstream_connection_options.tcp_keepalive`; None: off.
    pub keepalive: Option<TcpKeepalive>,
}

/// `TcpKeepalive`; what is None is the system's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpKeepalive {
    /// `keepalive_time`: idle for so long, a connection is probed.
    pub time: Option<Duration>,
    /// `keepalive_interval`: between probes.
    pub interval: Option<Duration>,
    /// `keepalive_probes`: so many without an answer end the connection.
    pub probes: Option<u32>,
}

/// `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct UpstreamHttpOptions {
    /// Which protocol is spoken upstream.
    pub protocol: UpstreamProtocol,
    /// `common_http_protocol_options.idle_timeout`; default 1 h; zero: none.
    pub idle_timeout: Duration,
    /// `common_http_protocol_options.max_requests_per_connection`; 0: unlimited.
    pub max_requests_per_connection: u32,
    /// `common_http_protocol_options.max_connection_duration`.
    pub max_connection_duration: Option<Duration>,
    /// `common_http_protocol_options.max_stream_duration`: of one attempt, from the connection to the response's end.
    pub max_stream_duration: Option<Duration>,
    /// `http2_protocol_options.max_concurrent_streams`.
    pub max_concurrent_streams: Option<u32>,
    /// `http_protocol_options.enable_trailers`: trailers pass over HTTP/1.1; otherwise they are dropped.
    pub http1_trailers: bool,
    /// `outlier_detection.error_matcher`: these response statuses count as errors, all others as success.
    pub outlier_error_statuses: Option<Vec<u16>>,
    /// `upstream_http_protocol_options.auto_sni`: the request's host is the name that TLS asks for.
    pub auto_sni: bool,
    /// `upstream_http_protocol_options.auto_san_validation`: it must be in the certificate.
    pub auto_san_validation: bool,
    /// `request_mirror_policies`: instead of the route's.
    pub mirrors: Vec<MirrorPolicy>,
}

impl Default for UpstreamHttpOptions {
    fn default() -> Self {
        Self {
            protocol: UpstreamProtocol::Http1,
            idle_timeout: Duration::from_secs(3600),
            max_requests_per_connection: 0,
            max_connection_duration: None,
            max_stream_duration: None,
            max_concurrent_streams: None,
            http1_trailers: false,
            outlier_error_statuses: None,
            auto_sni: false,
            auto_san_validation: false,
            mirrors: Vec::new(),
        }
    }
}

/// `upstream_protocol_options`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UpstreamProtocol {
    /// `explicit_http_config.http_protocol_options`, the default.
    #[default]
    Http1,
    /// `explicit_http_config.http2_protocol_options`.
    Http2,
    /// `use_downstream_protocol_config`: as the caller spoke.
    Downstream,
}

/// The Istio service behind a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IstioService {
    /// `host`: `reviews.default.svc.cluster.local`.
    pub host: Arc<str>,
    /// `name`: `reviews`.
    pub name: Arc<str>,
    /// `namespace`: `default`.
    pub namespace: Arc<str>,
}
