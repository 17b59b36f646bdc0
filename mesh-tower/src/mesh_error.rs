//! The error of the mesh: no answer came, and why.

use std::{error::Error, fmt};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use mesh_core::{
    flags::{ResponseFlag, ResponseFlags},
    local_reply::LocalReply,
};

use crate::{
    body::MeshBody,
    error::{BoxError, TransportError},
};

/// Why the mesh has no answer. One pointer.
///
/// What configuration answers (direct response, redirect, fault abort) is no error but a response.
/// [`into_response`](Self::into_response) gives the response that Envoy would send, word for word.
#[derive(Debug)]
pub struct MeshError(Box<Inner>);

/// Errors by who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request: refused by the Downstream stage, or its body failed.
    Request,
    /// The configuration: no route (NR), no cluster (NC), no route configuration.
    Configuration,
    /// The upstream: no healthy endpoint (UH), no connection (UF), reset (UR, UC), protocol error (UPE).
    Upstream,
    /// A limit: a circuit breaker is full (UO).
    Overload,
    /// A timeout of the configuration: route or per try (UT), stream duration (DT), idle (SI).
    Timeout,
    /// The caller's own deadline.
    Deadline,
    /// The response's body failed after its head had been delivered.
    Body,
}

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    flags: ResponseFlags,
    reply: LocalReply,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    sent: bool,
    source: Option<BoxError>,
}

impl MeshError {
    /// `head`: the finished response, filters and header operations applied.
    pub(crate) fn new(
        kind: ErrorKind,
        flags: ResponseFlags,
        reply: LocalReply,
        head: (StatusCode, HeaderMap, Bytes),
        sent: bool,
        source: Option<BoxError>,
    ) -> Self {
        let (status, headers, body) = head;
        Self(Box::new(Inner {
            kind,
            flags,
            reply,
            status,
            headers,
            body,
            sent,
            source,
        }))
    }

    /// The response's body ended early.
    pub(crate) fn body(
        kind: ErrorKind,
        flags: ResponseFlags,
        details: &'static str,
        source: Option<BoxError>,
    ) -> Self {
        let reply = LocalReply::failure(StatusCode::BAD_GATEWAY, "", None, details);
        let head = (StatusCode::BAD_GATEWAY, HeaderMap::new(), Bytes::new());
        Self::new(kind, flags, reply, head, true, source)
    }

    /// Who is at fault.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Envoy's response flags.
    pub fn flags(&self) -> ResponseFlags {
        self.0.flags
    }

    /// Envoy's response-code details, for example `no_healthy_upstream`.
    pub fn details(&self) -> &str {
        &self.0.reply.details
    }

    /// Whether any byte of the request may have left on any attempt: if not, repeating it is safe.
    pub fn was_sent(&self) -> bool {
        self.0.sent
    }

    /// The reply as it was decided, before header operations and filters.
    pub fn local_reply(&self) -> &LocalReply {
        &self.0.reply
    }

    /// The HTTP status of [`into_response`](Self::into_response); what metrics count.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The response that Envoy would send; for a gRPC request HTTP 200 with `grpc-status`.
    pub fn into_response<RB>(self) -> Response<MeshBody<RB>> {
        let inner = *self.0;
        let mut response = Response::new(MeshBody::local(inner.body));
        *response.status_mut() = inner.status;
        *response.headers_mut() = inner.headers;
        if inner.reply.resets_stream {
            response.extensions_mut().insert(StreamReset);
        }
        response
    }
}

/// In the extensions of a response that is none: a server resets the stream instead, if it can.
#[derive(Clone, Copy, Debug)]
pub struct StreamReset;

/// Who is at fault, by the flag that was set.
pub(crate) fn kind_of(reply: &LocalReply) -> ErrorKind {
    match reply.flag {
        Some(ResponseFlag::NoRouteFound | ResponseFlag::NoClusterFound) => ErrorKind::Configuration,
        Some(ResponseFlag::UpstreamOverflow) => ErrorKind::Overload,
        Some(
            ResponseFlag::UpstreamRequestTimeout
            | ResponseFlag::DurationTimeout
            | ResponseFlag::StreamIdleTimeout
            | ResponseFlag::UpstreamMaxStreamDurationReached,
        ) => ErrorKind::Timeout,
        Some(
            ResponseFlag::DownstreamConnectionTermination
            | ResponseFlag::DownstreamProtocolError
            | ResponseFlag::DownstreamRemoteReset
            | ResponseFlag::InvalidEnvoyRequestHeaders,
        )
        | None => ErrorKind::Request,
        Some(_) => ErrorKind::Upstream,
    }
}

impl fmt::Display for MeshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { flags, reply, .. } = &*self.0;
        match std::str::from_utf8(&reply.body) {
            Ok(text) if !text.is_empty() => f.write_str(text)?,
            _ => f.write_str(&reply.details)?,
        }
        if !flags.is_empty() {
            write!(f, " ({flags})")?;
        }
        Ok(())
    }
}

impl Error for MeshError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}

/// For an inner service that is itself a mesh: the outer one sees a reset.
impl From<MeshError> for TransportError {
    fn from(error: MeshError) -> Self {
        let reason = mesh_core::outcome::ResetReason::RemoteReset;
        let outer = if error.was_sent() {
            Self::sent(reason)
        } else {
            Self::unsent(reason)
        };
        outer.with_source(error)
    }
}

#[cfg(feature = "tonic")]
impl From<MeshError> for tonic::Status {
    fn from(error: MeshError) -> Self {
        let code = match error.kind() {
            ErrorKind::Deadline => tonic::Code::DeadlineExceeded,
            ErrorKind::Body => {
                // An HTTP/2 reset reason or a status further down says more than we know.
                return tonic::Status::from_error(Box::new(error));
            }
            _ => {
                let http = match error.0.reply.status {
                    StatusCode::OK => StatusCode::SERVICE_UNAVAILABLE,
                    status => status,
                };
                let mapped = error
                    .0
                    .reply
                    .grpc_status
                    .unwrap_or_else(|| mesh_core::grpc::status_of_http(http));
                tonic::Code::from_i32(i32::try_from(mapped).unwrap_or(2))
            }
        };
        let mut status = tonic::Status::new(code, error.to_string());
        status.set_source(std::sync::Arc::new(error));
        status
    }
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for MeshError {
    fn into_response(self) -> axum::response::Response {
        let response = MeshError::into_response::<http_body_util::Empty<Bytes>>(self);
        response.map(axum::body::Body::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_pointer() {
        assert_eq!(size_of::<MeshError>(), size_of::<usize>());
    }

    #[test]
    fn says_envoys_words_and_flags() {
        let flag = Some(ResponseFlag::NoHealthyUpstream);
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let reply = LocalReply::failure(status, "no healthy upstream", flag, "no_healthy_upstream");
        let flags = ResponseFlags::NONE.with(ResponseFlag::NoHealthyUpstream);
        let kind = kind_of(&reply);
        let head = (status, HeaderMap::new(), reply.body.clone());
        let error = MeshError::new(kind, flags, reply, head, false, None);
        assert_eq!(error.to_string(), "no healthy upstream (UH)");
        assert_eq!(error.kind(), ErrorKind::Upstream);
        assert_eq!(error.details(), "no_healthy_upstream");
        let response = error.into_response::<http_body_util::Empty<Bytes>>();
        assert_eq!(response.status(), status);
    }
}
