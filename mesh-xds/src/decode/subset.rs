//! Subsets: `lb_subset_config`, `metadata_match` of routes, `envoy.lb` metadata of endpoints.

use std::sync::Arc;

use mesh_core::model::{
    Criteria, EndpointValue, MetadataValue, SelectorFallback, SubsetConfig, SubsetFallback,
    SubsetSelector,
};
use mesh_proto::envoy::{
    config::{
        cluster::v3::cluster::{
            LbSubsetConfig,
            lb_subset_config::{
                LbSubsetFallbackPolicy as Fallback, LbSubsetMetadataFallbackPolicy as Metadata,
                LbSubsetSelector, lb_subset_selector::LbSubsetSelectorFallbackPolicy as OfSelector,
            },
        },
        core::v3,
    },
    extensions::load_balancing_policies::subset::v3::Subset,
};
use prost_types::{Struct, Value, value::Kind};

use super::scalar::enumeration;
use crate::problems::Problems;

/// The metadata namespace of load balancing.
const LB: &str = "envoy.lb";

/// `LbSubsetConfig`; None: it has no selectors, which is none.
pub(super) fn subset(p: &mut Problems, value: &LbSubsetConfig) -> Option<SubsetConfig> {
    let mut config = SubsetConfig::default();
    config.fallback = match enumeration(p, "fallback_policy", value.fallback_policy)? {
        Fallback::NoFallback => SubsetFallback::None,
        Fallback::AnyEndpoint => SubsetFallback::Any,
        Fallback::DefaultSubset => SubsetFallback::Default,
    };
    let metadata = enumeration(
        p,
        "metadata_fallback_policy",
        value.metadata_fallback_policy,
    );
    config.fallback_list = metadata == Some(Metadata::FallbackList);
    if let Some(default) = &value.default_subset {
        config.default_subset = criteria(default);
    }
    config.selectors = p.each("subset_selectors", &value.subset_selectors, selector);
    config.locality_weight_aware = value.locality_weight_aware;
    config.scale_locality_weight = value.scale_locality_weight;
    if value.scale_locality_weight && !value.locality_weight_aware {
        p.error_at(
            "scale_locality_weight",
            "Locality weight aware subset LB requires that a locality_weight_aware be set",
        );
    }
    config.panic_mode_any = value.panic_mode_any;
    config.list_as_any = value.list_as_any;
    (!value.subset_selectors.is_empty()).then_some(config)
}

/// The typed `Subset`: the same fields and numbers.
pub(super) fn typed_subset(p: &mut Problems, value: Subset) -> Option<SubsetConfig> {
    let selectors = value.subset_selectors.into_iter();
    let legacy = LbSubsetConfig {
        fallback_policy: value.fallback_policy,
        default_subset: value.default_subset,
        subset_selectors: selectors
            .map(|selector| LbSubsetSelector {
                keys: selector.keys,
                single_host_per_subset: selector.single_host_per_subset,
                fallback_policy: selector.fallback_policy,
                fallback_keys_subset: selector.fallback_keys_subset,
            })
            .collect(),
        locality_weight_aware: value.locality_weight_aware,
        scale_locality_weight: value.scale_locality_weight,
        panic_mode_any: value.panic_mode_any,
        list_as_any: value.list_as_any,
        metadata_fallback_policy: value.metadata_fallback_policy,
    };
    let mut config = subset(p, &legacy)?;
    config.allow_redundant_keys = value.allow_redundant_keys;
    Some(config)
}

