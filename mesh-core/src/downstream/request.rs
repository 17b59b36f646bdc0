//! A request's head: refused, or rewritten to what filters, routes and upstreams see.

use std::net::IpAddr;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version,
    header::{CONNECTION, EXPECT, HOST, LOCATION, REFERER, TE, TRANSFER_ENCODING, UPGRADE, VIA},
    request,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::{forwarded, path, request_id, upgrade};
use crate::{
    Entropy,
    head::{ConnectionInfo, Names},
    local_reply::LocalReply,
    model::{ConnectionManagerConfig, StripHostPort, TrafficDirection},
};

/// What the stage found out about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The request is from an internal peer: `x-envoy-*` overrides are honoured.
    pub internal: bool,
    /// The request asks for an upgrade (lower case) or is CONNECT, and the manager allows it.
    pub upgrade: Option<Box<str>>,
    /// What the request's names tell.
    pub names: Names,
}

/// Checks and rewrites a request's head: missing host, path normalisation, sanitising, x-forwarded-*, request id.
///
/// On entry `parts.uri` is as it came (origin or absolute form, `host` header). On success it is in absolute form
/// (CONNECT: authority form): scheme, authority (the request's `:authority`) and path; the `host` header is gone.
/// `direction` changes nothing yet: Envoy's rules are the same both ways.
///
/// A call from inside the process keeps every header that the application set; it allocates only for a `host` header
/// that overrides the URI's authority, for a path that is not normal, and for a generated request id.
///
/// # Errors
/// The reply for a request that is refused here (400, 403, 404), or redirected to its normal path (307).
pub fn on_request(
    manager: &ConnectionManagerConfig,
    direction: TrafficDirection,
    parts: &mut request::Parts,
    connection: &ConnectionInfo,
    entropy: &mut dyn Entropy,
) -> Result<Accepted, Box<LocalReply>> {
    let _ = direction;
    if !connection.in_process && parts.version < Version::HTTP_2 {
        request_line(manager, parts, connection)?;
    }
    let names = Names::of(&parts.headers);
    let authority = authority(parts, connection, names)?;
    let path = path(manager, parts)?;
    let authority = stripped(authority, manager, connection, parts);
    let asked = match names.has(Names::UPGRADE) {
        true => upgrade::asked_for(parts),
        false => None,
    };
    let (internal, names) = if connection.in_process {
        if !names.has(Names::FORWARDED_PROTO) {
            parts.headers.insert(forwarded::PROTO, proto(connection));
        }
        (true, names)
    } else {
        if names.has(Names::OF_CONNECTION) {
            sanitise(manager, parts, asked.is_some())?;
        }
        let internal = forward(manager, &mut parts.headers, connection);
        (internal, Names::of(&parts.headers))
    };
    let edge = !internal && manager.use_remote_address;
    if manager.generate_request_id {
        let preserve = manager.preserve_external_request_id;
        request_id::ensure(&mut parts.headers, edge, preserve, entropy);
    }
    rewrite_uri(parts, authority, path, connection);

    let allowed = |kind: &str| manager.upgrades.iter().any(|upgrade| **upgrade == *kind);
    let upgrade = match asked {
        Some(kind) if allowed(&kind) => Some(kind),
        Some(_) => {
            return Err(refused(StatusCode::FORBIDDEN, "", "upgrade_failed"));
        }
        // Whether CONNECT is allowed is the route's business too: without an upgrade it just finds none.
        None if parts.method == Method::CONNECT && allowed("connect") => Some("connect".into()),
        None => None,
    };
    Ok(Accepted {
        internal,
        upgrade,
        names,
    })
}

