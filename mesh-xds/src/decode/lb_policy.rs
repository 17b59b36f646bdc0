//! Load balancing: `lb_policy`, or `load_balancing_policy`, which wins.

use mesh_core::model::{HashPolicy, LbPolicy, SlowStart, SubsetConfig, ZoneAware};
use mesh_proto::envoy::{
    config::cluster::v3::{
        self as proto,
        cluster::{
            ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy as Policy,
            LeastRequestLbConfig, SlowStartConfig as LegacySlowStart,
        },
    },
    config::core::v3::RuntimeDouble,
    extensions::load_balancing_policies::{
        cluster_provided::v3::ClusterProvided, common::v3::LocalityLbConfig,
        common::v3::SlowStartConfig as TypedSlowStart,
        common::v3::locality_lb_config::LocalityConfigSpecifier, least_request::v3::LeastRequest,
        least_request::v3::least_request::SelectionMethod, random::v3::Random,
        round_robin::v3::RoundRobin, subset::v3::Subset, wrr_locality::v3::WrrLocality,
    },
    r#type::v3::Percent,
};
use prost_types::Any;

use super::{
    any::{short_name, unpack_checked},
    consistent_hashing::{legacy_maglev, legacy_ring_hash, typed_maglev, typed_ring_hash},
    scalar::{duration, enumeration, percent},
    subset::typed_subset,
};
use crate::problems::Problems;

/// A policy and whether localities are weighted.
pub(super) struct Chosen {
    pub(super) policy: LbPolicy,
    pub(super) locality_weighted: bool,
    /// Instead of the routes'.
    pub(super) hash_policies: Option<Box<[HashPolicy]>>,
    pub(super) slow_start: Option<SlowStart>,
    pub(super) zone_aware: ZoneAware,
    pub(super) subset: Option<SubsetConfig>,
}

impl From<LbPolicy> for Chosen {
    fn from(policy: LbPolicy) -> Self {
        Self {
            policy,
            locality_weighted: false,
            hash_policies: None,
            slow_start: None,
            zone_aware: ZoneAware::default(),
            subset: None,
        }
    }
}

impl Chosen {
    fn weighted(mut self, p: &mut Problems, config: Option<&LocalityLbConfig>) -> Self {
        match config.and_then(|config| config.locality_config_specifier.as_ref()) {
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => {
                self.locality_weighted = true;
            }
            Some(LocalityConfigSpecifier::ZoneAwareLbConfig(config)) => {
                self.zone_aware = p.field("locality_lb_config", |p| {
                    p.field("zone_aware_lb_config", |p| {
                        let enabled = config.routing_enabled.as_ref();
                        let fail = config.fail_traffic_on_panic;
                        let mut zone_aware = zone_aware(p, enabled, config.min_cluster_size, fail);
                        zone_aware.force_locality_direct_routing =
                            config.force_locality_direct_routing;
                        zone_aware
                    })
                });
            }
            None => {}
        }
        self
    }
}

/// The cluster's policy; None: it is wrong.
pub(super) fn lb_policy(p: &mut Problems, value: &proto::Cluster) -> Option<Chosen> {
    if let Some(policy) = &value.load_balancing_policy {
        not_twice(p, value);
        return p.field("load_balancing_policy", |p| first_supported(p, policy));
    }
    hostnames_of_dns(p, value);
    let kind = enumeration::<Policy>(p, "lb_policy", value.lb_policy)?;
    let common = value.common_lb_config.as_ref();
    let hashing = common.and_then(|common| common.consistent_hashing_lb_config.as_ref());
    let mut slow_start = None;
    let policy = match kind {
        Policy::RoundRobin => {
            if let Some(LbConfig::RoundRobinLbConfig(config)) = &value.lb_config {
                slow_start = p.field("round_robin_lb_config", |p| {
                    legacy_slow_start(p, config.slow_start_config.as_ref())
                });
            }
            LbPolicy::RoundRobin
        }
        Policy::LeastRequest => {
            let config = match &value.lb_config {
                Some(LbConfig::LeastRequestLbConfig(config)) => Some(config),
                _ => None,
            };
            p.field("least_request_lb_config", |p| {
                let config = config.cloned().unwrap_or_default();
                slow_start = legacy_slow_start(p, config.slow_start_config.as_ref());
                legacy_least_request(p, &config)
            })
        }
        Policy::Random => LbPolicy::Random,
        Policy::ClusterProvided => LbPolicy::ClusterProvided,
        Policy::RingHash => {
            let config = match &value.lb_config {
                Some(LbConfig::RingHashLbConfig(config)) => Some(config),
                _ => None,
            };
            legacy_ring_hash(p, config, hashing)?
        }
        Policy::Maglev => {
            let config = match &value.lb_config {
                Some(LbConfig::MaglevLbConfig(config)) => Some(config),
                _ => None,
            };
            legacy_maglev(p, config, hashing)
        }
        Policy::LoadBalancingPolicyConfig => {
            p.error_at(
                "load_balancing_policy",
                "must be set because lb_policy is LOAD_BALANCING_POLICY_CONFIG",
            );
            return None;
        }
    };
    let mut chosen = Chosen::from(policy);
    chosen.slow_start = slow_start;
    Some(chosen)
}

