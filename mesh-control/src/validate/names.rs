//! Hosts, ports, labels and addresses, by the rules of Istio's `pkg/config/validation/agent`. A check gives what is
//! wrong.

use std::net::IpAddr;

use super::part::Part;
use crate::model::regex_problem;

pub(super) type Check = Result<(), String>;

const PORTS: &str = "ports go from 1 to 65535";

/// Reports what a check found.
pub(super) fn report(at: &Part<'_>, check: Check, suggestion: &str) -> bool {
    match check {
        Ok(()) => true,
        Err(wrong) => {
            at.refuse(wrong, suggestion);
            false
        }
    }
}

/// A DNS label of RFC 1123, in either case.
pub(super) fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_wildcard_label(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    text.len() <= 63
        && (is_label(text)
            || text
                .strip_prefix("*-")
                .or_else(|| text.strip_prefix('*'))
                .is_some_and(is_label))
}

fn length(name: &str) -> Check {
    match name.len() {
        0 => Err("empty domain name not allowed".to_owned()),
        1..=255 => Ok(()),
        _ => Err(format!("domain name {name:?} too long (max 255)")),
    }
}

fn labels(domain: &str) -> Check {
    let parts: Vec<&str> = domain.split('.').collect();
    let top = parts.last().copied().unwrap_or_default();
    let digits = top.strip_prefix(['+', '-']).unwrap_or(top);
    if !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && top.parse::<i64>().is_ok()
    {
        return Err(format!(
            "domain name {domain:?} invalid (top level domain {top:?} cannot be all-numeric)"
        ));
    }
    for (i, label) in parts.iter().enumerate() {
        // names may end with a dot
        if i + 1 == parts.len() && label.is_empty() {
            return Ok(());
        }
        if !is_label(label) {
            return Err(format!(
                "domain name {domain:?} invalid (label {label:?} invalid)"
            ));
        }
    }
    Ok(())
}

/// A full domain name.
pub(super) fn fqdn(name: &str) -> Check {
    length(name)?;
    labels(name)
}

/// A domain name whose first label may be or start with a wildcard.
pub(super) fn wildcard_domain(name: &str) -> Check {
    length(name)?;
    let (first, rest) = match name.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    if !is_wildcard_label(first) {
        return Err(format!(
            "domain name {name:?} invalid (label {first:?} invalid)"
        ));
    }
    rest.map_or(Ok(()), labels)
}

/// A host of a VirtualService that is bound to gateways; with SNI it may be one that istiod made itself
/// (`outbound_.80_._.host`).
pub(super) fn gateway_domain(name: &str, sni: bool) -> Check {
    length(name)?;
    if !sni || !name.starts_with("outbound_") {
        return wildcard_domain(name);
    }
    let parts: Vec<&str> = name.split('_').collect();
    let right = parts.len() >= 4
        && parts[1].bytes().any(|b| b.is_ascii_digit())
        && parts[3].bytes().any(|b| b.is_ascii_alphabetic());
    match right {
        true => Ok(()),
        false => Err(format!(
            "domain name {name} invalid, should follow 'outbound_.<PORT>_._.<HOSTNAME>' format"
        )),
    }
}

/// `*.example.com` is fine, `*e.com` is not.
pub(super) fn partial_wildcard(host: &str) -> Check {
    match host.contains('*') && host.len() != 1 && !host.starts_with("*.") {
        true => Err(format!("partial wildcard {host:?} not allowed")),
        false => Ok(()),
    }
}

fn scoped_host_part(host: &str, is_gateway: bool) -> Check {
    if host != "*" && !host.contains('.') {
        return Err("short names (non FQDN) are not allowed".to_owned());
    }
    if let Err(wrong) = wildcard_domain(host)
        && !(is_gateway && is_ip(host))
    {
        return Err(wrong);
    }
    partial_wildcard(host)
}

/// `namespace/host` of a Sidecar, or that or `host` of a Gateway. `converted`: the Gateway was made of one of the
/// Gateway API.
pub(super) fn scoped_host(host: &str, is_gateway: bool, converted: bool) -> Check {
    let Some((namespace, name)) = host.split_once('/') else {
        return match is_gateway {
            true => scoped_host_part(host, true),
            false => Err("host must be of form namespace/dnsName".to_owned()),
        };
    };
    if namespace.is_empty() || name.is_empty() {
        return Err("config namespace and dnsName in host entry cannot be empty".to_owned());
    }
    if is_gateway {
        if namespace != "*"
            && namespace != "."
            && !(namespace == "~" && converted)
            && !is_label(namespace)
        {
            return Err(format!("invalid namespace value {namespace:?} in gateway"));
        }
    } else {
        let of = namespace.strip_prefix('~').unwrap_or(namespace);
        if !matches!(of, "" | "*" | ".") && !is_label(of) {
            return Err(format!("invalid namespace value {namespace:?} in sidecar"));
        }
    }
    scoped_host_part(name, is_gateway)
}

