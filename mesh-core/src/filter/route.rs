//! Per-route configuration, merged by position in the chain when configuration arrives.

use super::{
    CorsPolicy, FilterOverride,
    chain::{Filter, Kind},
    header_mutation::HeaderMutationOverride,
};
use crate::model::FilterOverrides;

/// What the levels of a route say of each filter of the chain.
#[derive(Clone, Debug, Default)]
pub struct RouteFilters {
    /// By position; empty if no filter is spoken of.
    merged: Box<[Merged]>,
}

/// Whether a filter runs, and how (Envoy `filterDisabled`, `mostSpecificPerFilterConfig`): these come from different
/// levels where the most specific one only turns the filter on or off.
#[derive(Clone, Debug, Default)]
struct Merged {
    enabled: Option<bool>,
    config: Option<FilterOverride>,
}

impl RouteFilters {
    /// `levels`: from the most to the least specific (weighted cluster, route, virtual host, route configuration).
    pub(super) fn merge(filters: &[Filter], levels: &[&FilterOverrides]) -> Self {
        let merged: Box<[_]> = filters.iter().map(|filter| merge(filter, levels)).collect();
        if merged
            .iter()
            .all(|merged| merged.enabled.is_none() && merged.config.is_none())
        {
            return Self::default();
        }
        Self { merged }
    }

    /// Whether a filter runs; None: as the chain says.
    pub(super) fn enabled(&self, at: usize) -> Option<bool> {
        self.merged.get(at)?.enabled
    }

    pub(super) fn config(&self, at: usize) -> Option<&FilterOverride> {
        self.merged.get(at)?.config.as_ref()
    }

    /// Whether the route says nothing about any filter of the chain.
    pub fn is_empty(&self) -> bool {
        self.merged.is_empty()
    }
}

fn merge(filter: &Filter, levels: &[&FilterOverrides]) -> Merged {
    let named = || {
        levels.iter().flat_map(|level| {
            level
                .iter()
                .filter(|(name, _)| *name == filter.name)
                .map(|(_, config)| config)
        })
    };
    let enabled = named()
        .next()
        .map(|config| !matches!(config, FilterOverride::Disabled));
    let mut configs =
        named().filter(|c| !matches!(c, FilterOverride::Disabled | FilterOverride::Enabled));
    let config = match (&filter.kind, configs.next()) {
        (Kind::HeaderMutation(mutation), Some(_)) => {
            let of_level = |config: &FilterOverride| match config {
                FilterOverride::HeaderMutation(level) => Some(level.clone()),
                _ => None,
            };
            let specific_first: Vec<_> = named().filter_map(of_level).collect();
            Some(FilterOverride::HeaderMutation(
                HeaderMutationOverride::merge(specific_first, mutation.most_specific_wins),
            ))
        }
        (Kind::JwtAuthn(jwt), Some(FilterOverride::JwtAuthn(route))) => {
            Some(FilterOverride::JwtAuthn(jwt.resolve(route)))
        }
        (Kind::LocalRateLimit(_, surroundings), Some(FilterOverride::LocalRateLimit(limit))) => {
            limit.resolve(&surroundings.unscoped);
            Some(FilterOverride::LocalRateLimit(limit.clone()))
        }
        (_, Some(FilterOverride::Cors(policy))) => {
            let general = configs.filter_map(|config| match config {
                FilterOverride::Cors(policy) => Some(&**policy),
                _ => None,
            });
            Some(FilterOverride::Cors(CorsPolicy::merge(policy, general)))
        }
        (_, config) => config.cloned(),
    };
    Merged { enabled, config }
}
