use std::collections::BTreeMap;

use crate::yaml::At;

/// The DNS domain of the cluster.
pub(crate) const DOMAIN: &str = "cluster.local";

/// A host as Istio resolves it: a name without a dot becomes `NAME.NAMESPACE.svc.cluster.local`;
/// `*`, addresses and dotted names stay.
pub(crate) fn resolve_host(host: &str, namespace: &str) -> String {
    match host.contains('.') || host == "*" || host.contains(':') {
        true => host.to_owned(),
        false => format!("{host}.{namespace}.svc.{DOMAIN}"),
    }
}

/// Why a host cannot be one, if so: at most one wildcard, as its first label.
pub(crate) fn invalid_host(host: &str) -> Option<&'static str> {
    let rest = host.strip_prefix('*').unwrap_or(host);
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    if host.is_empty() {
        return Some("a host cannot be empty");
    }
    if host == "*" || host.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    let rest = rest.strip_suffix('.').unwrap_or(rest);
    if rest.contains('*') {
        return Some("a wildcard is allowed only at the start of a host");
    }
    (host.len() > 255 || !rest.split('.').all(label)).then_some("is no host name")
}

/// Whether all that `host` means, `of` means too; both may start with a wildcard.
pub(crate) fn is_subset(host: &str, of: &str) -> bool {
    match (host.strip_prefix('*'), of.strip_prefix('*')) {
        (Some(suffix), Some(of_suffix)) => host.len() >= of.len() && suffix.ends_with(of_suffix),
        (Some(_), None) => false,
        (None, Some(of_suffix)) => host.ends_with(of_suffix),
        (None, None) => host == of,
    }
}

/// Whether one of the two covers the other.
pub(crate) fn overlaps(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (Some(a), Some(b)) => a.ends_with(b) || b.ends_with(a),
        (Some(suffix), None) => b.ends_with(suffix),
        (None, Some(suffix)) => a.ends_with(suffix),
        (None, None) => a == b,
    }
}

/// Whether a text is a DNS label, as subsets and ports are named.
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Reads labels that select something, refusing what can be no label.
pub(crate) fn selector(at: &At<'_>) -> BTreeMap<String, String> {
    for (key, at) in at.entries() {
        let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
        if !is_label_part(name) {
            at.refuse(
                format_args!("invalid tag key: {key:?}"),
                "write a label such as app",
            );
        }
        let value = at.node().as_str().unwrap_or_default();
        if !value.is_empty() && !is_label_part(value) {
            at.refuse(
                format_args!("invalid tag value: {value:?}"),
                "write a value of letters, digits, -, _ and .",
            );
        }
    }
    at.string_map()
}

fn is_label_part(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && edge(text.bytes().next())
        && edge(text.bytes().last())
}
