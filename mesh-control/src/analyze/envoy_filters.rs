//! EnvoyFilters whose effect depends on their order, or that have none.

use super::finding::Findings;
use super::objects::{Object, World};
use crate::validate::part::Part;
use crate::yaml::Mark;

pub(super) fn analyze(world: &World<'_>, findings: &mut Findings) {
    // names of filters that are patched for some versions of the proxy only
    let mut versioned: Vec<&str> = Vec::new();
    for object in world.all("EnvoyFilter") {
        let has_priority = object.spec.number("priority") != 0;
        for patch in object.spec.list("configPatches") {
            let Some(body) = patch.get("patch") else {
                break;
            };
            let name = patched(&patch, &body);
            check(object, &patch, &body, findings);
            let is_absolute = has_priority || !is_relative(&patch, &body);
            if !is_absolute {
                relative(object, patch.mark(), versioned.contains(&name), findings);
            }
            let of_version = patch
                .get("match")
                .and_then(|m| m.get("proxy"))
                .is_some_and(|proxy| !proxy.text("proxyVersion").is_empty());
            if of_version {
                versioned.push(name);
            }
        }
    }
}

/// The name of the filter that a patch is about.
fn patched<'a>(patch: &Part<'a>, body: &Part<'a>) -> &'a str {
    let Some(value) = body.get("value") else {
        return "";
    };
    if let Some(name) = value.get("name") {
        return name.as_text();
    }
    patch
        .get("match")
        .and_then(|m| m.get("listener")?.get("filterChain")?.get("filter"))
        .map(|filter| filter.text("name"))
        .unwrap_or_default()
}

fn is_of_routes(patch: &Part<'_>) -> bool {
    matches!(patch.text("applyTo"), "ROUTE_CONFIGURATION" | "HTTP_ROUTE")
}

fn can_replace(patch: &Part<'_>) -> bool {
    matches!(
        patch.text("applyTo"),
        "NETWORK_FILTER" | "HTTP_FILTER" | "VIRTUAL_HOST"
    )
}

fn is_relative(patch: &Part<'_>, body: &Part<'_>) -> bool {
    match body.text("operation") {
        "REMOVE" => !is_of_routes(patch),
        "REPLACE" => can_replace(patch),
        "INSERT_BEFORE" | "INSERT_AFTER" => true,
        _ => false,
    }
}

fn check(object: &Object<'_>, patch: &Part<'_>, body: &Part<'_>, findings: &mut Findings) {
    let (code, message) = match body.text("operation") {
        "ADD" if is_of_routes(patch) => (
            "IST0153",
            "The ADD operation will be ignored when applyTo is set to ROUTE_CONFIGURATION, or HTTP_ROUTE.",
        ),
        "REMOVE" if is_of_routes(patch) => (
            "IST0154",
            "The REMOVE operation will be ignored when applyTo is set to ROUTE_CONFIGURATION, or HTTP_ROUTE.",
        ),
        "REPLACE" if !can_replace(patch) => (
            "IST0152",
            "The REPLACE operation is only valid for HTTP_FILTER and NETWORK_FILTER.",
        ),
        _ => return,
    };
    findings.add(code, object, patch.mark(), message);
}

fn relative(object: &Object<'_>, mark: Mark, of_version: bool, findings: &mut Findings) {
    let (code, message) = match of_version {
        true => (
            "IST0155",
            "This EnvoyFilter does not have a priority and has a relative patch operation and proxyVersion set which can \
             cause the EnvoyFilter not to be applied during an upgrade. Using the INSERT_FIRST or ADD option or setting \
             the priority may help in ensuring the EnvoyFilter is applied correctly.",
        ),
        false => (
            "IST0151",
            "This EnvoyFilter does not have a priority and has a relative patch operation set which can cause the \
             EnvoyFilter not to be applied. Using the INSERT_FIRST or ADD option or setting the priority may help in \
             ensuring the EnvoyFilter is applied correctly.",
        ),
    };
    findings.add(code, object, mark, message);
}
