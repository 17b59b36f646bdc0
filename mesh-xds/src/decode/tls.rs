//! `UpstreamTlsContext`, `DownstreamTlsContext`.

use mesh_core::model::{
    CertificateSource, CommonTls, DownstreamTls, TlsVersion, UpstreamTls, ValidationContext,
    ValidationSource,
};
use mesh_proto::envoy::extensions::transport_sockets::tls::v3::{
    self as proto,
    common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
    downstream_tls_context::{OcspStaplePolicy, SessionTicketKeysType},
    tls_parameters::TlsProtocol,
};

use super::{
    scalar::enumeration,
    secret::{tls_certificate, validation_context},
    secret_source::secret_name,
};
use crate::problems::Problems;

/// The longest name that TLS can carry.
const MAX_NAME: usize = 255;

/// Suites of TLS 1.2 that there are here, by OpenSSL's names. Those of TLS 1.3 cannot be chosen, as in Envoy.
const CIPHER_SUITES: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

/// `UpstreamTlsContext`.
pub(super) fn upstream(p: &mut Problems, value: &proto::UpstreamTlsContext) -> UpstreamTls {
    let mut tls = UpstreamTls::default();
    tls.common = common(p, value.common_tls_context.as_ref());
    if tls.common.certificates.len() > 1 {
        p.error_at(
            "common_tls_context",
            "must hold at most one certificate for a client",
        );
    }
    if value.sni.len() > MAX_NAME {
        p.error_at("sni", format!("must be at most {MAX_NAME} bytes long"));
    }
    tls.sni = value.sni.as_str().into();
    tls.auto_host_sni = value.auto_host_sni;
    tls.auto_sni_san_validation = value.auto_sni_san_validation;
    if tls.auto_sni_san_validation && matches!(tls.common.validation, ValidationSource::None) {
        p.error_at(
            "auto_sni_san_validation",
            "needs a validation context with a trusted CA",
        );
    }
    tls.max_session_keys = value.max_session_keys.unwrap_or(1);
    tls
}

/// `DownstreamTlsContext`.
pub(super) fn downstream(p: &mut Problems, value: &proto::DownstreamTlsContext) -> DownstreamTls {
    let mut tls = DownstreamTls::default();
    tls.common = common(p, value.common_tls_context.as_ref());
    if tls.common.certificates.is_empty() {
        p.error_at("common_tls_context", "must hold a certificate");
    }
    tls.require_client_certificate = value.require_client_certificate.unwrap_or(false);
    tls.disable_stateful_session_resumption = value.disable_stateful_session_resumption;
    // Keys of tickets are found by the field table.
    tls.disable_stateless_session_resumption = matches!(
        value.session_ticket_keys_type,
        Some(SessionTicketKeysType::DisableStatelessSessionResumption(
            true
        ))
    );
    let staple: Option<OcspStaplePolicy> =
        enumeration(p, "ocsp_staple_policy", value.ocsp_staple_policy);
    if staple.is_some_and(|policy| policy != OcspStaplePolicy::LenientStapling) {
        p.error_at("ocsp_staple_policy", "only LENIENT_STAPLING is supported");
    }
    tls
}

fn common(p: &mut Problems, value: Option<&proto::CommonTlsContext>) -> CommonTls {
    let mut common = CommonTls::default();
    let Some(value) = value else { return common };
    p.field("common_tls_context", |p| {
        if let Some(parameters) = &value.tls_params {
            p.field("tls_params", |p| parameters_of(p, parameters, &mut common));
        }
        let inline = p.each("tls_certificates", &value.tls_certificates, |p, value| {
            tls_certificate(p, value).map(CertificateSource::Inline)
        });
        let secrets = p.each(
            "tls_certificate_sds_secret_configs",
            &value.tls_certificate_sds_secret_configs,
            |p, value| secret_name(p, value).map(CertificateSource::Secret),
        );
        if !value.tls_certificates.is_empty() && !secrets.is_empty() {
            p.error("tls_certificates and tls_certificate_sds_secret_configs exclude each other");
        }
        common.certificates = inline.into_iter().chain(secrets).collect();
        common.validation = validation(p, value.validation_context_type.as_ref());
        common.alpn_protocols = p.each("alpn_protocols", &value.alpn_protocols, |p, name| {
            if name.is_empty() || name.len() > MAX_NAME {
                p.error(format!("must be 1 to {MAX_NAME} bytes long"));
                return None;
            }
            Some(name.as_str().into())
        });
    });
    common
}

