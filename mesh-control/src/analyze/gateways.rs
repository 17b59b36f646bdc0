//! Gateways: pods that are not there, ports that no Service opens, hosts twice, credentials.

use std::collections::BTreeSet;

use super::certificate;
use super::finding::Findings;
use super::objects::{Object, Selector, World};
use crate::validate::part::Part;
use crate::yaml::Mark;

pub(super) fn analyze(world: &World<'_>, findings: &mut Findings) {
    for gateway in world.all("Gateway") {
        let selector = Selector::of(&gateway.spec, "selector");
        let mark = gateway.spec.about("selector").mark();
        let first = world.pods(&selector).next();
        // as in Istio: where the pods are in no namespace, neither are the secrets
        let is_empty = gateway.spec.list("servers").is_empty() && !selector.is_empty();
        if is_empty || first.is_none_or(|pod| pod.namespace.is_empty()) {
            findings.not_found(gateway, mark, "selector", &selector.to_string());
        }
        if first.is_some() {
            check_ports(world, gateway, &selector, mark, findings);
            check_credentials(world, gateway, &selector, findings);
        }
        check_conflicts(world, gateway, &selector, findings);
        check_certificates(world, gateway, &selector, findings);
    }
}

fn check_ports(
    world: &World<'_>,
    gateway: &Object<'_>,
    selector: &Selector<'_>,
    mark: Mark,
    findings: &mut Findings,
) {
    let mut open: BTreeSet<i128> = BTreeSet::new();
    for pod in world.pods(selector) {
        let services = world.all("Service").filter(|service| {
            service.namespace == pod.namespace
                && Selector::of(&service.spec, "selector").matches(&pod.labels)
        });
        for port in services.flat_map(|service| service.spec.list("ports")) {
            if port.text("protocol") != "TCP" {
                continue;
            }
            let target = port.number("targetPort");
            if target != 0 {
                open.insert(target);
            }
            open.insert(port.number("port"));
        }
    }
    for server in gateway.spec.list("servers") {
        let Some(port) = server.get("port") else {
            continue;
        };
        let number = port.number("number");
        if !open.contains(&number) {
            let message = format!(
                "The gateway is listening on a target port (port {number}) that is not defined in the Service associated \
                 with its workload instances (Pod selector {selector}). If you need to access the gateway port through \
                 the gateway Service, it will not be available."
            );
            findings.add("IST0162", gateway, mark, message);
        }
    }
}

fn check_credentials(
    world: &World<'_>,
    gateway: &Object<'_>,
    selector: &Selector<'_>,
    findings: &mut Findings,
) {
    let Some(pod) = world.pods(selector).next() else {
        return;
    };
    for tls in gateway
        .spec
        .list("servers")
        .iter()
        .filter_map(|server| server.get("tls"))
    {
        let name = tls.text("credentialName");
        if name.is_empty() {
            continue;
        }
        let mark = tls.about("credentialName").mark();
        let (namespace, short) = name.split_once('/').unwrap_or((&pod.namespace, name));
        match world.find("Secret", namespace, short) {
            None => findings.not_found(gateway, mark, "credentialName", name),
            Some(secret) if !certificate::is_right(secret) => {
                let message = format!(
                    "The credential referenced by the Gateway {} in namespace {} is invalid, which can cause the traffic \
                     not to work as expected.",
                    gateway.name, pod.namespace
                );
                findings.add("IST0161", gateway, mark, message);
            }
            Some(_) => {}
        }
    }
}

fn check_conflicts(
    world: &World<'_>,
    gateway: &Object<'_>,
    selector: &Selector<'_>,
    findings: &mut Findings,
) {
    let own = selector.to_string();
    let same_pods = |other: &Object<'_>| {
        let selector_of_other = Selector::of(&other.spec, "selector");
        let text = selector_of_other.to_string();
        text == own
            || (text.contains(&own) || own.contains(&text))
                && world
                    .pods(selector)
                    .any(|pod| selector_of_other.matches(&pod.labels))
    };
    let others: Vec<_> = world
        .all("Gateway")
        .filter(|other| other.full_name() != gateway.full_name() && same_pods(other))
        .collect();
    for server in gateway.spec.list("servers") {
        let number = port_of(&server);
        let mut names: Vec<String> = others
            .iter()
            .filter(|other| {
                // of several servers on a port, the last one counts
                let servers = other.spec.list("servers");
                servers
                    .iter()
                    .rfind(|of_other| port_of(of_other) == number)
                    .is_some_and(|of_other| share_a_host(&server, of_other))
            })
            .map(|other| other.full_name())
            .collect();
        if names.is_empty() {
            continue;
        }
        names.sort();
        let hosts: Vec<_> = server.list("hosts").iter().map(Part::as_text).collect();
        let message = format!(
            "Conflict with gateways {} (workload selector {selector}, port {number}, hosts {}).",
            names.join(","),
            hosts.join(",")
        );
        findings.add("IST0145", gateway, server.mark(), message);
    }
}

fn port_of(server: &Part<'_>) -> i128 {
    server
        .get("port")
        .map(|port| port.number("number"))
        .unwrap_or_default()
}

fn share_a_host(a: &Part<'_>, b: &Part<'_>) -> bool {
    let of_b = b.list("hosts");
    a.text("bind") == b.text("bind")
        && a.list("hosts")
            .iter()
            .any(|host| of_b.iter().any(|other| other.as_text() == host.as_text()))
}

fn check_certificates(
    world: &World<'_>,
    gateway: &Object<'_>,
    selector: &Selector<'_>,
    findings: &mut Findings,
) {
    for other in world.all("Gateway") {
        let of_other = Selector::of(&other.spec, "selector");
        if other.full_name() == gateway.full_name() || !selector.matches(&of_other.0) {
            continue;
        }
        for a in gateway
            .spec
            .list("servers")
            .iter()
            .filter_map(|s| s.get("tls"))
        {
            for b in other
                .spec
                .list("servers")
                .iter()
                .filter_map(|s| s.get("tls"))
            {
                if same_certificate(&a, &b) {
                    let message = format!(
                        "Duplicate certificate in multiple gateways [{} {}] may cause 404s if clients re-use HTTP2 \
                         connections.",
                        gateway.full_name(),
                        other.full_name()
                    );
                    findings.add("IST0138", gateway, gateway.name_mark(), message);
                }
            }
        }
    }
}

fn same_certificate(a: &Part<'_>, b: &Part<'_>) -> bool {
    let same = |name: &str| !a.text(name).is_empty() && a.text(name) == b.text(name);
    let none = |name: &str| a.text(name).is_empty() && b.text(name).is_empty();
    same("credentialName")
        || none("credentialName") && same("serverCertificate") && same("privateKey")
}
