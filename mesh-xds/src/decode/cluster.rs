//! `Cluster`.

use std::{sync::Arc, time::Duration};

use mesh_core::model::{
    BreakerThresholds, ClusterConfig, ClusterDiscovery, LbPolicy, UpstreamProtocol,
};
use mesh_proto::envoy::config::{
    cluster::v3::{
        self as proto,
        circuit_breakers::Thresholds,
        cluster::{
            ClusterDiscoveryType, CommonLbConfig, DiscoveryType,
            common_lb_config::LocalityConfigSpecifier,
        },
    },
    core::v3::RoutingPriority,
};

use super::{
    any::{extension_name, short_name},
    dns::{dns, dns_extension},
    endpoints::load_assignment,
    extension::without_effect,
    health_check::health_checks,
    http_connection_manager::must_be_ads,
    lb_policy::{lb_policy, zone_aware},
    metadata,
    outlier_detection::outlier_detection,
    scalar::{duration_or, enumeration, percent, positive_duration},
    subset::subset,
    transport_socket,
    upstream_http::upstream_http,
    upstream_socket::upstream_socket,
};
use crate::problems::Problems;

/// `Cluster`, its fields already checked against the table.
pub(super) fn cluster(p: &mut Problems, value: &proto::Cluster) -> Option<ClusterConfig> {
    let name = p.require_text("name", &value.name);
    let discovery = discovery(p, value);
    let socket = transport_socket::upstream(p, value.transport_socket.as_ref());
    let matches = transport_socket::matches(p, &value.transport_socket_matches);
    upstream_filters(p, &value.filters);

    // Whatever is wrong so far, the rest is looked at too: with an error the placeholders are never used.
    let known = discovery.is_some();
    let discovery = discovery.unwrap_or(ClusterDiscovery::OriginalDst);
    let mut config = ClusterConfig::new(name.unwrap_or_default(), discovery);
    if !value.alt_stat_name.is_empty() {
        config.stat_name = value.alt_stat_name.as_str().into();
    }
    if let Some(policy) = lb_policy(p, value) {
        config.lb_policy = policy.policy;
        config.locality_weighted |= policy.locality_weighted;
        config.hash_policies = policy.hash_policies;
        config.slow_start = policy.slow_start;
        config.zone_aware = policy.zone_aware;
        config.subset = policy.subset.map(Arc::new);
    }
    if let Some(subset_config) = &value.lb_subset_config {
        p.field("lb_subset_config", |p| {
            if value.load_balancing_policy.is_some() {
                p.error("load_balancing_policy cannot be combined with lb_subset_config");
            } else if config.lb_policy == LbPolicy::ClusterProvided {
                p.error("cannot be combined with lb_policy CLUSTER_PROVIDED");
            }
            config.subset = subset(p, subset_config).map(Arc::new);
        });
    }
    let provided = config.lb_policy == LbPolicy::ClusterProvided;
    if known && provided != matches!(config.discovery, ClusterDiscovery::OriginalDst) {
        p.error_at(
            "lb_policy",
            "CLUSTER_PROVIDED goes with type ORIGINAL_DST, and only with it",
        );
    }
    config.connect_timeout =
        positive_duration(p, "connect_timeout", value.connect_timeout.as_ref())
            .unwrap_or(Duration::from_secs(5));
    circuit_breakers(p, value.circuit_breakers.as_ref(), &mut config);
    config.outlier_detection = value
        .outlier_detection
        .as_ref()
        .map(|detection| p.field("outlier_detection", |p| outlier_detection(p, detection)));
    if let Some(common) = &value.common_lb_config {
        p.field("common_lb_config", |p| {
            common_lb_config(p, common, &mut config)
        });
    }
    config.transport_socket = socket;
    config.transport_socket_matches = matches;
    config.socket = upstream_socket(p, value);
    config.http = upstream_http(p, value);
    if config.http.auto_san_validation {
        let of_matches = config.transport_socket_matches.iter_mut();
        let of_matches = of_matches.filter_map(|entry| entry.socket.as_mut());
        for socket in of_matches.chain(config.transport_socket.as_mut()) {
            Arc::make_mut(socket).auto_san_validation = true;
        }
    }
    let http2 = config.http.protocol == UpstreamProtocol::Http2;
    config.health_check = health_checks(p, &value.health_checks, http2);
    config.ignore_health_on_host_removal = value.ignore_health_on_host_removal;
    if config.health_check.is_some()
        && matches!(config.discovery, ClusterDiscovery::OriginalDst)
        && known
    {
        p.error_at("health_checks", "not supported yet with type ORIGINAL_DST");
    }
    config.service = metadata::service(value.metadata.as_ref());
    config.provenance = metadata::provenance(value.metadata.as_ref());
    Some(config)
}

