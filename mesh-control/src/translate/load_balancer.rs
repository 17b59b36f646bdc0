use std::time::Duration;

use mesh_proto::envoy::config::cluster::v3 as xds;
use mesh_proto::envoy::config::core::v3::RuntimeDouble;
use mesh_proto::envoy::r#type::v3::Percent;
use xds::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig,
    RingHashLbConfig, RoundRobinLbConfig, SlowStartConfig,
};

use super::address::duration;
use super::endpoints::Group;
use super::locality::Balance;
use super::scope::Scope;
use crate::model::{HashAlgorithm, LoadBalancer, SimpleLb, TrafficPolicy, Warmup};
use crate::registry::Service;

/// Envoy wants a key where istiod wants none.
const NO_RUNTIME_KEY: &str = "(";

/// How a cluster chooses endpoints, and which of them it prefers.
pub(super) fn apply(
    scope: &Scope,
    service: &Service,
    cluster: &mut xds::Cluster,
    policy: &TrafficPolicy,
    inline: Vec<Group>,
) {
    let has_outlier_detection = policy.outlier_detection.is_some();
    if let Some(balance) = Balance::of(scope, service, policy) {
        let common = cluster.common_lb_config.get_or_insert_default();
        common.locality_config_specifier = balance.specifier(has_outlier_detection);
        if let Some(assignment) = &mut cluster.load_assignment {
            assignment.endpoints = balance.apply(scope, inline, has_outlier_detection);
        }
    }
    let original_dst = ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into());
    if cluster.cluster_discovery_type.as_ref() == Some(&original_dst) {
        cluster.lb_policy = LbPolicy::ClusterProvided.into();
        return;
    }
    let unspecified = LoadBalancer::default();
    let balancer = policy.load_balancer.as_ref().unwrap_or(&unspecified);
    let slow_start_config = balancer.warmup.map(slow_start);
    let lb_policy = match balancer.simple {
        SimpleLb::Unspecified | SimpleLb::LeastRequest => {
            cluster.lb_config = slow_start_config.map(|config| {
                LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                    slow_start_config: Some(config),
                    ..Default::default()
                })
            });
            LbPolicy::LeastRequest
        }
        SimpleLb::RoundRobin => {
            cluster.lb_config = slow_start_config.map(|config| {
                LbConfig::RoundRobinLbConfig(RoundRobinLbConfig {
                    slow_start_config: Some(config),
                })
            });
            LbPolicy::RoundRobin
        }
        SimpleLb::Random => LbPolicy::Random,
        SimpleLb::Passthrough => {
            cluster.cluster_discovery_type = Some(original_dst);
            cluster.load_assignment = None;
            LbPolicy::ClusterProvided
        }
    };
    cluster.lb_policy = lb_policy.into();
    let Some(hash) = &balancer.consistent_hash else {
        return;
    };
    let ring = |size: u64| {
        LbConfig::RingHashLbConfig(RingHashLbConfig {
            minimum_ring_size: Some(size),
            ..Default::default()
        })
    };
    let (lb_policy, config) = match hash.algorithm {
        HashAlgorithm::Maglev(size) => {
            let config = LbConfig::MaglevLbConfig(MaglevLbConfig {
                table_size: Some(size),
            });
            (LbPolicy::Maglev, (size > 0).then_some(config))
        }
        HashAlgorithm::Ring(size) => (LbPolicy::RingHash, (size > 0).then(|| ring(size))),
        HashAlgorithm::Default(size) => (LbPolicy::RingHash, Some(ring(size))),
    };
    cluster.lb_policy = lb_policy.into();
    if config.is_some() {
        cluster.lb_config = config;
    }
}

fn slow_start(warmup: Warmup) -> SlowStartConfig {
    let window = |window: Duration| Some(duration(window));
    match warmup {
        Warmup::Old(time) => SlowStartConfig {
            slow_start_window: window(time),
            ..Default::default()
        },
        Warmup::New {
            duration: time,
            minimum_percent,
            aggression,
        } => SlowStartConfig {
            slow_start_window: window(time),
            aggression: Some(RuntimeDouble {
                default_value: aggression,
                runtime_key: NO_RUNTIME_KEY.to_owned(),
            }),
            min_weight_percent: Some(Percent {
                value: minimum_percent,
            }),
        },
    }
}
