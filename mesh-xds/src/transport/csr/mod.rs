//! A certificate from an authority: Istio's certificate service (istiod's, or our own control plane's).
//!
//! The key is made in this process and leaves it in no message. [`CsrClient::run`] asks, hands every [`Identity`] on,
//! and asks again long before it is over; whoever holds the last one keeps it meanwhile.

mod dial;
mod identity;
mod renewal;
mod tls;

pub use identity::{Identity, InvalidChain};
pub use tls::{DialTls, TlsIo};

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use mesh_core::Entropy;
use mesh_proto::istio::v1::auth::{
    IstioCertificateRequest, istio_certificate_service_client::IstioCertificateServiceClient,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use tokio::sync::watch;

use crate::{
    bootstrap::AdsAddress,
    transport::{Connect, TransportError},
};

/// An answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whom to ask for a certificate, and as whom.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CsrOptions {
    /// The authority.
    pub address: AdsAddress,
    /// A file with the service account's token, read at every request.
    pub token_file: PathBuf,
    /// The identity that is hoped for (`spiffe://…`), written into the request as Istio's agent does; authorities
    /// answer with what the token proves.
    pub spiffe_id: String,
    /// `CLUSTER_ID`, by which an istiod of several clusters tells whose token it is.
    pub cluster_id: String,
    /// The lifetime that is asked for; 24 h, as Istio's agent (`SECRET_TTL`).
    pub lifetime: Duration,
}

impl CsrOptions {
    /// With Istio's defaults for all others.
    pub fn new(address: AdsAddress, token_file: impl Into<PathBuf>) -> Self {
        CsrOptions {
            address,
            token_file: token_file.into(),
            spiffe_id: String::new(),
            cluster_id: "Kubernetes".to_owned(),
            lifetime: Duration::from_secs(24 * 3_600),
        }
    }
}

/// Why there is no certificate this time. No text of these holds a token or a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// The token cannot be read.
    #[error("token {}: {error}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The authority cannot be reached.
    #[error("certificate authority: {0}")]
    Transport(#[from] TransportError),
    /// The authority refused.
    #[error("certificate authority: {:?}: {}", .0.code(), .0.message())]
    Refused(Box<tonic::Status>),
    /// It did not answer in time.
    #[error("certificate authority: no answer within {TIMEOUT:?}")]
    Timeout,
    /// It answered with something else than a certificate for the key.
    #[error("certificate authority: {0}")]
    Chain(#[from] InvalidChain),
    /// The key or the request cannot be made.
    #[error("the request cannot be made: {0}")]
    Request(String),
}

/// Where a client is, for whoever watches.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CsrState {
    /// The newest certificate; it may be over by now.
    pub identity: Option<Arc<Identity>>,
    /// Why the last attempt failed; `None`: it did not.
    pub error: Option<Arc<str>>,
    /// Attempts that failed since the last that did not.
    pub failures: u32,
}

/// A client of a certificate authority.
#[derive(Debug)]
pub struct CsrClient<C> {
    options: CsrOptions,
    connect: Arc<C>,
    state: watch::Sender<CsrState>,
}

impl<C: Connect> CsrClient<C> {
    /// A client that dials by `connect`: [`Dial`](crate::transport::Dial) for plaintext, [`DialTls`].
    pub fn new(options: CsrOptions, connect: C) -> Self {
        CsrClient {
            options,
            connect: Arc::new(connect),
            state: watch::Sender::default(),
        }
    }

    /// What the client has; changes with every attempt.
    pub fn state(&self) -> watch::Receiver<CsrState> {
        self.state.subscribe()
    }

    /// Asks once, with a new key.
    ///
    /// # Errors
    /// See [`CsrError`].
    pub async fn request(&self, now: SystemTime) -> Result<Identity, CsrError> {
        let options = &self.options;
        let token = tokio::fs::read_to_string(&options.token_file).await;
        let token = token.map_err(|error| CsrError::Token {
            path: options.token_file.clone(),
            error,
        })?;
        let (key, csr) = request(&options.spiffe_id)?;
        let answering = async {
            let channel = dial::channel(&options.address, &self.connect).await?;
            let mut request = tonic::Request::new(IstioCertificateRequest {
                csr,
                validity_duration: i64::try_from(options.lifetime.as_secs()).unwrap_or(i64::MAX),
                metadata: None,
            });
            let text = |text: &str| {
                let value = text.parse::<tonic::metadata::AsciiMetadataValue>();
                value.map_err(|_| CsrError::Request("a header cannot be written".to_owned()))
            };
            let mut bearer = text(&format!("Bearer {}", token.trim()))?;
            bearer.set_sensitive(true);
            let metadata = request.metadata_mut();
            metadata.insert("authorization", bearer);
            metadata.insert("clusterid", text(&options.cluster_id)?);
            let mut client = IstioCertificateServiceClient::new(channel);
            let answer = client.create_certificate(request).await;
            let answer = answer.map_err(|status| CsrError::Refused(Box::new(status)))?;
            Ok(answer.into_inner().cert_chain)
        };
        let chain: Result<Vec<String>, CsrError> = tokio::time::timeout(TIMEOUT, answering)
            .await
            .map_err(|_| CsrError::Timeout)?;
        Ok(Identity::new(&key, &chain?, now)?)
    }

    /// Gets a certificate and renews it for as long as it is polled; `hand_on` gets every new one. `now` is the clock.
    pub async fn run(
        &self,
        mut hand_on: impl FnMut(&Identity),
        now: impl Fn() -> SystemTime,
        entropy: &mut impl Entropy,
    ) -> Infallible {
        loop {
            let wait = match self.request(now()).await {
                Ok(identity) => {
                    tracing::info!(id = %identity.spiffe_id(), "certificate for the workload");
                    hand_on(&identity);
                    let wait = renewal::after(&identity, now(), entropy.next_u64());
                    self.state.send_replace(CsrState {
                        identity: Some(Arc::new(identity)),
                        error: None,
                        failures: 0,
                    });
                    wait
                }
                Err(error) => {
                    tracing::warn!("no new certificate: {error}");
                    let mut failures = 0;
                    self.state.send_modify(|state| {
                        state.failures = state.failures.saturating_add(1);
                        state.error = Some(error.to_string().into());
                        failures = state.failures;
                    });
                    renewal::back_off(failures, entropy.next_u64())
                }
            };
            tokio::time::sleep(wait).await;
        }
    }
}

/// A new key (P-256) and a request for it.
fn request(spiffe_id: &str) -> Result<(KeyPair, String), CsrError> {
    let failed = |error: rcgen::Error| CsrError::Request(error.to_string());
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !spiffe_id.is_empty() {
        let uri = spiffe_id.try_into().map_err(failed)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
    }
    let csr = params.serialize_request(&key).map_err(failed)?;
    let pem = csr.pem().map_err(failed)?;
    Ok((key, pem))
}