fn discovery(p: &mut Problems, value: &proto::Cluster) -> Option<ClusterDiscovery> {
    let kind = match &value.cluster_discovery_type {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(kind)) => enumeration(p, "type", *kind)?,
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            if let Some(config) = &custom.typed_config
                && short_name(&config.type_url) == "envoy.extensions.clusters.dns.v3.DnsCluster"
            {
                return p.field("cluster_type", |p| {
                    p.field("typed_config", |p| dns_extension(p, value, config))
                });
            }
            p.error_at(
                "cluster_type",
                format!("{} is not supported yet", custom.name),
            );
            return None;
        }
    };
    let inline = |p: &mut Problems| match &value.load_assignment {
        Some(assignment) => p.field("load_assignment", |p| load_assignment(p, assignment)),
        None => Some(Default::default()),
    };
    match kind {
        DiscoveryType::Eds => p.field("eds_cluster_config", |p| {
            let Some(eds) = &value.eds_cluster_config else {
                p.error("must be set because type is EDS");
                return None;
            };
            p.field("eds_config", |p| must_be_ads(p, eds.eds_config.as_ref()));
            let name = if eds.service_name.is_empty() {
                &value.name
            } else {
                &eds.service_name
            };
            Some(ClusterDiscovery::Eds(name.as_str().into()))
        }),
        DiscoveryType::Static => {
            inline(p).map(|assignment| ClusterDiscovery::Static(Arc::new(assignment)))
        }
        DiscoveryType::OriginalDst => Some(ClusterDiscovery::OriginalDst),
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => dns(p, value, kind),
    }
}

/// Upstream network filters: Istio's have no effect, others would change bytes.
fn upstream_filters(p: &mut Problems, filters: &[proto::Filter]) {
    p.each("filters", filters, |p, filter| {
        let extension = filter
            .typed_config
            .as_ref()
            .map(extension_name)
            .unwrap_or_default();
        match without_effect(&extension, &filter.name) {
            Some(what) => p.warn(format!("{what} is not supported yet; ignored")),
            None => p.error(format!(
                "upstream filter {} is not supported yet",
                filter.name
            )),
        }
        None::<()>
    });
}

fn circuit_breakers(
    p: &mut Problems,
    value: Option<&proto::CircuitBreakers>,
    config: &mut ClusterConfig,
) {
    let Some(breakers) = value else { return };
    p.field("circuit_breakers", |p| {
        // Envoy takes the first of each priority
        for (at, thresholds) in breakers.thresholds.iter().enumerate().rev() {
            p.field("thresholds", |p| {
                p.index(at, |p| {
                    match enumeration(p, "priority", thresholds.priority) {
                        Some(RoutingPriority::Default) => {
                            config.breaker_default = breaker(p, thresholds)
                        }
                        Some(RoutingPriority::High) => config.breaker_high = breaker(p, thresholds),
                        None => {}
                    }
                });
            });
        }
    });
}

fn breaker(p: &mut Problems, value: &Thresholds) -> BreakerThresholds {
    let mut thresholds = BreakerThresholds::default();
    thresholds.max_connections = value.max_connections.unwrap_or(thresholds.max_connections);
    thresholds.max_pending_requests = value
        .max_pending_requests
        .unwrap_or(thresholds.max_pending_requests);
    thresholds.max_requests = value.max_requests.unwrap_or(thresholds.max_requests);
    thresholds.max_retries = value.max_retries.unwrap_or(thresholds.max_retries);
    thresholds.retry_budget = value.retry_budget.as_ref().map(|budget| {
        p.field("retry_budget", |p| {
            let share =
                percent(p, "budget_percent", budget.budget_percent.as_ref()).unwrap_or(20.0);
            (share, budget.min_retry_concurrency.unwrap_or(3))
        })
    });
    thresholds.track_remaining = value.track_remaining;
    thresholds
}

fn common_lb_config(p: &mut Problems, value: &CommonLbConfig, config: &mut ClusterConfig) {
    if let Some(threshold) = percent(
        p,
        "healthy_panic_threshold",
        value.healthy_panic_threshold.as_ref(),
    ) {
        config.healthy_panic_threshold = threshold;
    }
    config.update_merge_window = duration_or(
        p,
        "update_merge_window",
        value.update_merge_window.as_ref(),
        config.update_merge_window,
    );
    config.ignore_new_hosts_until_first_hc = value.ignore_new_hosts_until_first_hc;
    match &value.locality_config_specifier {
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => {
            config.locality_weighted = true;
        }
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zones)) => {
            config.zone_aware = p.field("zone_aware_lb_config", |p| {
                let enabled = zones.routing_enabled.as_ref();
                zone_aware(
                    p,
                    enabled,
                    zones.min_cluster_size,
                    zones.fail_traffic_on_panic,
                )
            });
        }
        None => {}
    }
}
