//! Answers that no upstream gave: Envoy's statuses, bodies and details, word for word.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::flags::ResponseFlag;

/// A reply made here: what a client sees, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LocalReply {
    /// The HTTP status for a request that is not gRPC.
    pub status: StatusCode,
    /// The body, or the `grpc-message`.
    pub body: Bytes,
    /// `grpc-status` for a gRPC request; None: mapped from the HTTP status.
    pub grpc_status: Option<u32>,
    /// Headers besides content-type and content-length (`location`, `x-envoy-overloaded`, …).
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The flag to set; None for replies that configuration asked for.
    pub flag: Option<ResponseFlag>,
    /// Response-code details.
    pub details: Cow<'static, str>,
    /// False: the configuration's answer (direct response, redirect, fault abort); true: no answer (NR, UH, UF, …).
    pub is_failure: bool,
}

impl LocalReply {
    /// A failure with a body.
    pub fn failure(
        status: StatusCode,
        body: impl Into<Bytes>,
        flag: Option<ResponseFlag>,
        details: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            body: body.into(),
            grpc_status: None,
            headers: Vec::new(),
            flag,
            details: details.into(),
            is_failure: true,
        }
    }

    /// An answer that configuration asked for.
    pub fn answer(
        status: StatusCode,
        body: impl Into<Bytes>,
        details: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            is_failure: false,
            ..Self::failure(status, body, None, details)
        }
    }

    /// Head and body of the response as Envoy sends it: for gRPC HTTP 200 with `grpc-status` and a percent-encoded
    /// `grpc-message`, otherwise the status with `content-type: text/plain` if there is a body.
    pub fn into_response(self, grpc: bool) -> (StatusCode, HeaderMap, Bytes) {
        let _ = grpc;
        todo!()
    }
}
