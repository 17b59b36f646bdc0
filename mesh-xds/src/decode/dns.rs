//! `STRICT_DNS`, `LOGICAL_DNS` and the extension `envoy.clusters.dns`.

use std::{sync::Arc, time::Duration};

use mesh_core::model::{ClusterDiscovery, DnsDiscovery, DnsLookupFamily};
use mesh_proto::envoy::{
    config::cluster::v3::{
        self as proto,
        cluster::{DiscoveryType, DnsLookupFamily as LegacyFamily},
    },
    extensions::clusters::{
        common::dns::v3::DnsLookupFamily as Family,
        dns::v3::{DnsCluster, dns_cluster::RefreshRate},
    },
};

use super::{
    any::unpack_checked,
    endpoints::named_assignment,
    scalar::{duration_or, enumeration},
};
use crate::problems::Problems;

/// A cluster of one of the two types, with the cluster's own fields.
pub(super) fn dns(
    p: &mut Problems,
    value: &proto::Cluster,
    kind: DiscoveryType,
) -> Option<ClusterDiscovery> {
    let family = enumeration(p, "dns_lookup_family", value.dns_lookup_family)?;
    let mut discovery = names(p, value, kind == DiscoveryType::LogicalDns)?;
    discovery.lookup_family = match family {
        LegacyFamily::Auto => DnsLookupFamily::Auto,
        LegacyFamily::V4Only => DnsLookupFamily::V4Only,
        LegacyFamily::V6Only => DnsLookupFamily::V6Only,
        LegacyFamily::V4Preferred => DnsLookupFamily::V4Preferred,
        LegacyFamily::All => DnsLookupFamily::All,
    };
    let failure = value.dns_failure_refresh_rate.as_ref();
    rates(
        p,
        &mut discovery,
        value.dns_refresh_rate.as_ref(),
        failure.map(|f| (f.base_interval.as_ref(), f.max_interval.as_ref())),
        value.dns_jitter.as_ref(),
    );
    discovery.respect_ttl = value.respect_dns_ttl;
    Some(addresses_are_static(discovery))
}

/// `cluster_type` of name `envoy.clusters.dns` or with its message.
pub(super) fn dns_extension(
    p: &mut Problems,
    value: &proto::Cluster,
    config: &prost_types::Any,
) -> Option<ClusterDiscovery> {
    let config: DnsCluster = unpack_checked(p, config)?;
    let family = enumeration(p, "dns_lookup_family", config.dns_lookup_family)?;
    let mut discovery = names(p, value, config.all_addresses_in_single_endpoint)?;
    discovery.lookup_family = match family {
        Family::Unspecified | Family::Auto => DnsLookupFamily::Auto,
        Family::V4Only => DnsLookupFamily::V4Only,
        Family::V6Only => DnsLookupFamily::V6Only,
        Family::V4Preferred => DnsLookupFamily::V4Preferred,
        Family::All => DnsLookupFamily::All,
    };
    let failure: Option<&RefreshRate> = config.dns_failure_refresh_rate.as_ref();
    rates(
        p,
        &mut discovery,
        config.dns_refresh_rate.as_ref(),
        failure.map(|f| (f.base_interval.as_ref(), f.max_interval.as_ref())),
        config.dns_jitter.as_ref(),
    );
    discovery.respect_ttl = config.respect_dns_ttl;
    Some(addresses_are_static(discovery))
}

fn names(p: &mut Problems, value: &proto::Cluster, logical: bool) -> Option<DnsDiscovery> {
    let (assignment, names) = match &value.load_assignment {
        Some(assignment) => p.field("load_assignment", |p| named_assignment(p, assignment))?,
        None => Default::default(),
    };
    let groups = value
        .load_assignment
        .as_ref()
        .map_or(&[][..], |a| &a.endpoints);
    if logical && !matches!(groups, [group] if group.lb_endpoints.len() == 1) {
        p.error_at(
            "load_assignment",
            "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint",
        );
    }
    Some(DnsDiscovery::new(assignment, names, logical))
}

type Interval<'a> = Option<&'a prost_types::Duration>;

fn rates(
    p: &mut Problems,
    discovery: &mut DnsDiscovery,
    refresh: Interval<'_>,
    failure: Option<(Interval<'_>, Interval<'_>)>,
    jitter: Interval<'_>,
) {
    discovery.refresh_rate = interval(p, "dns_refresh_rate", refresh, discovery.refresh_rate);
    discovery.failure_refresh_rate = failure.map(|(base, longest)| {
        p.field("dns_failure_refresh_rate", |p| {
            if base.is_none() {
                p.error_at("base_interval", "must be set");
            }
            let base = interval(p, "base_interval", base, discovery.refresh_rate);
            let longest = interval(p, "max_interval", longest, base * 10);
            if longest < base {
                p.error_at("max_interval", "must not be less than base_interval");
            }
            (base, longest)
        })
    });
    discovery.jitter = duration_or(p, "dns_jitter", jitter, Duration::ZERO);
}

fn interval(
    p: &mut Problems,
    name: &'static str,
    value: Interval<'_>,
    default: Duration,
) -> Duration {
    let interval = duration_or(p, name, value, default);
    if interval <= Duration::from_millis(1) {
        p.error_at(name, "must be greater than 0.001s");
    }
    interval
}

/// Where every name is an address there is nothing to resolve.
fn addresses_are_static(discovery: DnsDiscovery) -> ClusterDiscovery {
    let addresses: Option<Vec<_>> = discovery
        .names
        .iter()
        .map(|name| name.parse().ok().map(|ip| vec![ip]))
        .collect();
    match addresses {
        Some(addresses) => ClusterDiscovery::Static(Arc::new(discovery.resolve(&addresses))),
        None => ClusterDiscovery::Dns(Arc::new(discovery)),
    }
}
