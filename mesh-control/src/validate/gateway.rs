use std::collections::BTreeSet;

use super::names;
use super::part::Part;
use super::server_tls;

/// `converted`: it was made of a Gateway of the Gateway API.
pub(super) fn check(spec: &Part<'_>, name: &str, converted: bool) {
    if !names::is_label(name) && !converted {
        spec.refuse(
            format_args!("invalid gateway name: {name:?}"),
            "name it with letters, digits and - only",
        );
    }
    let servers = spec.list("servers");
    if servers.is_empty() {
        spec.refuse_at(
            "servers",
            "gateway must have at least one server",
            "add servers",
        );
    }
    let mut port_names = BTreeSet::new();
    for server in &servers {
        check_server(server, converted);
        let Some(port) = server.get("port") else {
            continue;
        };
        if !port_names.insert(port.text("name")) {
            port.refuse_at(
                "name",
                format_args!(
                    "port names in servers must be unique: duplicate name {}",
                    port.text("name")
                ),
                "give every port its own name",
            );
        }
        let tls = server.get("tls").filter(|tls| tls.flag("httpsRedirect"));
        if let Some(tls) = tls
            && !names::is_http(names::protocol(port.text("protocol")))
        {
            tls.warn_at(
                "httpsRedirect",
                "tls.httpsRedirect should only be used with http servers",
                "remove it",
            );
        }
    }
}

fn check_server(server: &Part<'_>, converted: bool) {
    let hosts = server.list("hosts");
    if hosts.is_empty() {
        server.refuse_at(
            "hosts",
            "server config must contain at least one host",
            "add hosts",
        );
    }
    for host in &hosts {
        names::report(
            host,
            names::scoped_host(host.as_text(), true, converted),
            "write a full domain name, or namespace/domain",
        );
    }
    let bind = server.text("bind");
    let port = server.get("port");
    let port_is_right = check_port(server, port.as_ref(), bind);
    check_bind(server, port.as_ref(), bind);
    let tls = server.get("tls");
    if let Some(tls) = &tls {
        server_tls::check(tls);
    }
    let Some(port) = port.filter(|_| port_is_right) else {
        return;
    };
    let protocol = names::protocol(port.text("protocol"));
    match tls {
        None if names::is_tls(protocol) => server.refuse(
            "server must have TLS settings for HTTPS/TLS protocols",
            "add tls",
        ),
        Some(tls) if !names::is_tls(protocol) => {
            if !names::is_http(protocol) {
                tls.refuse(
                    "server cannot have TLS settings for non HTTPS/TLS ports",
                    "write protocol: HTTPS or TLS, or remove tls",
                );
            } else if !matches!(server_tls::mode(&tls), "PASSTHROUGH" | "AUTO_PASSTHROUGH")
                || ["caCertificates", "privateKey", "serverCertificate"]
                    .iter()
                    .any(|field| !tls.text(field).is_empty())
            {
                tls.refuse(
                    "server cannot have TLS settings for plain text HTTP ports",
                    "write protocol: HTTPS, or keep httpsRedirect only",
                );
            }
        }
        _ => {}
    }
}

fn check_port(server: &Part<'_>, port: Option<&Part<'_>>, bind: &str) -> bool {
    let Some(port) = port else {
        server.refuse("port is required", "add port: {number, name, protocol}");
        return false;
    };
    let mut right = true;
    let protocol = port.text("protocol");
    if names::protocol(protocol).is_none() {
        right = false;
        port.refuse_at(
            "protocol",
            format_args!("invalid protocol {protocol:?}"),
            names::PROTOCOLS,
        );
    }
    let number = port.number("number");
    if number > 0 || !bind.starts_with("unix://") {
        right &= names::port(number).is_ok();
        names::check_port_of(port, "number");
    }
    if port.number("targetPort") > 0 {
        right = false;
        port.refuse_at(
            "targetPort",
            "targetPort has no impact on Gateways",
            "remove it",
        );
    }
    if port.text("name").is_empty() {
        right = false;
        port.refuse_at("name", "port name must be set", "add name");
    }
    right
}

fn check_bind(server: &Part<'_>, port: Option<&Part<'_>>, bind: &str) {
    if let Some(path) = bind.strip_prefix("unix://") {
        names::report(
            &server.about("bind"),
            names::unix_path(path),
            "write unix:///path",
        );
        if let Some(port) = port
            && port.number("number") != 0
        {
            port.refuse_at(
                "number",
                "port number must be 0 for unix domain socket",
                "write 0",
            );
        }
    } else if !bind.is_empty() {
        names::report(
            &server.about("bind"),
            names::ip(bind),
            "write an IP address",
        );
    }
}
