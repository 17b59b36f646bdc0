use std::{
    fmt,
    time::{Duration, SystemTime},
};

use mesh_proto::envoy::{
    config::core::v3::{DataSource, data_source::Specifier},
    extensions::transport_sockets::tls::v3 as tls,
};
use rcgen::{KeyPair, PublicKeyData};
use x509_parser::{extensions::GeneralName, pem::Pem};

/// A certificate, its key, and what is trusted.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    chain: String,
    key: String,
    roots: String,
    spiffe_id: String,
    from: SystemTime,
    to: SystemTime,
    received: SystemTime,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("spiffe_id", &self.spiffe_id)
            .field("from", &self.from)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// An answer that is no certificate for the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidChain {
    /// Fewer than a certificate and roots.
    #[error("the answer has {0} parts; a certificate and roots are two")]
    TooShort(usize),
    /// What should be a certificate is something else.
    #[error("the answer holds what is no certificate")]
    Malformed,
    /// It is for another key.
    #[error("the certificate is for another key")]
    OtherKey,
    /// It is over already, or will only be valid later.
    #[error("the certificate is not valid now")]
    NotValidNow,
    /// It has no identity, or several.
    #[error("the certificate does not hold one SPIFFE ID")]
    NoIdentity,
}

impl Identity {
    /// Of an authority's answer: leaf, what is between, roots last.
    pub(super) fn new(
        key: &KeyPair,
        answer: &[String],
        now: SystemTime,
    ) -> Result<Self, InvalidChain> {
        let [chain @ .., roots] = answer else {
            return Err(InvalidChain::TooShort(answer.len()));
        };
        let leaf = chain.first().ok_or(InvalidChain::TooShort(answer.len()))?;
        let block = Pem::iter_from_buffer(leaf.as_bytes()).next();
        let block = block.and_then(Result::ok).ok_or(InvalidChain::Malformed)?;
        let leaf = block.parse_x509().map_err(|_| InvalidChain::Malformed)?;
        let mut anchors = Pem::iter_from_buffer(roots.as_bytes()).peekable();
        if anchors.peek().is_none()
            || !anchors.all(|root| root.is_ok_and(|root| root.parse_x509().is_ok()))
        {
            return Err(InvalidChain::Malformed);
        }
        if leaf.public_key().raw != key.subject_public_key_info() {
            return Err(InvalidChain::OtherKey);
        }
        let time = |seconds: i64| {
            let seconds = u64::try_from(seconds).unwrap_or_default();
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        let from = time(leaf.validity().not_before.timestamp());
        let to = time(leaf.validity().not_after.timestamp());
        if now < from || now >= to {
            return Err(InvalidChain::NotValidNow);
        }
        let names = leaf.subject_alternative_name();
        let names = names.map_err(|_| InvalidChain::Malformed)?;
        let names = names.map(|names| &names.value.general_names[..]);
        let mut ids = names
            .unwrap_or_default()
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) if uri.starts_with("spiffe://") => Some(*uri),
                _ => None,
            });
        let (Some(id), None) = (ids.next(), ids.next()) else {
            return Err(InvalidChain::NoIdentity);
        };
        Ok(Identity {
            chain: chain.iter().map(|part| lines(part)).collect(),
            key: key.serialize_pem(),
            roots: lines(roots),
            spiffe_id: id.to_owned(),
            from,
            to,
            received: now,
        })
    }

    /// Whose certificate it is.
    pub fn spiffe_id(&self) -> &str {
        &self.spiffe_id
    }

    /// From when to when it is valid.
    pub fn validity(&self) -> (SystemTime, SystemTime) {
        (self.from, self.to)
    }

    /// When it came.
    pub fn received(&self) -> SystemTime {
        self.received
    }

    /// The certificates, leaf first, as PEM.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// What is trusted, as PEM.
    pub fn roots(&self) -> &str {
        &self.roots
    }

    /// As Istio's agent serves it: `default` and `ROOTCA`.
    pub fn secrets(&self) -> [tls::Secret; 2] {
        let inline = |text: &str| {
            Some(DataSource {
                specifier: Some(Specifier::InlineBytes(text.as_bytes().to_vec())),
                ..Default::default()
            })
        };
        let secret = |name: &str, of: tls::secret::Type| tls::Secret {
            name: name.to_owned(),
            r#type: Some(of),
        };
        [
            secret(
                "default",
                tls::secret::Type::TlsCertificate(tls::TlsCertificate {
                    certificate_chain: inline(&self.chain),
                    private_key: inline(&self.key),
                    ..Default::default()
                }),
            ),
            secret(
                "ROOTCA",
                tls::secret::Type::ValidationContext(tls::CertificateValidationContext {
                    trusted_ca: inline(&self.roots),
                    ..Default::default()
                }),
            ),
        ]
    }
}

/// With an end of line, so that texts can follow each other.
fn lines(text: &str) -> String {
    let mut text = text.trim_end().to_owned();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, SanType};

    use super::*;

    fn certificate(key: &KeyPair, names: &[&str]) -> String {
        let mut params = CertificateParams::default();
        for name in names {
            let uri = SanType::URI((*name).try_into().unwrap());
            params.subject_alt_names.push(uri);
        }
        params.self_signed(key).unwrap().pem()
    }

    #[test]
    fn an_answer_is_a_certificate_for_the_key_and_what_is_trusted() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let right = certificate(&key, &["spiffe://a/ns/b/sa/c"]);
        let with = |answer: &[&str], now| {
            let answer: Vec<String> = answer.iter().map(|part| (*part).to_owned()).collect();
            Identity::new(&key, &answer, now)
        };
        let identity = with(&[&right, &right, &right], now).unwrap();
        assert_eq!(identity.spiffe_id(), "spiffe://a/ns/b/sa/c");
        assert_eq!(identity.chain().matches("BEGIN").count(), 2);
        assert_eq!(identity.roots().matches("BEGIN").count(), 1);
        let shown = format!("{identity:?}");
        assert!(
            !shown.contains("PRIVATE") && !shown.contains("BEGIN"),
            "{shown}"
        );

        let two = certificate(&key, &["spiffe://a/x", "spiffe://a/y"]);
        let foreign = certificate(&other, &["spiffe://a/x"]);
        for (answer, now, expected) in [
            (&[][..], now, InvalidChain::TooShort(0)),
            (&[&*right], now, InvalidChain::TooShort(1)),
            (&["x", &right], now, InvalidChain::Malformed),
            (&[&right, "x"], now, InvalidChain::Malformed),
            (&[&foreign, &right], now, InvalidChain::OtherKey),
            (
                &[&right, &right],
                SystemTime::UNIX_EPOCH,
                InvalidChain::NotValidNow,
            ),
            (&[&two, &right], now, InvalidChain::NoIdentity),
            (
                &[&certificate(&key, &[]), &right],
                now,
                InvalidChain::NoIdentity,
            ),
        ] {
            assert_eq!(with(answer, now), Err(expected));
        }
    }
}
