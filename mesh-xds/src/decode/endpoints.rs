//! `ClusterLoadAssignment`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use mesh_core::model::{
    ClusterLoadAssignment, EndpointConfig, EndpointHealth, EndpointHealthCheck, Fraction, Locality,
    LocalityEndpoints,
};
use mesh_proto::envoy::config::{
    core::v3::{Address, HealthStatus},
    endpoint::v3::{
        self as proto, cluster_load_assignment::policy::DropOverload, endpoint::HealthCheckConfig,
        lb_endpoint::HostIdentifier,
    },
};

use super::{
    metadata,
    scalar::{enumeration, fraction, name_and_port, socket_address},
    subset::{lb_metadata, socket_metadata},
};
use crate::problems::Problems;

/// Envoy's limit of `priority`.
const MAX_PRIORITY: u32 = 128;

/// `ClusterLoadAssignment`, its fields already checked against the table.
pub(super) fn load_assignment(
    p: &mut Problems,
    value: &proto::ClusterLoadAssignment,
) -> Option<ClusterLoadAssignment> {
    with_addresses(p, value, &mut socket_address)
}

/// The same with names for addresses: they come apart, in the order of the endpoints, whose own addresses have only the
/// port.
pub(super) fn named_assignment(
    p: &mut Problems,
    value: &proto::ClusterLoadAssignment,
) -> Option<(ClusterLoadAssignment, Vec<Arc<str>>)> {
    // Localities are sorted by priority, so their names are too.
    let mut value = value.clone();
    value.endpoints.sort_by_key(|locality| locality.priority);
    let mut names = Vec::new();
    let assignment = with_addresses(p, &value, &mut |p, address| {
        let (name, port) = name_and_port(p, address)?;
        names.push(name.into());
        Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
    })?;
    Some((assignment, names))
}

type ReadAddress<'a> = &'a mut dyn FnMut(&mut Problems, &Address) -> Option<SocketAddr>;

fn with_addresses(
    p: &mut Problems,
    value: &proto::ClusterLoadAssignment,
    address: ReadAddress<'_>,
) -> Option<ClusterLoadAssignment> {
    let mut assignment = ClusterLoadAssignment::default();
    assignment.cluster_name = p
        .require_text("cluster_name", &value.cluster_name)
        .unwrap_or_default()
        .into();
    assignment.localities = p.each("endpoints", &value.endpoints, |p, group| {
        locality(p, group, address)
    });
    // by priority, and in the order given within one
    assignment
        .localities
        .sort_by_key(|locality| locality.priority);
    assignment.overprovisioning_factor = value
        .policy
        .as_ref()
        .and_then(|policy| policy.overprovisioning_factor);
    if assignment.overprovisioning_factor == Some(0) {
        p.field("policy", |p| {
            p.error_at("overprovisioning_factor", "must be greater than 0")
        });
    }
    assignment.drop_overload = value
        .policy
        .as_ref()
        .and_then(|policy| p.field("policy", |p| drop_overload(p, &policy.drop_overloads)));
    Some(assignment)
}

/// Envoy supports one category.
fn drop_overload(p: &mut Problems, list: &[DropOverload]) -> Option<Fraction> {
    if list.len() > 1 {
        let count = list.len();
        p.error_at(
            "drop_overloads",
            format!(
                "Cluster drop_overloads config has {count} categories. Envoy only support one."
            ),
        );
        return None;
    }
    let found = p.each("drop_overloads", list, |p, drop| {
        p.require_text("category", &drop.category);
        match &drop.drop_percentage {
            Some(percentage) => p.field("drop_percentage", |p| fraction(p, percentage)),
            None => Some(Fraction::NEVER),
        }
    });
    found.first().copied().filter(|drop| drop.numerator > 0)
}

