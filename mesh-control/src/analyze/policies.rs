//! AuthorizationPolicies and RequestAuthentications: what they select and need; fields and kinds that are deprecated.

use super::finding::Findings;
use super::objects::{Object, Selector, World, containers, is_ambient};
use crate::yaml::Mark;

pub(super) fn analyze(world: &World<'_>, findings: &mut Findings) {
    for policy in world.all("AuthorizationPolicy") {
        check_workloads(world, policy, findings);
        check_namespaces(world, policy, findings);
    }
    check_gateway_selectors(world, findings);
    check_blocked(world, findings);
    check_deprecated(world, findings);
    check_gateway_api(world, findings);
}

fn check_workloads(world: &World<'_>, policy: &Object<'_>, findings: &mut Findings) {
    let is_for_mesh = policy.namespace == world.root_namespace();
    let selector = policy.spec.get("selector");
    if is_for_mesh && selector.is_none() {
        return;
    }
    let selector = selector
        .map(|s| Selector::of(&s, "matchLabels"))
        .unwrap_or_default();
    let has_workload = world.pods(&selector).any(|pod| {
        let inject = pod.annotation("sidecar.istio.io/inject");
        let is_here = is_for_mesh || pod.namespace == policy.namespace;
        is_here
            && (is_ambient(pod)
                || world.is_in_mesh(&pod.namespace, &containers(&pod.spec), &pod.labels, inject))
    });
    if !has_workload {
        let message = format!(
            "No matching workloads for this resource with the following labels: {selector}"
        );
        findings.add(
            "IST0127",
            policy,
            policy.spec.about("selector").mark(),
            message,
        );
    }
}

fn check_namespaces(world: &World<'_>, policy: &Object<'_>, findings: &mut Findings) {
    let exists = |wanted: &str| {
        world.all("Namespace").any(|namespace| {
            let name = &namespace.name;
            match (wanted.strip_prefix('*'), wanted.strip_suffix('*')) {
                (Some(suffix), _) => name.ends_with(suffix),
                (None, Some(prefix)) => name.starts_with(prefix),
                (None, None) => name.eq_ignore_ascii_case(wanted),
            }
        })
    };
    for rule in policy.spec.list("rules") {
        for source in rule
            .list("from")
            .iter()
            .filter_map(|from| from.get("source"))
        {
            for list in ["namespaces", "notNamespaces"] {
                for namespace in source.list(list) {
                    if !exists(namespace.as_text()) {
                        findings.not_found(
                            policy,
                            namespace.mark(),
                            "namespace",
                            namespace.as_text(),
                        );
                    }
                }
            }
        }
    }
}

/// Pods of a Gateway of the Gateway API take policies by `targetRef` only.
fn check_gateway_selectors(world: &World<'_>, findings: &mut Findings) {
    const GATEWAY: &str = "gateway.networking.k8s.io/gateway-name";
    for kind in [
        "AuthorizationPolicy",
        "RequestAuthentication",
        "Telemetry",
        "WasmPlugin",
    ] {
        for policy in world.all(kind) {
            let Some(selector) = policy
                .spec
                .get("selector")
                .filter(|_| !policy.spec.has("targetRef"))
            else {
                continue;
            };
            let labels = Selector::of(&selector, "matchLabels");
            for pod in world
                .pods(&labels)
                .filter(|pod| pod.namespace == policy.namespace)
            {
                if let Some(gateway) = pod.label(GATEWAY) {
                    let message = format!(
                        "Ineffective selector on Kubernetes Gateway {gateway}. Use the TargetRef field instead."
                    );
                    findings.add("IST0166", policy, selector.mark(), message);
                }
            }
        }
    }
}

fn check_blocked(world: &World<'_>, findings: &mut Findings) {
    let names: Vec<String> = world
        .all("RequestAuthentication")
        .map(Object::full_name)
        .collect();
    if names.is_empty() {
        return;
    }
    for istiod in world
        .all("Deployment")
        .filter(|d| d.label("app") == Some("istiod"))
    {
        let spec = istiod
            .spec
            .get("template")
            .and_then(|template| template.get("spec"));
        let containers = spec.map(|spec| spec.list("containers")).unwrap_or_default();
        let is_set = containers
            .iter()
            .flat_map(|c| c.list("env"))
            .any(|variable| {
                variable.text("name") == "BLOCKED_CIDRS_IN_JWKS_URIS"
                    && !variable.text("value").is_empty()
            });
        if !is_set {
            let shown = match names.len() {
                0..=5 => names.join(", "),
                more => format!("{}, and {} more", names[..5].join(", "), more - 5),
            };
            let message = format!(
                "BLOCKED_CIDRS_IN_JWKS_URIS is not configured but {} RequestAuthentication resource(s) exist ({shown}). \
                 Consider configuring it to restrict JWKS URI fetches to trusted networks.",
                names.len()
            );
            findings.about("IST0175", istiod, message);
        }
    }
}