/// What Envoy's HTTP/1 codec refuses.
fn request_line(
    manager: &ConnectionManagerConfig,
    parts: &request::Parts,
    connection: &ConnectionInfo,
) -> Result<(), Box<LocalReply>> {
    if parts.version < Version::HTTP_11 && !manager.accept_http_10 {
        return Err(refused(
            StatusCode::UPGRADE_REQUIRED,
            "Upgrade Required",
            "low_version",
        ));
    }
    let is_authority = parts.uri.scheme().is_none() && parts.uri.authority().is_some();
    if is_authority && parts.method != Method::CONNECT {
        return Err(bad_request("http1.codec_error"));
    }
    // Only a front proxy minds.
    let https = parts.uri.scheme() == Some(&Scheme::HTTPS);
    if https && !connection.tls && manager.use_remote_address {
        return Err(refused(
            StatusCode::FORBIDDEN,
            "Forbidden",
            "http1.invalid_scheme",
        ));
    }
    Ok(())
}

fn bad_request(details: &'static str) -> Box<LocalReply> {
    refused(StatusCode::BAD_REQUEST, "Bad Request", details)
}

fn refused(status: StatusCode, body: &'static str, details: &'static str) -> Box<LocalReply> {
    let mut reply = LocalReply::failure(status, body, None, details);
    reply.closes_connection = true;
    Box::new(reply)
}

/// `:authority` where it is not simply the URI's: from `host`, which an application's call may use to name another
/// virtual host than the URI does.
fn authority(
    parts: &mut request::Parts,
    connection: &ConnectionInfo,
    names: Names,
) -> Result<Option<Authority>, Box<LocalReply>> {
    // Nearly all calls of the application have none.
    let host = match names.has(Names::HOST) {
        true => parts.headers.remove(HOST),
        false => None,
    };
    let has_authority = parts.uri.authority().is_some();
    match host {
        // RFC 9112, 3.2.2: the request line wins.
        _ if has_authority && !connection.in_process => Ok(None),
        Some(host) if !host.is_empty() => Authority::try_from(host.as_bytes())
            .map(Some)
            .map_err(|_| bad_request("http.invalid_authority")),
        _ if has_authority => Ok(None),
        _ => Err(refused(StatusCode::BAD_REQUEST, "", "missing_host_header")),
    }
}

/// The normal path where it is not the one that came.
fn path(
    manager: &ConnectionManagerConfig,
    parts: &request::Parts,
) -> Result<Option<PathAndQuery>, Box<LocalReply>> {
    let Some(came) = parts.uri.path_and_query() else {
        return Ok(None);
    };
    if parts.method == Method::CONNECT {
        return Ok(None);
    }
    if !came.as_str().starts_with('/') {
        let mut reply = refused(StatusCode::NOT_FOUND, "", "absolute_path_rejected");
        reply.closes_connection = false;
        return Err(reply);
    }
    let failed = || refused(StatusCode::BAD_REQUEST, "", "path_normalization_failed");
    let normal = path::normalise(manager, came).map_err(|_| failed())?;
    let Some(text) = normal.path else {
        return Ok(None);
    };
    if normal.redirect {
        let mut reply = refused(
            StatusCode::TEMPORARY_REDIRECT,
            "",
            "path_normalization_redirect",
        );
        reply.is_failure = false;
        reply.closes_connection = false;
        let location = HeaderValue::from_maybe_shared(Bytes::from(text)).map_err(|_| failed())?;
        reply.headers.push((LOCATION, location));
        return Err(reply);
    }
    PathAndQuery::from_maybe_shared(Bytes::from(text))
        .map(Some)
        .map_err(|_| failed())
}

/// The authority without its port, if the manager cuts it.
fn stripped(
    authority: Option<Authority>,
    manager: &ConnectionManagerConfig,
    connection: &ConnectionInfo,
    parts: &request::Parts,
) -> Option<Authority> {
    if manager.strip_host_port == StripHostPort::No {
        return authority;
    }
    let cut = |port: u16| match manager.strip_host_port {
        StripHostPort::No => false,
        StripHostPort::Matching => connection.local.is_some_and(|local| local.port() == port),
        StripHostPort::Any => true,
    };
    match authority.as_ref().or(parts.uri.authority()) {
        Some(given) if parts.method != Method::CONNECT && given.port_u16().is_some_and(cut) => {
            Authority::try_from(given.host()).ok()
        }
        _ => authority,
    }
}