/// An address, of IPv6 also with a zone.
pub(super) fn is_ip(text: &str) -> bool {
    match text.split_once('%') {
        Some((address, zone)) => {
            !zone.is_empty() && address.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6())
        }
        None => text.parse::<IpAddr>().is_ok(),
    }
}

pub(super) fn ip(text: &str) -> Check {
    match is_ip(text) {
        true => Ok(()),
        false => Err(format!("{text} is not a valid IP")),
    }
}

/// `address/bits`.
pub(super) fn is_prefix(text: &str) -> bool {
    let Some((address, bits)) = text.rsplit_once('/') else {
        return false;
    };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.bytes().all(|b| b.is_ascii_digit())
        && (bits == "0" || !bits.starts_with('0'))
        && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

/// An address or a range.
pub(super) fn subnet(text: &str) -> Check {
    if text.matches('/').count() != 1 {
        return ip(text);
    }
    match is_prefix(text) {
        true => Ok(()),
        false => Err(format!("{text} is not a valid CIDR block")),
    }
}

pub(super) fn port(number: i128) -> Check {
    match (1..=65535).contains(&number) {
        true => Ok(()),
        false => Err(format!(
            "port number {number} must be in the range 1..65535"
        )),
    }
}

/// Reports a number that is no port.
pub(super) fn check_port(at: &Part<'_>) {
    report(at, port(at.as_number()), PORTS);
}

/// Reports a field that is no port; one that is missing is 0.
pub(super) fn check_port_of(of: &Part<'_>, name: &str) {
    report(&of.about(name), port(of.number(name)), PORTS);
}

pub(super) fn unix_path(path: &str) -> Check {
    if path.is_empty() {
        return Err("unix address must not be empty".to_owned());
    }
    match path.starts_with('@') || path.starts_with('/') && !path.ends_with('/') {
        true => Ok(()),
        false => Err(format!("{path} is not an absolute path to a file")),
    }
}

/// A name of a port; reports it.
pub(super) fn check_port_name(at: &Part<'_>, name: &str) {
    if !is_label(name) {
        at.refuse(
            format_args!("invalid port name: {name}"),
            "write letters, digits and -",
        );
    }
}

/// A protocol in Istio's words, in lower case; `None` is unsupported.
pub(crate) fn protocol(text: &str) -> Option<&'static str> {
    const KNOWN: [&str; 12] = [
        "tcp",
        "udp",
        "grpc",
        "grpc-web",
        "http",
        "http_proxy",
        "http2",
        "https",
        "tls",
        "mongo",
        "redis",
        "mysql",
    ];
    let lower = text.to_lowercase();
    KNOWN.into_iter().find(|known| **known == *lower)
}

pub(super) fn is_http(protocol: Option<&str>) -> bool {
    matches!(
        protocol,
        Some("http" | "http2" | "http_proxy" | "grpc" | "grpc-web")
    )
}

pub(super) fn is_tls(protocol: Option<&str>) -> bool {
    matches!(protocol, Some("https" | "tls"))
}

/// Reports a protocol that is unknown; empty is fine.
pub(super) fn check_protocol(of: &Part<'_>) {
    let text = of.text("protocol");
    if !text.is_empty() && protocol(text).is_none() {
        of.refuse_at(
            "protocol",
            format_args!("unsupported protocol: {text}"),
            PROTOCOLS,
        );
    }
}

pub(super) const PROTOCOLS: &str =
    "write HTTP, HTTP2, HTTPS, GRPC, GRPC-WEB, TCP, TLS, MONGO, REDIS or MYSQL";

