use std::collections::BTreeSet;

use super::part::Part;
use super::{names, selector, traffic_policy};

pub(super) fn check(spec: &Part<'_>, namespace: &str) {
    names::report(
        &spec.about("host"),
        names::wildcard_domain(spec.text("host")),
        "write the name of a service",
    );
    if let Some(policy) = spec.get("trafficPolicy") {
        traffic_policy::check(&policy, namespace);
    }
    let mut seen = BTreeSet::new();
    for subset in spec.list("subsets") {
        let name = subset.text("name");
        if !seen.insert(name) {
            subset.refuse_at(
                "name",
                format_args!("duplicate subset names: {name}"),
                "give every subset its own name",
            );
        }
        check_subset_name(&subset.about("name"), name);
        names::check_labels(&subset, "labels");
        if let Some(policy) = subset.get("trafficPolicy") {
            traffic_policy::check(&policy, namespace);
        }
    }
    let selects = spec.get("workloadSelector");
    names::check_export_to(spec, namespace, false, selects.is_some());
    selector::check_labels(selects.as_ref(), "matchLabels");
}

/// Reports a name that no subset can have.
pub(super) fn check_subset_name(at: &Part<'_>, name: &str) {
    if name.is_empty() {
        at.refuse("subset name cannot be empty", "add name");
    } else if !names::is_label(name) {
        at.refuse(
            format_args!("subset name is invalid: {name}"),
            "write letters, digits and -",
        );
    }
}
