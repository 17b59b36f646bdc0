//! In words: which rules apply to a workload and to the services that it calls, and where they stand.

use std::fmt::Write as _;

use super::gateway_servers::gateways_of;
use super::policies;
use super::scope::Scope;
use super::virtual_host::most_specific;
use super::{NodeKind, Translator};
use crate::model::{HttpRoute, Metadata, Protocol, TargetPort, VirtualService};
use crate::registry::{Health, Service};

/// Between the parts of a description.
const LINE: &str = "--------------------\n";

impl Translator {
    /// The workload itself: its Sidecar and what selects it, then each service that it belongs to.
    pub(crate) fn describe_workload(&self, name: &str) -> String {
        let scope = self.scope();
        let node = &scope.node;
        let mut text = format!("Pod: {name}.{}\n", node.namespace);
        let pod = scope.config.registry.pod(&node.ip, &node.namespace);
        if let Some(pod) = pod {
            let _ = writeln!(text, "   Defined at: {}", place(&pod.metadata));
        }
        if node.kind == NodeKind::Router {
            text += "   A gateway\n";
            describe_gateways(scope, &mut text);
        }
        if let Some(sidecar) = &scope.sidecar {
            let _ = writeln!(text, "Sidecar: {}", named(&sidecar.metadata));
        }
        let root = &scope.config.mesh.root_namespace;
        for telemetry in scope.config.telemetries.iter().filter(|telemetry| {
            let namespace = &telemetry.metadata.namespace;
            (*namespace == node.namespace || namespace == root)
                && telemetry
                    .selector
                    .iter()
                    .all(|(k, v)| scope.labels.get(k) == Some(v))
        }) {
            let _ = writeln!(text, "Telemetry: {}", named(&telemetry.metadata));
        }
        describe_policies(scope, &mut text);
        let mut seen = Vec::new();
        for target in scope.targets() {
            if !seen.contains(&target.service.host) {
                seen.push(target.service.host.clone());
                text += LINE;
                describe_service(scope, &target.service, &mut text);
            }
        }
        if seen.is_empty() {
            text += "No service selects it.\n";
        }
        text
    }

    /// A service as the node sees it; `None` if it sees none of this host.
    pub(crate) fn describe_service(&self, host: &str) -> Option<String> {
        let service = self.scope().service(host)?;
        let mut text = String::new();
        describe_service(self.scope(), service, &mut text);
        Some(text)
    }
}

/// Gateways that the node is a proxy of; of the Gateway API those, not the ones that are derived from their listeners.
fn describe_gateways(scope: &Scope, text: &mut String) {
    let mut seen = Vec::new();
    for gateway in gateways_of(scope, &scope.targets()) {
        let all = scope.config.gateway_api.gateways.iter();
        let of_api = all
            .map(|of_api| &of_api.metadata)
            .find(|of_api| of_api.provenance == gateway.metadata.provenance);
        let metadata = of_api.unwrap_or(&gateway.metadata);
        if !seen.contains(&metadata) {
            let _ = writeln!(text, "Gateway: {}", named(metadata));
            seen.push(metadata);
        }
    }
}

/// What is attached to the workload by selector, namespace or Gateway.
fn describe_policies(scope: &Scope, text: &mut String) {
    let config = &scope.config;
    let mut found: Vec<(&str, &Metadata)> = Vec::new();
    macro_rules! attached {
        ($($kind:literal $field:ident)*) => {
            $(found.extend(config.$field.iter().map(|p| ($kind, &p.metadata, &p.target)).filter_map(
                |(kind, metadata, target)| {
                    let namespace = metadata.namespace.as_str();
                    let is_heeded = policies::namespaces(scope).any(|heeded| heeded == namespace);
                    (is_heeded && policies::is_for(scope, metadata, target)).then_some((kind, metadata))
                },
            ));)*
        };
    }
    attached! {
        "PeerAuthentication" peer_authentications
        "RequestAuthentication" request_authentications
        "AuthorizationPolicy" authorization_policies
        "EnvoyFilter" envoy_filters
    }
    for (kind, metadata) in found {
        let _ = writeln!(text, "{kind}: {}", named(metadata));
    }
}

fn place(metadata: &Metadata) -> String {
    let at = &metadata.provenance;
    format!("{}:{}", at.file, at.line)
}

/// `NAME.NAMESPACE (FILE:LINE)`.
fn named(metadata: &Metadata) -> String {
    format!(
        "{}.{} ({})",
        metadata.name,
        metadata.namespace,
        place(metadata)
    )
}

