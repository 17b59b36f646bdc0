//! How one attempt at an upstream ended: the input of retries and outlier detection.

use http::StatusCode;

use crate::flags::ResponseFlag;

/// How an attempt ended, as the router sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Response headers came.
    Response {
        /// The HTTP status.
        status: StatusCode,
        /// `grpc-status` if it was in the response headers (trailers-only).
        grpc_status: Option<u32>,
        /// The request was a gRPC call: no error matcher has a say then.
        grpc: bool,
        /// The endpoint said `x-envoy-degraded`; only looked for where the cluster detects degraded hosts.
        degraded: bool,
    },
    /// The stream was reset before response headers.
    Reset(ResetReason),
    /// No response headers within the per-try timeout.
    PerTryTimeout,
    /// No response headers within the route timeout.
    RouteTimeout,
    /// A timeout whose request asked for an alternative response: what outlier detection hears is its 204.
    AlternativeTimeout,
    /// The attempt lasted as long as it may (`max_stream_duration` of the cluster); nobody's fault.
    MaxDuration,
}

impl Outcome {
    /// The headers of a response, without anything special.
    pub const fn response(status: StatusCode) -> Self {
        Self::Response {
            status,
            grpc_status: None,
            grpc: false,
            degraded: false,
        }
    }

    /// The headers of a response to a gRPC call.
    pub const fn grpc_response(status: StatusCode, grpc_status: Option<u32>) -> Self {
        Self::Response {
            status,
            grpc_status,
            grpc: true,
            degraded: false,
        }
    }
}

/// Why a stream was reset (Envoy's `StreamResetReason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResetReason {
    /// Reset by us.
    LocalReset,
    /// Refused by us before it was sent.
    LocalRefusedStreamReset,
    /// Our side failed to connect (for example no local address).
    LocalConnectionFailure,
    /// The upstream refused the connection.
    RemoteConnectionFailure,
    /// The connection was not made within `connect_timeout`.
    ConnectionTimeout,
    /// The connection was closed while the stream was open.
    ConnectionTermination,
    /// A circuit breaker was full.
    Overflow,
    /// The upstream reset the stream.
    RemoteReset,
    /// The upstream refused the stream (HTTP/2 REFUSED_STREAM): it was not processed.
    RemoteRefusedStreamReset,
    /// The upstream broke the protocol.
    ProtocolError,
}

impl ResetReason {
    /// Envoy's words, as in local replies and response-code details (`Http::Utility::resetReasonToString`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LocalReset => "local reset",
            Self::LocalRefusedStreamReset => "local refused stream reset",
            Self::LocalConnectionFailure => "local connection failure",
            Self::RemoteConnectionFailure => "remote connection failure",
            Self::ConnectionTimeout => "connection timeout",
            Self::ConnectionTermination => "connection termination",
            Self::Overflow => "overflow",
            Self::RemoteReset => "remote reset",
            Self::RemoteRefusedStreamReset => "remote refused stream reset",
            Self::ProtocolError => "protocol error",
        }
    }

    /// The response flag that Envoy sets for it.
    pub const fn flag(self) -> ResponseFlag {
        match self {
            Self::LocalConnectionFailure
            | Self::RemoteConnectionFailure
            | Self::ConnectionTimeout => ResponseFlag::UpstreamConnectionFailure,
            Self::ConnectionTermination => ResponseFlag::UpstreamConnectionTermination,
            Self::LocalReset | Self::LocalRefusedStreamReset => ResponseFlag::LocalReset,
            Self::Overflow => ResponseFlag::UpstreamOverflow,
            Self::RemoteReset | Self::RemoteRefusedStreamReset => ResponseFlag::UpstreamRemoteReset,
            Self::ProtocolError => ResponseFlag::UpstreamProtocolError,
        }
    }

    /// Whether the connection was never made.
    pub const fn is_connect_failure(self) -> bool {
        matches!(
            self,
            Self::LocalConnectionFailure | Self::RemoteConnectionFailure | Self::ConnectionTimeout
        )
    }
}
