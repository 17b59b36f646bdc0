//! Certificates made when a test runs: roots, leaves with any names and any fault.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData,
    RevocationReason, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

/// A root that signs.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A chain and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The leaf, and what is between it and its root.
    pub chain: String,
    /// The key.
    pub key: String,
    /// The leaf alone, DER.
    pub der: Vec<u8>,
    /// The key as PKCS #8, DER.
    pub key_der: Vec<u8>,
    /// SHA-256 of its public key is made of this: the DER of the key's `SubjectPublicKeyInfo`.
    pub spki: Vec<u8>,
}

/// What a leaf says, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Leaf {
    /// URIs among its names.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns: Vec<String>,
    /// The common name; empty: none.
    pub common_name: String,
    /// Its validity is over.
    pub expired: bool,
    /// Its validity ends so long after 1970, in whole seconds; None: in 2090.
    pub expires: Option<Duration>,
    /// Its validity has not begun.
    pub not_yet_valid: bool,
    /// It may only be shown by the other side: a server's to clients, or the other way round.
    pub usage: Usage,
    /// `keyUsage` without signatures.
    pub cannot_sign: bool,
    /// Its serial number; 0: any.
    pub serial: u64,
}

/// `extendedKeyUsage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Usage {
    /// Both.
    #[default]
    Both,
    /// Only a server's.
    Server,
    /// Only a client's.
    Client,
    /// It does not say.
    Any,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("no name is valid");
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial(0));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// As DER wants it: without zeros in front, and not negative; 0: the next that is free. Those that rcgen makes of hashes
/// have a zero in front now and then, and BoringSSL reads no such certificate.
fn serial(number: u64) -> SerialNumber {
    static NEXT: AtomicU64 = AtomicU64::new(1 << 40);
    let number = match number {
        0 => NEXT.fetch_add(1, Ordering::Relaxed),
        number => number,
    };
    let bytes = number.to_be_bytes();
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(7);
    SerialNumber::from_slice(&bytes[start..])
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key can be made")
}

impl Authority {
    /// A root of its own.
    ///
    /// # Panics
    /// If it cannot be made, as all below.
    pub fn new(name: &str) -> Self {
        let root = CertifiedIssuer::self_signed(authority_params(name), key());
        Self(root.expect("a root can be made"))
    }

    /// An authority that this one has signed.
    pub fn intermediate(&self, name: &str) -> Self {
        let issued = CertifiedIssuer::signed_by(authority_params(name), key(), &self.0);
        Self(issued.expect("an authority can be signed"))
    }

    /// Its certificate, as PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Its key, as PEM.
    pub fn key(&self) -> String {
        self.0.key().serialize_pem()
    }

    /// Its certificate, DER.
    pub fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// Signs a leaf.
    pub fn issue(&self, leaf: &Leaf) -> Identity {
        let issuer: &Issuer<'_, KeyPair> = &self.0;
        let mut params = CertificateParams::new(leaf.dns.clone()).expect("valid names");
        for uri in &leaf.uris {
            let uri = uri.as_str().try_into().expect("a URI is ASCII");
            params.subject_alt_names.push(SanType::URI(uri));
        }
        params.distinguished_name.remove(DnType::CommonName);
        if !leaf.common_name.is_empty() {
            let names = &mut params.distinguished_name;
            names.push(DnType::OrganizationName, "Mesh, Inc.");
            names.push(DnType::CommonName, leaf.common_name.as_str());
        }
        // Some readers refuse leaves that do not say that they are none.
        params.is_ca = IsCa::ExplicitNoCa;
        (params.not_before, params.not_after) = match (leaf.expired, leaf.not_yet_valid) {
            (true, _) => (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1)),
            (_, true) => (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1)),
            _ => (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1)),
        };
        if let Some(expires) = leaf.expires {
            params.not_after = date_time_ymd(1970, 1, 1) + expires;
        }
        params.key_usages = match leaf.cannot_sign {
            true => vec![KeyUsagePurpose::ContentCommitment],
            false => vec![KeyUsagePurpose::DigitalSignature],
        };
        let (server, client) = (
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        );
        params.extended_key_usages = match leaf.usage {
            Usage::Both => vec![server, client],
            Usage::Server => vec![server],
            Usage::Client => vec![client],
            Usage::Any => Vec::new(),
        };
        params.serial_number = Some(serial(leaf.serial));
        let key = key();
        let certificate = params
            .signed_by(&key, issuer)
            .expect("a leaf can be signed");
        Identity {
            chain: certificate.pem(),
            key: key.serialize_pem(),
            key_der: key.serialize_der(),
            der: certificate.der().to_vec(),
            spki: key.subject_public_key_info(),
        }
    }

    /// A list of serial numbers that are revoked, as PEM.
    pub fn revoke(&self, serials: &[u64]) -> String {
        let revoked = serials.iter().map(|number| RevokedCertParams {
            serial_number: serial(*number),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: serial(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.0).expect("a list can be signed");
        list.pem().expect("PEM can be written")
    }
}
