//! The folder of an authority. Keys are files that nobody else may read; every file is replaced as a whole, and whoever
//! reads or writes holds the folder's lock.
//!
//! | file | holds |
//! |---|---|
//! | `ca-cert.pem`, `ca-key.pem`, `cert-chain.pem`, `root-cert.pem` | a given intermediate, as in Istio's Secret `cacerts` |
//! | `root.pem` | otherwise: the root made here and its key, in one file so that they always fit together |
//! | `next.pem` | the root that will replace it |
//! | `root-cert.pem` | everything that is trusted; certificates that somebody adds stay |
//! | `token-key.pem` | what signs tokens of service accounts |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pem::{EncodeConfig, LineEnding};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use super::authority::{self, Authority, CLOCK_SKEW, since_1970};
use super::token::{TokenKey, Verifier};
use super::{CaOptions, RefusedToken, ServiceAccount};

const ROOT: &str = "root.pem";
const NEXT: &str = "next.pem";
const ROOTS: &str = "root-cert.pem";
const GIVEN_CERTIFICATE: &str = "ca-cert.pem";
const GIVEN_KEY: &str = "ca-key.pem";
const GIVEN_CHAIN: &str = "cert-chain.pem";
const TOKEN_KEY: &str = "token-key.pem";

/// Why a folder is no authority.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct InvalidCa {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug, thiserror::Error)]
enum Kind {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("others may read this key: chmod 600")]
    Readable,
    #[error("{0}")]
    Wrong(&'static str),
    #[error("is no key set that can be used: {0}")]
    Jwks(mesh_core::jwt::InvalidJwks),
}

impl InvalidCa {
    pub(super) fn jwks(wrong: &mesh_core::jwt::InvalidJwks) -> Self {
        InvalidCa::new(Path::new("JWKS"), Kind::Jwks(wrong.clone()))
    }

    pub(super) fn token_key() -> Self {
        InvalidCa::new(
            Path::new(TOKEN_KEY),
            Kind::Wrong("holds no P-256 key as PKCS #8"),
        )
    }

    fn new(path: &Path, kind: Kind) -> Self {
        InvalidCa {
            path: path.to_owned(),
            kind,
        }
    }

    fn wrong(path: &Path, what: &'static str) -> Self {
        InvalidCa::new(path, Kind::Wrong(what))
    }
}

/// What happens to the root, in this order; each step once every workload has renewed its certificate after the one
/// before, so that no two workloads ever know only different roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RotationStep {
    /// A new root is trusted; the old one still signs.
    Introduce,
    /// The new root signs; both are trusted.
    Switch,
    /// Only what signs is trusted.
    Retire,
}

/// What is in force.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) authority: Authority,
    pub(super) tokens: TokenKey,
    kubernetes: Option<Verifier>,
    /// Validity of the root made here.
    root: Option<Span>,
    /// Of the one that will replace it.
    next: Option<Span>,
}

/// Times since 1970.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: Duration,
    to: Duration,
}

