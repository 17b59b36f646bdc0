use std::collections::BTreeSet;

use super::names;
use super::part::Part;

/// A WorkloadEntry, or an endpoint of a ServiceEntry with those ports.
pub(super) fn check(entry: &Part<'_>, ports: Option<&BTreeSet<&str>>, allow_domains: bool) {
    let address = entry.text("address");
    if address.is_empty() {
        if entry.text("network").is_empty() {
            return entry.refuse_at("address", "address is required", "add address");
        }
        entry.warn_at("address", "address is unset with a network", "add address");
    }
    let path = address.strip_prefix("unix://");
    if let Some(path) = path {
        names::report(
            &entry.about("address"),
            names::unix_path(path),
            "write unix:///path",
        );
        if !entry.map("ports").is_empty() {
            entry.refuse_at(
                "ports",
                format_args!("unix endpoint {address} must not include ports"),
                "remove them",
            );
        }
    } else if !address.is_empty() && !names::is_ip(address) {
        if !allow_domains {
            entry.refuse_at(
                "address",
                format_args!("endpoint address {address:?} is not a valid IP address"),
                "write an address, or resolution: DNS",
            );
        } else if names::fqdn(address).is_err() {
            entry.refuse_at(
                "address",
                format_args!("endpoint address {address:?} is not a valid FQDN or an IP address"),
                "write a domain or an address",
            );
        }
    }
    check_ports(entry, ports);
    names::check_labels(entry, "labels");
    if path.is_some() && ports.is_some_and(|ports| ports.len() != 1) {
        entry.refuse(
            "exactly 1 service port required for unix endpoints",
            "keep one port",
        );
    }
}

pub(super) fn check_ports(entry: &Part<'_>, known: Option<&BTreeSet<&str>>) {
    for (name, port) in entry.map("ports") {
        if known.is_some_and(|known| !known.contains(name)) {
            port.refuse(
                format_args!(
                    "endpoint port {} is not defined by the service entry",
                    port.as_number()
                ),
                "write the name of a port in ports",
            );
        }
        names::check_port_name(&port, name);
        names::check_port(&port);
    }
}

/// A WorkloadGroup.
pub(super) fn check_group(spec: &Part<'_>) {
    if !spec.has("template") {
        return spec.refuse("template is required", "add template");
    }
    if let Some(metadata) = spec.get("metadata") {
        names::check_labels(&metadata, "labels");
    }
    if let Some(probe) = spec.get("probe") {
        check_probe(&probe);
    }
}

fn check_probe(probe: &Part<'_>) {
    for name in [
        "periodSeconds",
        "initialDelaySeconds",
        "timeoutSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        if probe.number(name) < 0 {
            probe.refuse_at(
                name,
                format_args!("{name} must be non-negative"),
                "write 0 or more",
            );
        }
    }
    match probe.one_of(&["httpGet", "tcpSocket", "exec", "grpc"]) {
        Some(("httpGet", get)) => {
            names::check_port_of(&get, "port");
            if !matches!(get.text("scheme"), "" | "HTTP" | "HTTPS") {
                get.refuse_at(
                    "scheme",
                    "httpGet.scheme must be one of \"HTTPS\", \"HTTP\"",
                    "write HTTP or HTTPS",
                );
            }
            for header in get.list("httpHeaders") {
                let name = header.text("name");
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                {
                    header.refuse_at(
                        "name",
                        format_args!("header name {name} is not a valid header name"),
                        "write letters, digits and -",
                    );
                }
            }
        }
        Some(("tcpSocket", socket)) => names::check_port_of(&socket, "port"),
        Some(("exec", exec)) => {
            if exec.list("command").is_empty() {
                exec.refuse_at("command", "exec.command is required", "add command");
            }
        }
        _ => probe.refuse(
            "unknown health check method",
            "add httpGet, tcpSocket or exec",
        ),
    }
}