fn is_qualified(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Reports labels that Kubernetes would not take. The length of a value does not matter.
pub(super) fn check_labels(of: &Part<'_>, field: &str) {
    for (key, at) in of.map(field) {
        let (prefix, name) = key.rsplit_once('/').unwrap_or(("", key));
        let prefix_is_right = !key.contains('/')
            || prefix.len() <= 253
                && prefix.split('.').all(|label| {
                    // a label of a prefix may be long
                    !label.is_empty()
                        && label
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
                        && !label.starts_with('-')
                        && !label.ends_with('-')
                });
        if !prefix_is_right || !is_qualified(name) || name.len() > 63 {
            at.refuse(
                format_args!("invalid tag key: {key:?}"),
                "write a label such as app",
            );
        }
        let value = at.as_text();
        if !value.is_empty() && !is_qualified(value) {
            at.refuse(
                format_args!("invalid tag value: {value:?}"),
                "write a value of letters, digits, -, _ and .",
            );
        }
    }
}

/// Reports a duration that is not a positive number of milliseconds.
pub(super) fn check_duration(at: &Part<'_>) {
    const MILLISECOND: i64 = 1_000_000;
    let nanos = at.nanos();
    if nanos < MILLISECOND {
        at.refuse(
            "duration must be greater than 1ms",
            "write it with its unit, such as 500ms, or remove it",
        );
    } else if nanos % MILLISECOND != 0 {
        at.refuse(
            "only durations to ms precision are supported",
            "write whole milliseconds",
        );
    }
}

/// Reports a duration field, if it is set, as [`check_duration`].
pub(super) fn check_duration_of(of: &Part<'_>, name: &str) {
    if let Some(at) = of.get(name) {
        check_duration(&at);
    }
}

/// Reports what is wrong with `exportTo`.
pub(super) fn check_export_to(
    of: &Part<'_>,
    namespace: &str,
    is_service_entry: bool,
    is_selecting_rule: bool,
) {
    let entries = of.list("exportTo");
    let mut seen: Vec<&str> = Vec::new();
    for at in &entries {
        let entry = at.as_text();
        let key = if entry == "." { namespace } else { entry };
        if seen.contains(&key) {
            at.refuse(
                format_args!("duplicate entries in exportTo for entry {entry}"),
                "name every namespace once",
            );
        } else if entry == "~" && is_service_entry || matches!(key, "." | "*") || is_label(key) {
            seen.push(key);
        } else if key == "~" {
            at.refuse(
                "exportTo ~ (none) is not allowed for Istio configuration objects",
                "write . for its own namespace",
            );
        } else {
            at.refuse(
                "only .,*, or a valid DNS 1123 label is allowed as exportTo entry",
                "write ., * or a namespace",
            );
        }
    }
    if is_selecting_rule && !seen.is_empty() && (!seen.contains(&namespace) || seen.len() > 1) {
        of.refuse_at(
            "exportTo",
            "destination rule with workload selector cannot have exportTo beyond current namespace",
            "remove exportTo",
        );
    }
    if seen.contains(&"*") && entries.len() > 1 {
        of.refuse_at(
            "exportTo",
            "cannot have both public (*) and non-public exportTo values for a resource",
            "write * alone",
        );
    }
    if seen.contains(&"~") && entries.len() > 1 {
        of.refuse_at(
            "exportTo",
            "cannot export service entry to no one (~) and someone",
            "write ~ alone",
        );
    }
}

/// Whether one of two hosts, which may start with wildcards, covers the other.
pub(super) use crate::model::names::{is_subset, overlaps};

/// Reports names of gateways.
pub(super) fn check_gateway_names(of: &Part<'_>, converted: bool) {
    for at in of.list("gateways") {
        let name = at.as_text();
        let Some((namespace, gateway)) = name.split_once('/') else {
            if let Some((first, rest)) = name.split_once('.') {
                let namespace = rest.split('.').next().unwrap_or_default();
                at.report(
                    crate::Severity::Warning,
                    "warning",
                    format_args!("using legacy gatewayName format {name:?}"),
                    format_args!("write {namespace}/{first}"),
                );
            }
            report(&at, fqdn(name), "write the name of a Gateway, or mesh");
            // as Istio: what follows is not looked at
            return;
        };
        if namespace.is_empty() || gateway.is_empty() {
            at.refuse(
                "config namespace and gateway name cannot be empty",
                "write namespace/name",
            );
        } else if !is_label(namespace) {
            at.refuse(
                format_args!("invalid value for namespace: {namespace:?}"),
                "write the Gateway's namespace",
            );
        } else if !is_label(gateway) && !converted {
            at.refuse(
                format_args!("invalid value for gateway name: {gateway:?}"),
                "write the Gateway's name",
            );
        }
    }
}

/// Reports a pattern that RE2 does not take.
pub(super) fn check_regex(at: &Part<'_>, regex: &str) {
    if let Some((wrong, right)) = regex_problem(regex) {
        at.refuse(wrong, right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        for right in ["a", "a.b.", "*", "*.a", "*-x.a", "*x", "x-1.example.com"] {
            assert_eq!(wildcard_domain(right), Ok(()), "{right}");
        }
        for wrong in [
            "",
            "a.*",
            "-a",
            "a..b",
            "a.1",
            "a_b",
            "a.-1",
            &"a".repeat(64),
        ] {
            assert!(wildcard_domain(wrong).is_err(), "{wrong}");
        }
        assert!(fqdn("*.a").is_err());
        assert!(scoped_host("a", true, false).is_err());
        assert!(scoped_host("1.2.3.4", true, false).is_ok());
        assert!(scoped_host("ns/*", false, false).is_ok());
        assert!(scoped_host("~/*", false, false).is_ok());
        assert!(scoped_host("~/*", true, false).is_err());
    }

    #[test]
    fn addresses() {
        for right in ["10.0.0.0/8", "1.2.3.4", "2001::/16", "fe80::1%eth0"] {
            assert_eq!(subnet(right), Ok(()), "{right}");
        }
        for wrong in [
            "10.0.0.0/33",
            "10.0.0.0/08",
            "1.2.3",
            "1.2.3.4/",
            "fe80::1%",
            "1.2.3.4%a",
        ] {
            assert!(subnet(wrong).is_err(), "{wrong}");
        }
    }
}
