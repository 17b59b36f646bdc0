//! Who is believed (Envoy `default_validator.cc`, `spiffe_validator.cc`).
//!
//! Chains are verified by webpki. What it leaves out and OpenSSL has is added: a certificate that is itself trusted, the
//! validity of roots, `keyUsage`. What it is stricter in stays: certificates are of version 3.

mod callbacks;

use std::{fmt, net::IpAddr, sync::Arc};

use mesh_core::{
    model::{SanMatcher, ValidationContext},
    regex::Scratch,
    tls::{Certificate, dns_name_matches},
};
use rustls::{
    CertificateError, DistinguishedName, Error, OtherError,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, TrustAnchor, UnixTime},
};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};

use super::{
    InvalidContext,
    certificate::{self, Usage},
    roots::{Root, of_trust_domain, roots_of},
};

/// Whom a certificate is shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It is a server's.
    Server,
    /// It is a client's.
    Client,
}

/// Whether the server's name counts, instead of the matchers of the context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum NameCheck {
    /// Only the matchers do.
    #[default]
    Matchers,
    /// The name that was sent, if one was (`auto_sni_san_validation`).
    Sni,
    /// The request's host, be it an address (`auto_san_validation`).
    Host,
}

/// What a validation context asks of a peer.
#[derive(Debug)]
pub(super) struct Verifier {
    rules: Option<Arc<ValidationContext>>,
    role: Role,
    roots: Vec<Root>,
    /// By trust domain; instead of `roots`.
    domains: Option<Vec<(Box<str>, Vec<Root>)>>,
    crls: Vec<CertRevocationList<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
    names: NameCheck,
    is_mandatory: bool,
    hints: Vec<DistinguishedName>,
}

/// Envoy's words for a refusal, carried through rustls.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

pub(super) fn refusal(words: impl Into<String>) -> Error {
    let refusal: Arc<dyn std::error::Error + Send + Sync> = Arc::new(Refusal(words.into()));
    CertificateError::Other(OtherError(refusal)).into()
}

impl Verifier {
    pub(super) fn new(
        rules: Option<&Arc<ValidationContext>>,
        role: Role,
        provider: &CryptoProvider,
    ) -> Result<Self, InvalidContext> {
        let (mut roots, mut domains, mut crls) = (Vec::new(), None, Vec::new());
        if let Some(rules) = rules {
            roots = roots_of(&rules.trusted_ca)?;
            if let Some(spiffe) = &rules.spiffe {
                let by_name: Result<Vec<_>, _> = spiffe
                    .iter()
                    .map(|domain| Ok((domain.name.clone(), roots_of(&domain.trust_bundle)?)))
                    .collect();
                domains = Some(by_name?);
            }
            for der in &rules.crls {
                let crl = OwnedCertRevocationList::from_der(der).map_err(InvalidContext::of)?;
                crls.push(CertRevocationList::from(crl));
            }
        }
        let all = roots
            .iter()
            .chain(domains.iter().flatten().flat_map(|(_, roots)| roots));
        let hints = all
            .map(|root| DistinguishedName::in_sequence(&root.anchor.subject))
            .collect();
        Ok(Self {
            rules: rules.cloned(),
            role,
            roots,
            domains,
            crls,
            algorithms: provider.signature_verification_algorithms,
            names: NameCheck::default(),
            is_mandatory: false,
            hints,
        })
    }

    /// A client's: the server's certificate must have the name that it was asked for.
    pub(super) fn checking_names(mut self, names: NameCheck) -> Self {
        self.names = names;
        self
    }

    /// A server's: clients must have a certificate, if `required` and there is something to verify it by.
    pub(super) fn requiring(mut self, required: bool) -> Self {
        let untrusted = self
            .rules
            .as_ref()
            .is_some_and(|rules| rules.accept_untrusted);
        self.is_mandatory =
            (required && self.has_roots()) || (self.has_names_or_hashes() && !untrusted);
        self
    }

    fn has_roots(&self) -> bool {
        !self.roots.is_empty() || self.domains.is_some()
    }

