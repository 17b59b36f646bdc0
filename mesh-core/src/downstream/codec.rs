//! What a server's HTTP/1 codec found wrong before a request could be made of the bytes.

use http::StatusCode;

/// In a request's extensions: the bytes were no request that may be answered otherwise. The Downstream stage answers
/// it as the connection manager does, so that `server`, `via`, the access log and statistics are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodecError {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: &'static str,
    /// Response-code details.
    pub details: &'static str,
}

impl CodecError {
    /// 400.
    pub const fn bad_request(details: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            body: "Bad Request",
            details,
        }
    }

    /// A path that cannot be made normal: 400 without a body.
    pub const BAD_PATH: Self = Self {
        status: StatusCode::BAD_REQUEST,
        body: "",
        details: "path_normalization_failed",
    };

    /// 431.
    pub const HEAD_TOO_LARGE: Self = Self {
        status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        body: "Request Header Fields Too Large",
        details: "http1.headers_too_large",
    };

    /// 501: a `transfer-encoding` that is not `chunked`.
    pub const NOT_IMPLEMENTED: Self = Self {
        status: StatusCode::NOT_IMPLEMENTED,
        body: "Not Implemented",
        details: "http1.invalid_transfer_encoding",
    };

    /// 408: the head did not come in time.
    pub const HEAD_TIMEOUT: Self = Self {
        status: StatusCode::REQUEST_TIMEOUT,
        body: "request header timeout",
        details: "request_header_timeout",
    };

    /// 408: the stream began and then nothing came (`stream_idle_timeout`).
    pub const STREAM_IDLE: Self = Self {
        status: StatusCode::REQUEST_TIMEOUT,
        body: "stream timeout",
        details: "stream_idle_timeout",
    };
}
