//! Which workloads or objects a policy is for.

use super::part::Part;

/// Reports a selector's wildcards and empty keys; `field` holds the labels. Returns whether all is right.
pub(super) fn check_labels(selector: Option<&Part<'_>>, field: &str) -> bool {
    let Some(selector) = selector else {
        return true;
    };
    let labels = selector.map(field);
    let mut right = true;
    for (key, at) in &labels {
        let value = at.as_text();
        if key.is_empty() {
            right = false;
            at.refuse(
                format_args!("empty key is not supported in selector: \"{key}={value}\""),
                "write a label such as app",
            );
        }
        if key.contains('*') || value.contains('*') {
            right = false;
            at.refuse(
                format_args!("wildcard is not supported in selector: \"{key}={value}\""),
                "write the whole label",
            );
        }
    }
    if labels.is_empty() {
        selector.warn_at(
            field,
            "workload selector specified without labels, it is for the whole namespace",
            "add labels, or remove the selector",
        );
    }
    right
}

/// Reports what is wrong with `selector`, `targetRef` and `targetRefs` of a policy.
pub(super) fn check_policy(spec: &Part<'_>) {
    let references = spec.list("targetRefs");
    let set = usize::from(spec.has("selector"))
        + usize::from(spec.has("targetRef"))
        + usize::from(!references.is_empty());
    if set > 1 {
        spec.refuse_at(
            "selector",
            "only one of targetRefs or workloadSelector can be set",
            "keep one of them",
        );
    }
    check_labels(spec.get("selector").as_ref(), "matchLabels");
    for reference in spec.get("targetRef").iter().chain(&references) {
        check_reference(reference);
    }
}

fn check_reference(reference: &Part<'_>) {
    if reference.text("name").is_empty() {
        reference.refuse_at("name", "targetRef name must be set", "add name");
    }
    if !reference.text("namespace").is_empty() {
        reference.refuse_at(
            "namespace",
            "targetRef namespace must not be set; cross namespace referencing is not supported",
            "remove it",
        );
    }
    let group = match reference.text("group") {
        "" => "core",
        group => group,
    };
    let kind = reference.text("kind");
    let allowed = matches!(
        (group, kind),
        ("core", "Service")
            | ("networking.istio.io", "ServiceEntry")
            | ("gateway.networking.k8s.io", "Gateway" | "GatewayClass")
    );
    if !allowed {
        reference.refuse_at(
            "kind",
            format_args!("targetRef to {group}/{kind} is not supported"),
            "write a Service, ServiceEntry, Gateway (gateway.networking.k8s.io) or GatewayClass",
        );
    }
}
