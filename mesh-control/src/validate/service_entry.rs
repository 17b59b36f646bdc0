use std::collections::BTreeSet;

use super::part::Part;
use super::{names, selector, workload};

const RESOLUTIONS: [&str; 5] = ["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"];

/// `uses_waypoint`: its label `istio.io/use-waypoint` names one.
pub(super) fn check(spec: &Part<'_>, namespace: &str, uses_waypoint: bool) {
    let selects = spec.get("workloadSelector");
    if !selector::check_labels(selects.as_ref(), "labels") {
        return;
    }
    let endpoints = spec.list("endpoints");
    if selects.is_some() && !endpoints.is_empty() {
        spec.refuse_at(
            "endpoints",
            "only one of WorkloadSelector or Endpoints is allowed in Service Entry",
            "keep one of them",
        );
    }
    let resolution = spec.word("resolution", &RESOLUTIONS);
    let hosts = spec.list("hosts");
    check_hosts(spec, &hosts, resolution);
    let addresses = spec.list("addresses");
    for address in &addresses {
        names::report(
            address,
            names::subnet(address.as_text()),
            "write an address or a range such as 10.0.0.0/8",
        );
    }
    if let Some(range) = addresses.iter().find(|a| a.as_text().contains('/'))
        && !matches!(resolution, "NONE" | "STATIC")
    {
        range.refuse(
            "CIDR addresses are allowed only for NONE/STATIC resolution types",
            "write an address, or resolution: STATIC",
        );
    }
    let ports = spec.list("ports");
    let port_names = check_ports(&ports);
    match resolution {
        "NONE" => {
            if !endpoints.is_empty() {
                spec.refuse_at(
                    "endpoints",
                    "no endpoints should be provided for resolution type none",
                    "write resolution: STATIC",
                );
            }
            if selects.is_some() {
                spec.warn_at(
                    "workloadSelector",
                    "workloadSelector should not be set when resolution mode is NONE",
                    "write resolution: STATIC",
                );
            }
        }
        "STATIC" => {
            for endpoint in &endpoints {
                workload::check(endpoint, Some(&port_names), false);
            }
        }
        "DNS" | "DNS_ROUND_ROBIN" => check_dns(spec, resolution, &hosts, &endpoints, &port_names),
        "DYNAMIC_DNS" => check_dynamic(spec, &hosts, uses_waypoint),
        _ => spec.refuse_at(
            "resolution",
            "unsupported resolution type",
            "write NONE, STATIC, DNS or DNS_ROUND_ROBIN",
        ),
    }
    let is_told_apart = |port: &Part<'_>| {
        let protocol = names::protocol(port.text("protocol"));
        names::is_http(protocol) || names::is_tls(protocol)
    };
    if resolution != "NONE" && hosts.len() > 1 && !ports.iter().all(is_told_apart) {
        spec.refuse_at(
            "hosts",
            "multiple hosts provided with non-HTTP, non-TLS ports",
            "write a ServiceEntry for each host",
        );
    }
    names::check_export_to(spec, namespace, true, false);
}

fn check_hosts(spec: &Part<'_>, hosts: &[Part<'_>], resolution: &str) {
    if hosts.is_empty() {
        spec.refuse_at(
            "hosts",
            "service entry must have at least one host",
            "add hosts",
        );
    }
    for host in hosts {
        let text = host.as_text();
        if text == "*" {
            host.refuse("invalid host *", "write a domain, or *.domain");
            continue;
        }
        names::report(host, names::wildcard_domain(text), "write a domain");
        if resolution != "DYNAMIC_DNS"
            && let Err(wrong) = names::partial_wildcard(text)
        {
            host.report(crate::Severity::Warning, "warning", wrong, "write *.domain");
        }
    }
}

fn check_ports<'a>(ports: &[Part<'a>]) -> BTreeSet<&'a str> {
    let (mut port_names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for port in ports {
        let (name, number) = (port.text("name"), port.number("number"));
        if !port_names.insert(name) {
            port.refuse_at(
                "name",
                format_args!("service entry port name {name:?} already defined"),
                "give every port its own name",
            );
        }
        if !numbers.insert(number) {
            port.refuse_at(
                "number",
                format_args!("service entry port {number} already defined"),
                "give every port its own number",
            );
        }
        if port.number("targetPort") != 0 {
            names::check_port_of(port, "targetPort");
        }
        names::check_port_name(&port.about("name"), name);
        names::check_protocol(port);
        names::check_port_of(port, "number");
    }
    port_names
}

fn check_dns(
    spec: &Part<'_>,
    resolution: &str,
    hosts: &[Part<'_>],
    endpoints: &[Part<'_>],
    port_names: &BTreeSet<&str>,
) {
    if endpoints.is_empty()
        && let Some((host, wrong)) = hosts
            .iter()
            .find_map(|host| Some((host, names::fqdn(host.as_text()).err()?)))
    {
        host.refuse(
            format_args!(
                "hosts must be FQDN or contain only prefix wildcards if no endpoints are provided for resolution mode \
                 {resolution}, {wrong}"
            ),
            "write a full domain name, or add endpoints",
        );
    }
    if resolution == "DNS_ROUND_ROBIN" && endpoints.len() > 1 {
        spec.refuse_at(
            "endpoints",
            "there must only be 0 or 1 endpoint for resolution mode DNS_ROUND_ROBIN",
            "keep one of them, or write resolution: DNS",
        );
    }
    for endpoint in endpoints {
        let address = endpoint.text("address");
        if !names::is_ip(address) && names::fqdn(address).is_err() {
            endpoint.refuse_at(
                "address",
                format_args!("endpoint address {address:?} is not a valid FQDN or an IP address"),
                "write a domain or an address",
            );
        }
        names::check_labels(endpoint, "labels");
        workload::check_ports(endpoint, Some(port_names));
    }
}

fn check_dynamic(spec: &Part<'_>, hosts: &[Part<'_>], uses_waypoint: bool) {
    for host in hosts.iter().filter(|host| !host.as_text().starts_with('*')) {
        host.refuse(
            "host must be wildcarded for resolution mode DYNAMIC_DNS",
            "write *.domain",
        );
    }
    for name in ["addresses", "endpoints"] {
        if !spec.list(name).is_empty() {
            spec.refuse_at(
                name,
                format_args!("{name} cannot be set for resolution type DYNAMIC_DNS"),
                "remove it",
            );
        }
    }
    for port in spec.list("ports") {
        let protocol = names::protocol(port.text("protocol"));
        if !matches!(protocol, Some("http" | "tls" | "grpc" | "http2")) {
            port.refuse_at(
                "protocol",
                "only HTTP, TLS, GRPC, and HTTP2 protocols are supported for resolution type DYNAMIC_DNS",
                "write one of them",
            );
        }
    }
    let location = spec.word("location", &["MESH_EXTERNAL", "MESH_INTERNAL"]);
    if location == "?" || location == "MESH_INTERNAL" && uses_waypoint {
        spec.refuse_at(
            "location",
            "location MESH_INTERNAL with resolution type DYNAMIC_DNS is not supported when using waypoints",
            "write MESH_EXTERNAL",
        );
    }
}
