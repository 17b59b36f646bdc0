//! Deployments and the Services that select them; names of ports; the sidecar's user.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::Findings;
use super::objects::{Object, Selector, World};
use crate::validate::names;
use crate::validate::part::Part;

pub(super) fn analyze(world: &World<'_>, findings: &mut Findings) {
    for deployment in world.all("Deployment") {
        if deployment.label("gateway.istio.io/managed") != Some("istio.io-mesh-controller") {
            check_services(world, deployment, findings);
        }
        if let Some(spec) = template(deployment).and_then(|t| t.get("spec")) {
            check_user(deployment, &spec, findings);
        }
    }
    for pod in world.all("Pod") {
        check_user(pod, &pod.spec, findings);
    }
    for service in world.all("Service") {
        check_ports(service, findings);
    }
}

/// The template of a Deployment's pods.
pub(super) fn template<'a>(deployment: &Object<'a>) -> Option<Part<'a>> {
    deployment.spec.get("template")
}

/// The labels of a Deployment's pods.
pub(super) fn template_labels<'a>(deployment: &Object<'a>) -> BTreeMap<&'a str, &'a str> {
    template(deployment)
        .and_then(|t| t.get("metadata"))
        .map(|metadata| Selector::of(&metadata, "labels").0)
        .unwrap_or_default()
}

fn is_control_plane(object: &Object<'_>) -> bool {
    object.label("istio").is_some() || object.label("release") == Some("istio")
}

fn check_services(world: &World<'_>, deployment: &Object<'_>, findings: &mut Findings) {
    let Some(template) = template(deployment) else {
        return;
    };
    let labels = template_labels(deployment);
    let metadata = template.get("metadata");
    let annotations = metadata
        .as_ref()
        .map(|m| Selector::of(m, "annotations").0)
        .unwrap_or_default();
    let containers = template
        .get("spec")
        .map(|spec| spec.list("containers"))
        .unwrap_or_default();
    let inject = annotations.get("sidecar.istio.io/inject").copied();
    if !world.is_in_mesh(&deployment.namespace, &containers, &labels, inject) {
        return;
    }
    let services: Vec<_> = world
        .all("Service")
        .filter(|service| {
            let selector = Selector::of(&service.spec, "selector");
            service.namespace == deployment.namespace
                && !selector.is_empty()
                && selector.matches(&labels)
        })
        .collect();
    // port -> protocol -> services; target port -> port -> service
    let mut protocols: BTreeMap<i128, BTreeMap<&str, Vec<String>>> = BTreeMap::new();
    let mut targets: BTreeMap<String, BTreeMap<i128, String>> = BTreeMap::new();
    for service in services {
        for port in service.spec.list("ports") {
            let number = port.number("port");
            let protocol = match port.text("protocol") {
                "" => "TCP",
                protocol => protocol,
            };
            let of_port = protocols.entry(number).or_default();
            of_port
                .entry(protocol)
                .or_default()
                .push(service.full_name());
            let target = match target_port(&port) {
                target if target.is_empty() || target == "0" => number.to_string(),
                target => target,
            };
            targets
                .entry(target)
                .or_default()
                .insert(number, service.full_name());
        }
    }
    let name = &deployment.name;
    let mark = deployment.name_mark();
    for (port, protocols) in protocols
        .iter()
        .filter(|(_, protocols)| protocols.len() > 1)
    {
        let mut services: Vec<_> = protocols.values().flatten().cloned().collect();
        services.sort();
        let message = format!(
            "This deployment {name} is associated with multiple services using port {port} but different protocols: {services:?}"
        );
        findings.add("IST0116", deployment, mark, message);
    }
    for (target, ports) in targets.iter().filter(|(_, ports)| ports.len() > 1) {
        let services: BTreeSet<_> = ports.values().collect();
        let ports: Vec<_> = ports.keys().collect();
        let message = format!(
            "This deployment {name} is associated with multiple services {services:?} using targetPort {target:?} but \
             different ports: {ports:?}."
        );
        findings.add("IST0137", deployment, mark, message);
    }
}

fn target_port(port: &Part<'_>) -> String {
    match port.get("targetPort") {
        None => String::new(),
        Some(target) => match target.node().as_str() {
            Some(text) => text.to_owned(),
            None => target.as_number().to_string(),
        },
    }
}

fn check_user(object: &Object<'_>, spec: &Part<'_>, findings: &mut Findings) {
    if is_control_plane(object) {
        return;
    }
    let runs_as_proxy = |of: &Part<'_>| {
        of.get("securityContext")
            .is_some_and(|context| context.number("runAsUser") == 1337)
    };
    let containers = spec.list("containers").into_iter();
    let of_application =
        containers.filter(|c| !matches!(c.text("name"), "istio-proxy" | "istio-operator"));
    for part in std::iter::once(spec.clone()).chain(of_application) {
        if runs_as_proxy(&part) {
            findings.add(
                "IST0144",
                object,
                part.about("securityContext").mark(),
                "User ID (UID) 1337 is reserved for the sidecar proxy.",
            );
        }
    }
}

fn check_ports(service: &Object<'_>, findings: &mut Findings) {
    let managed = service.label("gateway.istio.io/managed");
    let of_gateway = matches!(
        managed,
        Some(
            "istio.io-gateway-controller"
                | "istio.io-mesh-controller"
                | "istio.io-eastwest-controller"
        )
    );
    if is_control_plane(service) || of_gateway {
        return;
    }
    let is_external = service.spec.text("type") == "ExternalName";
    for port in service.spec.list("ports") {
        let name = port.text("name");
        if has_protocol(&port) && !(name == "tcp" && is_external) {
            continue;
        }
        if is_external {
            findings.add(
                "IST0150",
                service,
                port.mark(),
                "Port name for ExternalName service is invalid. Proxy may prevent tcp named ports and unmatched traffic \
                 for ports serving TCP protocol from being forwarded correctly",
            );
        } else {
            let message = format!(
                "Port name {name} (port: {}, targetPort: {}) doesn't follow the naming convention of Istio port.",
                port.number("port"),
                target_port(&port)
            );
            findings.add("IST0118", service, port.mark(), message);
        }
    }
}

/// Whether the protocol of a port is told by its appProtocol, its name, or its number.
fn has_protocol(port: &Part<'_>) -> bool {
    if port.text("protocol") == "UDP" {
        return true;
    }
    let name = match port.get("appProtocol") {
        Some(protocol) => protocol.as_text(),
        None => port.text("name"),
    };
    let is_web = name
        .get(..8)
        .is_some_and(|start| start.eq_ignore_ascii_case("grpc-web"));
    let prefix = name.split('-').next().unwrap_or_default();
    is_web
        || matches!(name, "kubernetes.io/h2c" | "kubernetes.io/ws" | "kubernetes.io/wss")
        || names::protocol(prefix).is_some()
        // SMTP, DNS, MySQL, MongoDB
        || matches!(port.number("port"), 25 | 53 | 3306 | 27017)
}
