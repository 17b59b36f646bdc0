//! The borrowed view of a stream that all matching reads.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use http::{HeaderMap, Method, header::HOST, request};

use crate::{
    matcher::MatchedHeader, metadata::DynamicMetadata, rate_limit::Limiter, tls::TlsConnection,
};

/// The head of a request, pseudo headers as fields (an `http::HeaderMap` cannot hold them).
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// `:method`.
    pub method: &'a Method,
    /// `:scheme`, lower case; `http` where the request did not say.
    pub scheme: &'a str,
    /// `:authority`, or `Host`; empty if the request has none.
    pub authority: &'a str,
    /// `:path` with query; empty for CONNECT.
    pub path: &'a str,
    /// All other headers.
    pub headers: &'a HeaderMap,
}

impl<'a> RequestHead<'a> {
    /// The head of a request whose URI is in absolute form (or authority form: CONNECT).
    #[inline]
    pub fn of(parts: &'a request::Parts) -> Self {
        Self {
            method: &parts.method,
            scheme: parts.uri.scheme_str().unwrap_or("http"),
            authority: parts.uri.authority().map_or("", |a| a.as_str()),
            path: parts.uri.path_and_query().map_or("", |p| p.as_str()),
            headers: &parts.headers,
        }
    }

    /// `:path` up to the first `?` or `#`: what path matchers see (Envoy `PathUtil::removeQueryAndFragment`).
    pub fn path_without_query(&self) -> &'a str {
        self.path.split(['?', '#']).next().unwrap_or_default()
    }

    /// The value of a header or pseudo header by name; for several lines the first.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        match name {
            ":method" => Some(self.method.as_str().as_bytes()),
            ":scheme" => Some(self.scheme.as_bytes()),
            ":authority" | "host" => self.host(),
            ":path" => (!self.path.is_empty()).then_some(self.path.as_bytes()),
            _ => self.headers.get(name).map(|v| v.as_bytes()),
        }
    }

    /// The value of a matched header; for several lines the first.
    pub fn value(&self, name: &MatchedHeader) -> Option<&'a [u8]> {
        let value = match name {
            MatchedHeader::Method => self.method.as_str(),
            MatchedHeader::Scheme => self.scheme,
            MatchedHeader::Authority => return self.host(),
            MatchedHeader::Path => self.path,
            MatchedHeader::Name(name) => return self.headers.get(name).map(|v| v.as_bytes()),
            MatchedHeader::Absent(_) => return None,
        };
        (!value.is_empty()).then_some(value.as_bytes())
    }

    /// `:authority`; a host that no URI can hold was rewritten into the header.
    fn host(&self) -> Option<&'a [u8]> {
        match self.headers.get(HOST) {
            Some(host) => Some(host.as_bytes()),
            None => (!self.authority.is_empty()).then_some(self.authority.as_bytes()),
        }
    }

    /// Whether any header is one of `x-envoy-*`, by which a request may ask for other timeouts and retries.
    pub fn has_envoy_headers(&self) -> bool {
        let mut names = self.headers.keys();
        names.any(|name| name.as_str().starts_with("x-envoy-"))
    }

    /// Whether the request is gRPC: content-type `application/grpc` or `application/grpc+…`.
    pub fn is_grpc(&self) -> bool {
        crate::grpc::is_grpc_content_type(self.headers)
    }
}

/// What the names of a request's headers tell: one look at each is cheaper than one look-up for each question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names(u8);

impl Names {
    /// Any of `x-envoy-*`, by which a request may ask for other timeouts and retries.
    pub const ENVOY: Self = Self(1);
    /// `content-type`.
    pub const CONTENT_TYPE: Self = Self(1 << 1);
    /// `host`.
    pub const HOST: Self = Self(1 << 2);
    /// `upgrade`.
    pub const UPGRADE: Self = Self(1 << 3);
    /// `x-forwarded-proto`.
    pub const FORWARDED_PROTO: Self = Self(1 << 4);
    /// A header that belongs to the connection or that a peer must not say: what the Downstream stage sanitises.
    pub const OF_CONNECTION: Self = Self(1 << 5);

    /// Looks at all names.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut names = 0;
        for name in headers.keys() {
            names |= Self::of_name(name.as_str().as_bytes());
        }
        Self(names)
    }

    /// Whether there is (one of) the header.
    #[inline]
    pub const fn has(self, name: Self) -> bool {
        self.0 & name.0 != 0
    }

    #[inline]
    fn of_name(name: &[u8]) -> u8 {
        // By length first: most names are done with one jump.
        let sanitised = |is: bool| if is { Self::OF_CONNECTION.0 } else { 0 };
        let name_is = match name.len() {
            2 => sanitised(name == b"te"),
            4 if name == b"host" => Self::HOST.0,
            6 => sanitised(name == b"expect"),
            7 if name == b"upgrade" => Self::UPGRADE.0 | Self::OF_CONNECTION.0,
            7 => sanitised(name == b"referer"),
            10 => sanitised(name == b"connection" || name == b"keep-alive"),
            12 if name == b"content-type" => Self::CONTENT_TYPE.0,
            16 => sanitised(name == b"proxy-connection"),
            17 if name == b"x-forwarded-proto" => Self::FORWARDED_PROTO.0,
            17 => sanitised(name == b"transfer-encoding"),
            23 => sanitised(name == b"x-forwarded-client-cert"),
            _ => 0,
        };
        match name {
            [b'x', b'-', b'e', b'n', b'v', b'o', b'y', b'-', ..] => {
                Self::ENVOY.0 | sanitised(name == b"x-envoy-internal")
            }
            _ => name_is,
        }
    }
}

/// What a stream is, to those who match it.
#[derive(Clone, Copy, Debug)]
pub struct StreamView<'a> {
    /// The request's head.
    pub head: RequestHead<'a>,
    /// The stream's random number: one per request, shared by runtime fractions, weighted clusters and mirrors,
    /// as Envoy's stream id is.
    pub random: u64,
    /// The connection it came on.
    pub connection: &'a ConnectionInfo,
    /// What filters said about it; None: nothing.
    pub metadata: Option<&'a DynamicMetadata>,
}

/// What is known of the downstream connection.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The address of the peer. None for calls from inside the process.
    pub peer: Option<SocketAddr>,
    /// The address on which the connection was accepted; after `original_dst` the address that was meant.
    pub local: Option<SocketAddr>,
    /// `local` was restored: the connection was redirected here, and meant that address. Only then it is what an
    /// original-destination cluster connects to (Envoy `localAddressRestored`); anything else would be ourselves.
    pub restored: bool,
    /// The handshake, where the connection is TLS that ends here.
    pub tls: Option<Arc<TlsConnection>>,
    /// The call comes from the application in this process: an internal peer, trusted as such.
    pub in_process: bool,
    /// SNI, if the TLS inspector or the handshake saw one.
    pub server_name: Option<Box<str>>,
    /// The buckets of a local rate limit that counts by connection; the first that does decides.
    pub rate_limiter: OnceLock<Arc<Limiter>>,
    /// Our own address, which `x-forwarded-for` gets instead of a loopback peer's (Envoy's local address).
    pub node_address: Option<std::net::IpAddr>,
}