fn check_deprecated(world: &World<'_>, findings: &mut Findings) {
    let mut deprecated = |object: &Object<'_>, mark: Mark, what: &str| {
        findings.add("IST0002", object, mark, format_args!("Deprecated: {what}"));
    };
    for service in world.all("VirtualService") {
        for route in service.spec.list("http") {
            let delay = route.get("fault").and_then(|fault| fault.get("delay"));
            if let Some(delay) = delay
                && delay.number("percent") > 0
            {
                let what = "HTTPRoute.fault.delay.percent is deprecated; use HTTPRoute.fault.delay.percentage";
                deprecated(service, delay.about("percent").mark(), what);
            }
        }
    }
    for sidecar in world.all("Sidecar") {
        if let Some(proxy) = sidecar
            .spec
            .get("outboundTrafficPolicy")
            .and_then(|p| p.get("egressProxy"))
        {
            deprecated(
                sidecar,
                proxy.mark(),
                "OutboundTrafficPolicy.EgressProxy ignored",
            );
        }
    }
    for definition in world.all("CustomResourceDefinition") {
        let group = definition.spec.text("group");
        let kind = definition
            .spec
            .get("names")
            .map(|names| names.text("kind"))
            .unwrap_or_default();
        let is_removed = matches!(
            kind,
            "ClusterRbacConfig" | "RbacConfig" | "ServiceRole" | "ServiceRoleBinding"
        );
        if group == "rbac.istio.io" && is_removed {
            let what = format!("Custom resource type {group} {kind} is removed");
            deprecated(definition, Mark::default(), &what);
        }
    }
    let lightstep: Vec<&str> = world
        .mesh
        .list("extensionProviders")
        .iter()
        .filter(|provider| provider.has("lightstep"))
        .map(|provider| provider.text("name"))
        .collect();
    for telemetry in world.all("Telemetry") {
        let providers = telemetry.spec.list("tracing");
        for provider in providers
            .iter()
            .flat_map(|tracing| tracing.list("providers"))
        {
            let name = provider.text("name");
            if lightstep.contains(&name) {
                let what = format!(
                    "The Lightstep provider {name} is deprecated, please migrate to OpenTelemetry provider."
                );
                deprecated(telemetry, provider.mark(), &what);
            }
        }
    }
}

/// Definitions of the Gateway API that Istio would pass over.
fn check_gateway_api(world: &World<'_>, findings: &mut Findings) {
    const MINIMUM: [(&str, [u64; 3]); 4] = [
        ("grpcroutes.gateway.networking.k8s.io", [1, 1, 0]),
        ("backendtlspolicies.gateway.networking.k8s.io", [1, 4, 0]),
        ("tlsroutes.gateway.networking.k8s.io", [1, 5, 0]),
        ("tcproutes.gateway.networking.k8s.io", [1, 6, 0]),
    ];
    for definition in world.all("CustomResourceDefinition") {
        let Some((name, minimum)) = MINIMUM.iter().find(|(name, _)| *name == definition.name)
        else {
            continue;
        };
        let Some(version) = definition.annotation("gateway.networking.k8s.io/bundle-version")
        else {
            continue;
        };
        let text = version.trim_start_matches('v');
        let numbers: Vec<u64> = text
            .split('-')
            .next()
            .unwrap_or_default()
            .split('.')
            .filter_map(|n| n.parse().ok())
            .collect();
        if numbers.len() == 3 && numbers.as_slice() < minimum.as_slice() {
            let [major, minor, patch] = minimum;
            let message = format!(
                "Gateway API CRD {name:?} is at version {text:?} but Istio requires at least \
                 \"{major}.{minor}.{patch}\"; resources of this kind will not be processed. Upgrade the Gateway API CRDs \
                 to satisfy the minimum version."
            );
            findings.about("IST0176", definition, message);
        }
    }
}
