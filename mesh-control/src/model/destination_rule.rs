use std::collections::{BTreeMap, BTreeSet};

use super::http_route::subset_name;
use super::{Metadata, TrafficPolicy, names, virtual_service};
use crate::yaml::{At, Fields};

/// Policies for the traffic to a host, and its subsets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DestinationRule {
    pub(crate) metadata: Metadata,
    /// Resolved to a full name.
    pub(crate) host: String,
    pub(crate) traffic_policy: Option<TrafficPolicy>,
    pub(crate) subsets: Vec<Subset>,
    pub(crate) export_to: Vec<String>,
    /// `None`: for every workload.
    pub(crate) workload_labels: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subset {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) traffic_policy: Option<TrafficPolicy>,
}

impl DestinationRule {
    pub(crate) fn read(spec: Fields<'_>, metadata: Metadata) -> Self {
        let host = spec.require("host").map(|at| {
            let host = at.string();
            if let Some(wrong) = names::invalid_host(&host) {
                at.refuse(
                    format_args!("{host:?} {wrong}"),
                    "write the name of a service",
                );
            }
            names::resolve_host(&host, &metadata.namespace)
        });
        let mut seen = BTreeSet::new();
        let subsets = spec.list("subsets", |at| {
            let subset = Subset::read(&at);
            if !seen.insert(subset.name.clone()) {
                at.refuse(
                    format_args!("subset {:?} is there twice", subset.name),
                    "give it another name",
                );
            }
            subset
        });
        let workload_labels = spec.get("workloadSelector").map(|at| {
            let fields = at.fields();
            let labels = fields
                .get("matchLabels")
                .map(|at| names::selector(&at))
                .unwrap_or_default();
            fields.finish_with(&[("labels", "matchLabels")]);
            labels
        });
        let rule = DestinationRule {
            host: host.unwrap_or_default(),
            traffic_policy: spec
                .get("trafficPolicy")
                .map(|at| TrafficPolicy::read(&at, true)),
            subsets,
            export_to: virtual_service::export_to(&spec, &metadata.namespace),
            workload_labels,
            metadata,
        };
        if rule.workload_labels.is_some()
            && let Some(at) = spec.get("exportTo")
            && rule
                .export_to
                .iter()
                .any(|to| to != "." && *to != rule.metadata.namespace)
        {
            at.refuse(
                "destination rule with workload selector cannot have exportTo beyond current namespace",
                "write exportTo: [\".\"], or remove it",
            );
        }
        spec.finish_with(&[
            ("hosts", "host"),
            ("loadBalancer", "trafficPolicy.loadBalancer"),
            ("connectionPool", "trafficPolicy.connectionPool"),
            ("outlierDetection", "trafficPolicy.outlierDetection"),
            ("tls", "trafficPolicy.tls"),
        ]);
        rule
    }
}

impl Subset {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let subset = Subset {
            name: fields.get("name").map(subset_name).unwrap_or_default(),
            labels: fields
                .get("labels")
                .map(|at| names::selector(&at))
                .unwrap_or_default(),
            traffic_policy: fields
                .get("trafficPolicy")
                .map(|at| TrafficPolicy::read(&at, true)),
        };
        if subset.name.is_empty() {
            at.refuse("subset name cannot be empty", "give it a name");
        }
        fields.finish();
        subset
    }
}