/// `ZoneAwareLbConfig` of either kind.
pub(super) fn zone_aware(
    p: &mut Problems,
    enabled: Option<&Percent>,
    min_cluster_size: Option<u64>,
    fail_traffic_on_panic: bool,
) -> ZoneAware {
    let mut config = ZoneAware::default();
    if let Some(percent) = percent(p, "routing_enabled", enabled) {
        config.routing_enabled = percent.round() as u32;
    }
    config.min_cluster_size = min_cluster_size.unwrap_or(config.min_cluster_size);
    config.fail_traffic_on_panic = fail_traffic_on_panic;
    config
}

/// Envoy hashes hostnames only of `STRICT_DNS` (`cluster_factory_impl.cc`); of a typed policy it does not ask.
fn hostnames_of_dns(p: &mut Problems, value: &proto::Cluster) {
    let common = value.common_lb_config.as_ref();
    let hashing = common.and_then(|common| common.consistent_hashing_lb_config.as_ref());
    if hashing.is_some_and(|hashing| hashing.use_hostname_for_hashing)
        && value.cluster_discovery_type
            != Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into()))
    {
        p.field("common_lb_config", |p| {
            p.field("consistent_hashing_lb_config", |p| {
                p.error_at("use_hostname_for_hashing", "goes only with type STRICT_DNS");
            });
        });
    }
}

/// What `load_balancing_policy` says must not be said by the older fields too (Envoy `configureLbPolicies`).
fn not_twice(p: &mut Problems, value: &proto::Cluster) {
    let Some(common) = &value.common_lb_config else {
        return;
    };
    let localities = common.locality_config_specifier.is_some();
    if localities || common.consistent_hashing_lb_config.is_some() {
        p.error_at(
            "common_lb_config",
            "load_balancing_policy cannot be combined with zone_aware_lb_config, \
             locality_weighted_lb_config or consistent_hashing_lb_config",
        );
    }
}

fn legacy_least_request(p: &mut Problems, config: &LeastRequestLbConfig) -> LbPolicy {
    let bias = config.active_request_bias.as_ref();
    least_request(p, config.choice_count, bias.map(|bias| bias.default_value))
}

fn legacy_slow_start(p: &mut Problems, config: Option<&LegacySlowStart>) -> Option<SlowStart> {
    let config = config?;
    p.field("slow_start_config", |p| {
        let window = config.slow_start_window.as_ref();
        let aggression = config.aggression.as_ref();
        slow_start(p, window, aggression, config.min_weight_percent.as_ref())
    })
}

fn typed_slow_start(p: &mut Problems, config: Option<&TypedSlowStart>) -> Option<SlowStart> {
    let config = config?;
    p.field("slow_start_config", |p| {
        let window = config.slow_start_window.as_ref();
        let aggression = config.aggression.as_ref();
        slow_start(p, window, aggression, config.min_weight_percent.as_ref())
    })
}

/// A window of no length is none; an aggression that is not positive is 1.0, as in Envoy.
fn slow_start(
    p: &mut Problems,
    window: Option<&prost_types::Duration>,
    aggression: Option<&RuntimeDouble>,
    min_weight: Option<&Percent>,
) -> Option<SlowStart> {
    let window = duration(p, "slow_start_window", window).filter(|window| !window.is_zero());
    let min_weight = percent(p, "min_weight_percent", min_weight);
    let mut config = SlowStart::new(window?);
    if let Some(aggression) = aggression.map(|aggression| aggression.default_value)
        && aggression > 0.0
    {
        config.aggression = aggression;
    }
    config.min_weight_percent = min_weight.unwrap_or(config.min_weight_percent);
    Some(config)
}

