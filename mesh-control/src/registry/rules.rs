use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Service;
use crate::model::DestinationRule;

/// DestinationRules by namespace and host, those for the same host merged as Istio does.
#[derive(Debug, Default)]
pub(crate) struct RuleIndex {
    /// All rules of a namespace that its own workloads see.
    local: BTreeMap<String, Hosts>,
    /// Rules that other namespaces may see.
    exported: BTreeMap<String, Hosts>,
    /// What only the root namespace sees of its rules.
    root: Hosts,
}

#[derive(Debug, Default)]
struct Hosts(BTreeMap<String, Vec<Merged>>);

#[derive(Clone, Debug)]
struct Merged {
    export_to: BTreeSet<String>,
    rule: Arc<DestinationRule>,
}

impl RuleIndex {
    /// `rules` stand in their order of creation.
    pub(crate) fn new(rules: &[Arc<DestinationRule>], root_namespace: &str) -> Self {
        let mut index = RuleIndex::default();
        // those for some workloads come first
        let (special, general): (Vec<_>, Vec<_>) = rules
            .iter()
            .partition(|rule| rule.workload_labels.is_some());
        for rule in special.into_iter().chain(general) {
            let own = rule.metadata.namespace.as_str();
            let export_to: BTreeSet<String> = match rule.workload_labels {
                // only for the namespace's own
                Some(_) => [".".to_owned()].into(),
                None => rule.export_to.iter().cloned().collect(),
            };
            let has = |to: &str| export_to.contains(to);
            if export_to.is_empty() || has("*") || has(".") || has(own) {
                let local = index.local.entry(own.to_owned()).or_default();
                local.merge(rule, &export_to);
            }
            if !(export_to.len() == 1 && (has(".") || has(own))) {
                let exported = index.exported.entry(own.to_owned()).or_default();
                exported.merge(rule, &export_to);
            } else if own == root_namespace {
                index.root.merge(rule, &export_to);
            }
        }
        index
    }

    /// The rules for a service as a namespace sees them: its own, else the service's namespace's, else the root's.
    pub(crate) fn of(
        &self,
        service: &Service,
        client: &str,
        root_namespace: &str,
    ) -> Vec<Arc<DestinationRule>> {
        let local = if client == root_namespace {
            Some(&self.root)
        } else {
            self.local.get(client)
        };
        if let Some(rules) = local.and_then(|hosts| hosts.most_specific(&service.host)) {
            return rules.iter().map(|merged| merged.rule.clone()).collect();
        }
        for namespace in [service.namespace.as_str(), root_namespace] {
            let exported = self
                .exported
                .get(namespace)
                .and_then(|hosts| hosts.most_specific(&service.host));
            let seen: Vec<_> = exported
                .into_iter()
                .flatten()
                .filter(|merged| {
                    let to = &merged.export_to;
                    to.is_empty() || to.contains("*") || to.contains(client)
                })
                .map(|merged| merged.rule.clone())
                .collect();
            if !seen.is_empty() {
                return seen;
            }
        }
        Vec::new()
    }
}

impl Hosts {
    fn merge(&mut self, rule: &Arc<DestinationRule>, export_to: &BTreeSet<String>) {
        let Some(all) = self.0.get_mut(&rule.host) else {
            let merged = Merged {
                export_to: export_to.clone(),
                rule: rule.clone(),
            };
            self.0.insert(rule.host.clone(), vec![merged]);
            return;
        };
        let mut separate = true;
        for merged in all.iter_mut() {
            if *export_to == merged.export_to {
                separate = false;
            } else {
                separate = true;
                if merged.export_to.is_empty() || !export_to.is_superset(&merged.export_to) {
                    continue;
                }
            }
            match (&merged.rule.workload_labels, &rule.workload_labels) {
                (Some(a), Some(b)) if a != b => {
                    separate = true;
                    continue;
                }
                (None, None) | (Some(_), Some(_)) => separate = false,
                _ => {}
            }
            let into = Arc::make_mut(&mut merged.rule);
            for subset in &rule.subsets {
                if into.subsets.iter().all(|s| s.name != subset.name) {
                    into.subsets.push(subset.clone());
                }
            }
            if into.traffic_policy.is_none() {
                into.traffic_policy.clone_from(&rule.traffic_policy);
            }
        }
        if separate {
            all.push(Merged {
                export_to: export_to.clone(),
                rule: rule.clone(),
            });
        }
    }

    /// By name, else the longest wildcard.
    fn most_specific(&self, host: &str) -> Option<&Vec<Merged>> {
        if let Some(exact) = self.0.get(host) {
            return Some(exact);
        }
        let needle = host.strip_prefix('*').unwrap_or(host);
        let fits = |pattern: &str| {
            pattern
                .strip_prefix('*')
                .is_some_and(|suffix| needle.ends_with(suffix))
        };
        self.0
            .iter()
            .filter(|(pattern, _)| fits(pattern))
            .max_by_key(|(pattern, _)| pattern.len())
            .map(|(_, rules)| rules)
    }
}
