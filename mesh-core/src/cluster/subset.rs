//! Subsets of a cluster by endpoint metadata (Envoy `subset_lb.cc`): each has a load state of its own.

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::{
    endpoint::Endpoint,
    endpoint_set::EndpointSet,
    load::{Balancing, LoadState},
};
use crate::model::{
    Criteria, MetadataValue, SelectorFallback, SubsetConfig, SubsetFallback, SubsetSelector,
};

/// The load states of all subsets that have endpoints.
#[derive(Debug)]
pub(super) struct Subsets {
    by_criteria: HashMap<Criteria, LoadState>,
    /// Where `default_subset` is a fallback of any kind.
    default: Option<LoadState>,
}

/// Which endpoints a request picks from.
#[derive(Debug)]
pub(super) enum Chosen<'a> {
    Subset(&'a LoadState),
    /// All endpoints of the cluster.
    All,
    None,
}

impl Subsets {
    /// One load state for every combination of values that the selectors' keys have among the endpoints.
    pub(super) fn build(
        set: &EndpointSet,
        config: &SubsetConfig,
        rules: &Balancing,
        now: Option<Instant>,
    ) -> Self {
        let scaled = config.scale_locality_weight;
        let state = |keep: &dyn Fn(&Endpoint) -> bool| {
            LoadState::build_whole(&set.filtered(keep, scaled), rules, None, now)
        };
        let mut by_criteria = HashMap::new();
        for selector in &config.selectors {
            for criteria in combinations(set, selector, config.list_as_any) {
                by_criteria.entry(criteria).or_insert_with_key(|criteria| {
                    state(&|endpoint| fits(endpoint, criteria, config.list_as_any))
                });
            }
        }
        let default = uses_default(config)
            .then(|| state(&|endpoint| fits(endpoint, &config.default_subset, config.list_as_any)));
        Self {
            by_criteria,
            default,
        }
    }

    /// The subset of a request's criteria, else what the fallbacks say. The flag: it is a fallback of the cluster,
    /// after which `panic_mode_any` may follow. Allocates only for `KEYS_SUBSET`.
    pub(super) fn choose(&self, config: &SubsetConfig, criteria: &Criteria) -> (Chosen<'_>, bool) {
        if !criteria.is_empty() {
            if let Some(state) = self.by_criteria.get(criteria) {
                return (Chosen::Subset(state), false);
            }
            let selector = config
                .selectors
                .iter()
                .find(|s| s.keys.iter().eq(criteria.iter().map(|(key, _)| key)));
            match selector.and_then(|selector| selector.fallback.as_ref()) {
                None => {}
                Some(SelectorFallback::Cluster(fallback)) => {
                    return (self.fallback(*fallback), false);
                }
                Some(SelectorFallback::Keys(keys)) => {
                    let kept = criteria.iter().filter(|(key, _)| keys.contains(key));
                    let kept: Criteria = kept.cloned().collect();
                    // Fewer keys than before, or it would go round for ever.
                    if kept.len() < criteria.len() {
                        return self.choose(config, &kept);
                    }
                }
            }
        }
        (self.fallback(config.fallback), true)
    }

    fn fallback(&self, fallback: SubsetFallback) -> Chosen<'_> {
        match (fallback, &self.default) {
            (SubsetFallback::Any, _) => Chosen::All,
            (SubsetFallback::Default, Some(default)) => Chosen::Subset(default),
            _ => Chosen::None,
        }
    }
}

fn uses_default(config: &SubsetConfig) -> bool {
    let by_selector = config.selectors.iter().any(|selector| {
        selector.fallback == Some(SelectorFallback::Cluster(SubsetFallback::Default))
    });
    config.fallback == SubsetFallback::Default || by_selector
}

/// All combinations of values that endpoints have for a selector's keys.
fn combinations(set: &EndpointSet, selector: &SubsetSelector, list_as_any: bool) -> Vec<Criteria> {
    let mut all = Vec::new();
    for endpoint in set.endpoints() {
        let mut of_endpoint: Vec<Criteria> = vec![Vec::new()];
        for key in &selector.keys {
            let values = values(endpoint, key, list_as_any);
            of_endpoint = of_endpoint
                .iter()
                .flat_map(|so_far| {
                    values.iter().map(|value| {
                        let mut next = so_far.clone();
                        next.push((Arc::clone(key), value.clone()));
                        next
                    })
                })
                .collect();
        }
        all.append(&mut of_endpoint);
    }
    all.sort();
    all.dedup();
    all
}

fn values(endpoint: &Endpoint, key: &str, list_as_any: bool) -> Vec<MetadataValue> {
    let metadata = &endpoint.config().lb_metadata;
    let Some((_, value)) = metadata.iter().find(|(name, _)| **name == *key) else {
        return Vec::new();
    };
    match &value.elements {
        Some(elements) if list_as_any => elements.to_vec(),
        _ => vec![value.whole.clone()],
    }
}

fn fits(endpoint: &Endpoint, criteria: &Criteria, list_as_any: bool) -> bool {
    criteria
        .iter()
        .all(|(key, wanted)| values(endpoint, key, list_as_any).contains(wanted))
}