fn validation(p: &mut Problems, value: Option<&ValidationContextType>) -> ValidationSource {
    let found = match value {
        None => None,
        Some(ValidationContextType::ValidationContext(context)) => p
            .field("validation_context", |p| {
                let context = validation_context(p, context)?;
                must_have_roots(p, &context);
                Some(context)
            })
            .map(ValidationSource::Inline),
        Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => p
            .field("validation_context_sds_secret_config", |p| {
                secret_name(p, secret)
            })
            .map(ValidationSource::Secret),
        Some(ValidationContextType::CombinedValidationContext(both)) => {
            p.field("combined_validation_context", |p| combined(p, both))
        }
        // found by the field table
        Some(_) => None,
    };
    found.unwrap_or_default()
}

/// Anybody can sign any name (Envoy `CertificateValidationContextConfigImpl`).
fn must_have_roots(p: &mut Problems, context: &ValidationContext) {
    let has_roots = !context.trusted_ca.is_empty() || context.spiffe.is_some();
    if has_roots {
        return;
    }
    if !context.san_matchers.is_empty() {
        p.error("SAN-based verification of peer certificates without trusted CA is insecure and not allowed");
    }
    if context.allow_expired_certificate {
        p.error("Certificate validity period is always ignored without trusted CA");
    }
    if !context.crls.is_empty() {
        p.error_at("crl", "is of no use without trusted_ca");
    }
}

fn combined(
    p: &mut Problems,
    value: &CombinedCertificateValidationContext,
) -> Option<ValidationSource> {
    let default = p.require(
        "default_validation_context",
        value.default_validation_context.as_ref(),
    );
    let default = default.and_then(|context| {
        p.field("default_validation_context", |p| {
            validation_context(p, context)
        })
    });
    let secret = p.require(
        "validation_context_sds_secret_config",
        value.validation_context_sds_secret_config.as_ref(),
    )?;
    let secret = p.field("validation_context_sds_secret_config", |p| {
        secret_name(p, secret)
    });
    Some(ValidationSource::Combined(default?, secret?))
}

/// There is no TLS before 1.2 here: a lower minimum is raised, with a warning.
fn parameters_of(p: &mut Problems, value: &proto::TlsParameters, common: &mut CommonTls) {
    let minimum = "tls_minimum_protocol_version";
    match enumeration(p, minimum, value.tls_minimum_protocol_version) {
        Some(TlsProtocol::TlSv10 | TlsProtocol::TlSv11) => {
            p.field(minimum, |p| {
                p.warn("there is no TLS before 1.2; it is TLSv1_2")
            });
        }
        Some(TlsProtocol::TlSv13) => common.minimum_version = TlsVersion::V1_3,
        _ => {}
    }
    let maximum = "tls_maximum_protocol_version";
    common.maximum_version = match enumeration(p, maximum, value.tls_maximum_protocol_version) {
        Some(TlsProtocol::TlSv10 | TlsProtocol::TlSv11) => {
            p.error_at(maximum, "there is no TLS before 1.2");
            None
        }
        Some(TlsProtocol::TlSv12) => Some(TlsVersion::V1_2),
        Some(TlsProtocol::TlSv13) => Some(TlsVersion::V1_3),
        Some(TlsProtocol::TlsAuto) | None => None,
    };
    if common
        .maximum_version
        .is_some_and(|maximum| maximum < common.minimum_version)
    {
        p.error_at(maximum, "must not be below the minimum");
    }
    // [A|B] are equally good to Envoy; the order is the client's here.
    let names = value
        .cipher_suites
        .iter()
        .flat_map(|entry| entry.trim_matches(['[', ']']).split('|'));
    let mut unknown = Vec::new();
    for name in names {
        match CIPHER_SUITES.contains(&name) {
            true => common.cipher_suites.push(name.into()),
            false => unknown.push(name),
        }
    }
    if !unknown.is_empty() {
        let left = format!("there is no {}", unknown.join(", "));
        match common.cipher_suites.is_empty() {
            true => p.error_at("cipher_suites", format!("{left}, and no other is named")),
            false => p.field("cipher_suites", |p| p.warn(format!("{left}; left out"))),
        }
    }
}
