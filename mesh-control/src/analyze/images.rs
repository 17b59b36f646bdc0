//! Images of the sidecar that injection would not give, or never replaces.

use std::collections::BTreeMap;

use serde_json::Value;

use super::deployments::{template, template_labels};
use super::finding::Findings;
use super::objects::{Object, Selector, World, containers};
use super::webhooks::selector_matches;
use crate::yaml::Node;

pub(super) fn analyze(world: &World<'_>, findings: &mut Findings) {
    check_auto(world, findings);
    check_images(world, findings);
}

fn check_auto(world: &World<'_>, findings: &mut Findings) {
    let is_auto = |spec: &crate::validate::part::Part<'_>| {
        spec.list("containers")
            .iter()
            .any(|c| c.text("name") == "istio-proxy" && c.text("image") == "auto")
    };
    let message = |kind: &str, name: &str| {
        format!(
            "{kind} {name} contains `image: auto` but does not match any Istio injection webhook selectors."
        )
    };
    for pod in world.all("Pod").filter(|pod| is_auto(&pod.spec)) {
        findings.about("IST0147", pod, message("Pod", &pod.name));
    }
    let webhooks: Vec<_> = world
        .all("MutatingWebhookConfiguration")
        .flat_map(|config| config.root.list("webhooks"))
        .filter(|webhook| webhook.text("name").ends_with("istio.io"))
        .collect();
    for deployment in world.all("Deployment") {
        if !template(deployment)
            .and_then(|t| t.get("spec"))
            .is_some_and(|spec| is_auto(&spec))
        {
            continue;
        }
        let namespace = match deployment.namespace.as_str() {
            "" => "default",
            namespace => namespace,
        };
        let of_namespace = world.find("Namespace", "", namespace);
        let of_namespace = of_namespace.map(|n| n.labels.clone()).unwrap_or_default();
        let of_pods = template_labels(deployment);
        let is_injected = webhooks.iter().any(|webhook| {
            selector_matches(webhook.get("namespaceSelector").as_ref(), &of_namespace)
                && selector_matches(webhook.get("objectSelector").as_ref(), &of_pods)
        });
        if !is_injected {
            findings.about(
                "IST0146",
                deployment,
                message("Deployment", &deployment.name),
            );
        }
    }
}

fn check_images(world: &World<'_>, findings: &mut Findings) {
    let images: BTreeMap<&str, String> = world
        .all("ConfigMap")
        .filter(|map| map.name.starts_with("istio-sidecar-injector"))
        .map(|map| (&*map.name, image_of(map)))
        .collect();
    if images.is_empty() {
        return;
    }
    for namespace in world.all("Namespace") {
        let revision = match namespace.label("istio.io/rev") {
            Some(revision) => revision,
            None if namespace.label("istio-injection") == Some("enabled") => "default",
            None => continue,
        };
        let injector = super::injection::injector(revision);
        let Some(image) = images.get(&*injector) else {
            continue;
        };
        let mut pods: Vec<&str> = world
            .all("Pod")
            .filter(|pod| pod.namespace == namespace.name)
            .filter(|pod| {
                pod.annotation("sidecar.istio.io/proxyImage")
                    .is_none_or(str::is_empty)
            })
            .flat_map(|pod| {
                let with_variant = format!("{image}-{}", variant(world, pod));
                containers(&pod.spec)
                    .into_iter()
                    .filter(|c| c.text("name") == "istio-proxy")
                    .filter(|c| c.text("image") != image && c.text("image") != with_variant)
                    .map(|_| &*pod.name)
                    .collect::<Vec<_>>()
            })
            .collect();
        if pods.is_empty() {
            continue;
        }
        pods.sort_unstable();
        let message = format!(
            "The Istio proxy images of the pods running in the namespace do not match the image defined in the injection \
             configuration (pod names: [{}]). This often happens after upgrading the Istio control-plane and can be fixed \
             by redeploying the pods.",
            pods.join(" ")
        );
        findings.about("IST0158", namespace, message);
    }
}

/// The values of an injector.
pub(super) fn values(config: &Object<'_>) -> Value {
    let text = config
        .root
        .get("data")
        .map(|data| data.text("values"))
        .unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

fn image_of(config: &Object<'_>) -> String {
    let values = values(config);
    let global = &values["global"];
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let image = text(&global["proxy"]["image"]);
    match image.contains('/') {
        true => image,
        false => format!("{}/{image}:{}", text(&global["hub"]), text(&global["tag"])),
    }
}

/// The variant of the image that a pod asks for, such as `distroless`.
fn variant(world: &World<'_>, pod: &Object<'_>) -> String {
    let of = |part: &crate::validate::part::Part<'_>| {
        let kind = part
            .get("image")
            .map(|image| image.text("imageType"))
            .unwrap_or_default();
        (!kind.is_empty()).then(|| kind.to_owned())
    };
    let root = world.root_namespace();
    let configs = || world.all("ProxyConfig");
    let of_mesh = world
        .mesh
        .get("defaultConfig")
        .and_then(|config| of(&config));
    let of_root = configs()
        .filter(|c| c.namespace == root)
        .find_map(|c| of(&c.spec));
    let of_namespace = configs()
        .filter(|c| c.namespace == pod.namespace && c.namespace != root && !c.spec.has("selector"))
        .find_map(|c| of(&c.spec));
    let of_workload = configs()
        .filter(|c| c.namespace == pod.namespace && c.namespace != root)
        .filter(|c| {
            c.spec
                .get("selector")
                .is_some_and(|s| Selector::of(&s, "matchLabels").matches(&pod.labels))
        })
        .find_map(|c| of(&c.spec));
    let of_pod = pod.annotation("proxy.istio.io/config").and_then(|text| {
        let node = Node::parse(text, 0).ok()?;
        let kind = node.get("image")?.get("imageType")?.as_str()?.to_owned();
        Some(kind)
    });
    let variant = of_pod
        .or(of_workload)
        .or(of_namespace)
        .or(of_root)
        .or(of_mesh);
    variant
        .filter(|variant| variant != "default")
        .unwrap_or_default()
}
