use mesh_proto::envoy::config::route::v3::route_action as rt;
use mesh_proto::envoy::r#type::v3 as tcp;
use rt::hash_policy::{self, PolicySpecifier};

use super::address::duration;
use crate::model::{ConsistentHash, Destination, DestinationRule, HashKey, TrafficPolicy};

fn of_policy(policy: Option<&TrafficPolicy>) -> Option<&ConsistentHash> {
    policy?.load_balancer.as_ref()?.consistent_hash.as_ref()
}

fn of_port(policy: Option<&TrafficPolicy>, port: u32) -> Option<&ConsistentHash> {
    of_policy(policy?.ports.get(&port))
}

/// The hash by which requests to a destination are spread: the subset's for the port, the subset's, the rule's
/// for the port, the rule's. A port counts only if the destination names it.
pub(super) fn of_destination<'a>(
    rule: &'a DestinationRule,
    destination: &Destination,
) -> Option<&'a ConsistentHash> {
    let whole = rule.traffic_policy.as_ref();
    let subset = rule
        .subsets
        .iter()
        .find(|s| s.name == destination.subset)
        .and_then(|s| s.traffic_policy.as_ref());
    let for_port = |policy| destination.port.and_then(|port| of_port(policy, port));
    for_port(subset)
        .or_else(|| of_policy(subset))
        .or_else(|| for_port(whole))
        .or_else(|| of_policy(whole))
}

/// The hash by which requests to a service without a VirtualService are spread.
pub(super) fn of_service(rule: &DestinationRule, port: u32) -> Option<&ConsistentHash> {
    let whole = rule.traffic_policy.as_ref();
    of_port(whole, port).or_else(|| of_policy(whole))
}

/// `None` if the hash has no key.
pub(super) fn route_policy(hash: &ConsistentHash) -> Option<rt::HashPolicy> {
    let specifier = match hash.key.as_ref()? {
        HashKey::Header(name) => PolicySpecifier::Header(hash_policy::Header {
            header_name: name.clone(),
            ..Default::default()
        }),
        HashKey::Cookie {
            name,
            path,
            ttl,
            attributes,
        } => PolicySpecifier::Cookie(hash_policy::Cookie {
            name: name.clone(),
            path: path.clone(),
            ttl: ttl.map(duration),
            attributes: attributes
                .iter()
                .map(|(name, value)| hash_policy::CookieAttribute {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
        }),
        HashKey::SourceIp(source_ip) => {
            PolicySpecifier::ConnectionProperties(hash_policy::ConnectionProperties {
                source_ip: *source_ip,
            })
        }
        HashKey::QueryParameter(name) => {
            PolicySpecifier::QueryParameter(hash_policy::QueryParameter { name: name.clone() })
        }
    };
    Some(rt::HashPolicy {
        policy_specifier: Some(specifier),
        ..Default::default()
    })
}

/// Connections are spread by their source, if the rule or the subset hashes by that.
pub(super) fn tcp_policies(rule: Option<&DestinationRule>, subset: &str) -> Vec<tcp::HashPolicy> {
    let Some(rule) = rule else { return Vec::new() };
    let by_source = |hash: Option<&ConsistentHash>| {
        hash.is_some_and(|hash| hash.key == Some(HashKey::SourceIp(true)))
    };
    let of_subset = rule
        .subsets
        .iter()
        .find(|s| s.name == subset)
        .and_then(|s| s.traffic_policy.as_ref())
        .filter(|policy| policy.load_balancer.is_some());
    let hashes = match of_subset {
        Some(policy) => by_source(of_policy(Some(policy))),
        None => by_source(of_policy(rule.traffic_policy.as_ref())),
    };
    match hashes {
        true => vec![tcp::HashPolicy {
            policy_specifier: Some(tcp::hash_policy::PolicySpecifier::SourceIp(
                tcp::hash_policy::SourceIp {},
            )),
        }],
        false => Vec::new(),
    }
}
