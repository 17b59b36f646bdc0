//! Reading a certificate, in Envoy's words (`source/common/tls/utility.cc`).

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use mesh_core::tls::Certificate;
use rustls::{
    crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256, pki_types::CertificateDer,
};
use x509_parser::{
    certificate::X509Certificate,
    der_parser::asn1_rs::{Any, Tag},
    extensions::GeneralName,
    prelude::FromDer,
    x509::X509Name,
};

/// The certificate and those behind it, read; None: it cannot be.
pub(super) fn read(chain: &[CertificateDer<'_>]) -> Option<Certificate> {
    let leaf = chain.first()?;
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let mut certificate = Certificate::default();
    if let Ok(Some(names)) = parsed.subject_alternative_name() {
        for name in &names.value.general_names {
            match name {
                GeneralName::URI(uri) => certificate.uri_sans.push((*uri).into()),
                GeneralName::DNSName(name) => certificate.dns_sans.push((*name).into()),
                GeneralName::RFC822Name(name) => certificate.email_sans.push((*name).into()),
                GeneralName::IPAddress(bytes) => certificate.ip_sans.extend(ip(bytes)),
                _ => {}
            }
        }
    }
    certificate.subject = rfc2253(parsed.subject()).into();
    certificate.issuer = rfc2253(parsed.issuer()).into();
    certificate.serial = serial(parsed.raw_serial()).into();
    certificate.sha256 = sha256(leaf);
    certificate.chain = chain.iter().map(|der| Arc::from(der.as_ref())).collect();
    Some(certificate)
}

/// What verification looks at beyond chains.
pub(super) struct Usage {
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    pub(super) is_ca: bool,
    /// `keyUsage`, if it is there: signs, agrees, encrypts keys, signs certificates, signs revocation lists.
    pub(super) key_usage: Option<[bool; 5]>,
    pub(super) spki: [u8; 32],
}

pub(super) fn usage(der: &[u8]) -> Option<Usage> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let validity = parsed.validity();
    let key_usage = parsed.key_usage().ok()?.map(|usage| {
        let usage = usage.value;
        [
            usage.digital_signature(),
            usage.key_agreement(),
            usage.key_encipherment(),
            usage.key_cert_sign(),
            usage.crl_sign(),
        ]
    });
    Some(Usage {
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        is_ca: parsed.is_ca(),
        key_usage,
        spki: sha256(parsed.public_key().raw),
    })
}

/// By the provider's own hash.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let suite = TLS13_AES_128_GCM_SHA256.tls13();
    let hash = suite.map(|suite| suite.common.hash_provider.hash(bytes));
    hash.and_then(|hash| hash.as_ref().try_into().ok())
        .unwrap_or([0; 32])
}

fn ip(bytes: &[u8]) -> Option<Box<str>> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).to_string().into());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(v6).to_string().into())
}

fn serial(bytes: &[u8]) -> String {
    let start = bytes.iter().position(|byte| *byte != 0);
    let mut text = String::new();
    for byte in &bytes[start.unwrap_or(bytes.len())..] {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Short names of attributes as OpenSSL has them.
const SHORT_NAMES: [(&str, &str); 14] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// A name from its last part to its first, as RFC 2253 and OpenSSL's `XN_FLAG_RFC2253` write it.
fn rfc2253(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (at, part) in parts.iter().rev().enumerate() {
        if at > 0 {
            text.push(',');
        }
        for (at, attribute) in part.iter().enumerate() {
            if at > 0 {
                text.push('+');
            }
            let id = attribute.attr_type().to_id_string();
            let short = SHORT_NAMES.iter().find(|(known, _)| *known == id);
            match short {
                Some((_, short)) => text.push_str(short),
                None => text.push_str(&id),
            }
            text.push('=');
            match (short, value(attribute.attr_value())) {
                (Some(_), Some(value)) => escape(&value, &mut text),
                _ => dump(attribute.attr_value(), &mut text),
            }
        }
    }
    text
}

fn value(any: &Any<'_>) -> Option<Vec<u8>> {
    Some(match any.tag() {
        Tag::BmpString => {
            let units: Vec<u16> = any
                .data
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect();
            String::from_utf16(&units).ok()?.into_bytes()
        }
        Tag::T61String => any
            .data
            .iter()
            .map(|byte| char::from(*byte))
            .collect::<String>()
            .into_bytes(),
        _ => any.data.to_vec(),
    })
}

fn escape(value: &[u8], text: &mut String) {
    for (at, byte) in value.iter().enumerate() {
        let (is_first, is_last) = (at == 0, at + 1 == value.len());
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b'#' if is_first => text.push_str("\\#"),
            b' ' if is_first || is_last => text.push_str("\\ "),
            0x20..=0x7e => text.push(char::from(*byte)),
            other => {
                let _ = write!(text, "\\{other:02X}");
            }
        }
    }
}

/// The value's DER in hexadecimal digits.
fn dump(any: &Any<'_>, text: &mut String) {
    text.push('#');
    let length = u8::try_from(any.data.len()).unwrap_or(u8::MAX);
    let tag = u8::try_from(any.tag().0).unwrap_or(u8::MAX);
    for byte in [tag, length].iter().chain(any.data) {
        let _ = write!(text, "{byte:02X}");
    }
}
