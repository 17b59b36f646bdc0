//! A TLS context with its secrets.

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use crate::model::{
    CertificateSource, CommonTls, DownstreamTls, Secret, SecretName, TlsCertificate, UpstreamTls,
    ValidationContext, ValidationSource,
};

/// Secrets in force, by name.
pub(crate) type Secrets = HashMap<SecretName, Secret>;

/// A context and the secrets that it names: what handshakes are configured from. A rotated secret makes a new one,
/// which new connections use; those that are open stay.
pub struct TlsContext<C> {
    config: Arc<C>,
    certificates: Vec<Arc<TlsCertificate>>,
    validation: Option<Arc<ValidationContext>>,
    /// The secret that the rules come from, merged already in `validation`.
    validation_secret: Option<Arc<ValidationContext>>,
    state: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// A context that has a [`CommonTls`].
pub(crate) trait HasCommon {
    fn common(&self) -> &CommonTls;
}

impl HasCommon for UpstreamTls {
    fn common(&self) -> &CommonTls {
        &self.common
    }
}

impl HasCommon for DownstreamTls {
    fn common(&self) -> &CommonTls {
        &self.common
    }
}

impl<C> TlsContext<C> {
    /// The configuration.
    pub fn config(&self) -> &Arc<C> {
        &self.config
    }

    /// Our certificates, in order.
    pub fn certificates(&self) -> &[Arc<TlsCertificate>] {
        &self.certificates
    }

    /// How peers are validated; None: not at all.
    pub fn validation(&self) -> Option<&Arc<ValidationContext>> {
        self.validation.as_ref()
    }

    /// A place for what handshakes are configured with: made once, shared by all connections of this context.
    pub fn state(&self) -> &OnceLock<Box<dyn Any + Send + Sync>> {
        &self.state
    }
}

#[expect(
    private_bounds,
    reason = "only the contexts of this crate have a common part"
)]
impl<C: HasCommon> TlsContext<C> {
    /// Resolves a context; None: a secret has not come. The one before is shared where nothing changed.
    pub(crate) fn resolve(
        config: &Arc<C>,
        secrets: &Secrets,
        before: Option<&Arc<Self>>,
    ) -> Option<Arc<Self>> {
        let common = config.common();
        let certificates: Option<Vec<_>> = common
            .certificates
            .iter()
            .map(|source| match source {
                CertificateSource::Inline(certificate) => Some(Arc::clone(certificate)),
                CertificateSource::Secret(name) => match secrets.get(name)? {
                    Secret::Certificate(certificate) => Some(Arc::clone(certificate)),
                    Secret::Validation(_) => None,
                },
            })
            .collect();
        let rules = |name: &SecretName| match secrets.get(name)? {
            Secret::Validation(rules) => Some(Arc::clone(rules)),
            Secret::Certificate(_) => None,
        };
        let certificates = certificates?;
        let secret = match &common.validation {
            ValidationSource::Secret(name) | ValidationSource::Combined(_, name) => {
                Some(rules(name)?)
            }
            ValidationSource::None | ValidationSource::Inline(_) => None,
        };
        if let Some(before) = before
            && Arc::ptr_eq(&before.config, config)
            && before.certificates == certificates
            && before.validation_secret == secret
        {
            return Some(Arc::clone(before));
        }
        let validation = match (&common.validation, &secret) {
            (ValidationSource::Inline(rules), _) => Some(Arc::clone(rules)),
            (ValidationSource::Secret(_), Some(rules)) => Some(Arc::clone(rules)),
            (ValidationSource::Combined(default, _), Some(rules)) => {
                Some(Arc::new(rules.over(default)))
            }
            _ => None,
        };
        Some(Arc::new(Self {
            config: Arc::clone(config),
            certificates,
            validation,
            validation_secret: secret,
            state: OnceLock::new(),
        }))
    }
}

impl<C: fmt::Debug> fmt::Debug for TlsContext<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsContext")
            .field("config", &self.config)
            .field("certificates", &self.certificates.len())
            .field("validation", &self.validation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyEncoding, PrivateKey, SecretSource};

    fn certificate(byte: u8) -> Secret {
        Secret::Certificate(Arc::new(TlsCertificate {
            chain: vec![vec![byte].into()],
            key: PrivateKey::new(KeyEncoding::Pkcs8, vec![byte]),
        }))
    }

    fn name(name: &str) -> SecretName {
        SecretName {
            source: SecretSource::Ads,
            name: name.into(),
        }
    }

    #[test]
    fn a_context_waits_for_its_secrets_and_is_made_anew_when_one_rotates() {
        let mut config = UpstreamTls::default();
        config.common.certificates = vec![CertificateSource::Secret(name("default"))];
        let default = ValidationContext {
            accept_untrusted: true,
            ..ValidationContext::default()
        };
        config.common.validation = ValidationSource::Combined(Arc::new(default), name("ROOTCA"));
        let config = Arc::new(config);
        let mut secrets = Secrets::default();
        assert!(TlsContext::resolve(&config, &secrets, None).is_none());
        secrets.insert(name("default"), certificate(1));
        assert!(TlsContext::resolve(&config, &secrets, None).is_none());
        let roots = ValidationContext {
            trusted_ca: vec![vec![9].into()],
            ..ValidationContext::default()
        };
        secrets.insert(name("ROOTCA"), Secret::Validation(Arc::new(roots)));
        let first = TlsContext::resolve(&config, &secrets, None).expect("all secrets are there");
        let rules = first.validation().expect("rules");
        assert!(rules.accept_untrusted && rules.trusted_ca.len() == 1);
        let same = TlsContext::resolve(&config, &secrets, Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&first, &same));
        secrets.insert(name("default"), certificate(2));
        let rotated = TlsContext::resolve(&config, &secrets, Some(&first)).unwrap();
        assert_eq!(rotated.certificates()[0].chain[0][..], [2]);
        // A secret of the other kind is none.
        secrets.insert(name("ROOTCA"), certificate(2));
        assert!(TlsContext::resolve(&config, &secrets, Some(&first)).is_none());
    }
}
