//! TLS of connections, by rustls: TLS 1.2 and 1.3, configured once for each context of a snapshot.
//!
//! * `client`, `server`: the handshakes; `verifier`: who is believed; `certificate`: what a certificate says;
//!   `failure`: Envoy's words for what went wrong; `stream`: cleartext or TLS, as one type.

mod certificate;
mod client;
mod failure;
mod roots;
mod server;
mod stream;
mod verifier;

pub use client::Offer;
pub(crate) use client::connect as connect_tls;
pub use server::{AcceptError, Accepted, accept as accept_tls};
pub use stream::{DownstreamIo, UpstreamIo};

use std::sync::{Arc, LazyLock};

use mesh_core::model::{CommonTls, KeyEncoding, TlsCertificate, TlsVersion};
use rustls::{
    SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
    },
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

/// Never installed as the process's default: each context names it.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// Why a context cannot be used; configuration that was decoded can.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidContext(String);

impl InvalidContext {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Ours and OpenSSL's name of each cipher suite.
const SUITES: [(rustls::CipherSuite, &str); 9] = [
    (
        rustls::CipherSuite::TLS13_AES_256_GCM_SHA384,
        "TLS_AES_256_GCM_SHA384",
    ),
    (
        rustls::CipherSuite::TLS13_AES_128_GCM_SHA256,
        "TLS_AES_128_GCM_SHA256",
    ),
    (
        rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        "TLS_CHACHA20_POLY1305_SHA256",
    ),
    (
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
    ),
    (
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    ),
    (
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ),
    (
        rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384",
    ),
    (
        rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256",
    ),
    (
        rustls::CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305",
    ),
];

fn openssl_name(suite: rustls::CipherSuite) -> &'static str {
    let found = SUITES.iter().find(|(known, _)| *known == suite);
    found.map_or("", |(_, name)| name)
}

/// The provider with the cipher suites that a context allows.
fn provider(common: &CommonTls) -> Arc<CryptoProvider> {
    if common.cipher_suites.is_empty() {
        return Arc::clone(&PROVIDER);
    }
    let mut provider = CryptoProvider::clone(&PROVIDER);
    let mut suites: Vec<SupportedCipherSuite> = provider
        .cipher_suites
        .iter()
        .filter(|suite| suite.tls13().is_some())
        .copied()
        .collect();
    for name in &common.cipher_suites {
        let named = |suite: &&SupportedCipherSuite| openssl_name(suite.suite()) == &**name;
        suites.extend(provider.cipher_suites.iter().find(named));
    }
    provider.cipher_suites = suites;
    Arc::new(provider)
}

fn versions(
    common: &CommonTls,
    default_maximum: TlsVersion,
) -> Vec<&'static SupportedProtocolVersion> {
    let maximum = common.maximum_version.unwrap_or(default_maximum);
    // A minimum above a default maximum raises it.
    let maximum = maximum.max(common.minimum_version);
    [(TlsVersion::V1_3, &TLS13), (TlsVersion::V1_2, &TLS12)]
        .into_iter()
        .filter(|(version, _)| (common.minimum_version..=maximum).contains(version))
        .map(|(_, version)| version)
        .collect()
}

fn certified(
    certificate: &TlsCertificate,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, InvalidContext> {
    let key = certificate.key.secret_der();
    let key = match certificate.key.encoding {
        KeyEncoding::Pkcs8 => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
        KeyEncoding::Pkcs1 => PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(key)),
        KeyEncoding::Sec1 => PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(key)),
    };
    let chain = certificate.chain.iter();
    let chain = chain
        .map(|der| CertificateDer::from(der.to_vec()))
        .collect();
    let signing = provider
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(InvalidContext::of)?;
    Ok(Arc::new(CertifiedKey::new(chain, signing)))
}
