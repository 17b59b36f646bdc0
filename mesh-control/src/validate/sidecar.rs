use std::collections::BTreeSet;

use super::part::Part;
use super::traffic_policy::check_connection_pool;
use super::{destination, names, selector, server_tls};

pub(super) fn check(spec: &Part<'_>, namespace: &str) {
    if !selector::check_labels(spec.get("workloadSelector").as_ref(), "labels") {
        return;
    }
    let (ingress, egress) = (spec.list("ingress"), spec.list("egress"));
    if ingress.is_empty()
        && egress.is_empty()
        && !spec.has("outboundTrafficPolicy")
        && !spec.has("inboundConnectionPool")
    {
        return spec.refuse(
            "sidecar: empty configuration provided",
            "add egress, ingress or outboundTrafficPolicy",
        );
    }
    let mut ports = BTreeSet::new();
    for listener in &ingress {
        check_ingress(listener, &mut ports);
    }
    if let Some(pool) = spec.get("inboundConnectionPool") {
        check_connection_pool(&pool);
    }
    check_egress(&egress, namespace);
    if let Some(policy) = spec.get("outboundTrafficPolicy") {
        check_outbound(&policy);
    }
}

fn check_ingress(listener: &Part<'_>, ports: &mut BTreeSet<i128>) {
    let Some(port) = listener.get("port") else {
        return listener.refuse(
            "sidecar: port is required for ingress listeners",
            "add port: {number, protocol, name}",
        );
    };
    check_target_port(&port);
    check_port_name(&port);
    names::check_protocol(&port);
    names::check_port_of(&port, "number");
    check_bind(listener);
    check_unique(&port, ports);
    let endpoint = listener.text("defaultEndpoint");
    if !endpoint.is_empty() {
        check_endpoint(&listener.about("defaultEndpoint"), endpoint);
    }
    if let Some(tls) = listener.get("tls") {
        for name in ["subjectAltNames", "credentialNames", "tlsCertificates"] {
            if !tls.list(name).is_empty() {
                refuse_tls(&tls, name);
            }
        }
        if tls.flag("httpsRedirect") {
            refuse_tls(&tls, "httpsRedirect");
        }
        if !tls.text("credentialName").is_empty() {
            refuse_tls(&tls, "credentialName");
        }
        let mode = server_tls::mode(&tls);
        if matches!(mode, "ISTIO_MUTUAL" | "AUTO_PASSTHROUGH") {
            tls.refuse_at(
                "mode",
                format_args!("cannot set mode to {mode} in sidecar ingress tls"),
                "write SIMPLE or MUTUAL",
            );
        }
        if !names::is_tls(names::protocol(port.text("protocol"))) {
            tls.refuse(
                "server cannot have TLS settings for non HTTPS/TLS ports",
                "write protocol: HTTPS or TLS, or remove tls",
            );
        }
        server_tls::check(&tls);
    }
    if let Some(pool) = listener.get("connectionPool") {
        check_connection_pool(&pool);
    }
}

fn refuse_tls(tls: &Part<'_>, name: &str) {
    tls.refuse_at(
        name,
        format_args!("sidecar: {name} is not supported in ingress tls"),
        "remove it",
    );
}

fn check_target_port(port: &Part<'_>) {
    if port.number("targetPort") > 0 {
        port.refuse_at(
            "targetPort",
            "targetPort has no impact on Sidecars",
            "remove it",
        );
    }
}

fn check_port_name(port: &Part<'_>) {
    let name = port.text("name");
    if !name.is_empty() {
        names::check_port_name(&port.about("name"), name);
    }
}

fn check_unique(port: &Part<'_>, ports: &mut BTreeSet<i128>) {
    if !ports.insert(port.number("number")) {
        port.refuse_at(
            "number",
            "sidecar: ports on IP bound listeners must be unique",
            "give every listener its own port",
        );
    }
}

fn check_bind(listener: &Part<'_>) {
    let bind = listener.text("bind");
    if !bind.is_empty() {
        names::report(
            &listener.about("bind"),
            names::ip(bind),
            "write an IP address",
        );
    }
}

fn check_endpoint(at: &Part<'_>, endpoint: &str) {
    const FORM: &str = "write 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix:///path";
    if let Some(path) = endpoint.strip_prefix("unix://") {
        names::report(at, names::unix_path(path), FORM);
        return;
    }
    let Some((host, port)) = split_host_port(endpoint) else {
        return at.refuse("sidecar: defaultEndpoint is no host and port", FORM);
    };
    if !matches!(host, "" | "127.0.0.1" | "0.0.0.0" | "::1" | "::") {
        at.refuse(
            "sidecar: defaultEndpoint must be of form 127.0.0.1:<port>,0.0.0.0:<port>,[::1]:port,[::]:port,\
             unix://filepath or unset",
            FORM,
        );
    }
    match port.parse::<i64>() {
        Ok(number) => {
            names::report(at, names::port(number.into()), FORM);
        }
        Err(_) => at.refuse(
            format_args!("sidecar: defaultEndpoint port ({port}) is not a number"),
            FORM,
        ),
    }
}

