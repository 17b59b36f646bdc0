//! TLS towards upstreams.

use super::part::Part;

pub(super) fn check(tls: &Part<'_>, namespace: &str) {
    let set = |name: &str| !tls.text(name).is_empty();
    let refuse =
        |name: &str, message: &str, suggestion: &str| tls.refuse_at(name, message, suggestion);
    if let Some(name) = tls.text("credentialName").strip_prefix("configmap://") {
        let mut parts = name.split('/');
        let right = match (parts.next(), parts.next()) {
            (Some(of), Some(name)) => !name.is_empty() && !of.is_empty() && of == namespace,
            _ => false,
        };
        if !right {
            refuse(
                "credentialName",
                "invalid configmap:// credentialName",
                "write configmap://NAMESPACE/NAME, in this object's own namespace",
            );
        }
    }
    let mode = tls.word("mode", &["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]);
    if tls.flag("insecureSkipVerify") {
        let names = !tls.list("subjectAltNames").is_empty();
        let verified = set("caCertificates") || names;
        if mode == "SIMPLE" && (verified || set("credentialName")) || mode == "MUTUAL" && verified {
            refuse(
                "insecureSkipVerify",
                "cannot specify CaCertificates or CredentialName or SubjectAltNames when InsecureSkipVerify is set true",
                "remove insecureSkipVerify",
            );
        }
    }
    if matches!(mode, "SIMPLE" | "MUTUAL") && set("credentialName") {
        if ["clientCertificate", "caCertificates", "privateKey", "caCrl"]
            .into_iter()
            .any(set)
        {
            refuse(
                "credentialName",
                "cannot specify client certificates or CA certificate or CA CRL If credentialName is set",
                "keep one of them",
            );
        }
        return;
    }
    if mode == "MUTUAL" {
        for (name, what) in [
            (
                "clientCertificate",
                "client certificate required for mutual tls",
            ),
            ("privateKey", "private key required for mutual tls"),
        ] {
            if !set(name) {
                refuse(name, what, "add it, or credentialName");
            }
        }
    }
}
