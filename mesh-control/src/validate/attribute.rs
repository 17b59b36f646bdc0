//! Attributes of requests in conditions of an AuthorizationPolicy, by Istio's `pkg/config/security`.

use super::names;
use super::part::Part;

const KNOWN: [&str; 13] = [
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.serviceAccount",
    "source.principal",
    "source.trustDomain",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "destination.ip",
    "destination.port",
    "connection.sni",
    "request.headers[…]",
];

/// Reports what is wrong with a key and its values.
pub(super) fn check(condition: &Part<'_>, key: &str, values: &[Part<'_>]) {
    if !check_not_empty(values) {
        return;
    }
    let refuse = |message: &str, suggestion: &str| {
        condition.refuse_at(
            "key",
            format_args!("invalid key {key}: {message}"),
            suggestion,
        );
    };
    let takes_a_name = [
        "request.headers",
        "request.auth.claims",
        "experimental.envoy.filters.",
    ];
    if takes_a_name.iter().any(|prefix| key.starts_with(prefix)) {
        let open = key.find('[').unwrap_or(0);
        if !(key.ends_with(']') && open > 0 && open + 2 < key.len()) {
            refuse("should have format a[b]", "write the name in brackets");
        }
        return;
    }
    match key {
        "source.ip" | "remote.ip" | "destination.ip" => check_ips(values),
        "source.serviceAccount" => check_service_accounts(values),
        "source.trustDomain" => check_wildcards(values),
        "destination.port" => check_ports(values),
        "source.namespace"
        | "source.principal"
        | "request.auth.principal"
        | "request.auth.audiences"
        | "request.auth.presenter"
        | "connection.sni" => {}
        "destination.namespace" => refuse("is replaced by the metadata.namespace", "remove it"),
        _ if key.starts_with("destination.labels") => {
            refuse("is replaced by the workload selector", "use selector");
        }
        "destination.name" | "destination.user" => {
            refuse("only supported in v1alpha1", "use selector")
        }
        _ => {
            let suggestion = match crate::yaml::nearest(key, &KNOWN) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("write one of {}", KNOWN.join(", ")),
            };
            refuse("unknown attribute", &suggestion);
        }
    }
}

/// Reports empty values; whether there are none.
pub(super) fn check_not_empty(values: &[Part<'_>]) -> bool {
    let empty = values.iter().find(|value| value.as_text().is_empty());
    if let Some(value) = empty {
        value.refuse("empty value not allowed", "write a value, or remove it");
    }
    empty.is_none()
}

pub(super) fn check_ips(values: &[Part<'_>]) {
    for value in values {
        let text = value.as_text();
        let right = match text.contains('/') {
            true => names::is_prefix(text),
            false => names::is_ip(text),
        };
        if !right {
            value.refuse(
                format_args!("bad IP address or CIDR range ({text})"),
                "write 10.1.2.3 or 10.1.0.0/16",
            );
        }
    }
}

pub(super) fn check_ports(values: &[Part<'_>]) {
    for value in values {
        let text = value.as_text();
        let right = !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_digit())
            && text.parse::<u32>().is_ok_and(|port| port <= 65535);
        if !right {
            value.refuse(
                format_args!("bad port ({text})"),
                "write a port from 0 to 65535",
            );
        }
    }
}

/// Exact, `prefix*`, `*suffix` or `*`.
pub(super) fn check_wildcards(values: &[Part<'_>]) {
    if !check_not_empty(values) {
        return;
    }
    for value in values {
        let text = value.as_text();
        let right = match text.matches('*').count() {
            0 => true,
            1 => text.starts_with('*') || text.ends_with('*'),
            _ => false,
        };
        if !right {
            value.refuse(
                format_args!("wildcard is only allowed at the start or end: {text:?}"),
                "write one * at one end",
            );
        }
    }
}

pub(super) fn check_service_accounts(values: &[Part<'_>]) {
    const FORM: &str = "write ACCOUNT or NAMESPACE/ACCOUNT";
    if let Some(value) = values.get(16) {
        return value.refuse("may not have more than 16 values", "write several rules");
    }
    for value in values {
        let text = value.as_text();
        let parts: Vec<&str> = text.split('/').collect();
        if text.contains('*') {
            value.refuse("wildcard not allowed", FORM);
        } else if parts.len() > 2 || parts.contains(&"") {
            value.refuse(
                format_args!(
                    "expected format 'serviceAccount' or 'namespace/serviceAccount', found {text:?}"
                ),
                FORM,
            );
        } else if text.len() > 320 {
            value.refuse("value cannot exceed 320 characters", FORM);
        }
    }
}

/// Reports paths whose `{*}` and `{**}` are not as Envoy's templates want them.
pub(super) fn check_path_templates(values: &[Part<'_>]) {
    for value in values {
        let path = value.as_text();
        let is_template = path.contains("{*}") || path.contains("{**}");
        let mut rest_matched = false;
        for glob in path.trim_matches('/').split('/') {
            let wrong = match glob {
                "{*}" | "{**}" if rest_matched => "{**} is not the last operator",
                "{*}" => continue,
                "{**}" => {
                    rest_matched = true;
                    continue;
                }
                _ if glob.contains(['{', '}']) => {
                    "contains '{' or '}' beyond a supported path template"
                }
                _ if is_template && !is_literal(glob) => {
                    "contains a segment with an invalid string literal"
                }
                _ => continue,
            };
            value.refuse(
                format_args!("invalid or unsupported path {path}: {wrong}"),
                "write {*} for one segment, {**} at the end for the rest",
            );
            break;
        }
    }
}

fn is_literal(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&b))
}