fn describe_service(scope: &Scope, service: &Service, text: &mut String) {
    let _ = writeln!(text, "Service: {}", service.host);
    for port in &service.ports {
        let target = match &port.target {
            TargetPort::Number(number) => number.to_string(),
            TargetPort::Name(name) => name.clone(),
        };
        let protocol = match port.protocol {
            Protocol::Unknown => "auto-detect".to_owned(),
            protocol => format!("{protocol:?}").to_uppercase(),
        };
        let name = &port.name;
        let number = port.port;
        let _ = writeln!(
            text,
            "   Port: {name} {number}/{protocol} targets pod port {target}"
        );
    }
    let addresses = |healthy: bool| {
        let endpoints = service.endpoints.iter();
        let counted = endpoints.filter(|e| !healthy || is_healthy(e.health));
        let mut addresses: Vec<_> = counted.map(|e| e.address.as_str()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.len()
    };
    let _ = writeln!(
        text,
        "   Endpoints: {} of {} healthy",
        addresses(true),
        addresses(false)
    );
    match scope.destination_rule(&service.host) {
        None => *text += "   No DestinationRule\n",
        Some(rule) => {
            let _ = writeln!(text, "   DestinationRule: {}", named(&rule.metadata));
            for subset in &rule.subsets {
                let fits = |labels: &std::collections::BTreeMap<String, String>| {
                    subset.labels.iter().all(|(k, v)| labels.get(k) == Some(v))
                };
                let mut found: Vec<_> = service
                    .endpoints
                    .iter()
                    .filter(|endpoint| fits(&endpoint.labels))
                    .map(|endpoint| endpoint.address.as_str())
                    .collect();
                found.sort_unstable();
                found.dedup();
                let labels: Vec<_> = subset
                    .labels
                    .iter()
                    .map(|(k, v)| format!("{k}={v}"))
                    .collect();
                let own = match subset.traffic_policy {
                    Some(_) => ", with a traffic policy",
                    None => "",
                };
                let count = match found.len() {
                    0 => "NO endpoint matches".to_owned(),
                    1 => "1 endpoint".to_owned(),
                    many => format!("{many} endpoints"),
                };
                let name = &subset.name;
                let _ = writeln!(
                    text,
                    "      Subset {name} ({}): {count}{own}",
                    labels.join(", ")
                );
            }
            *text += match rule.traffic_policy {
                Some(_) => "      With a traffic policy\n",
                None => "      No traffic policy\n",
            };
        }
    }
    let in_mesh = scope
        .egress
        .iter()
        .find_map(|egress| most_specific(egress, &service.host));
    match in_mesh {
        None => *text += "   No VirtualService\n",
        Some(rule) => describe_virtual_service(rule, text),
    }
    for (gateway, rule) in exposing(scope, &service.host) {
        let _ = writeln!(text, "   Exposed at Gateway {gateway} by:");
        describe_virtual_service(rule, text);
    }
}

fn is_healthy(health: Health) -> bool {
    matches!(health, Health::Unknown | Health::Healthy)
}

/// VirtualServices of gateways that lead to a host, one entry per gateway.
fn exposing<'a>(
    scope: &'a Scope,
    host: &'a str,
) -> impl Iterator<Item = (&'a String, &'a VirtualService)> {
    let leads = move |rule: &&VirtualService| {
        let http = rule.http.iter().flat_map(|route| &route.route);
        let l4 = rule
            .tls
            .iter()
            .chain(&rule.tcp)
            .flat_map(|route| &route.route);
        http.map(|to| &to.destination)
            .chain(l4.map(|to| &to.destination))
            .any(|to| to.host == host)
    };
    let rules = scope.config.virtual_services.iter().map(|rule| &**rule);
    rules.filter(leads).flat_map(|rule| {
        let gateways = rule.gateways.iter().filter(|gateway| *gateway != "mesh");
        gateways.map(move |gateway| (gateway, rule))
    })
}

fn describe_virtual_service(rule: &VirtualService, text: &mut String) {
    let _ = writeln!(text, "   VirtualService: {}", named(&rule.metadata));
    for (i, route) in rule.http.iter().enumerate() {
        let name = match route.name.as_str() {
            "" => format!("{}.", i + 1),
            name => format!("{}. {name:?}", i + 1),
        };
        let conditions = match route.matches.len() {
            0 => "every request".to_owned(),
            1 => "1 match".to_owned(),
            many => format!("{many} matches"),
        };
        let line = route.mark.line;
        let _ = writeln!(
            text,
            "      HTTP route {name} {conditions}: {} (line {line})",
            outcome(route)
        );
    }
    for (kind, routes) in [("TLS", &rule.tls), ("TCP", &rule.tcp)] {
        for route in routes {
            let to: Vec<_> = route
                .route
                .iter()
                .map(|to| to.destination.host.as_str())
                .collect();
            let _ = writeln!(text, "      {kind} route: to {}", to.join(", "));
        }
    }
}

/// What becomes of requests, in short.
fn outcome(route: &HttpRoute) -> String {
    if route.redirect.is_some() {
        return "a redirect".to_owned();
    }
    if let Some(direct) = &route.direct_response {
        return format!("answers {}", direct.status);
    }
    let total: u64 = route.route.iter().map(|to| u64::from(to.weight)).sum();
    let to: Vec<_> = route
        .route
        .iter()
        .map(|to| {
            let subset = match to.destination.subset.as_str() {
                "" => String::new(),
                subset => format!("/{subset}"),
            };
            let share = match route.route.len() {
                1 => String::new(),
                _ => format!(" {} of {total}", to.weight),
            };
            format!("{}{subset}{share}", to.destination.host)
        })
        .collect();
    let mut more = String::new();
    for (name, is_there) in [
        ("fault", route.fault.is_some()),
        ("timeout", route.timeout.is_some()),
        ("retries", route.retries.is_some()),
        (
            "mirror",
            route.mirror.is_some() || !route.mirrors.is_empty(),
        ),
        ("rewrite", route.rewrite.is_some()),
        ("corsPolicy", route.cors.is_some()),
        ("headers", route.headers.is_some()),
    ] {
        if is_there {
            more += if more.is_empty() { ", with " } else { ", " };
            more += name;
        }
    }
    format!("to {}{more}", to.join(", "))
}
