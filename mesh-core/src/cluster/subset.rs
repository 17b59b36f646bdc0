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
    by_criteria: HashMap<Criteria, Subset>,
    /// Where `default_subset` is a fallback of any kind.
    default: Option<LoadState>,
}

#[derive(Debug)]
enum Subset {
    Whole(LoadState),
    /// `single_host_per_subset`.
    Single(Arc<Endpoint>),
}

/// Which endpoints a request picks from.
#[derive(Debug)]
pub(super) enum Chosen<'a> {
    Subset(&'a LoadState),
    Single(&'a Arc<Endpoint>),
    /// All endpoints of the cluster.
    All,
    None,
}

impl Subsets {
    /// One load state for every combination of values that the selectors' keys have among the endpoints. `previous`:
    /// whose round-robin indices go on, as in Envoy, where a subset's balancer outlives changes of its hosts.
    pub(super) fn build(
        set: &EndpointSet,
        config: &SubsetConfig,
        rules: &Balancing,
        previous: Option<&Self>,
        now: Option<Instant>,
    ) -> Self {
        let scaled = config.scale_locality_weight;
        let state = |keep: &dyn Fn(&Endpoint) -> bool, previous: Option<&LoadState>| {
            LoadState::build_whole(&set.filtered(keep, scaled), rules, previous, now)
        };
        let mut by_criteria = HashMap::new();
        for selector in &config.selectors {
            for criteria in combinations(set, selector, config.list_as_any) {
                by_criteria.entry(criteria).or_insert_with_key(|criteria| {
                    let fits = |endpoint: &Endpoint| fits(endpoint, criteria, config.list_as_any);
                    match first(set, &fits).filter(|_| selector.single_host) {
                        Some(first) => Subset::Single(first),
                        None => {
                            let previous = previous.and_then(|previous| previous.whole(criteria));
                            Subset::Whole(state(&fits, previous))
                        }
                    }
                });
            }
        }
        let default = uses_default(config).then(|| {
            let previous = previous.and_then(|previous| previous.default.as_ref());
            let fits =
                |endpoint: &Endpoint| fits(endpoint, &config.default_subset, config.list_as_any);
            state(&fits, previous)
        });
        Self {
            by_criteria,
            default,
        }
    }

    fn whole(&self, criteria: &Criteria) -> Option<&LoadState> {
        match self.by_criteria.get(criteria)? {
            Subset::Whole(state) => Some(state),
            Subset::Single(_) => None,
        }
    }

    /// The subset of a request's criteria, else what the fallbacks say, and which of both it is. Allocates only for
    /// `KEYS_SUBSET` and `allow_redundant_keys`.
    pub(super) fn choose(&self, config: &SubsetConfig, criteria: &Criteria) -> (Chosen<'_>, By) {
        let needed = config
            .allow_redundant_keys
            .then(|| needed(config, criteria))
            .flatten();
        let criteria = needed.as_ref().unwrap_or(criteria);
        if !criteria.is_empty() {
            match self.by_criteria.get(criteria) {
                Some(Subset::Whole(state)) => return (Chosen::Subset(state), By::Criteria),
                Some(Subset::Single(endpoint)) => return (Chosen::Single(endpoint), By::Criteria),
                None => {}
            }
            let selector = config
                .selectors
                .iter()
                .find(|s| s.keys.iter().eq(criteria.iter().map(|(key, _)| key)));
            match selector.and_then(|selector| selector.fallback.as_ref()) {
                None => {}
                Some(SelectorFallback::Cluster(fallback)) => {
                    return (self.fallback(*fallback), By::Selector);
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
        (self.fallback(config.fallback), By::Cluster)
    }

    fn fallback(&self, fallback: SubsetFallback) -> Chosen<'_> {
        match (fallback, &self.default) {
            (SubsetFallback::Any, _) => Chosen::All,
            (SubsetFallback::Default, Some(default)) => Chosen::Subset(default),
            _ => Chosen::None,
        }
    }
}

/// What chose the endpoints of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Its criteria are a subset's.
    Criteria,
    /// The fallback of a selector.
    Selector,
    /// The fallback of the cluster: `panic_mode_any` may follow.
    Cluster,
}

/// Of the criteria those of the selector with the most keys, the first of them, that has all of its keys among them.
fn needed(config: &SubsetConfig, criteria: &Criteria) -> Option<Criteria> {
    let fits = |selector: &&SubsetSelector| {
        let keys = selector.keys.iter();
        keys.into_iter()
            .all(|key| criteria.iter().any(|(name, _)| name == key))
    };
    let fitting = config.selectors.iter().filter(fits);
    let longest = fitting.reduce(|best, next| match next.keys.len() > best.keys.len() {
        true => next,
        false => best,
    })?;
    let kept = criteria
        .iter()
        .filter(|(key, _)| longest.keys.contains(key));
    Some(kept.cloned().collect())
}

/// The first endpoint of the highest priority that has one.
fn first(set: &EndpointSet, fits: &dyn Fn(&Endpoint) -> bool) -> Option<Arc<Endpoint>> {
    let by_priority = set.priorities().iter().flat_map(|p| &p.endpoints);
    by_priority
        .into_iter()
        .find(|endpoint| fits(endpoint))
        .cloned()
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
