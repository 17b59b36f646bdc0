use super::part::Part;
use super::{jwks, names, selector, url};

pub(super) fn check(spec: &Part<'_>) {
    selector::check_policy(spec);
    for rule in spec.list("jwtRules") {
        check_rule(&rule);
    }
}

fn check_rule(rule: &Part<'_>) {
    for (list, what) in [
        ("audiences", "audience must be non-empty string"),
        ("fromParams", "location query must be non-empty string"),
        ("fromCookies", "cookie name must be non-empty string"),
    ] {
        for value in rule.list(list).iter().filter(|v| v.as_text().is_empty()) {
            value.refuse(what, "write a value, or remove it");
        }
    }
    let uri = rule.text("jwksUri");
    if rule.text("issuer").is_empty() && uri.is_empty() {
        rule.refuse("issuer or jwksUri must be non-empty string", "add issuer");
    }
    if !uri.is_empty()
        && let Err(wrong) = url::check_http(uri)
    {
        rule.refuse_at("jwksUri", wrong, "write http:// or https:// and the rest");
    }
    let keys = rule.text("jwks");
    if !keys.is_empty() {
        match jwks::check(keys) {
            Err(wrong) => rule.refuse_at(
                "jwks",
                format_args!("jwks parse error: {wrong}"),
                "write a JSON Web Key Set",
            ),
            Ok(true) => rule.warn_at(
                "jwks",
                "contains private key material; only public keys are used for verification",
                "remove it",
            ),
            Ok(false) => {}
        }
    }
    for header in rule.list("fromHeaders") {
        if header.text("name").is_empty() {
            header.refuse_at(
                "name",
                "location header name must be non-empty string",
                "add name",
            );
        }
    }
    for output in rule.list("outputClaimToHeaders") {
        let header = output.text("header");
        if header.is_empty() || output.text("claim").is_empty() {
            output.refuse(
                "outputClaimToHeaders header and claim value must be non-empty string",
                "add both",
            );
        } else if !header
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        {
            output.refuse_at(
                "header",
                format_args!("header name {header} is not a valid header name"),
                "write letters, digits, - and _",
            );
        }
    }
    names::check_duration_of(rule, "timeout");
}

/// A PeerAuthentication.
pub(super) fn check_peer(spec: &Part<'_>) {
    let selects = spec.get("selector");
    let is_narrow = selects
        .as_ref()
        .is_some_and(|s| !s.map("matchLabels").is_empty());
    if let Some(ports) = spec.get("portLevelMtls") {
        let entries = spec.map("portLevelMtls");
        if entries.is_empty() {
            ports.refuse(
                "port level mTLS, if defined, must have at least one element",
                "add a port, or remove it",
            );
        } else if !is_narrow {
            ports.refuse(
                "mesh/namespace peer authentication cannot have port level mTLS",
                "add a selector",
            );
        }
        for (port, at) in entries {
            if !port
                .replace('_', "")
                .parse::<f64>()
                .is_ok_and(|port| (1.0..=65535.0).contains(&port))
            {
                at.refuse("port must be in range 1..65535", "write a port");
            }
        }
    }
    selector::check_labels(selects.as_ref(), "matchLabels");
}
