//! DestinationRules: hosts that do not exist, subsets without pods, TLS that verifies nothing.

use std::collections::BTreeMap;

use super::finding::Findings;
use super::hosts::Hosts;
use super::objects::{Object, Selector, World};
use crate::validate::part::Part;

pub(super) fn analyze(world: &World<'_>, findings: &mut Findings) {
    let hosts = Hosts::of(world);
    for rule in world.all("DestinationRule") {
        check_certificates(rule, findings);
        let host = rule.spec.text("host");
        let Some(known) = hosts.find(&rule.namespace, &rule.spec.list("exportTo"), host) else {
            let message = format!(
                "The host {host} defined in the DestinationRule does not match any services in the mesh."
            );
            findings.add("IST0174", rule, rule.spec.about("host").mark(), message);
            continue;
        };
        for subset in rule.spec.list("subsets") {
            let mut selector = known.selector.clone();
            selector.0.extend(Selector::of(&subset, "labels").0);
            if !world.all("Pod").any(|pod| selects(world, &selector, pod)) {
                let message = format!(
                    "The Subset {} defined in the DestinationRule does not select any pods. Which may lead to 503 UH \
                     (NoHealthyUpstream).",
                    subset.text("name")
                );
                findings.add("IST0173", rule, subset.mark(), message);
            }
        }
    }
}

/// Whether a pod has the labels, those of its node's place included.
fn selects(world: &World<'_>, selector: &Selector<'_>, pod: &Object<'_>) -> bool {
    let mut labels: BTreeMap<&str, &str> = pod.labels.clone();
    let node_name = pod.spec.text("nodeName");
    if let Some(node) = world.find("Node", "", node_name) {
        for name in [
            "topology.kubernetes.io/region",
            "topology.kubernetes.io/zone",
            "topology.istio.io/subzone",
        ] {
            if let Some(value) = node.label(name).filter(|value| !value.is_empty()) {
                labels.insert(name, value);
            }
        }
    }
    if !node_name.is_empty() {
        labels.insert("kubernetes.io/hostname", node_name);
    }
    selector.matches(&labels)
}

fn check_certificates(rule: &Object<'_>, findings: &mut Findings) {
    let Some(policy) = rule.spec.get("trafficPolicy") else {
        return;
    };
    let selects = rule.spec.has("workloadSelector");
    let (name, namespace, host) = (rule.full_name(), &rule.namespace, rule.spec.text("host"));
    let unverified = |of: &Part<'_>| {
        let tls = of.get("tls")?;
        let mode = tls.word("mode", &["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]);
        let has_credential = !tls.text("credentialName").is_empty() && selects;
        (matches!(mode, "SIMPLE" | "MUTUAL")
            && tls.text("caCertificates").is_empty()
            && !has_credential)
            .then(|| (mode, tls.mark()))
    };
    if let Some((mode, mark)) = unverified(&policy) {
        let message = format!(
            "DestinationRule {name} in namespace {namespace} has TLS mode set to {mode} but no caCertificates are set to \
             validate server identity for host: {host}"
        );
        findings.add("IST0128", rule, mark, message);
    }
    for port in policy.list("portLevelSettings") {
        if let Some((mode, mark)) = unverified(&port) {
            let number = port
                .get("port")
                .map(|p| p.number("number"))
                .unwrap_or_default();
            let message = format!(
                "DestinationRule {name} in namespace {namespace} has TLS mode set to {mode} but no caCertificates are set \
                 to validate server identity for host: {host} at port number:{number}"
            );
            findings.add("IST0129", rule, mark, message);
        }
    }
}