    fn has_names_or_hashes(&self) -> bool {
        self.rules.as_ref().is_some_and(|rules| {
            !rules.san_matchers.is_empty()
                || !rules.spki_hashes.is_empty()
                || !rules.certificate_hashes.is_empty()
        })
    }

    /// Whether there is anything to verify by; without it everybody is believed.
    fn asks(&self) -> bool {
        let untrusted = self
            .rules
            .as_ref()
            .is_some_and(|rules| rules.accept_untrusted);
        self.has_roots() || self.has_names_or_hashes() || untrusted
    }

    /// Whether a certificate that was accepted was verified, too.
    pub(super) fn has_validated(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some((leaf, others)) = chain.split_first() else {
            return false;
        };
        let untrusted = self
            .rules
            .as_ref()
            .is_some_and(|rules| rules.accept_untrusted);
        match untrusted {
            true => self.verify(leaf, others, None, UnixTime::now()).is_ok(),
            false => self.asks(),
        }
    }

    /// Whether a peer that an earlier session verified is believed still (Envoy sets BoringSSL's `reverify_on_resume`).
    /// Rules and roots are those of then, since sessions belong to a context: only time can have changed what they say.
    pub(super) fn judge_again(
        &self,
        chain: &[CertificateDer<'_>],
        server_name: Option<&str>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some((leaf, others)) = chain.split_first() else {
            return Ok(());
        };
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let domains = self.domains.iter().flatten().flat_map(|(_, roots)| roots);
        let is_timely = self.crls.is_empty()
            && chain.iter().all(|der| {
                certificate::usage(der)
                    .is_some_and(|usage| (usage.not_before..=usage.not_after).contains(&seconds))
            })
            && self
                .roots
                .iter()
                .chain(domains)
                .all(|root| root.is_valid_at(seconds));
        match is_timely {
            true => Ok(()),
            false => self.judge(leaf, others, server_name, now),
        }
    }

    /// Verifies, unless everybody is accepted.
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        server_name: Option<&str>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(rules) = &self.rules else {
            return Ok(());
        };
        if rules.accept_untrusted || !self.asks() {
            return Ok(());
        }
        self.verify(leaf, others, server_name, now)
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        server_name: Option<&str>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(rules) = &self.rules else {
            return Ok(());
        };
        let chain = [std::slice::from_ref(leaf), others].concat();
        let read = certificate::read(&chain).ok_or(CertificateError::BadEncoding)?;
        let usage = certificate::usage(leaf).ok_or(CertificateError::BadEncoding)?;
        match &self.domains {
            None if self.roots.is_empty() => {}
            None => self.chain(leaf, others, &self.roots, &usage, now)?,
            Some(domains) => {
                let roots = of_trust_domain(domains, &read, &usage)?;
                self.chain(leaf, others, roots, &usage, now)?;
            }
        }
        self.names(rules, &read, server_name)?;
        let hashes = &rules.certificate_hashes;
        if hashes.is_empty() && rules.spki_hashes.is_empty() {
            return Ok(());
        }
        match hashes.contains(&read.sha256) || rules.spki_hashes.contains(&usage.spki) {
            true => Ok(()),
            false => Err(refusal("verify cert failed: cert hash and spki")),
        }
    }

    fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        roots: &[Root],
        usage: &Usage,
        now: UnixTime,
    ) -> Result<(), Error> {
        let rules = self.rules.as_deref();
        let ignores_time = rules.is_some_and(|rules| rules.allow_expired_certificate);
        let now = match ignores_time {
            // When the youngest of all began, all that ever were valid together are.
            true => {
                let begins = others.iter().filter_map(|der| certificate::usage(der));
                let begins = begins
                    .map(|usage| usage.not_before)
                    .chain([usage.not_before]);
                at(begins.max().unwrap_or(0))
            }
            false => now,
        };
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        self.key_usage(usage)?;
        // Trusted itself: no issuer is asked for.
        if roots.iter().any(|root| *root.der == **leaf) {
            return match seconds {
                _ if ignores_time => Ok(()),
                now if now < usage.not_before => Err(CertificateError::NotValidYet.into()),
                now if now > usage.not_after => Err(CertificateError::Expired.into()),
                _ => Ok(()),
            };
        }
        let is_valid = |root: &&Root| ignores_time || root.is_valid_at(seconds);
        let valid: Vec<_> = roots
            .iter()
            .filter(is_valid)
            .map(|root| root.anchor.clone())
            .collect();
        let verified = self.path(leaf, others, &valid, now);
        if valid.len() < roots.len() && verified.is_err() {
            let all: Vec<_> = roots.iter().map(|root| root.anchor.clone()).collect();
            if self.path(leaf, others, &all, now).is_ok() {
                return Err(refusal(format!(
                    "verify cert failed: X509_verify_cert: certificate verification error at depth {}: certificate has expired",
                    others.len() + 1
                )));
            }
        }
        verified
    }

    fn path(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        anchors: &[TrustAnchor<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let usage = match self.role {
            Role::Server => KeyUsage::server_auth(),
            Role::Client => KeyUsage::client_auth(),
        };
        let crls: Vec<_> = self.crls.iter().collect();
        let only_leaf = self
            .rules
            .as_ref()
            .is_some_and(|rules| rules.only_verify_leaf_cert_crl);
        let revocation = RevocationOptionsBuilder::new(&crls).ok().map(|builder| {
            let depth = match only_leaf {
                true => RevocationCheckDepth::EndEntity,
                false => RevocationCheckDepth::Chain,
            };
            builder
                .with_depth(depth)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let read = EndEntityCert::try_from(leaf).map_err(of_webpki)?;
        let verified = read.verify_for_usage(
            self.algorithms.all,
            anchors,
            others,
            now,
            usage,
            revocation,
            None,
        );
        verified.map(drop).map_err(of_webpki)
    }

    /// `keyUsage` must allow what the role does (OpenSSL's purposes `ssl_server` and `ssl_client`).
    fn key_usage(&self, usage: &Usage) -> Result<(), Error> {
        let Some([signs, agrees, encrypts, ..]) = usage.key_usage else {
            return Ok(());
        };
        let allowed = match self.role {
            Role::Server => signs || agrees || encrypts,
            Role::Client => signs || agrees,
        };
        match allowed {
            true => Ok(()),
            false => Err(CertificateError::InvalidPurpose.into()),
        }
    }

    fn names(
        &self,
        rules: &ValidationContext,
        certificate: &Certificate,
        server_name: Option<&str>,
    ) -> Result<(), Error> {
        let is_address = |name: &str| name.parse::<IpAddr>().is_ok();
        let has_dns = |name: &str| {
            certificate
                .dns_sans
                .iter()
                .any(|san| dns_name_matches(name, san))
        };
        let fits = match (self.names, server_name) {
            (NameCheck::Host, Some(name)) => {
                has_dns(name) || certificate.all_sans().any(|san| san == name)
            }
            (NameCheck::Sni, Some(name)) if !is_address(name) => has_dns(name),
            _ => rules.san_matchers.is_empty() || fits_any(certificate, &rules.san_matchers),
        };
        if fits {
            return Ok(());
        }
        let sans: Vec<_> = certificate.all_sans().collect();
        if let (NameCheck::Host, Some(name)) = (self.names, server_name) {
            return Err(refusal(format!(
                "verify cert failed: verify SAN list, expected SANs: [{name}], certificate SANs: [{}]",
                sans.join(", ")
            )));
        }
        Err(refusal(format!(
            "verify cert failed: SAN matcher, certificate SANs are [{}]",
            sans.join(", ")
        )))
    }
}

fn fits_any(certificate: &Certificate, matchers: &[SanMatcher]) -> bool {
    certificate.fits_any(matchers, &mut Scratch::default())
}

fn at(seconds: i64) -> UnixTime {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

fn of_webpki(error: webpki::Error) -> Error {
    use webpki::Error as E;
    let error = match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::InvalidCertValidity => CertificateError::Expired,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::CertRevoked => CertificateError::Revoked,
        E::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        E::CrlExpired { .. } => CertificateError::ExpiredRevocationList,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => CertificateError::InvalidPurpose,
        other => return refusal(format!("verify cert failed: {other}")),
    };
    error.into()
}
