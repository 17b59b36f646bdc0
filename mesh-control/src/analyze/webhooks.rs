//! Webhooks: two that inject, services that are not there, addresses of external control planes.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::Findings;
use super::objects::{Object, Selector, World};
use crate::validate::part::Part;

const REVISION: &str = "istio.io/rev";

/// Whether labels fit a selector of Kubernetes; none fits all.
pub(super) fn selector_matches(selector: Option<&Part<'_>>, labels: &BTreeMap<&str, &str>) -> bool {
    let Some(selector) = selector else {
        return true;
    };
    Selector::of(selector, "matchLabels").matches(labels)
        && selector.list("matchExpressions").iter().all(|expression| {
            let value = labels.get(expression.text("key"));
            let values = expression.list("values");
            let is_in = value.is_some_and(|value| values.iter().any(|v| v.as_text() == *value));
            match expression.text("operator") {
                "In" => is_in,
                "NotIn" => !is_in,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

pub(super) fn analyze(world: &World<'_>, findings: &mut Findings) {
    check_overlaps(world, findings);
    for (kind, prefix) in [
        ("ValidatingWebhookConfiguration", "istio-validator"),
        ("MutatingWebhookConfiguration", "istio-sidecar-injector"),
    ] {
        for config in world.all(kind) {
            if config.name.starts_with(prefix) || config.name == "istiod-default-validator" {
                for webhook in config.root.list("webhooks") {
                    check_address(config, &webhook, findings);
                }
            }
        }
    }
}

fn check_address(config: &Object<'_>, webhook: &Part<'_>, findings: &mut Findings) {
    let client = webhook.get("clientConfig");
    let url = client.as_ref().and_then(|client| client.get("url"));
    let name = webhook.text("name");
    match url {
        Some(url) => {
            let text = url.as_text();
            let authority = text.split_once("://").map_or("", |(_, rest)| rest);
            let authority = authority.split('/').next().unwrap_or_default();
            let host = match authority
                .strip_prefix('[')
                .and_then(|rest| rest.split_once(']'))
            {
                Some((host, _)) => host,
                None => authority.split(':').next().unwrap_or_default(),
            };
            if host.parse::<std::net::IpAddr>().is_ok() {
                let message = format!(
                    "The address ({text}) that was provided for the webhook ({name}) to reach the ingress gateway on the \
                     external control plane cluster is an IP address. This is not recommended for a production \
                     environment."
                );
                findings.add("IST0164", config, url.mark(), message);
            }
        }
        None if !client.is_some_and(|client| client.has("service")) => {
            let message = format!(
                "The hostname () that was provided for the webhook ({name}) to reach the ingress gateway on the external \
                 control plane cluster is blank. Traffic may not flow properly."
            );
            findings.add("IST0163", config, webhook.mark(), message);
        }
        None => {}
    }
}

fn revisions<'a>(config: &Object<'a>, webhooks: &[Part<'a>]) -> BTreeSet<&'a str> {
    let mut found: BTreeSet<&str> = config.label(REVISION).into_iter().collect();
    for webhook in webhooks {
        for field in ["namespaceSelector", "objectSelector"] {
            let Some(selector) = webhook.get(field) else {
                continue;
            };
            found.extend(Selector::of(&selector, "matchLabels").0.get(REVISION));
            for expression in selector.list("matchExpressions") {
                if expression.text("key") == REVISION {
                    found.extend(expression.list("values").iter().map(Part::as_text));
                }
            }
        }
    }
    found
}

/// Every pod must be injected by one webhook at most.
fn check_overlaps(world: &World<'_>, findings: &mut Findings) {
    let mut hooks: Vec<(&Object<'_>, Part<'_>)> = Vec::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for config in world.all("MutatingWebhookConfiguration") {
        let webhooks = config.root.list("webhooks");
        let of_config = revisions(config, &webhooks);
        let is_istio = webhooks
            .iter()
            .any(|w| w.text("name").ends_with("istio.io"));
        if of_config.is_empty() && !is_istio {
            continue;
        }
        known.extend(of_config);
        hooks.extend(webhooks.into_iter().map(|webhook| (config, webhook)));
    }
    let with_revisions = |label: &'static str, values: [&'static str; 2]| {
        let mut all: Vec<BTreeMap<&str, &str>> = vec![BTreeMap::new()];
        all.extend(values.map(|value| BTreeMap::from([(label, value)])));
        let bases = all.clone();
        for revision in &known {
            all.extend(bases.iter().map(|base| {
                let mut labels = base.clone();
                labels.insert(REVISION, revision);
                labels
            }));
        }
        all
    };
    let mut overlapping: BTreeSet<(usize, Vec<String>)> = BTreeSet::new();
    for namespace in with_revisions("istio-injection", ["enabled", "disabled"]) {
        for object in with_revisions("sidecar.istio.io/inject", ["true", "false"]) {
            let matching: Vec<usize> = (0..hooks.len())
                .filter(|at| {
                    let webhook = &hooks[*at].1;
                    selector_matches(webhook.get("namespaceSelector").as_ref(), &namespace)
                        && selector_matches(webhook.get("objectSelector").as_ref(), &object)
                })
                .collect();
            for at in &matching {
                let others: Vec<String> = matching
                    .iter()
                    .filter(|other| *other != at)
                    .map(|other| {
                        format!(
                            "{}/{}",
                            hooks[*other].0.full_name(),
                            hooks[*other].1.text("name")
                        )
                    })
                    .collect();
                if !others.is_empty() {
                    overlapping.insert((*at, others));
                }
            }
        }
    }
    for (at, others) in overlapping {
        let message = format!(
            "Webhook overlaps with others: [{}]. This may cause injection to occur twice.",
            others.join(" ")
        );
        findings.add("IST0139", hooks[at].0, hooks[at].1.mark(), message);
    }
    for (config, webhook) in &hooks {
        let Some(service) = webhook
            .get("clientConfig")
            .and_then(|client| client.get("service"))
        else {
            continue;
        };
        let (namespace, name) = (service.text("namespace"), service.text("name"));
        if world.find("Service", namespace, name).is_none() {
            let message = format!(
                "Injector refers to a control plane service that does not exist: {namespace}/{name}."
            );
            findings.add("IST0139", config, service.mark(), message);
        }
    }
}
