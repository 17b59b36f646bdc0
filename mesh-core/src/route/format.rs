//! Header values with Envoy's substitution operators (`%REQ(x)%`, `%DOWNSTREAM_REMOTE_ADDRESS%`, …).

use http::{HeaderMap, HeaderValue};

use crate::head::{ConnectionInfo, RequestHead};

/// A header value, parsed. A constant costs a reference count per request, an operator one allocation.
#[derive(Clone, Debug)]
pub struct HeaderFormat {
    constant: HeaderValue,
}

/// Why a format is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidFormat(pub(crate) String);

/// What the operators read.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FormatContext<'a> {
    /// The request as it is now.
    pub head: RequestHead<'a>,
    /// The downstream connection.
    pub connection: &'a ConnectionInfo,
    /// Response headers, for response operations.
    pub response: Option<&'a HeaderMap>,
    /// The upstream host's address, once picked.
    pub upstream_host: Option<std::net::SocketAddr>,
    /// The upstream cluster's name, once drawn.
    pub upstream_cluster: Option<&'a str>,
    /// The route's name.
    pub route_name: &'a str,
}

impl<'a> FormatContext<'a> {
    /// A context before routing.
    pub fn new(head: RequestHead<'a>, connection: &'a ConnectionInfo) -> Self {
        Self {
            head,
            connection,
            response: None,
            upstream_host: None,
            upstream_cluster: None,
            route_name: "",
        }
    }
}

impl HeaderFormat {
    /// Parses a value.
    ///
    /// # Errors
    /// An unknown operator, an unterminated `%`, or bytes that no header may hold.
    pub fn parse(value: &[u8]) -> Result<Self, InvalidFormat> {
        let _ = value;
        todo!()
    }

    /// The value for this request; None where it is empty.
    pub fn evaluate(&self, cx: &FormatContext<'_>) -> Option<HeaderValue> {
        let _ = cx;
        Some(self.constant.clone())
    }
}
