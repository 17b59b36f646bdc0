//! Secrets: certificates, keys and rules of validation.

use std::sync::Arc;

use mesh_core::model::{
    KeyEncoding, PrivateKey, SanKind, SanMatcher, Secret, TlsCertificate, TrustDomain,
    ValidationContext,
};
use mesh_proto::envoy::{
    config::core::v3::{DataSource, TypedExtensionConfig},
    extensions::transport_sockets::tls::v3::{
        self as proto, certificate_validation_context::TrustChainVerification, secret::Type,
        subject_alt_name_matcher::SanType,
    },
};
use rustls::{
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::{
    any::{extension_name, unpack_checked},
    matcher,
    scalar::enumeration,
};
use crate::{data_source::data, problems::Problems};

const SPIFFE: &str = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";

/// `Secret`.
pub(super) fn secret(p: &mut Problems, value: &proto::Secret) -> Option<Secret> {
    match &value.r#type {
        Some(Type::TlsCertificate(certificate)) => p
            .field("tls_certificate", |p| tls_certificate(p, certificate))
            .map(Secret::Certificate),
        Some(Type::ValidationContext(rules)) => p
            .field("validation_context", |p| validation_context(p, rules))
            .map(Secret::Validation),
        // Refused by the table of fields.
        Some(Type::SessionTicketKeys(_) | Type::GenericSecret(_)) => None,
        None => {
            p.error("must hold tls_certificate or validation_context");
            None
        }
    }
}

/// `TlsCertificate`: the key must be that of the chain's first certificate.
pub(super) fn tls_certificate(
    p: &mut Problems,
    value: &proto::TlsCertificate,
) -> Option<Arc<TlsCertificate>> {
    let chain = p.require("certificate_chain", value.certificate_chain.as_ref());
    let chain = chain.and_then(|source| p.field("certificate_chain", |p| certificates(p, source)));
    let key = p.require("private_key", value.private_key.as_ref())?;
    // Whatever is wrong with a key: its bytes are nobody's business.
    let key = p.field("private_key", |p| {
        let key = PrivateKeyDer::from_pem_slice(&data(p, key)?);
        p.check(key.map_err(|_| "holds no private key"))
    });
    let (chain, key) = (chain?, key?);
    let provider = default_provider();
    let signing = p.field("private_key", |p| {
        let signing = provider.key_provider.load_private_key(key.clone_key());
        p.check(signing.map_err(|_| "is not a key that can sign"))
    })?;
    let of_chain = chain.iter().map(|der| CertificateDer::from(der.to_vec()));
    let both = CertifiedKey::new(of_chain.collect(), signing);
    match both.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            p.error_at("private_key", "is not that of the certificate");
            return None;
        }
        Err(rustls::Error::InvalidCertificate(e)) => {
            p.error_at("certificate_chain", format!("cannot be used: {e:?}"));
            return None;
        }
        _ => {}
    }
    let encoding = match &key {
        PrivateKeyDer::Pkcs1(_) => KeyEncoding::Pkcs1,
        PrivateKeyDer::Sec1(_) => KeyEncoding::Sec1,
        _ => KeyEncoding::Pkcs8,
    };
    Some(Arc::new(TlsCertificate {
        chain,
        key: PrivateKey::new(encoding, key.secret_der()),
    }))
}

