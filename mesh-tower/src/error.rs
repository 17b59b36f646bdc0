//! Concrete errors.

use std::{error::Error, fmt};

use mesh_core::{cluster::Permit, outcome::ResetReason};

/// An error of somebody else: a body's, a client's.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What a transport reports: why the stream was reset before response headers, and whether any byte of the request
/// may have left. Only the latter makes a retry safe.
#[derive(Debug)]
pub struct TransportError {
    reason: ResetReason,
    sent: bool,
    /// Envoy's transport failure reason, for details (`delayed_connect_error: Connection refused`); may be empty.
    detail: String,
    source: Option<BoxError>,
    /// The request's place in the queue: it counts while the retry is decided, of whose budget it is a part.
    permit: Option<Permit>,
}

impl TransportError {
    /// The request did not leave.
    pub fn unsent(reason: ResetReason) -> Self {
        Self {
            reason,
            sent: false,
            detail: String::new(),
            source: None,
            permit: None,
        }
    }

    /// Bytes of the request may have left.
    pub fn sent(reason: ResetReason) -> Self {
        Self {
            sent: true,
            ..Self::unsent(reason)
        }
    }

    /// With the error below.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// With the breaker's permit of the place in the queue, or of the request, that failed: it counts until it is decided
    /// whether it is retried.
    pub(crate) fn with_permit(mut self, permit: Permit) -> Self {
        self.permit = Some(permit);
        self
    }

    /// The retry is decided.
    pub(crate) fn release(&mut self) {
        self.permit = None;
    }

    /// With Envoy's transport failure reason.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Why.
    pub fn reason(&self) -> ResetReason {
        self.reason
    }

    /// Whether any byte of the request may have left.
    pub fn was_sent(&self) -> bool {
        self.sent
    }

    /// Envoy's transport failure reason; may be empty.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.as_str())
    }
}

impl Error for TransportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
