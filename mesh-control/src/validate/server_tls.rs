//! TLS as a server: of a Gateway's server and of a Sidecar's ingress listener.

use super::part::Part;

const MODES: [&str; 6] = [
    "PASSTHROUGH",
    "SIMPLE",
    "MUTUAL",
    "AUTO_PASSTHROUGH",
    "ISTIO_MUTUAL",
    "OPTIONAL_MUTUAL",
];

pub(super) fn mode(tls: &Part<'_>) -> &'static str {
    let mode = tls.word("mode", &MODES);
    MODES.into_iter().find(|m| *m == mode).unwrap_or("?")
}

pub(super) fn check(tls: &Part<'_>) {
    let set = |name: &str| !tls.text(name).is_empty();
    let lists = |name: &str| !tls.list(name).is_empty();
    let mode = mode(tls);
    let certificates = tls.list("tlsCertificates");
    if mode == "ISTIO_MUTUAL" {
        for name in [
            "serverCertificate",
            "privateKey",
            "caCertificates",
            "credentialName",
        ] {
            if set(name) {
                refuse_with_istio_mutual(tls, name);
            }
        }
        for name in ["tlsCertificates", "credentialNames"] {
            if lists(name) {
                refuse_with_istio_mutual(tls, name);
            }
        }
        return;
    }
    let files = set("serverCertificate") && set("privateKey");
    let sources = usize::from(files)
        + usize::from(set("credentialName"))
        + usize::from(lists("credentialNames"))
        + usize::from(!certificates.is_empty());
    if sources > 1 {
        tls.refuse(
            "only one of credential_name, credential_names, server_certificate/private_key, tls_certificates should be \
             specified",
            "keep one of them",
        );
    }
    let terminates = matches!(mode, "SIMPLE" | "MUTUAL" | "OPTIONAL_MUTUAL");
    if terminates && (set("credentialName") || lists("credentialNames")) {
        return;
    }
    if terminates {
        let name = match mode {
            "SIMPLE" => "SIMPLE TLS",
            _ => "MUTUAL TLS",
        };
        if mode != "SIMPLE" && !set("caCertificates") {
            tls.refuse_at(
                "caCertificates",
                format_args!("{name} requires a client CA bundle"),
                "add credentialName, or caCertificates",
            );
        }
        let held = match certificates.is_empty() {
            true => vec![tls.clone()],
            false => certificates,
        };
        for certificate in held {
            for (field, what) in [
                ("serverCertificate", "a server certificate"),
                ("privateKey", "a private key"),
            ] {
                if certificate.text(field).is_empty() {
                    certificate.refuse_at(
                        field,
                        format_args!("{name} requires {what}"),
                        format_args!("add credentialName, or {field}"),
                    );
                }
            }
        }
    }
    if set("caCrl") {
        if set("credentialName") {
            tls.refuse_at(
                "caCrl",
                "CRL is not supported with credentialName. CRL has to be specified in the credential",
                "remove it",
            );
        }
        if mode == "SIMPLE" {
            tls.refuse_at("caCrl", "CRL is not supported with SIMPLE TLS", "remove it");
        }
    }
}

fn refuse_with_istio_mutual(tls: &Part<'_>, name: &str) {
    tls.refuse_at(
        name,
        format_args!("ISTIO_MUTUAL TLS cannot have associated {name}"),
        "remove it",
    );
}