/// Puts authority, path and scheme where they changed, and nothing where they did not.
fn rewrite_uri(
    parts: &mut request::Parts,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    connection: &ConnectionInfo,
) {
    let is_connect = parts.method == Method::CONNECT;
    let lacks_scheme = parts.uri.scheme().is_none() && !is_connect;
    if authority.is_none() && path.is_none() && !lacks_scheme {
        return;
    }
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    if let Some(authority) = authority {
        uri.authority = Some(authority);
    }
    if let Some(path) = path {
        uri.path_and_query = Some(path);
    }
    if is_connect {
        uri.scheme = None;
        uri.path_and_query = None;
    } else {
        uri.scheme
            .get_or_insert_with(|| scheme(&parts.headers, connection));
        uri.path_and_query
            .get_or_insert(PathAndQuery::from_static("/"));
    }
    // Authority is there, and scheme and path are both or neither: no form that a URI cannot have.
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
}

/// What `x-forwarded-proto` says, if it is a scheme; else whether the connection is TLS.
fn scheme(headers: &HeaderMap, connection: &ConnectionInfo) -> Scheme {
    match headers.get(forwarded::PROTO).map(HeaderValue::as_bytes) {
        Some(b"http") => Scheme::HTTP,
        Some(b"https") => Scheme::HTTPS,
        _ if connection.tls => Scheme::HTTPS,
        _ => Scheme::HTTP,
    }
}

fn set_forwarded_proto(headers: &mut HeaderMap, connection: &ConnectionInfo) {
    headers
        .entry(forwarded::PROTO)
        .or_insert_with(|| proto(connection));
}

fn proto(connection: &ConnectionInfo) -> HeaderValue {
    HeaderValue::from_static(if connection.tls { "https" } else { "http" })
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");

/// Removes what belongs to the connection, and what a peer must not say.
fn sanitise(
    manager: &ConnectionManagerConfig,
    parts: &mut request::Parts,
    upgrade: bool,
) -> Result<(), Box<LocalReply>> {
    let headers = &mut parts.headers;
    if !upgrade {
        if parts.version < Version::HTTP_2 && headers.contains_key(CONNECTION) {
            remove_nominated(headers)?;
        }
        headers.remove(CONNECTION);
        headers.remove(UPGRADE);
        sanitise_te(headers);
    }
    // We say `100 Continue` ourselves.
    let expects = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !manager.proxy_100_continue && headers.get(EXPECT).is_some_and(expects) {
        headers.remove(EXPECT);
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(INTERNAL);
    // It tells of a certificate; there is none to tell of before mutual TLS.
    headers.remove(CLIENT_CERT);
    if headers.contains_key(REFERER) {
        let mut values = headers.get_all(REFERER).iter();
        let valid = values.next().is_some_and(is_referer) && values.next().is_none();
        if !valid {
            headers.remove(REFERER);
        }
    }
    Ok(())
}

/// How many headers `connection` may name.
const NOMINATIONS: usize = 10;

/// Removes the headers that `connection` names as its own. Those that tell of the client cannot be made to vanish
/// (Envoy `Utility::sanitizeConnectionHeader`).
fn remove_nominated(headers: &mut HeaderMap) -> Result<(), Box<LocalReply>> {
    let nominated: Vec<_> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|token| token.trim_ascii().to_ascii_lowercase())
        .filter(|token| !CONNECTION_TOKENS.contains(&token.as_slice()))
        .collect();
    let protected =
        |name: &Vec<u8>| name.starts_with(b":") || CLIENT_TOLD_BY.contains(&name.as_slice());
    if nominated.len() > NOMINATIONS || nominated.iter().any(protected) {
        return Err(bad_request("http1.connection_header_rejected"));
    }
    for name in nominated {
        if let Ok(name) = HeaderName::from_bytes(&name) {
            headers.remove(name);
        }
    }
    Ok(())
}

/// Tokens of `connection` that name no header to remove; `te` is looked at by itself.
const CONNECTION_TOKENS: &[&[u8]] = &[
    b"",
    b"close",
    b"http2-settings",
    b"keep-alive",
    b"te",
    b"upgrade",
];

const CLIENT_TOLD_BY: &[&[u8]] = &[
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
];

/// `te` may only say `trailers`.
fn sanitise_te(headers: &mut HeaderMap) {
    let Some(te) = headers.get(TE) else { return };
    if te == "trailers" {
        return;
    }
    let trailers = te
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|value| value.trim_ascii() == b"trailers");
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(TE);
    }
}