impl Held {
    pub(super) fn verify(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<ServiceAccount, RefusedToken> {
        let own = self.tokens.verifier().verify(token, now);
        match &self.kubernetes {
            Some(kubernetes) if own.is_err() => kubernetes.verify(token, now),
            _ => own,
        }
    }

    /// A new root is introduced in the last fifth of the old one's life, and signs once every certificate made before
    /// is over. An expired root is trusted by nobody, so none has to be retired.
    pub(super) fn rotation_due(
        &self,
        now: SystemTime,
        lifetime_of_leaves: Duration,
    ) -> Option<RotationStep> {
        let (now, root) = (since_1970(now), self.root?);
        match self.next {
            None => {
                let life = root.to.saturating_sub(root.from);
                (now + life / 5 >= root.to).then_some(RotationStep::Introduce)
            }
            Some(next) => {
                let known = next.from + CLOCK_SKEW + lifetime_of_leaves;
                (now >= known).then_some(RotationStep::Switch)
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Storage {
    dir: PathBuf,
}

impl Storage {
    pub(super) fn new(dir: PathBuf) -> Self {
        Storage { dir }
    }

    /// Reads what is there, and makes what is missing.
    pub(super) fn open(&self, options: &CaOptions, now: SystemTime) -> Result<Held, InvalidCa> {
        let _lock = self.lock()?;
        self.read(options, now)
    }

    pub(super) fn rotate(
        &self,
        step: RotationStep,
        options: &CaOptions,
        now: SystemTime,
    ) -> Result<Held, InvalidCa> {
        let _lock = self.lock()?;
        if self.path(GIVEN_KEY).exists() {
            let why = "is given from outside, and so rotated there";
            return Err(InvalidCa::wrong(&self.path(GIVEN_CERTIFICATE), why));
        }
        let next = self.path(NEXT);
        match step {
            RotationStep::Introduce => {
                if next.exists() {
                    return Err(InvalidCa::wrong(&next, "a rotation is under way already"));
                }
                self.write(NEXT, &new_root(options, now)?, 0o600)?;
            }
            RotationStep::Switch => {
                // both are trusted first, whatever stops this here
                self.read(options, now)?;
                self.on(&next, fs::rename(&next, self.path(ROOT)))?;
                self.sync()?;
            }
            RotationStep::Retire => {
                let (root, _) = self.root(ROOT)?;
                self.write(ROOTS, &pem(&root), 0o644)?;
            }
        }
        self.read(options, now)
    }

    fn read(&self, options: &CaOptions, now: SystemTime) -> Result<Held, InvalidCa> {
        let tokens = self.token_key()?;
        let kubernetes = options.jwks.as_ref().map(|path| {
            let json = self.on(path, fs::read(path))?;
            Verifier::new(&json, &options.issuer)
        });
        let kubernetes = kubernetes.transpose()?;
        if self.path(GIVEN_KEY).exists() || self.path(GIVEN_CERTIFICATE).exists() {
            return Ok(Held {
                authority: self.given()?,
                tokens,
                kubernetes,
                root: None,
                next: None,
            });
        }
        if !self.path(ROOT).exists() {
            self.write(ROOT, &new_root(options, now)?, 0o600)?;
        }
        let (root, issuer) = self.root(ROOT)?;
        let next = match self.path(NEXT).exists() {
            true => Some(self.root(NEXT)?.0),
            false => None,
        };
        let roots = self.roots(&root, next.as_deref(), now)?;
        let of_root = span(&self.path(ROOT), &root)?;
        let of_next = next.map(|next| span(&self.path(NEXT), &next)).transpose()?;
        Ok(Held {
            authority: Authority::new(issuer, Vec::new(), roots, of_root.to),
            tokens,
            kubernetes,
            root: Some(of_root),
            next: of_next,
        })
    }

    /// What is trusted: what was, but for what has expired, and the roots of this folder. Written if it is another.
    fn roots(
        &self,
        root: &[u8],
        next: Option<&[u8]>,
        now: SystemTime,
    ) -> Result<String, InvalidCa> {
        let path = self.path(ROOTS);
        let before = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => self.on(&path, read)?,
        };
        let mut all = vec![root.to_vec()];
        for known in certificates(&path, &before)?
            .into_iter()
            .chain(next.map(<[u8]>::to_vec))
        {
            let is_over = span(&path, &known)?.to <= since_1970(now);
            if !is_over && !all.contains(&known) {
                all.push(known);
            }
        }
        let text: String = all.iter().map(|der| pem(der)).collect();
        if text != before {
            self.write(ROOTS, &text, 0o644)?;
        }
        Ok(text)
    }

    /// A root that was made here.
    fn root(&self, file: &str) -> Result<(Vec<u8>, Issuer<'static, KeyPair>), InvalidCa> {
        let path = self.path(file);
        let text = self.secret(file)?;
        let key = KeyPair::from_pem(&text)
            .map_err(|_| InvalidCa::wrong(&path, "holds no key that can sign"))?;
        let [root] = <[Vec<u8>; 1]>::try_from(certificates(&path, &text)?)
            .map_err(|_| InvalidCa::wrong(&path, "does not hold one certificate"))?;
        let issuer = issuer(&path, &root, key)?;
        Ok((root, issuer))
    }

    fn given(&self) -> Result<Authority, InvalidCa> {
        let path = self.path(GIVEN_CERTIFICATE);
        let key = KeyPair::from_pem(&self.secret(GIVEN_KEY)?)
            .map_err(|_| InvalidCa::wrong(&self.path(GIVEN_KEY), "holds no key that can sign"))?;
        let list = |file: &str| -> Result<Vec<Vec<u8>>, InvalidCa> {
            let path = self.path(file);
            certificates(&path, &self.on(&path, fs::read_to_string(&path))?)
        };
        let signs = list(GIVEN_CERTIFICATE)?.into_iter().next();
        let signs = signs.ok_or_else(|| InvalidCa::wrong(&path, "holds no certificate"))?;
        let chain = match self.path(GIVEN_CHAIN).exists() {
            true => list(GIVEN_CHAIN)?,
            false => vec![signs.clone()],
        };
        let roots = list(ROOTS)?;
        let leads = leads_to_root(&signs, &chain, &roots);
        if !leads {
            let why = "does not lead to a root of root-cert.pem, by way of cert-chain.pem";
            return Err(InvalidCa::wrong(&path, why));
        }
        let expires = span(&path, &signs)?.to;
        let issuer = issuer(&path, &signs, key)?;
        // Istio's cert-chain.pem begins with what signs; where it does not, what signs is still a part of the chain
        let mut between: Vec<Vec<u8>> = chain.into_iter().filter(|c| !roots.contains(c)).collect();
        if !roots.contains(&signs) && !between.contains(&signs) {
            between.insert(0, signs);
        }
        let between = between.iter().map(|der| pem(der)).collect();
        let roots = roots.iter().map(|der| pem(der)).collect();
        Ok(Authority::new(issuer, between, roots, expires))
    }

    fn token_key(&self) -> Result<TokenKey, InvalidCa> {
        let path = self.path(TOKEN_KEY);
        if !path.exists() {
            let key =
                KeyPair::generate().map_err(|_| InvalidCa::wrong(&path, "no key can be made"))?;
            self.write(TOKEN_KEY, &key.serialize_pem(), 0o600)?;
        }
        let key = KeyPair::from_pem(&self.secret(TOKEN_KEY)?)
            .map_err(|_| InvalidCa::wrong(&path, "holds no key that can sign"))?;
        TokenKey::of_pkcs8(key.serialized_der())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    fn on<T>(&self, path: &Path, result: io::Result<T>) -> Result<T, InvalidCa> {
        result.map_err(|error| InvalidCa::new(path, Kind::Io(error)))
    }

    /// A file with a key in it.
    fn secret(&self, file: &str) -> Result<String, InvalidCa> {
        let path = self.path(file);
        let metadata = self.on(&path, fs::metadata(&path))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(InvalidCa::new(&path, Kind::Readable));
        }
        self.on(&path, fs::read_to_string(&path))
    }

    /// Held until it is dropped.
    fn lock(&self) -> Result<File, InvalidCa> {
        let dir = &self.dir;
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir);
        self.on(dir, made)?;
        let path = self.path("lock");
        let mut options = OpenOptions::new();
        let lock = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let lock = self.on(&path, lock)?;
        let locked = rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive);
        self.on(&path, locked.map_err(io::Error::from))?;
        Ok(lock)
    }

    /// Replaces a file as a whole.
    fn write(&self, file: &str, text: &str, mode: u32) -> Result<(), InvalidCa> {
        let path = self.path(file);
        let new = self.path(&format!(".{file}.new"));
        let write = || -> io::Result<()> {
            // of somebody who was stopped here; the lock is ours
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = OpenOptions::new();
            let mut to = options.write(true).create_new(true).mode(mode).open(&new)?;
            to.write_all(text.as_bytes())?;
            to.sync_all()?;
            fs::rename(&new, &path)
        };
        self.on(&path, write())?;
        self.sync()
    }

    fn sync(&self) -> Result<(), InvalidCa> {
        let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
        self.on(&self.dir, synced)
    }
}

/// A root and its key, as PEM.
fn new_root(options: &CaOptions, now: SystemTime) -> Result<String, InvalidCa> {
    let wrong = || InvalidCa::wrong(Path::new(ROOT), "no root can be made");
    let serial = authority::serial().map_err(|_| wrong())?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, options.trust_domain.as_str());
    // two roots of one mesh are told apart by name: whoever verifies looks for the issuer by it
    let number: String = serial
        .to_bytes()
        .iter()
        .take(4)
        .map(|b| format!("{b:02x}"))
        .collect();
    name.push(DnType::CommonName, format!("mesh root {number}"));
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial);
    let now = since_1970(now);
    let from = now.saturating_sub(CLOCK_SKEW);
    authority::set_validity(&mut params, from, now + options.root_lifetime);
    let key = KeyPair::generate().map_err(|_| wrong())?;
    let root = CertifiedIssuer::self_signed(params, key).map_err(|_| wrong())?;
    Ok(root.key().serialize_pem() + &root.pem())
}

