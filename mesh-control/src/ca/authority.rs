//! What signs.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};

use super::{ServiceAccount, csr};

/// Certificates are valid so long before they are made: clocks differ (Istio's `ClockSkewGracePeriod`).
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(120);

/// How long certificates of workloads are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Validity {
    /// Where a request does not say; 24 h (istiod's `DEFAULT_WORKLOAD_CERT_TTL`).
    pub default: Duration,
    /// More is refused; 90 d (`MAX_WORKLOAD_CERT_TTL`).
    pub max: Duration,
}

impl Default for Validity {
    fn default() -> Self {
        Validity {
            default: Duration::from_secs(24 * 3_600),
            max: Duration::from_secs(90 * 24 * 3_600),
        }
    }
}

/// Why a request is not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedCsr {
    /// It cannot be read.
    #[error("the request cannot be read: {0}")]
    Malformed(&'static str),
    /// Its sender does not hold the key, or the algorithm is none that is believed.
    #[error("the request's own signature does not hold")]
    Signature,
    /// The key is of a kind that nobody here verifies with.
    #[error("keys of this kind are not certified")]
    Key,
    /// `max` of [`Validity`].
    #[error("requested TTL {}s is greater than the max allowed TTL {}s", .0.as_secs(), .1.as_secs())]
    Lifetime(Duration, Duration),
    /// The authority's own certificate is over.
    #[error("signing certificate has expired")]
    Expired,
    /// The certificate cannot be made.
    #[error("the certificate cannot be made")]
    Internal,
}

/// A certificate and its key, with which workloads' certificates are signed, and what workloads trust.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Between a leaf and its root, as PEM, one each.
    chain: Vec<String>,
    roots: String,
    /// Since 1970.
    expires: Duration,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Authority {
    pub(super) fn new(
        issuer: Issuer<'static, KeyPair>,
        chain: Vec<String>,
        roots: String,
        expires: Duration,
    ) -> Self {
        Authority {
            issuer,
            chain,
            roots,
            expires,
        }
    }

    /// What is trusted, as PEM.
    pub fn roots(&self) -> &str {
        &self.roots
    }

    /// A certificate for an account: the leaf, what is between it and the root, and last all roots in one text, as
    /// istiod answers (`security/pkg/server/ca`).
    ///
    /// # Errors
    /// If the request cannot be read, is not signed by its own key, or asks for too long.
    pub fn sign(
        &self,
        csr: &str,
        account: &ServiceAccount,
        trust_domain: &str,
        requested: Duration,
        validity: &Validity,
        now: SystemTime,
    ) -> Result<Vec<String>, RefusedCsr> {
        let key = csr::public_key(csr)?;
        if requested > validity.max {
            return Err(RefusedCsr::Lifetime(requested, validity.max));
        }
        let lifetime = match requested.is_zero() {
            true => validity.default,
            false => requested,
        };
        let now = since_1970(now);
        if now >= self.expires {
            return Err(RefusedCsr::Expired);
        }
        let mut params = leaf(&account.spiffe_id(trust_domain))?;
        let from = now.saturating_sub(CLOCK_SKEW);
        set_validity(&mut params, from, (now + lifetime).min(self.expires));
        let leaf = params
            .signed_by(&key, &self.issuer)
            .map_err(|_| RefusedCsr::Internal)?;
        let mut chain = vec![leaf.pem()];
        chain.extend(self.chain.iter().cloned());
        chain.push(self.roots.clone());
        Ok(chain)
    }
}

/// What all certificates of workloads have in common (Istio's `genCertTemplateFromCSR`).
fn leaf(spiffe_id: &str) -> Result<CertificateParams, RefusedCsr> {
    let uri = spiffe_id.try_into().map_err(|_| RefusedCsr::Internal)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(uri)];
    // without this extension, some refuse it as an X.509-SVID
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial()?);
    Ok(params)
}

/// 126 bits of chance, positive and without zeros in front, as DER wants it.
pub(super) fn serial() -> Result<SerialNumber, RefusedCsr> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| RefusedCsr::Internal)?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

pub(super) fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Sets from when to when a certificate is valid, in time since 1970; whole seconds are all that it can say.
pub(super) fn set_validity(params: &mut CertificateParams, from: Duration, to: Duration) {
    let at = |time: Duration| date_time_ymd(1970, 1, 1) + Duration::from_secs(time.as_secs());
    params.not_before = at(from);
    params.not_after = at(to);
}
