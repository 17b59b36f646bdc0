//! The borrowed view of a stream that all matching reads.

use std::net::SocketAddr;

use http::{HeaderMap, Method, request};

use crate::{matcher::MatchedHeader, metadata::DynamicMetadata};

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
            ":authority" | "host" => {
                (!self.authority.is_empty()).then_some(self.authority.as_bytes())
            }
            ":path" => (!self.path.is_empty()).then_some(self.path.as_bytes()),
            _ => self.headers.get(name).map(|v| v.as_bytes()),
        }
    }

    /// The value of a matched header; for several lines the first.
    pub fn value(&self, name: &MatchedHeader) -> Option<&'a [u8]> {
        let value = match name {
            MatchedHeader::Method => self.method.as_str(),
            MatchedHeader::Scheme => self.scheme,
            MatchedHeader::Authority => self.authority,
            MatchedHeader::Path => self.path,
            MatchedHeader::Name(name) => return self.headers.get(name).map(|v| v.as_bytes()),
            MatchedHeader::Absent(_) => return None,
        };
        (!value.is_empty()).then_some(value.as_bytes())
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
    /// Whether the connection is TLS.
    pub tls: bool,
    /// The call comes from the application in this process: an internal peer, trusted as such.
    pub in_process: bool,
    /// SNI, if the TLS inspector or the handshake saw one.
    pub server_name: Option<Box<str>>,
    /// Our own address, which `x-forwarded-for` gets instead of a loopback peer's (Envoy's local address).
    pub node_address: Option<std::net::IpAddr>,
}
