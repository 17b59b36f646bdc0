//! Tokens of service accounts: JSON Web Tokens as Kubernetes' API server signs them, and our own of the same form.

use std::fmt;
use std::time::{Duration, SystemTime};

use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use mesh_core::jwt::{Jwks, Status, Token};
use serde_json::json;

use super::authority::since_1970;
use super::{AUDIENCE, InvalidCa, ServiceAccount};

/// Issuer of the tokens that are made here.
const ISSUER: &str = "meshctl";
/// Clocks differ.
const CLOCK_SKEW: u64 = 10;
/// No token of a service account is longer.
const MAX_LENGTH: usize = 64 * 1024;

/// Why a token proves nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedToken {
    /// It cannot be read, is over, or nobody who is believed signed it.
    #[error("{}", .0.text())]
    Invalid(Status),
    /// It is longer than any token.
    #[error("it is too long")]
    TooLong,
    /// It is for somebody else.
    #[error("its audience is not {AUDIENCE}")]
    Audience,
    /// It would be valid for ever.
    #[error("it does not expire")]
    NoExpiry,
    /// Another issuer than the one that is believed.
    #[error("its issuer is not believed")]
    Issuer,
    /// It is of something else than a service account.
    #[error("its subject is no service account")]
    Subject,
}

/// Keys whose tokens are believed.
#[derive(Clone)]
pub struct Verifier {
    keys: Jwks,
    issuer: String,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// Of a JSON key set; tokens must name this issuer, if it is not empty.
    ///
    /// # Errors
    /// If it is no key set.
    pub fn new(jwks: &[u8], issuer: &str) -> Result<Self, InvalidCa> {
        let keys = Jwks::parse(jwks).map_err(|wrong| InvalidCa::jwks(&wrong))?;
        Ok(Verifier {
            keys,
            issuer: issuer.to_owned(),
        })
    }

    /// The account that a token proves.
    ///
    /// # Errors
    /// What is wrong with it. Nothing of it is looked at before its signature holds.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<ServiceAccount, RefusedToken> {
        if token.len() > MAX_LENGTH {
            return Err(RefusedToken::TooLong);
        }
        let token = Token::parse(token).map_err(RefusedToken::Invalid)?;
        // a secret that both sides know proves nothing here, whatever the key set holds
        if token.alg.starts_with("HS") {
            return Err(RefusedToken::Invalid(Status::HeaderNotImplementedAlg));
        }
        self.keys.verify(&token).map_err(RefusedToken::Invalid)?;
        if token.exp == 0 {
            return Err(RefusedToken::NoExpiry);
        }
        token
            .check_time(since_1970(now).as_secs(), CLOCK_SKEW)
            .map_err(RefusedToken::Invalid)?;
        if !self.issuer.is_empty() && self.issuer != token.iss {
            return Err(RefusedToken::Issuer);
        }
        if !token.aud.iter().any(|audience| audience == AUDIENCE) {
            return Err(RefusedToken::Audience);
        }
        ServiceAccount::of_subject(&token.sub).ok_or(RefusedToken::Subject)
    }
}

/// A key that signs tokens of a folder's service accounts.
pub struct TokenKey {
    key: EncodingKey,
    verifier: Verifier,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").finish_non_exhaustive()
    }
}

impl TokenKey {
    /// Of a P-256 key as PKCS #8, DER.
    ///
    /// # Errors
    /// If it is something else.
    pub fn of_pkcs8(der: &[u8]) -> Result<Self, InvalidCa> {
        // fails if the application has chosen one: that does as well
        let _ = DEFAULT_PROVIDER.install_default();
        let key = EncodingKey::from_ec_der(der);
        let public =
            Jwk::from_encoding_key(&key, Algorithm::ES256).map_err(|_| InvalidCa::token_key())?;
        let set = JwkSet { keys: vec![public] };
        let jwks = serde_json::to_vec(&set).map_err(|_| InvalidCa::token_key())?;
        let verifier = Verifier::new(&jwks, ISSUER)?;
        Ok(TokenKey { key, verifier })
    }

    /// A token that proves an account for so long from now.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub fn issue(
        &self,
        account: &ServiceAccount,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<String, InvalidCa> {
        let now = since_1970(now).as_secs();
        let claims = json!({
            "aud": [AUDIENCE],
            "exp": now.saturating_add(lifetime.as_secs().max(1)),
            "iat": now,
            "nbf": now,
            "iss": ISSUER,
            "kubernetes.io": {
                "namespace": account.namespace(),
                "serviceaccount": {"name": account.name()},
            },
            "sub": account.subject(),
        });
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.key)
            .map_err(|_| InvalidCa::token_key())
    }

    /// What the tokens are verified with.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }
}
