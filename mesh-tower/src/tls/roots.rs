//! What certificates are verified by: roots, of all or of one trust domain.

use std::{fmt, sync::Arc};

use mesh_core::tls::Certificate;
use rustls::{
    Error,
    pki_types::{CertificateDer, TrustAnchor},
};
use webpki::anchor_from_trusted_cert;

use super::{
    InvalidContext,
    certificate::{self, Usage},
    verifier::refusal,
};

/// A certificate that is trusted.
pub(super) struct Root {
    pub(super) der: Arc<[u8]>,
    pub(super) anchor: TrustAnchor<'static>,
    not_before: i64,
    not_after: i64,
}

impl Root {
    /// In seconds since 1970.
    pub(super) fn is_valid_at(&self, seconds: i64) -> bool {
        (self.not_before..=self.not_after).contains(&seconds)
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").finish_non_exhaustive()
    }
}

pub(super) fn roots_of(list: &[Arc<[u8]>]) -> Result<Vec<Root>, InvalidContext> {
    let mut roots = Vec::new();
    for der in list {
        let certificate = CertificateDer::from(&**der);
        let anchor = anchor_from_trusted_cert(&certificate).map_err(InvalidContext::of)?;
        let usage = certificate::usage(der);
        roots.push(Root {
            der: Arc::clone(der),
            anchor: anchor.to_owned(),
            not_before: usage.as_ref().map_or(i64::MIN, |usage| usage.not_before),
            not_after: usage.as_ref().map_or(i64::MAX, |usage| usage.not_after),
        });
    }
    Ok(roots)
}

/// The roots of the trust domain that the certificate's first URI names, if it is a workload's.
pub(super) fn of_trust_domain<'r>(
    domains: &'r [(Box<str>, Vec<Root>)],
    certificate: &Certificate,
    usage: &Usage,
) -> Result<&'r [Root], Error> {
    let signs = usage
        .key_usage
        .is_some_and(|[.., certificates, lists]| certificates || lists);
    if usage.is_ca || signs {
        return Err(refusal("verify cert failed: cert precheck"));
    }
    let uri = certificate
        .uri_sans
        .first()
        .and_then(|uri| uri.strip_prefix("spiffe://"));
    let domain = uri.and_then(|uri| Some(uri.split_once('/')?.0));
    let found = domain.and_then(|domain| domains.iter().find(|(name, _)| **name == *domain));
    match found {
        Some((_, roots)) => Ok(roots),
        None => Err(refusal("verify cert failed: no trust bundle store")),
    }
}
