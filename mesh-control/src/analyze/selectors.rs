//! Sidecars and Telemetries that select no pod, or the same one.

use super::finding::Findings;
use super::objects::{Object, Selector, World, is_ambient};

pub(super) fn analyze(world: &World<'_>, findings: &mut Findings) {
    check_sidecars(world, findings);
    check_telemetries(world, findings);
}

/// The objects with a selector, those that select a pod, and those that select nothing in particular.
fn labels_of<'a>(object: &Object<'a>, selector: &str, labels: &str) -> Option<Selector<'a>> {
    object
        .spec
        .get(selector)
        .map(|part| Selector::of(&part, labels))
        .filter(|selector| !selector.is_empty())
}

fn names(objects: &[&Object<'_>]) -> String {
    let mut names: Vec<&str> = objects.iter().map(|o| &*o.name).collect();
    names.sort_unstable();
    format!("[{}]", names.join(" "))
}

fn check_sidecars(world: &World<'_>, findings: &mut Findings) {
    let select = |object: &Object<'_>, pod: &Object<'_>| {
        pod.namespace == object.namespace
            && labels_of(object, "workloadSelector", "labels")
                .is_some_and(|s| s.matches(&pod.labels))
    };
    let mut ineffective: Vec<String> = Vec::new();
    let mut without_effect = |sidecar: &Object<'_>, why: &str, findings: &mut Findings| {
        if !ineffective.contains(&sidecar.full_name()) {
            ineffective.push(sidecar.full_name());
            findings.about(
                "IST0167",
                sidecar,
                format_args!("The policy has no impact: {why}, the policy has no impact."),
            );
        }
    };
    for sidecar in world.all("Sidecar") {
        if let Some(selector) = labels_of(sidecar, "workloadSelector", "labels")
            && !world.all("Pod").any(|pod| select(sidecar, pod))
        {
            let mark = sidecar.spec.about("workloadSelector").mark();
            findings.not_found(sidecar, mark, "selector", &selector.to_string());
        }
    }
    for pod in world.all("Pod") {
        let sidecars: Vec<_> = world
            .all("Sidecar")
            .filter(|sidecar| select(sidecar, pod))
            .collect();
        if is_ambient(pod) {
            for sidecar in sidecars {
                without_effect(sidecar, "selected workload is in ambient mode", findings);
            }
        } else if sidecars.len() > 1 {
            let message = format!(
                "The Sidecars {} in namespace {:?} select the same workload pod {:?}, which can lead to undefined behavior.",
                names(&sidecars),
                pod.namespace,
                pod.name
            );
            for sidecar in sidecars {
                findings.add("IST0110", sidecar, sidecar.name_mark(), &message);
            }
        }
    }
    for namespace in namespaces(world, "Sidecar") {
        let sidecars: Vec<_> = world
            .all("Sidecar")
            .filter(|s| {
                s.namespace == namespace && labels_of(s, "workloadSelector", "labels").is_none()
            })
            .collect();
        let is_ambient = world.find("Namespace", "", &namespace).is_some_and(|n| {
            n.label("istio-injection") != Some("enabled")
                && n.label("istio.io/rev").is_none_or(str::is_empty)
                && n.label("istio.io/dataplane-mode") == Some("ambient")
        });
        if is_ambient {
            for sidecar in sidecars {
                without_effect(sidecar, "namespace is in ambient mode", findings);
            }
        } else if sidecars.len() > 1 {
            let message = format!(
                "The Sidecars {} in namespace {namespace:?} have no workload selector, which can lead to undefined \
                 behavior.",
                names(&sidecars)
            );
            for sidecar in sidecars {
                findings.about("IST0111", sidecar, &message);
            }
        }
    }
}

fn namespaces(world: &World<'_>, kind: &str) -> Vec<String> {
    let mut all: Vec<String> = world.all(kind).map(|o| o.namespace.clone()).collect();
    all.sort();
    all.dedup();
    all
}

fn check_telemetries(world: &World<'_>, findings: &mut Findings) {
    let select = |object: &Object<'_>, pod: &Object<'_>| {
        pod.namespace == object.namespace
            && labels_of(object, "selector", "matchLabels").is_some_and(|s| s.matches(&pod.labels))
    };
    let has_default_log = world
        .mesh
        .get("defaultProviders")
        .is_some_and(|providers| !providers.list("accessLogging").is_empty());
    for telemetry in world.all("Telemetry") {
        if let Some(selector) = labels_of(telemetry, "selector", "matchLabels")
            && !world.all("Pod").any(|pod| select(telemetry, pod))
        {
            let mark = telemetry.spec.about("selector").mark();
            findings.not_found(telemetry, mark, "selector", &selector.to_string());
        }
        if has_default_log {
            continue;
        }
        for logging in telemetry.spec.list("accessLogging") {
            if !logging.flag("disabled") && logging.list("providers").is_empty() {
                let message = format!(
                    "The Telemetry {} in namespace {:?} with empty providers will be ignored.",
                    telemetry.name, telemetry.namespace
                );
                findings.add("IST0157", telemetry, logging.mark(), message);
            }
        }
    }
    for pod in world.all("Pod") {
        let telemetries: Vec<_> = world.all("Telemetry").filter(|t| select(t, pod)).collect();
        if telemetries.len() > 1 {
            let message = format!(
                "The Telemetries {} in namespace {:?} select the same workload pod {:?}, which can lead to undefined \
                 behavior.",
                names(&telemetries),
                pod.namespace,
                pod.name
            );
            for telemetry in telemetries {
                findings.add("IST0159", telemetry, telemetry.name_mark(), &message);
            }
        }
    }
    for namespace in namespaces(world, "Telemetry") {
        let telemetries: Vec<_> = world
            .all("Telemetry")
            .filter(|t| t.namespace == namespace && !t.spec.has("selector"))
            .collect();
        if telemetries.len() > 1 {
            let message = format!(
                "The Telemetries {} in namespace {namespace:?} have no workload selector, which can lead to undefined \
                 behavior.",
                names(&telemetries)
            );
            for telemetry in telemetries {
                findings.about("IST0160", telemetry, &message);
            }
        }
    }
}