/// What signs, if certificate and key fit together and may sign.
fn issuer(path: &Path, der: &[u8], key: KeyPair) -> Result<Issuer<'static, KeyPair>, InvalidCa> {
    let wrong = |what| InvalidCa::wrong(path, what);
    let certificate = parsed(path, der)?;
    if certificate.public_key().raw != key.subject_public_key_info() {
        return Err(wrong("is the certificate of another key"));
    }
    let usage = certificate.key_usage();
    let usage = usage.map_err(|_| wrong("its key usage cannot be read"))?;
    if !certificate.is_ca() || usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(wrong("is no authority: it may sign no certificates"));
    }
    Issuer::from_ca_cert_der(&der.into(), key).map_err(|_| wrong("cannot be used as an issuer"))
}

fn leads_to_root(signs: &[u8], chain: &[Vec<u8>], roots: &[Vec<u8>]) -> bool {
    let mut at = signs.to_vec();
    for _ in 0..=chain.len() {
        if roots.contains(&at) || roots.iter().any(|root| is_signed_by(&at, root)) {
            return true;
        }
        let Some(next) = chain.iter().find(|c| **c != at && is_signed_by(&at, c)) else {
            return false;
        };
        at.clone_from(next);
    }
    false
}

fn is_signed_by(der: &[u8], issuer: &[u8]) -> bool {
    let (Ok((_, signed)), Ok((_, issuer))) = (
        X509Certificate::from_der(der),
        X509Certificate::from_der(issuer),
    ) else {
        return false;
    };
    signed.issuer() == issuer.subject()
        && signed.verify_signature(Some(issuer.public_key())).is_ok()
}

fn parsed<'a>(path: &Path, der: &'a [u8]) -> Result<X509Certificate<'a>, InvalidCa> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(InvalidCa::wrong(
            path,
            "holds a certificate that cannot be read",
        )),
    }
}

fn span(path: &Path, der: &[u8]) -> Result<Span, InvalidCa> {
    let certificate = parsed(path, der)?;
    let validity = certificate.validity();
    let time = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    Ok(Span {
        from: time(validity.not_before.timestamp()),
        to: time(validity.not_after.timestamp()),
    })
}

/// The certificates of a text, DER; other things may be in it.
fn certificates(path: &Path, text: &str) -> Result<Vec<Vec<u8>>, InvalidCa> {
    let mut all = Vec::new();
    for block in Pem::iter_from_buffer(text.as_bytes()) {
        let block = block.map_err(|_| InvalidCa::wrong(path, "is not PEM"))?;
        if block.label == "CERTIFICATE" {
            parsed(path, &block.contents)?;
            all.push(block.contents);
        }
    }
    Ok(all)
}

fn pem(der: &[u8]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&::pem::Pem::new("CERTIFICATE", der), config)
}
