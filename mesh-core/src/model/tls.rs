//! TLS of transport sockets (`envoy.extensions.transport_sockets.tls.v3`): plain values, certificates as DER.
//!
//! Nothing here shows a private key: [`PrivateKey`]'s `Debug` says only that there is one.

use std::{fmt, sync::Arc, time::Duration};

use crate::matcher::StringMatcher;

/// `UpstreamTlsContext`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct UpstreamTls {
    /// `common_tls_context`.
    pub common: CommonTls,
    /// `sni`; empty: none is sent.
    pub sni: Box<str>,
    /// `auto_host_sni`: the endpoint's hostname instead, where it has one.
    pub auto_host_sni: bool,
    /// `auto_sni_san_validation`: the certificate must have the name that was sent as SNI.
    pub auto_sni_san_validation: bool,
    /// `upstream_http_protocol_options.auto_san_validation` of the cluster: the certificate must have the request's
    /// host, whatever the matchers say.
    pub auto_san_validation: bool,
    /// `max_session_keys`; default 1; 0: sessions are never resumed.
    pub max_session_keys: u32,
}

/// `DownstreamTlsContext`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DownstreamTls {
    /// `common_tls_context`.
    pub common: CommonTls,
    /// `require_client_certificate`; default false.
    pub require_client_certificate: bool,
    /// `disable_stateless_session_resumption`.
    pub disable_stateless_session_resumption: bool,
    /// `disable_stateful_session_resumption`.
    pub disable_stateful_session_resumption: bool,
}

/// `CommonTlsContext`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CommonTls {
    /// `tls_params.tls_minimum_protocol_version`; default TLS 1.2.
    pub minimum_version: TlsVersion,
    /// `tls_params.tls_maximum_protocol_version`; None: the default, which is TLS 1.2 for clients and 1.3 for servers.
    pub maximum_version: Option<TlsVersion>,
    /// `tls_params.cipher_suites` of TLS 1.2 by OpenSSL's names, as far as they are known; empty: all.
    pub cipher_suites: Vec<Box<str>>,
    /// `alpn_protocols`, in order.
    pub alpn_protocols: Vec<Box<str>>,
    /// `tls_certificates` or `tls_certificate_sds_secret_configs`.
    pub certificates: Vec<CertificateSource>,
    /// The `validation_context_type`.
    pub validation: ValidationSource,
}

/// Protocol versions that there are here: older ones are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// `TLSv1_2`.
    #[default]
    V1_2,
    /// `TLSv1_3`.
    V1_3,
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CertificateSource {
    /// It is part of the configuration.
    Inline(Arc<TlsCertificate>),
    /// A secret.
    Secret(SecretName),
}

/// Where the rules of validation come from.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum ValidationSource {
    /// There are none: peers are not validated.
    #[default]
    None,
    /// `validation_context`.
    Inline(Arc<ValidationContext>),
    /// `validation_context_sds_secret_config`.
    Secret(SecretName),
    /// `combined_validation_context`: the secret, merged over the default.
    Combined(Arc<ValidationContext>, SecretName),
}

/// A secret, by the server that has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretName {
    /// Who is asked.
    pub source: SecretSource,
    /// `name`.
    pub name: Arc<str>,
}

/// `SdsSecretConfig.sds_config`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SecretSource {
    /// `ads`: the control plane.
    Ads,
    /// None: `static_resources.secrets` of the bootstrap.
    Static,
    /// `api_config_source`: a cluster speaks gRPC SDS.
    Grpc {
        /// `envoy_grpc.cluster_name`.
        cluster: Arc<str>,
        /// `initial_fetch_timeout`: how long what needs the secret is held up for it; zero: for ever.
        initial_fetch_timeout: Duration,
    },
    /// `path_config_source`: a file, read again when it changes.
    Path(Arc<str>),
}

/// A secret in force.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Secret {
    /// `tls_certificate`.
    Certificate(Arc<TlsCertificate>),
    /// `validation_context`.
    Validation(Arc<ValidationContext>),
}

/// `TlsCertificate`: a chain and its key.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsCertificate {
    /// `certificate_chain`, the leaf first; DER.
    pub chain: Vec<Arc<[u8]>>,
    /// `private_key`.
    pub key: PrivateKey,
}

/// A private key. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey {
    /// How it is encoded.
    pub encoding: KeyEncoding,
    der: Arc<[u8]>,
}

/// How a private key is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEncoding {
    /// `PRIVATE KEY`.
    Pkcs8,
    /// `RSA PRIVATE KEY`.
    Pkcs1,
    /// `EC PRIVATE KEY`.
    Sec1,
}

impl PrivateKey {
    /// A key by its DER.
    pub fn new(encoding: KeyEncoding, der: impl Into<Arc<[u8]>>) -> Self {
        Self {
            encoding,
            der: der.into(),
        }
    }