fn selector(p: &mut Problems, value: &LbSubsetSelector) -> Option<SubsetSelector> {
    let keys: Vec<Arc<str>> = sorted(&value.keys);
    let fallback = match enumeration(p, "fallback_policy", value.fallback_policy)? {
        OfSelector::NotDefined => None,
        OfSelector::NoFallback => Some(SelectorFallback::Cluster(SubsetFallback::None)),
        OfSelector::AnyEndpoint => Some(SelectorFallback::Cluster(SubsetFallback::Any)),
        OfSelector::DefaultSubset => Some(SelectorFallback::Cluster(SubsetFallback::Default)),
        OfSelector::KeysSubset => {
            let of = sorted(&value.fallback_keys_subset);
            // Envoy `SubsetSelector`: not empty, part of the keys, and fewer.
            if of.is_empty() {
                p.error_at(
                    "fallback_keys_subset",
                    "fallback_keys_subset cannot be empty",
                );
            } else if !of.iter().all(|key| keys.contains(key)) {
                p.error_at(
                    "fallback_keys_subset",
                    "fallback_keys_subset must be a subset of selector keys",
                );
            } else if of.len() == keys.len() {
                p.error_at(
                    "fallback_keys_subset",
                    "fallback_keys_subset cannot be equal to keys",
                );
            }
            Some(SelectorFallback::Keys(of))
        }
    };
    let mut selector = SubsetSelector::new(keys, fallback);
    selector.single_host = value.single_host_per_subset;
    Some(selector)
}

fn sorted(keys: &[String]) -> Vec<Arc<str>> {
    let mut keys: Vec<Arc<str>> = keys.iter().map(|key| key.as_str().into()).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// `metadata_match` of a route or a weighted cluster.
pub(super) fn metadata_match(value: Option<&v3::Metadata>) -> Criteria {
    let lb = value.and_then(|metadata| metadata.filter_metadata.get(LB));
    lb.map(criteria).unwrap_or_default()
}

/// `envoy.lb` metadata of an endpoint.
pub(super) fn lb_metadata(value: Option<&v3::Metadata>) -> Vec<(Arc<str>, EndpointValue)> {
    let Some(lb) = value.and_then(|metadata| metadata.filter_metadata.get(LB)) else {
        return Vec::new();
    };
    let value_of = |value: &Value| EndpointValue {
        whole: whole(value),
        elements: match &value.kind {
            Some(Kind::ListValue(list)) => Some(list.values.iter().map(whole).collect()),
            _ => None,
        },
    };
    lb.fields
        .iter()
        .map(|(key, value)| (key.as_str().into(), value_of(value)))
        .collect()
}

/// A struct by itself, sorted by key.
pub(super) fn struct_criteria(value: &Struct) -> Criteria {
    criteria(value)
}

/// `envoy.transport_socket_match` metadata of an endpoint.
pub(super) fn socket_metadata(value: Option<&v3::Metadata>) -> Criteria {
    let fields = value.and_then(|m| m.filter_metadata.get("envoy.transport_socket_match"));
    fields.map(criteria).unwrap_or_default()
}

fn criteria(value: &Struct) -> Criteria {
    let fields = value.fields.iter();
    let mut criteria: Criteria = fields
        .map(|(key, value)| (key.as_str().into(), whole(value)))
        .collect();
    criteria.sort();
    criteria
}

fn whole(value: &Value) -> MetadataValue {
    let mut text = String::new();
    write(value, &mut text);
    MetadataValue::new(text)
}

/// Equal values are equal texts: keys in order, texts quoted.
fn write(value: &Value, out: &mut String) {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => out.push_str("null"),
        Some(Kind::NumberValue(number)) => out.push_str(&(number + 0.0).to_string()),
        Some(Kind::StringValue(text)) => out.push_str(&format!("{text:?}")),
        Some(Kind::BoolValue(value)) => out.push_str(&value.to_string()),
        Some(Kind::ListValue(list)) => {
            out.push('[');
            for value in &list.values {
                write(value, out);
                out.push(',');
            }
            out.push(']');
        }
        Some(Kind::StructValue(value)) => {
            let mut fields: Vec<_> = value.fields.iter().collect();
            fields.sort_by(|a, b| a.0.cmp(b.0));
            out.push('{');
            for (key, value) in fields {
                out.push_str(&format!("{key:?}:"));
                write(value, out);
                out.push(',');
            }
            out.push('}');
        }
    }
}
