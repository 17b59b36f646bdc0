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
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
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