    /// The key itself, for who signs with it.
    pub fn secret_der(&self) -> &[u8] {
        &self.der
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// `CertificateValidationContext`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ValidationContext {
    /// `trusted_ca`, DER; empty: chains are not verified.
    pub trusted_ca: Vec<Arc<[u8]>>,
    /// `crl` and revocation lists among `trusted_ca`, DER.
    pub crls: Vec<Arc<[u8]>>,
    /// `only_verify_leaf_cert_crl`.
    pub only_verify_leaf_cert_crl: bool,
    /// `match_typed_subject_alt_names`, and `match_subject_alt_names` once for each type: any of them suffices.
    pub san_matchers: Vec<SanMatcher>,
    /// `verify_certificate_spki`: SHA-256 of a public key.
    pub spki_hashes: Vec<[u8; 32]>,
    /// `verify_certificate_hash`: SHA-256 of a certificate.
    pub certificate_hashes: Vec<[u8; 32]>,
    /// `allow_expired_certificate`.
    pub allow_expired_certificate: bool,
    /// `trust_chain_verification` is ACCEPT_UNTRUSTED.
    pub accept_untrusted: bool,
    /// `envoy.tls.cert_validator.spiffe`: by trust domain its roots, instead of `trusted_ca`.
    pub spiffe: Option<Vec<TrustDomain>>,
}

/// `SPIFFECertValidatorConfig.TrustDomain`.
#[derive(Clone, Debug, PartialEq)]
pub struct TrustDomain {
    /// `name`.
    pub name: Box<str>,
    /// `trust_bundle`, DER.
    pub trust_bundle: Vec<Arc<[u8]>>,
}

impl ValidationContext {
    /// This one, merged over a default as protobuf does: lists are joined, what is set wins
    /// (`combined_validation_context`).
    pub fn over(&self, default: &Self) -> Self {
        fn joined<T: Clone>(first: &[T], more: &[T]) -> Vec<T> {
            first.iter().chain(more).cloned().collect()
        }
        let roots = match self.trusted_ca.is_empty() {
            true => default,
            false => self,
        };
        let lists = match self.crls.is_empty() {
            true => default,
            false => self,
        };
        Self {
            trusted_ca: roots.trusted_ca.clone(),
            crls: lists.crls.clone(),
            only_verify_leaf_cert_crl: self.only_verify_leaf_cert_crl
                || default.only_verify_leaf_cert_crl,
            san_matchers: joined(&default.san_matchers, &self.san_matchers),
            spki_hashes: joined(&default.spki_hashes, &self.spki_hashes),
            certificate_hashes: joined(&default.certificate_hashes, &self.certificate_hashes),
            allow_expired_certificate: self.allow_expired_certificate
                || default.allow_expired_certificate,
            accept_untrusted: self.accept_untrusted || default.accept_untrusted,
            spiffe: self.spiffe.clone().or_else(|| default.spiffe.clone()),
        }
    }
}

/// `SubjectAltNameMatcher`.
#[derive(Clone, Debug, PartialEq)]
pub struct SanMatcher {
    /// `san_type`.
    pub kind: SanKind,
    /// `matcher`.
    pub matcher: StringMatcher,
}

/// `SubjectAltNameMatcher.SanType`, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanKind {
    /// `EMAIL`.
    Email,
    /// `DNS`: an exact matcher follows the rules of names, with wildcards in the certificate.
    Dns,
    /// `URI`.
    Uri,
    /// `IP_ADDRESS`.
    IpAddress,
}

/// `Cluster.TransportSocketMatch`.
#[derive(Clone, Debug, PartialEq)]
pub struct TransportSocketMatch {
    /// `name`.
    pub name: Arc<str>,
    /// `match`: what the endpoint's metadata `envoy.transport_socket_match` must say; empty: every endpoint.
    pub criteria: super::Criteria,
    /// `transport_socket`; None: cleartext.
    pub socket: Option<Arc<UpstreamTls>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let key = PrivateKey::new(KeyEncoding::Pkcs8, vec![0x5e, 0xc7, 0xe7]);
        let certificate = TlsCertificate {
            chain: Vec::new(),
            key,
        };
        let secret = Secret::Certificate(Arc::new(certificate));
        let shown = format!("{secret:?}");
        assert!(shown.contains("PrivateKey(..)"), "{shown}");
        for digits in ["94", "199", "5e", "c7"] {
            assert!(!shown.contains(digits), "{shown}");
        }
    }

    #[test]
    fn a_secret_wins_over_the_default_and_lists_are_joined() {
        let root = |byte: u8| Arc::<[u8]>::from([byte]);
        let name = |text: &str| SanMatcher {
            kind: SanKind::Uri,
            matcher: StringMatcher::Exact {
                value: text.into(),
                ignore_case: false,
            },
        };
        let default = ValidationContext {
            trusted_ca: vec![root(1)],
            san_matchers: vec![name("a")],
            ..ValidationContext::default()
        };
        let secret = ValidationContext {
            trusted_ca: vec![root(2)],
            san_matchers: vec![name("b")],
            ..ValidationContext::default()
        };
        let merged = secret.over(&default);
        assert_eq!(merged.trusted_ca, [root(2)]);
        assert_eq!(merged.san_matchers, [name("a"), name("b")]);
        assert_eq!(ValidationContext::default().over(&default), default);
    }
}