/// `CertificateValidationContext`.
pub(super) fn validation_context(
    p: &mut Problems,
    value: &proto::CertificateValidationContext,
) -> Option<Arc<ValidationContext>> {
    let mut context = ValidationContext::default();
    if let Some(source) = &value.trusted_ca {
        p.field("trusted_ca", |p| {
            let roots = certificates(p, source);
            context.trusted_ca = roots.unwrap_or_default();
            // They may be there too.
            context.crls = revocation_lists(p, source).unwrap_or_default();
        });
    }
    if let Some(source) = &value.crl {
        p.field("crl", |p| match revocation_lists(p, source) {
            Some(lists) if lists.is_empty() => p.error("holds no certificate revocation list"),
            lists => context.crls.extend(lists.unwrap_or_default()),
        });
    }
    context.only_verify_leaf_cert_crl = value.only_verify_leaf_cert_crl;
    context.san_matchers = p.each(
        "match_typed_subject_alt_names",
        &value.match_typed_subject_alt_names,
        typed_san,
    );
    let any_kind = p.each(
        "match_subject_alt_names",
        &value.match_subject_alt_names,
        matcher::string,
    );
    if !context.san_matchers.is_empty() && !any_kind.is_empty() {
        p.error("match_subject_alt_names and match_typed_subject_alt_names exclude each other");
    }
    for matcher in any_kind {
        let kinds = [
            SanKind::Dns,
            SanKind::Uri,
            SanKind::Email,
            SanKind::IpAddress,
        ];
        context.san_matchers.extend(kinds.map(|kind| SanMatcher {
            kind,
            matcher: matcher.clone(),
        }));
    }
    context.spki_hashes = p.each(
        "verify_certificate_spki",
        &value.verify_certificate_spki,
        |p, text| {
            let hash = base64_digits(text).and_then(|bytes| bytes.try_into().ok());
            p.check(hash.ok_or("must be SHA-256 in base64"))
        },
    );
    context.certificate_hashes = p.each(
        "verify_certificate_hash",
        &value.verify_certificate_hash,
        |p, text| p.check(hex_digits(text).ok_or("must be SHA-256 in hexadecimal digits")),
    );
    context.allow_expired_certificate = value.allow_expired_certificate;
    let trust = enumeration(
        p,
        "trust_chain_verification",
        value.trust_chain_verification,
    );
    context.accept_untrusted = trust == Some(TrustChainVerification::AcceptUntrusted);
    if let Some(custom) = &value.custom_validator_config {
        p.field("custom_validator_config", |p| {
            context.spiffe = spiffe(p, custom);
        });
    }
    if context.spiffe.is_some() && !context.trusted_ca.is_empty() {
        p.error_at("trusted_ca", "must not be set beside trust domains");
    }
    Some(Arc::new(context))
}

fn typed_san(p: &mut Problems, value: &proto::SubjectAltNameMatcher) -> Option<SanMatcher> {
    let matcher = p.require("matcher", value.matcher.as_ref());
    let matcher = matcher.and_then(|matcher| p.field("matcher", |p| matcher::string(p, matcher)));
    let kind = match enumeration(p, "san_type", value.san_type)? {
        SanType::Email => SanKind::Email,
        SanType::Dns => SanKind::Dns,
        SanType::Uri => SanKind::Uri,
        SanType::IpAddress => SanKind::IpAddress,
        SanType::OtherName => {
            p.error_at("san_type", "OTHER_NAME is not supported yet");
            return None;
        }
        SanType::Unspecified => {
            p.error_at("san_type", "must be specified");
            return None;
        }
    };
    Some(SanMatcher {
        kind,
        matcher: matcher?,
    })
}

fn spiffe(p: &mut Problems, custom: &TypedExtensionConfig) -> Option<Vec<TrustDomain>> {
    let config = p.require("typed_config", custom.typed_config.as_ref())?;
    p.field("typed_config", |p| {
        let kind = extension_name(config);
        if kind != SPIFFE {
            p.error(format!("{kind} is not supported yet"));
            return None;
        }
        let config: proto::SpiffeCertValidatorConfig = unpack_checked(p, config)?;
        if config.trust_domains.is_empty() {
            p.error_at("trust_domains", "must not be empty");
        }
        let domains = p.each("trust_domains", &config.trust_domains, |p, domain| {
            let name = p.require_text("name", &domain.name);
            let bundle = p.require("trust_bundle", domain.trust_bundle.as_ref())?;
            let bundle = p.field("trust_bundle", |p| certificates(p, bundle));
            Some(TrustDomain {
                name: name?.into(),
                trust_bundle: bundle?,
            })
        });
        Some(domains)
    })
}

/// All certificates of a PEM text; at least one.
fn certificates(p: &mut Problems, source: &DataSource) -> Option<Vec<Arc<[u8]>>> {
    let pem = data(p, source)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = p.check(found.map_err(|e| format!("is not PEM: {e}")))?;
    if found.is_empty() {
        p.error("holds no certificate");
        return None;
    }
    Some(found.iter().map(|der| Arc::from(&**der)).collect())
}

fn revocation_lists(p: &mut Problems, source: &DataSource) -> Option<Vec<Arc<[u8]>>> {
    let pem = data(p, source)?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
    let found = p.check(found.map_err(|e| format!("is not PEM: {e}")))?;
    Some(found.iter().map(|der| Arc::from(&**der)).collect())
}

/// 64 digits, with or without colons between pairs.
fn hex_digits(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = match text.len() {
        95 => text.bytes().filter(|byte| *byte != b':').collect(),
        _ => text.bytes().collect(),
    };
    let pairs: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    pairs.filter(|_| digits.len() == 64)?.try_into().ok()
}

fn base64_digits(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0, 0u32);
    for digit in text.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    Some(bytes)
}
