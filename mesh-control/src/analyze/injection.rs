//! Namespaces that injection is not told about, and pods without a sidecar.

use super::finding::Findings;
use super::images::values;
use super::objects::{World, containers, proxy_image};

/// The name of the ConfigMap of an injector.
pub(super) fn injector(revision: &str) -> String {
    match revision {
        "" | "default" => "istio-sidecar-injector".to_owned(),
        revision => format!("istio-sidecar-injector-{revision}"),
    }
}

pub(super) fn analyze(world: &World<'_>, findings: &mut Findings) {
    let mut injected: Vec<&str> = Vec::new();
    let mut by_default = false;
    for namespace in world.all("Namespace").filter(|n| n.name != "istio-system") {
        let injection = namespace.label("istio-injection");
        let revision = namespace.label("istio.io/rev");
        let mode = namespace.label("istio.io/dataplane-mode");
        let mut labels: Vec<String> = Vec::new();
        labels.extend(injection.map(|value| format!("istio-injection={value}")));
        if injection.is_none_or(|value| value == "enabled") {
            labels.extend(revision.map(|value| format!("istio.io/rev={value}")));
            labels.extend(mode.map(|value| format!("istio.io/dataplane-mode={value}")));
        }
        if labels.len() > 1 {
            let message = format!(
                "The namespace has more than one type of injection labels [{}], which may lead to undefined behavior. Make \
                 sure only one injection label exists.",
                labels.join(" ")
            );
            findings.about("IST0123", namespace, message);
        }
        if mode == Some("ambient") {
            continue;
        }
        let name = injector(revision.unwrap_or_default());
        if let Some(config) = world.all("ConfigMap").find(|map| map.name == name) {
            by_default = values(config)["sidecarInjectorWebhook"]["enableNamespacesByDefault"]
                .as_bool()
                .unwrap_or(false);
        }
        match injection {
            None | Some("") if revision.is_none() => {
                if by_default {
                    findings.about(
                        "IST0148",
                        namespace,
                        "is enabled for Istio injection, as Istio is installed with enableNamespacesByDefault as true.",
                    );
                } else {
                    let name = &namespace.name;
                    let message = format!(
                        "The namespace is not enabled for Istio injection. Run 'kubectl label namespace {name} \
                         istio-injection=enabled' to enable it, or 'kubectl label namespace {name} \
                         istio-injection=disabled' to explicitly mark it as not needing injection."
                    );
                    findings.add("IST0102", namespace, namespace.name_mark(), message);
                }
            }
            Some("enabled") => injected.push(&namespace.name),
            _ => {}
        }
    }
    for pod in world
        .all("Pod")
        .filter(|pod| injected.contains(&&*pod.namespace))
    {
        const INJECT: &str = "sidecar.istio.io/inject";
        let asked = pod
            .label(INJECT)
            .or(pod.annotation(INJECT))
            .unwrap_or_default();
        if asked.eq_ignore_ascii_case("false") || pod.spec.flag("hostNetwork") {
            continue;
        }
        if proxy_image(&containers(&pod.spec)).is_none() {
            let message = format!(
                "The pod {} is missing the Istio proxy. This can often be resolved by restarting or redeploying the \
                 workload.",
                pod.full_name()
            );
            findings.about("IST0103", pod, message);
        }
    }
}
