//! The certificate authority: who holds a token of a service account gets a certificate for exactly that account.
//!
//! ```text
//! token ─ token (signature, audience, times) ─ ServiceAccount ─┐
//! CSR ─── csr (form, its own signature) ─────── public key ────┴─ authority ─ certificate, chain, roots
//!                                      storage: what signs, what is trusted, rotation; one folder on disk
//! ```
//!
//! Nothing of a request but its public key gets into a certificate, and nothing of a token but namespace and name of
//! the account. [`CertificateAuthority`] joins the parts and a folder; time is an argument.

mod authority;
mod csr;
mod identity;
mod storage;
mod token;

pub use authority::{Authority, RefusedCsr, Validity};
pub use identity::{InvalidAccount, ServiceAccount};
pub use storage::{InvalidCa, RotationStep};
pub use token::{RefusedToken, TokenKey, Verifier};

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use storage::{Held, Storage};

/// The audience that a token must be for (istiod's `TOKEN_AUDIENCES`).
pub const AUDIENCE: &str = "istio-ca";

/// How an authority is kept, and whom it believes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaOptions {
    /// The trust domain that a root made here is named after; `cluster.local`.
    pub trust_domain: String,
    /// Lifetimes of certificates.
    pub validity: Validity,
    /// Lifetime of a root made here; 10 years.
    pub root_lifetime: Duration,
    /// A file with the JSON key set of a Kubernetes API server, whose service-account tokens are believed, too. Read
    /// anew when it changes.
    pub jwks: Option<PathBuf>,
    /// The issuer that tokens of that key set must name; empty: any.
    pub issuer: String,
}

impl Default for CaOptions {
    fn default() -> Self {
        CaOptions {
            trust_domain: "cluster.local".to_owned(),
            validity: Validity::default(),
            root_lifetime: Duration::from_secs(3_650 * 24 * 3_600),
            jwks: None,
            issuer: String::new(),
        }
    }
}

/// Why there is no certificate. The texts are for logs; a caller is told no more than istiod tells.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedCertificate {
    /// The caller has not proved who it is.
    #[error("token: {0}")]
    Token(#[from] RefusedToken),
    /// The request cannot be signed.
    #[error("CSR signing error ({0})")]
    Csr(#[from] RefusedCsr),
}

/// A certificate authority kept in a folder. Several processes may share one.
#[derive(Debug)]
pub struct CertificateAuthority {
    storage: Storage,
    options: CaOptions,
    held: RwLock<Arc<Held>>,
}

impl CertificateAuthority {
    /// Opens an authority: an intermediate that lies in the folder under Istio's names (`ca-cert.pem`, `ca-key.pem`,
    /// `cert-chain.pem`, `root-cert.pem`), else the root that was made there, else a new one.
    ///
    /// # Errors
    /// If files cannot be read or written, do not fit together, or others may read a key.
    pub fn open(
        dir: impl Into<PathBuf>,
        options: CaOptions,
        now: SystemTime,
    ) -> Result<Self, InvalidCa> {
        let storage = Storage::new(dir.into());
        let held = storage.open(&options, now)?;
        Ok(CertificateAuthority {
            storage,
            options,
            held: RwLock::new(Arc::new(held)),
        })
    }

    /// Where the folder of YAML keeps its authority.
    pub fn dir_in(folder: &Path) -> PathBuf {
        folder.join(".ca")
    }

    /// Takes over what others changed in the folder, and the next step of a rotation that is due. Cheap; to be called
    /// every minute or so.
    ///
    /// # Errors
    /// As [`open`](Self::open); what was in force stays.
    pub fn refresh(&self, now: SystemTime) -> Result<(), InvalidCa> {
        let mut held = self.storage.open(&self.options, now)?;
        if let Some(step) = held.rotation_due(now, self.options.validity.default) {
            tracing::info!(?step, "the root is rotated");
            held = self.storage.rotate(step, &self.options, now)?;
        }
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
        Ok(())
    }

    /// Makes a step of a root's rotation now. Between two steps, every workload has to have renewed its certificate:
    /// with it comes what it trusts.
    ///
    /// # Errors
    /// As [`open`](Self::open); and if the step does not follow the one before, or the root is not ours to change.
    pub fn rotate(&self, step: RotationStep, now: SystemTime) -> Result<(), InvalidCa> {
        let held = self.storage.rotate(step, &self.options, now)?;
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
        Ok(())
    }

    /// The certificate for whom a token proves: chain, leaf first, and at the end what is trusted, as PEM.
    ///
    /// `requested` of zero is the default lifetime.
    ///
    /// # Errors
    /// The token proves nobody, or the request is malformed.
    pub fn certify(
        &self,
        token: &str,
        csr: &str,
        requested: Duration,
        trust_domain: &str,
        now: SystemTime,
    ) -> Result<Vec<String>, RefusedCertificate> {
        let held = self.held();
        let account = held.verify(token, now)?;
        Ok(held.authority.sign(
            csr,
            &account,
            trust_domain,
            requested,
            &self.options.validity,
            now,
        )?)
    }

    /// The same for a workload that the caller itself has started, and so needs no token of.
    ///
    /// # Errors
    /// The request is malformed.
    pub fn certify_started(
        &self,
        account: &ServiceAccount,
        csr: &str,
        trust_domain: &str,
        now: SystemTime,
    ) -> Result<Vec<String>, RefusedCsr> {
        self.held().authority.sign(
            csr,
            account,
            trust_domain,
            Duration::ZERO,
            &self.options.validity,
            now,
        )
    }

    /// A token that proves an account to this authority for so long.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub fn token(
        &self,
        account: &ServiceAccount,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<String, InvalidCa> {
        self.held().tokens.issue(account, lifetime, now)
    }

    /// What is trusted, as PEM.
    pub fn roots(&self) -> String {
        self.held().authority.roots().to_owned()
    }

    fn held(&self) -> Arc<Held> {
        self.held
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