/// An absolute http(s) URI without user information and fragment, or a path (Envoy `Utility::isValidRefererValue`).
fn is_referer(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else {
        return false;
    };
    if text.starts_with("http://") || text.starts_with("https://") {
        let plain = |uri: Uri| uri.authority().is_some_and(|a| !a.as_str().contains('@'));
        return !text.contains('#') && text.parse().is_ok_and(plain);
    }
    // A relative reference: its first segment holds no colon.
    let first = text.split('/').next().unwrap_or_default();
    let allowed = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => true,
        other => b"!$%&'()*+,-./:;=?@_~".contains(&other),
    };
    !first.contains(':') && text.bytes().all(allowed)
}

/// x-forwarded-*, `via` and the headers that only internal peers may send. Returns whether the peer is internal.
fn forward(
    manager: &ConnectionManagerConfig,
    headers: &mut HeaderMap,
    connection: &ConnectionInfo,
) -> bool {
    let peer = connection.peer.map(|peer| peer.ip().to_canonical());
    let client = forwarded::client(manager, headers, peer);
    if manager.use_remote_address {
        if let (Some(peer), false) = (peer, manager.skip_xff_append) {
            let shown = match connection.node_address {
                Some(node) if peer.is_loopback() => node,
                _ => peer,
            };
            forwarded::append(headers, shown);
        }
        if manager.xff_num_trusted_hops == 0 {
            headers.insert(forwarded::PROTO, proto(connection));
        }
    }
    set_forwarded_proto(headers, connection);

    let is_internal = |address: IpAddr| {
        let ranges = &manager.internal_address_ranges;
        ranges.iter().any(|range| range.contains(&address))
    };
    let internal = client.only_one && client.address.is_some_and(is_internal);
    let edge = !internal && manager.use_remote_address;
    if internal {
        headers.insert(INTERNAL, HeaderValue::from_static("true"));
    } else if headers
        .keys()
        .any(|name| name.as_str().starts_with("x-envoy-"))
    {
        for name in EXTERNAL_MAY_NOT {
            headers.remove(*name);
        }
        if edge {
            for name in EDGE_MAY_NOT {
                headers.remove(*name);
            }
        }
    }
    if let Some(via) = manager.via.as_ref().filter(|via| !via.is_empty()) {
        append(headers, VIA, via);
    }
    if let (true, Some(address)) = (edge, client.address.or(peer))
        && let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(address.to_string()))
    {
        headers.insert(EXTERNAL_ADDRESS, value);
    }
    internal
}

/// What external peers may not say, at the edge or behind it.
const EXTERNAL_MAY_NOT: &[&str] = &[
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
    "x-envoy-hedge-on-per-try-timeout",
];

/// What clients of a front proxy may not say either.
const EDGE_MAY_NOT: &[&str] = &[
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
    "x-envoy-original-host",
];

/// Appends to a header with `, `, or adds it.
pub(super) fn append(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    let joined = headers.get(&name).map(|before| {
        let text = [before.as_bytes(), b", ", value.as_bytes()].concat();
        HeaderValue::from_maybe_shared(Bytes::from(text))
    });
    match joined {
        Some(Ok(joined)) => headers.insert(name, joined),
        _ => headers.insert(name, value.clone()),
    };
}