fn locality(
    p: &mut Problems,
    value: &proto::LocalityLbEndpoints,
    address: ReadAddress<'_>,
) -> Option<LocalityEndpoints> {
    let mut locality = LocalityEndpoints::default();
    if let Some(place) = &value.locality {
        let mut name = Locality::default();
        name.region = place.region.as_str().into();
        name.zone = place.zone.as_str().into();
        name.sub_zone = place.sub_zone.as_str().into();
        locality.locality = name;
    }
    // Envoy knows weights by the locality: without one there is none.
    locality.weight = value
        .load_balancing_weight
        .filter(|_| value.locality.is_some());
    if value.load_balancing_weight == Some(0) {
        p.error_at("load_balancing_weight", "must not be 0");
    }
    if value.priority > MAX_PRIORITY {
        p.error_at(
            "priority",
            format!("{} is greater than {MAX_PRIORITY}", value.priority),
        );
    }
    locality.priority = value.priority;
    locality.endpoints = p.each("lb_endpoints", &value.lb_endpoints, |p, value| {
        endpoint(p, value, address)
    });
    let sum: u64 = locality
        .endpoints
        .iter()
        .map(|endpoint| u64::from(endpoint.weight))
        .sum();
    if sum > u64::from(u32::MAX) {
        p.error_at(
            "lb_endpoints",
            format!(
                "the sum of load_balancing_weight {sum} exceeds {}",
                u32::MAX
            ),
        );
    }
    Some(locality)
}

fn endpoint(
    p: &mut Problems,
    value: &proto::LbEndpoint,
    read: ReadAddress<'_>,
) -> Option<EndpointConfig> {
    let Some(HostIdentifier::Endpoint(host)) = &value.host_identifier else {
        if value.host_identifier.is_none() {
            p.require("endpoint", None::<()>);
        }
        return None;
    };
    let address = p.field("endpoint", |p| {
        let address = p.require("address", host.address.as_ref())?;
        p.field("address", |p| read(p, address))
    });
    let mut endpoint = EndpointConfig::new(address?);
    endpoint.hostname = host.hostname.as_str().into();
    endpoint.health = match enumeration(p, "health_status", value.health_status)? {
        HealthStatus::Unknown | HealthStatus::Healthy => EndpointHealth::Healthy,
        HealthStatus::Degraded => EndpointHealth::Degraded,
        HealthStatus::Unhealthy | HealthStatus::Timeout => EndpointHealth::Unhealthy,
        HealthStatus::Draining => EndpointHealth::Draining,
    };
    endpoint.weight = value.load_balancing_weight.unwrap_or(1);
    if endpoint.weight == 0 {
        p.error_at("load_balancing_weight", "must not be 0");
    }
    endpoint.lb_metadata = lb_metadata(value.metadata.as_ref());
    endpoint.socket_metadata = socket_metadata(value.metadata.as_ref());
    endpoint.hash_key = metadata::hash_key(value.metadata.as_ref());
    endpoint.canary = metadata::is_canary(value.metadata.as_ref());
    endpoint.workload = metadata::workload(value.metadata.as_ref());
    if let Some(check) = &host.health_check_config {
        let decoded = p.field("endpoint", |p| {
            p.field("health_check_config", |p| {
                health_check_config(p, check, endpoint.address)
            })
        });
        endpoint.health_check = decoded
            .filter(|check| *check != EndpointHealthCheck::default())
            .map(Box::new);
    }
    Some(endpoint)
}

/// `Endpoint.HealthCheckConfig`.
fn health_check_config(
    p: &mut Problems,
    value: &HealthCheckConfig,
    endpoint: SocketAddr,
) -> Option<EndpointHealthCheck> {
    let mut check = EndpointHealthCheck::default();
    check.disabled = value.disable_active_health_check;
    check.hostname = value.hostname.as_str().into();
    let port = match u16::try_from(value.port_value) {
        Ok(port) => port,
        Err(_) => {
            let port = value.port_value;
            p.error_at("port_value", format!("{port} is greater than 65535"));
            return None;
        }
    };
    let own = match &value.address {
        Some(address) => Some(p.field("address", |p| socket_address(p, address))?),
        None => None,
    };
    let mut address = own.unwrap_or(endpoint);
    if port != 0 {
        address.set_port(port);
    }
    check.address = (address != endpoint).then_some(address);
    Some(check)
}
