use crate::yaml::At;

/// How a gateway's server secures connections: `tls`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ServerTls {
    pub(crate) mode: ServerTlsMode,
    /// Plaintext is answered with where HTTPS is.
    pub(crate) https_redirect: bool,
    /// Secrets with certificate and key: `credentialNames`, or the one `credentialName`.
    pub(crate) credential_names: Vec<String>,
    /// Files with certificate and key: `tlsCertificates`, or `serverCertificate` and `privateKey`.
    pub(crate) certificates: Vec<(String, String)>,
    /// A file.
    pub(crate) ca_certificates: String,
    /// A file.
    pub(crate) ca_crl: String,
    pub(crate) subject_alt_names: Vec<String>,
    pub(crate) certificate_spki: Vec<String>,
    pub(crate) certificate_hash: Vec<String>,
    pub(crate) min_version: TlsVersion,
    pub(crate) max_version: TlsVersion,
    /// Those that Istio knows, each once.
    pub(crate) cipher_suites: Vec<String>,
    pub(crate) insecure_skip_verify: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ServerTlsMode {
    #[default]
    Passthrough,
    Simple,
    Mutual,
    OptionalMutual,
    IstioMutual,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TlsVersion {
    #[default]
    Auto,
    V10,
    V11,
    V12,
    V13,
}

/// Istio's `ValidCipherSuites`.
const CIPHERS: [&str; 15] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

impl ServerTls {
    /// What Istio's webhook refuses is refused elsewhere.
    pub(super) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let modes = [
            ("PASSTHROUGH", Some(ServerTlsMode::Passthrough)),
            ("SIMPLE", Some(ServerTlsMode::Simple)),
            ("MUTUAL", Some(ServerTlsMode::Mutual)),
            ("AUTO_PASSTHROUGH", None),
            ("ISTIO_MUTUAL", Some(ServerTlsMode::IstioMutual)),
            ("OPTIONAL_MUTUAL", Some(ServerTlsMode::OptionalMutual)),
        ];
        let mode = fields.get("mode").and_then(|at| {
            let mode = at.word(&modes)?;
            if mode.is_none() {
                at.refuse(
                    "AUTO_PASSTHROUGH is for meshes of several clusters, which are not supported",
                    "use PASSTHROUGH",
                );
            }
            mode
        });
        let file = |certificate: String, key: String| {
            (!certificate.is_empty() && !key.is_empty()).then_some((certificate, key))
        };
        let own = file(
            fields.string("serverCertificate"),
            fields.string("privateKey"),
        );
        let mut certificates: Vec<_> = fields.list("tlsCertificates", |at| {
            let fields = at.fields();
            let pair = file(
                fields.string("serverCertificate"),
                fields.string("privateKey"),
            );
            // each names its own, but all are checked by the server's
            fields.ignore(&["caCertificates"]);
            fields.finish();
            pair
        });
        if certificates.is_empty() {
            certificates.push(own);
        }
        let mut credential_names = fields.strings("credentialNames");
        let credential_name = fields.string("credentialName");
        if credential_names.is_empty() && !credential_name.is_empty() {
            credential_names.push(credential_name);
        }
        let versions = [
            ("TLS_AUTO", TlsVersion::Auto),
            ("TLSV1_0", TlsVersion::V10),
            ("TLSV1_1", TlsVersion::V11),
            ("TLSV1_2", TlsVersion::V12),
            ("TLSV1_3", TlsVersion::V13),
        ];
        let version = |name| fields.get(name).and_then(|at| at.word(&versions));
        let tls = ServerTls {
            mode: mode.unwrap_or_default(),
            https_redirect: fields.get("httpsRedirect").is_some_and(|at| at.bool()),
            credential_names,
            certificates: certificates.into_iter().flatten().collect(),
            ca_certificates: fields.string("caCertificates"),
            ca_crl: fields.string("caCrl"),
            subject_alt_names: fields.strings("subjectAltNames"),
            certificate_spki: fields.strings("verifyCertificateSpki"),
            certificate_hash: fields.strings("verifyCertificateHash"),
            min_version: version("minProtocolVersion").unwrap_or_default(),
            max_version: version("maxProtocolVersion").unwrap_or_default(),
            cipher_suites: known_ciphers(fields.strings("cipherSuites")),
            insecure_skip_verify: fields.get("insecureSkipVerify").is_some_and(|at| at.bool()),
        };
        if !tls.credential_names.is_empty() {
            at.warn(
                "the control plane does not serve Secrets yet: connections will fail",
                "name files instead: serverCertificate, privateKey, caCertificates",
            );
        }
        fields.finish();
        tls
    }

    /// Whether the gateway ends it, rather than passing it on.
    pub(crate) fn terminates(&self) -> bool {
        self.mode != ServerTlsMode::Passthrough
    }
}

/// Istio's `FilterCipherSuites`: what it does not know is left out, but for operators.
fn known_ciphers(given: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for cipher in given {
        let is_operator = !cipher.starts_with(|c: char| c.is_alphanumeric());
        let is_known = is_operator || cipher == "ALL" || CIPHERS.contains(&&*cipher);
        if is_known && !kept.contains(&cipher) {
            kept.push(cipher);
        }
    }
    kept
}
