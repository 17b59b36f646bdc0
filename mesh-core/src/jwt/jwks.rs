//! Keys (RFC 7517), and what they signed.

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, crypto::aws_lc::DEFAULT_PROVIDER};
use serde_json::Value;

use super::{Status, Token, base64url};

/// A key set. Keys that Envoy would not take are left out. `ES512` is not there yet.
#[derive(Clone)]
pub struct Jwks(Vec<Key>);

/// A key set that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidJwks(&'static str);

#[derive(Clone)]
struct Key {
    kid: String,
    alg: String,
    family: Family,
    key: DecodingKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    P256,
    P384,
    Rsa,
    Ed25519,
    Hmac,
}

impl Jwks {
    /// Reads a JSON key set.
    ///
    /// # Errors
    /// It is no key set, or holds no key that can be used.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidJwks> {
        let set: Value = serde_json::from_slice(json).map_err(|_| InvalidJwks("is no JSON"))?;
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or(InvalidJwks("has no list of keys"))?;
        let known: Vec<_> = keys.iter().filter_map(Key::of).collect();
        if known.is_empty() {
            return Err(InvalidJwks("holds no key that can be used"));
        }
        Ok(Self(known))
    }

    /// Whether one of the keys signed the token (`jwt_verify_lib` `verifyJwtWithoutTimeChecking`).
    ///
    /// # Errors
    /// No key fits, or none that fits signed it.
    pub fn verify(&self, token: &Token<'_>) -> Result<(), Status> {
        let mut failed = Status::KidAlgMismatch;
        for key in &self.0 {
            let other_kid = !token.kid.is_empty() && !key.kid.is_empty() && key.kid != token.kid;
            if other_kid || !key.alg.is_empty() && key.alg != token.alg {
                continue;
            }
            if key.family == Family::Ed25519 && token.signature.len() != 64 {
                failed = Status::Ed25519SignatureWrongLength;
                continue;
            }
            if key.signed(token) {
                return Ok(());
            }
            failed = Status::VerificationFail;
        }
        Err(failed)
    }
}

impl Key {
    fn of(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let alg = text("alg").unwrap_or_default();
        let fits = |families: &[&str]| {
            alg.is_empty() || families.contains(&alg.get(..2).unwrap_or_default())
        };
        let (family, key) = match text("kty")? {
            "EC" => {
                let (family, of_curve) = match text("crv")? {
                    "P-256" => (Family::P256, "ES256"),
                    "P-384" => (Family::P384, "ES384"),
                    _ => return None,
                };
                if !alg.is_empty() && alg != of_curve {
                    return None;
                }
                (
                    family,
                    DecodingKey::from_ec_components(text("x")?, text("y")?).ok()?,
                )
            }
            "RSA" if fits(&["RS", "PS"]) => {
                let key = DecodingKey::from_rsa_components(text("n")?, text("e")?).ok()?;
                (Family::Rsa, key)
            }
            "oct" if fits(&["HS"]) => {
                let secret = base64url(text("k")?)?;
                (Family::Hmac, DecodingKey::from_secret(&secret))
            }
            "OKP" if alg.is_empty() || alg == "EdDSA" => {
                if text("crv")? != "Ed25519" {
                    return None;
                }
                (
                    Family::Ed25519,
                    DecodingKey::from_ed_components(text("x")?).ok()?,
                )
            }
            _ => return None,
        };
        Some(Self {
            kid: text("kid").unwrap_or_default().to_owned(),
            alg: alg.to_owned(),
            family,
            key,
        })
    }

    /// The key's kind decides how, the token's algorithm only the hash.
    fn signed(&self, token: &Token<'_>) -> bool {
        let algorithm = match (self.family, &*token.alg) {
            (Family::P256, "ES384" | "ES512") | (Family::P384, "ES256" | "ES512") => return false,
            (Family::P256, _) => Algorithm::ES256,
            (Family::P384, _) => Algorithm::ES384,
            (Family::Rsa, "RS384") => Algorithm::RS384,
            (Family::Rsa, "RS512") => Algorithm::RS512,
            (Family::Rsa, "PS256") => Algorithm::PS256,
            (Family::Rsa, "PS384") => Algorithm::PS384,
            (Family::Rsa, "PS512") => Algorithm::PS512,
            (Family::Rsa, _) => Algorithm::RS256,
            (Family::Hmac, "HS384") => Algorithm::HS384,
            (Family::Hmac, "HS512") => Algorithm::HS512,
            (Family::Hmac, _) => Algorithm::HS256,
            (Family::Ed25519, _) => Algorithm::EdDSA,
        };
        // By name: the crate's own choice panics where the application enables its other backend too.
        (DEFAULT_PROVIDER.verifier_factory)(&algorithm, &self.key).is_ok_and(|verifier| {
            verifier
                .verify(token.signed.as_bytes(), &token.signature)
                .is_ok()
        })
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids = self.0.iter().map(|key| &key.kid);
        f.debug_list().entries(kids).finish()
    }
}