fn least_request(p: &mut Problems, choice_count: Option<u32>, bias: Option<f64>) -> LbPolicy {
    let choice_count = choice_count.unwrap_or(2);
    if choice_count < 2 {
        p.error_at("choice_count", "must be at least 2");
    }
    let bias = bias.unwrap_or(1.0);
    if !(0.0..=1_000.0).contains(&bias) {
        p.error_at(
            "active_request_bias",
            format!("{bias} is not from 0 to 1000"),
        );
    }
    LbPolicy::LeastRequest {
        choice_count,
        active_request_bias_milli: (bias * 1_000.0) as u32,
    }
}

/// As Envoy: the first policy of the list that is known.
fn first_supported(p: &mut Problems, value: &proto::LoadBalancingPolicy) -> Option<Chosen> {
    let configs = value
        .policies
        .iter()
        .enumerate()
        .filter_map(|(at, policy)| {
            Some((
                at,
                policy
                    .typed_extension_config
                    .as_ref()?
                    .typed_config
                    .as_ref()?,
            ))
        });
    let mut unknown = Vec::new();
    for (at, config) in configs {
        let path = |p: &mut Problems| {
            p.index(at, |p| {
                p.field("typed_extension_config", |p| {
                    p.field("typed_config", |p| policy(p, config))
                })
            })
        };
        match p.field("policies", path) {
            Known::Policy(chosen) => return chosen,
            Known::No => unknown.push(short_name(&config.type_url).to_owned()),
        }
    }
    p.error_at(
        "policies",
        format!("none is supported yet, found [{}]", unknown.join(", ")),
    );
    None
}

enum Known {
    Policy(Option<Chosen>),
    No,
}

fn policy(p: &mut Problems, config: &Any) -> Known {
    Known::Policy(match short_name(&config.type_url) {
        "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin" => {
            unpack_checked::<RoundRobin>(p, config).map(|config| {
                let mut chosen = Chosen::from(LbPolicy::RoundRobin)
                    .weighted(p, config.locality_lb_config.as_ref());
                chosen.slow_start = typed_slow_start(p, config.slow_start_config.as_ref());
                chosen
            })
        }
        "envoy.extensions.load_balancing_policies.random.v3.Random" => {
            unpack_checked::<Random>(p, config).map(|config| {
                Chosen::from(LbPolicy::Random).weighted(p, config.locality_lb_config.as_ref())
            })
        }
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest" => {
            unpack_checked::<LeastRequest>(p, config).map(|config| {
                let bias = config
                    .active_request_bias
                    .as_ref()
                    .map(|bias| bias.default_value);
                let mut policy = least_request(p, config.choice_count, bias);
                let method = enumeration(p, "selection_method", config.selection_method);
                if let (
                    LbPolicy::LeastRequest { choice_count, .. },
                    Some(SelectionMethod::FullScan),
                ) = (&mut policy, method)
                {
                    *choice_count = 0;
                }
                let locality = config.locality_lb_config.as_ref();
                let mut chosen = Chosen::from(policy).weighted(p, locality);
                chosen.slow_start = typed_slow_start(p, config.slow_start_config.as_ref());
                chosen
            })
        }
        "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash" => {
            unpack_checked(p, config).and_then(|config| typed_ring_hash(p, &config))
        }
        "envoy.extensions.load_balancing_policies.maglev.v3.Maglev" => {
            unpack_checked(p, config).map(|config| typed_maglev(p, &config))
        }
        "envoy.extensions.load_balancing_policies.subset.v3.Subset" => {
            unpack_checked::<Subset>(p, config).and_then(|config| {
                let inner = p.require("subset_lb_policy", config.subset_lb_policy.as_ref())?;
                let mut chosen = p.field("subset_lb_policy", |p| first_supported(p, inner))?;
                if chosen.subset.is_some() || chosen.policy == LbPolicy::ClusterProvided {
                    p.error_at("subset_lb_policy", "must be a policy that picks by itself");
                }
                chosen.subset = typed_subset(p, config);
                Some(chosen)
            })
        }
        "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided" => {
            unpack_checked::<ClusterProvided>(p, config).map(|_| LbPolicy::ClusterProvided.into())
        }
        "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality" => {
            unpack_checked::<WrrLocality>(p, config).and_then(|config| {
                let inner = p.require(
                    "endpoint_picking_policy",
                    config.endpoint_picking_policy.as_ref(),
                )?;
                let chosen = p.field("endpoint_picking_policy", |p| first_supported(p, inner))?;
                // gRPC (gRFC A42) takes any; for gRPC this policy is sent.
                p.warn(
                    "Envoy takes only client_side_weighted_round_robin as endpoint_picking_policy",
                );
                Some(Chosen {
                    locality_weighted: true,
                    ..chosen
                })
            })
        }
        _ => return Known::No,
    })
}
