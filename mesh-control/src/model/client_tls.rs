use crate::yaml::At;

/// How connections to a service are secured: `trafficPolicy.tls`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClientTls {
    pub(crate) mode: ClientTlsMode,
    pub(crate) client_certificate: String,
    pub(crate) private_key: String,
    pub(crate) ca_certificates: String,
    pub(crate) ca_crl: String,
    pub(crate) credential_name: String,
    pub(crate) subject_alt_names: Vec<String>,
    pub(crate) sni: String,
    pub(crate) insecure_skip_verify: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientTlsMode {
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

impl ClientTls {
    /// TLS that is not the mesh's own.
    pub(crate) fn is_originated(&self) -> bool {
        matches!(self.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual)
    }

    /// What Istio's webhook refuses is refused elsewhere.
    pub(super) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let mode = fields.get("mode").and_then(|at| {
            at.word(&[
                ("DISABLE", ClientTlsMode::Disable),
                ("SIMPLE", ClientTlsMode::Simple),
                ("MUTUAL", ClientTlsMode::Mutual),
                ("ISTIO_MUTUAL", ClientTlsMode::IstioMutual),
            ])
        });
        let tls = ClientTls {
            mode: mode.unwrap_or(ClientTlsMode::Disable),
            client_certificate: fields.string("clientCertificate"),
            private_key: fields.string("privateKey"),
            ca_certificates: fields.string("caCertificates"),
            ca_crl: fields.string("caCrl"),
            credential_name: fields.string("credentialName"),
            subject_alt_names: fields.strings("subjectAltNames"),
            sni: fields.string("sni"),
            insecure_skip_verify: fields.get("insecureSkipVerify").is_some_and(|at| at.bool()),
        };
        if tls.mode == ClientTlsMode::IstioMutual {
            at.warn(
                "needs certificates of workloads, which proxies get from an agent of their own (sds-grpc): the local runner \
                 has none yet",
                "remove it where the local runner starts the workloads",
            );
        }
        if !tls.credential_name.is_empty() {
            at.warn(
                "the control plane does not serve Secrets yet: no connection will be made",
                "name files instead: clientCertificate, privateKey, caCertificates",
            );
        }
        fields.finish();
        tls
    }
}
