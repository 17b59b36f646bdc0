//! What is known of a connection's certificates: what principals, `x-forwarded-client-cert` and formats read.

use std::{fmt::Write, sync::Arc};

use super::names;
use crate::{
    jwt::base64,
    model::{SanKind, SanMatcher},
    regex::Scratch,
};

/// A finished handshake with a downstream peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsConnection {
    /// The version as Envoy writes it: `TLSv1.3`.
    pub version: &'static str,
    /// The cipher by OpenSSL's name; empty: not known.
    pub cipher: &'static str,
    /// What ALPN chose.
    pub alpn: Option<Box<str>>,
    /// The peer's certificate; None: it sent none.
    pub peer: Option<Arc<Certificate>>,
    /// Whether it was verified against a root, a name or a hash.
    pub peer_validated: bool,
    /// Our own certificate.
    pub local: Option<Arc<Certificate>>,
}

impl TlsConnection {
    /// What the names of the peer's certificate say: any URI, else any DNS name, else the subject, as RBAC's
    /// `authenticated` asks (Envoy `AuthenticatedMatcher`).
    pub fn has_principal(&self, mut is_it: impl FnMut(&str) -> bool) -> bool {
        let Some(peer) = &self.peer else {
            return is_it("");
        };
        let mut names = peer.uri_sans.iter().chain(&peer.dns_sans);
        names.any(|name| is_it(name)) || is_it(&peer.subject)
    }
}

/// A certificate, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certificate {
    /// URIs among the subject's alternative names, in order.
    pub uri_sans: Vec<Box<str>>,
    /// DNS names among them.
    pub dns_sans: Vec<Box<str>>,
    /// E-mail addresses among them.
    pub email_sans: Vec<Box<str>>,
    /// IP addresses among them.
    pub ip_sans: Vec<Box<str>>,
    /// The subject, as RFC 2253 writes it.
    pub subject: Box<str>,
    /// The issuer.
    pub issuer: Box<str>,
    /// The serial number in hexadecimal digits.
    pub serial: Box<str>,
    /// SHA-256 of the whole certificate.
    pub sha256: [u8; 32],
    /// The certificate and what came behind it, DER.
    pub chain: Vec<Arc<[u8]>>,
}

impl Certificate {
    /// SHA-256 of the certificate in hexadecimal digits.
    pub fn sha256_hex(&self) -> String {
        hex(&self.sha256)
    }

    /// The certificate as PEM, encoded for URLs.
    pub fn url_encoded_pem(&self) -> String {
        let leaf = self.chain.first();
        leaf.map(|der| url_encoded_pem(der)).unwrap_or_default()
    }

    /// All certificates of the chain as PEM, encoded for URLs.
    pub fn url_encoded_pem_chain(&self) -> String {
        self.chain.iter().map(|der| url_encoded_pem(der)).collect()
    }

    /// Whether any alternative name fits any of the matchers.
    pub fn fits_any(&self, matchers: &[SanMatcher], scratch: &mut Scratch) -> bool {
        matchers.iter().any(|matcher| {
            let sans = match matcher.kind {
                SanKind::Email => &self.email_sans,
                SanKind::Dns => &self.dns_sans,
                SanKind::Uri => &self.uri_sans,
                SanKind::IpAddress => &self.ip_sans,
            };
            sans.iter().any(|san| names::fits(matcher, san, scratch))
        })
    }

    /// All alternative names by Envoy's order of kinds.
    pub fn all_sans(&self) -> impl Iterator<Item = &str> {
        let kinds = [
            &self.dns_sans,
            &self.uri_sans,
            &self.email_sans,
            &self.ip_sans,
        ];
        kinds.into_iter().flatten().map(|name| &**name)
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// PEM with lines of 64, and what means something in URLs and headers encoded (Envoy's `urlEncodedPem…`).
fn url_encoded_pem(der: &[u8]) -> String {
    let body = base64(der);
    let mut text = String::from("-----BEGIN%20CERTIFICATE-----%0A");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        for byte in line.chars() {
            match byte {
                '+' => text.push_str("%2B"),
                '/' => text.push_str("%2F"),
                '=' => text.push_str("%3D"),
                plain => text.push(plain),
            }
        }
        text.push_str("%0A");
        rest = more;
    }
    text.push_str("-----END%20CERTIFICATE-----%0A");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_uris_then_names_then_the_subject() {
        let peer = Certificate {
            uri_sans: vec!["spiffe://a/b".into()],
            dns_sans: vec!["b.test".into()],
            subject: "CN=c".into(),
            ..Certificate::default()
        };
        let with = |peer| TlsConnection {
            peer,
            ..TlsConnection::default()
        };
        let connection = with(Some(Arc::new(peer)));
        for name in ["spiffe://a/b", "b.test", "CN=c"] {
            assert!(connection.has_principal(|p| p == name), "{name}");
        }
        assert!(!connection.has_principal(|p| p.is_empty()));
        assert!(with(None).has_principal(|p| p.is_empty()));
    }

    #[test]
    fn pem_is_encoded_for_urls() {
        let certificate = Certificate {
            chain: vec![vec![0xfb; 50].into(), vec![1].into()],
            ..Certificate::default()
        };
        let pem = certificate.url_encoded_pem();
        assert!(
            pem.starts_with("-----BEGIN%20CERTIFICATE-----%0A%2B%2Fv7%2B"),
            "{pem}"
        );
        assert!(!pem.contains(['+', '/', '=', ' ', '\n']), "{pem}");
        assert!(certificate.url_encoded_pem_chain().starts_with(&pem));
    }
}