/// Go's `net.SplitHostPort`.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':')?)
        }
        None => {
            let (host, port) = text.rsplit_once(':')?;
            if host.contains(':') {
                return None;
            }
            (host, port)
        }
    };
    (!host.contains(['[', ']']) && !port.contains([':', '[', ']'])).then_some((host, port))
}

fn check_egress(egress: &[Part<'_>], namespace: &str) {
    let mut ports = BTreeSet::new();
    let mut sockets = BTreeSet::new();
    for (index, listener) in egress.iter().enumerate() {
        match listener.get("port") {
            Some(port) => check_egress_port(listener, &port, &mut ports, &mut sockets),
            None if index + 1 < egress.len() => listener.refuse(
                "sidecar: the egress listener with empty port should be the last listener in the list",
                "add port, or move it to the end",
            ),
            None => {}
        }
        let hosts = listener.list("hosts");
        if hosts.is_empty() {
            listener.refuse_at(
                "hosts",
                "sidecar: egress listener must contain at least one host",
                "add hosts",
            );
        }
        let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
        for host in &hosts {
            let text = host.as_text();
            names::report(
                host,
                names::scoped_host(text, false, false),
                "write namespace/host, such as ./*, */* or ns/reviews.ns.svc.cluster.local",
            );
            let Some((of, name)) = text.split_once('/').filter(|(of, _)| !of.starts_with('~'))
            else {
                continue;
            };
            let of = if of == "." { namespace } else { of };
            let of_namespace: Vec<_> = seen.iter().filter(|(seen, _)| *seen == of).collect();
            let is_duplicate = match name {
                "*" => !of_namespace.is_empty(),
                name => of_namespace
                    .iter()
                    .any(|(_, seen)| *seen == name || *seen == "*"),
            };
            if is_duplicate {
                host.report(
                    crate::Severity::Warning,
                    "warning",
                    format_args!("duplicated egress host: {text}"),
                    "keep one of them",
                );
            }
            seen.insert((of, name));
        }
    }
}

fn check_egress_port<'a>(
    listener: &Part<'a>,
    port: &Part<'a>,
    ports: &mut BTreeSet<i128>,
    sockets: &mut BTreeSet<&'a str>,
) {
    check_target_port(port);
    check_port_name(port);
    names::check_protocol(port);
    if port.number("number") != 0 {
        names::check_port_of(port, "number");
        check_bind(listener);
        check_unique(port, ports);
        return;
    }
    let bind = listener.text("bind");
    match bind.strip_prefix("unix://") {
        Some(path) => {
            names::report(
                &listener.about("bind"),
                names::unix_path(path),
                "write unix:///path",
            );
        }
        None => port.refuse_at(
            "number",
            "sidecar: ports with 0 value must have a unix domain socket bind address",
            "write a port from 1 to 65535",
        ),
    }
    let mode = listener.word("captureMode", &["DEFAULT", "IPTABLES", "NONE"]);
    if !matches!(mode, "DEFAULT" | "NONE") {
        listener.refuse_at(
            "captureMode",
            "sidecar: captureMode must be DEFAULT/NONE for unix domain socket listeners",
            "remove it",
        );
    }
    if !sockets.insert(bind) {
        listener.refuse_at(
            "bind",
            "sidecar: unix domain socket values for listeners must be unique",
            "give every listener its own path",
        );
    }
}

fn check_outbound(policy: &Part<'_>) {
    let mode = policy.word(
        "mode",
        &["REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"],
    );
    let is_dynamic = mode == "ALLOW_ANY_DYNAMIC_DNS" || mode == "?" && policy.number("mode") == 2;
    if is_dynamic {
        return policy.refuse_at(
            "mode",
            "sidecar: ALLOW_ANY_DYNAMIC_DNS mode is only supported in MeshConfig, not in Sidecar resource",
            "write REGISTRY_ONLY or ALLOW_ANY",
        );
    }
    let Some(proxy) = policy.get("egressProxy") else {
        return;
    };
    if mode != "ALLOW_ANY" {
        return proxy.refuse(
            "sidecar: egress_proxy must be set only with ALLOW_ANY outbound_traffic_policy mode",
            "write mode: ALLOW_ANY",
        );
    }
    names::report(
        &proxy.about("host"),
        names::fqdn(proxy.text("host")),
        "write a full domain name",
    );
    if !proxy.has("port") {
        return proxy.refuse(
            "sidecar: egress_proxy port must be non-nil",
            "add port: {number: …}",
        );
    }
    destination::check(&proxy);
}
