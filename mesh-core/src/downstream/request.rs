//! A request's head: refused, or rewritten to what filters, routes and upstreams see.

use std::{borrow::Cow, net::IpAddr};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_TYPE, HOST, LOCATION},
    request,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::{
    CodecError, client_cert, forwarded,
    internal_peer::forward,
    limits,
    path::{self, Refused},
    request_id,
    sanitise::{nominates_host, remove_nominated, sanitise},
    upgrade,
};
use crate::{
    Entropy,
    flags::ResponseFlag,
    head::{ConnectionInfo, Names},
    local_reply::LocalReply,
    model::{ConnectionManagerConfig, Forward, StripHostPort},
    one_line::{self, HeadKind},
};

/// What the stage found out about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The request is from an internal peer: `x-envoy-*` overrides are honoured.
    pub internal: bool,
    /// The upgrade that the request asks for, lower case; `connect` for CONNECT. [`check_upgrade`] says whether it
    /// may.
    pub upgrade: Option<Box<str>>,
    /// What the request's names tell.
    pub names: Names,
    /// The client, where it is not the connection's peer: behind trusted proxies, or found by an extension. What
    /// formats and rules call the downstream's remote address.
    pub client: Option<IpAddr>,
    /// False: no route is looked for, since `x-forwarded-proto` is there and empty.
    pub routable: bool,
}

/// Checks and rewrites a request's head: missing host, path normalisation, sanitising, x-forwarded-*, request id.
///
/// On entry `parts.uri` is as it came (origin or absolute form, `host` header). On success it is in absolute form
/// (CONNECT: authority form): scheme, authority (the request's `:authority`) and path; the `host` header is gone.
///
/// A call from inside the process keeps every header that the application set; it allocates only for a `host` header
/// that overrides the URI's authority, for a path that is not normal, and for a generated request id.
///
/// # Errors
/// The reply for a request that is refused here (400, 403, 404), or redirected to its normal path (307).
pub fn on_request(
    manager: &ConnectionManagerConfig,
    parts: &mut request::Parts,
    connection: &ConnectionInfo,
    entropy: &mut dyn Entropy,
) -> Result<Accepted, Box<LocalReply>> {
    let mut names = Names::of(&parts.headers);
    let asked = match names.has(Names::UPGRADE) {
        true => upgrade::asked_for(parts),
        false => None,
    };
    if !connection.in_process {
        codec(manager, parts, connection, asked.is_some())?;
        names = Names::of(&parts.headers);
    }
    let authority = authority(manager, parts, connection, names)?;
    let path = match lacks_type(parts) {
        true => Err(refused(
            StatusCode::BAD_REQUEST,
            "",
            "query_missing_content_type",
        )),
        false => path(manager, parts),
    };
    let path = path.inspect_err(|_| {
        // Taken out of the headers already; the route of what is refused depends on it.
        if let Some(host) = authority.as_ref()
            && let Ok(host) = HeaderValue::from_str(host.as_str())
        {
            parts.headers.insert(HOST, host);
        }
    })?;
    let authority = stripped(authority, manager, connection, parts);
    let mut client = None;
    let mut routable = true;
    let (internal, names) = if connection.in_process {
        if !names.has(Names::FORWARDED_PROTO) {
            parts.headers.insert(forwarded::PROTO, proto(connection));
        }
        (true, names)
    } else {
        if names.has(Names::OF_CONNECTION) {
            sanitise(manager, parts, asked.is_some());
        }
        if names.has(Names::OF_CONNECTION) || connection.tls.is_some() {
            let config = &manager.forward_client_cert;
            client_cert::forward(config, &mut parts.headers, connection.tls.as_deref());
        }
        let internal;
        (internal, client) =
            forward(manager, &mut parts.headers, connection).map_err(|mut reply| {
                // An upgrade's request has no end that could be waited for, and what keeps a connection of HTTP/1.0 is
                // gone from the head already.
                reply.closes_connection = asked.is_some()
                    || parts.method == Method::CONNECT
                    || parts.version < Version::HTTP_11;
                reply
            })?;
        let proto = parts.headers.get(forwarded::PROTO);
        routable = proto.is_none_or(|proto| !proto.is_empty());
        (internal, Names::of(&parts.headers))
    };
    let edge = !internal && manager.use_remote_address;
    if manager.generate_request_id {
        let preserve = manager.preserve_external_request_id;
        request_id::ensure(&mut parts.headers, edge, preserve, entropy);
    }
    let to_overwrite = manager.scheme_to_overwrite.as_ref();
    rewrite_uri(parts, authority, path, connection, to_overwrite);

    let upgrade = match asked {
        None if parts.method == Method::CONNECT => Some(CONNECT.into()),
        asked => asked,
    };
    Ok(Accepted {
        internal,
        upgrade,
        names,
        client,
        routable,
    })
}

/// QUERY says of which type its content is, or it is refused (RFC 10008; Envoy since 1.40, on every protocol).
fn lacks_type(parts: &request::Parts) -> bool {
    let content_type = || parts.headers.get(CONTENT_TYPE);
    parts.method.as_str() == "QUERY" && content_type().is_none_or(HeaderValue::is_empty)
}

/// The upgrade type of CONNECT requests.
const CONNECT: &str = "connect";

/// Whether an upgrade is allowed: by the route if it names it, else by the manager.
///
/// # Errors
/// 403.
pub fn check_upgrade(
    kind: &str,
    manager: &ConnectionManagerConfig,
    route: Option<&Forward>,
) -> Result<(), Box<LocalReply>> {
    let of_route = route.and_then(|route| {
        let named = route.upgrades.iter().find(|(name, _)| **name == *kind);
        named.map(|(_, enabled)| *enabled)
    });
    match of_route.unwrap_or_else(|| manager.upgrades.iter().any(|upgrade| **upgrade == *kind)) {
        true => Ok(()),
        false => Err(refused(StatusCode::FORBIDDEN, "", "upgrade_failed")),
    }
}

/// What Envoy's codecs do with a head before anybody else sees it.
fn codec(
    manager: &ConnectionManagerConfig,
    parts: &mut request::Parts,
    connection: &ConnectionInfo,
    upgrade: bool,
) -> Result<(), Box<LocalReply>> {
    let http1 = parts.version < Version::HTTP_2;
    if http1 {
        // Nor are those of a tunnel's request looked at here.
        let tunnel = upgrade || parts.method == Method::CONNECT;
        if !tunnel && parts.headers.contains_key(CONNECTION) {
            if nominates_host(&parts.headers) {
                parts.headers.remove(HOST);
            }
            remove_nominated(&mut parts.headers)?;
        }
        request_line(manager, parts, connection)?;
    }
    if let Some(error) = parts.extensions.get::<CodecError>() {
        let mut reply = refused(error.status, error.body, error.details);
        if *error == CodecError::STREAM_IDLE {
            reply.flag = Some(ResponseFlag::StreamIdleTimeout);
        }
        return Err(reply);
    }
    limits::check(manager, parts)?;
    one_line::join(HeadKind::Request, &mut parts.headers);
    if !http1 {
        one_line::join_cookies(&mut parts.headers);
    }
    Ok(())
}

/// What Envoy's HTTP/1 codec refuses.
fn request_line(
    manager: &ConnectionManagerConfig,
    parts: &request::Parts,
    connection: &ConnectionInfo,
) -> Result<(), Box<LocalReply>> {
    if parts.version < Version::HTTP_11 && !manager.accept_http_10 {
        let body = "Upgrade Required";
        let mut reply = refused(StatusCode::UPGRADE_REQUIRED, body, "low_version");
        reply.by_codec = true;
        return Err(reply);
    }
    let is_authority = parts.uri.scheme().is_none() && parts.uri.authority().is_some();
    if is_authority && parts.method != Method::CONNECT {
        return Err(bad_request("http1.codec_error"));
    }
    // Only a front proxy minds.
    let https = parts.uri.scheme() == Some(&Scheme::HTTPS);
    let is_front = manager.use_remote_address && manager.xff_num_trusted_hops == 0;
    if https && connection.tls.is_none() && is_front {
        let mut reply = refused(StatusCode::FORBIDDEN, "Forbidden", "http1.invalid_scheme");
        reply.by_codec = true;
        return Err(reply);
    }
    Ok(())
}

pub(super) fn bad_request(details: &'static str) -> Box<LocalReply> {
    let mut reply = refused(StatusCode::BAD_REQUEST, "Bad Request", details);
    reply.by_codec = true;
    reply
}

pub(super) fn refused(
    status: StatusCode,
    body: &'static str,
    details: &'static str,
) -> Box<LocalReply> {
    let mut reply = LocalReply::failure(status, body, None, details);
    reply.closes_connection = true;
    Box::new(reply)
}

/// `:authority` where it is not simply the URI's: from `host`, which an application's call may use to name another
/// virtual host than the URI does.
fn authority(
    manager: &ConnectionManagerConfig,
    parts: &mut request::Parts,
    connection: &ConnectionInfo,
    names: Names,
) -> Result<Option<Authority>, Box<LocalReply>> {
    // Nearly all calls of the application have none.
    let host = match names.has(Names::HOST) {
        true => parts.headers.remove(HOST),
        false => None,
    };
    let host = match &manager.default_host_for_http_10 {
        Some(default) if host.is_none() && parts.version < Version::HTTP_11 => {
            Some(default.clone())
        }
        _ => host,
    };
    let has_authority = parts.uri.authority().is_some();
    match host {
        // HTTP/2 has no user information at all.
        _ if parts.version >= Version::HTTP_2
            && !connection.in_process
            && parts
                .uri
                .authority()
                .is_some_and(|a| a.as_str().contains('@')) =>
        {
            let mut reply = bad_request("http.invalid_authority");
            reply.resets_stream = true;
            Err(reply)
        }
        // RFC 9112, 3.2.2: the request line wins.
        _ if has_authority && !connection.in_process => Ok(without_user(&parts.uri)),
        // Nobody is named, which is not the same as naming nobody.
        Some(host) if host.is_empty() && !connection.in_process => Ok(None),
        Some(host) if !host.is_empty() => Authority::try_from(host.as_bytes())
            .map(Some)
            .map_err(|_| bad_request("http.invalid_authority")),
        _ if has_authority => Ok(None),
        _ => Err(refused(StatusCode::BAD_REQUEST, "", "missing_host_header")),
    }
}

/// The authority of an absolute URI without its user information, if it has any.
fn without_user(uri: &Uri) -> Option<Authority> {
    let (_, host) = uri.authority()?.as_str().rsplit_once('@')?;
    host.parse().ok()
}

/// The normal path where it is not the one that came. What is refused, or redirected, keeps what had become of its path.
pub(super) fn path(
    manager: &ConnectionManagerConfig,
    parts: &mut request::Parts,
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
    let normal = match path::normalise(manager, came) {
        Ok(normal) => normal,
        Err(Refused { path }) => {
            set_path(parts, path);
            return Err(failed());
        }
    };
    let Some(text) = normal.path else {
        return Ok(None);
    };
    if normal.redirect {
        // gRPC clients follow no redirects.
        if crate::grpc::is_grpc_content_type(&parts.headers) {
            set_path(parts, Some(text));
            return Err(failed());
        }
        let mut reply = refused(
            StatusCode::TEMPORARY_REDIRECT,
            "",
            "path_normalization_redirect",
        );
        reply.is_failure = false;
        reply.closes_connection = false;
        let text = Bytes::from(text);
        let location = HeaderValue::from_maybe_shared(text.clone()).map_err(|_| failed())?;
        reply.headers.push((LOCATION, location));
        set_path(parts, Some(text));
        return Err(reply);
    }
    PathAndQuery::from_maybe_shared(Bytes::from(text))
        .map(Some)
        .map_err(|_| failed())
}

fn set_path(parts: &mut request::Parts, path: Option<impl Into<Bytes>>) {
    let Some(Ok(path)) = path.map(|path| PathAndQuery::from_maybe_shared(path.into())) else {
        return;
    };
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(path);
    // What was a URI is one with another path.
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
}

/// The authority without its port and without the dot behind its host, as far as the manager cuts them
/// (Envoy `ConnectionManagerUtility::maybeNormalizeHost`).
pub(super) fn stripped(
    authority: Option<Authority>,
    manager: &ConnectionManagerConfig,
    connection: &ConnectionInfo,
    parts: &request::Parts,
) -> Option<Authority> {
    if manager.strip_host_port == StripHostPort::No && !manager.strip_trailing_host_dot {
        return authority;
    }
    let Some(given) = authority.as_ref().or(parts.uri.authority()) else {
        return authority;
    };
    let mut text = Cow::Borrowed(given.as_str());
    if manager.strip_trailing_host_dot {
        let (host, port) = text.split_at(port_start(&text).unwrap_or(text.len()));
        if let Some(host) = host.strip_suffix('.') {
            text = Cow::Owned(host.to_owned() + port);
        }
    }
    let cuts = |port: Option<u16>| match manager.strip_host_port {
        StripHostPort::No => false,
        StripHostPort::Matching => connection.local.is_some_and(|l| Some(l.port()) == port),
        StripHostPort::Any => true,
    };
    if parts.method != Method::CONNECT
        && let Some(start) = port_start(&text)
        && let Ok(port) = text[start + 1..].parse::<u32>()
        && cuts(u16::try_from(port).ok())
    {
        text.to_mut().truncate(start);
    }
    match text {
        Cow::Owned(text) => Authority::try_from(text).ok().or(authority),
        Cow::Borrowed(_) => authority,
    }
}

/// Where `:` and a port begin.
pub(crate) fn port_start(authority: &str) -> Option<usize> {
    let start = authority.rfind(':')?;
    // The last colon of an address in brackets begins no port.
    let is_port = !authority[start..].contains(']');
    is_port.then_some(start)
}

/// Puts authority, path and scheme where they changed, and nothing where they did not.
pub(super) fn rewrite_uri(
    parts: &mut request::Parts,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    connection: &ConnectionInfo,
    to_overwrite: Option<&Scheme>,
) {
    let is_connect = parts.method == Method::CONNECT;
    let lacks_scheme =
        parts.uri.scheme() != to_overwrite.or(parts.uri.scheme()) || parts.uri.scheme().is_none();
    if authority.is_none() && path.is_none() && (!lacks_scheme || is_connect) {
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
    } else if uri.authority.is_none() {
        // The host is empty: an absolute URI cannot say so.
        uri.scheme = None;
    } else {
        uri.scheme
            .get_or_insert_with(|| scheme(&parts.headers, connection));
        if let Some(scheme) = to_overwrite {
            uri.scheme = Some(scheme.clone());
        }
        uri.path_and_query
            .get_or_insert(PathAndQuery::from_static("/"));
    }
    // Authority is there, and scheme and path are both or neither: no form that a URI cannot have.
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
}

/// What `x-forwarded-proto` says, if it is a scheme; else whether the connection is TLS.
fn scheme(headers: &HeaderMap, connection: &ConnectionInfo) -> Scheme {
    match headers.get(forwarded::PROTO).map(HeaderValue::as_bytes) {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"http") => Scheme::HTTP,
        Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => Scheme::HTTPS,
        _ if connection.tls.is_some() => Scheme::HTTPS,
        _ => Scheme::HTTP,
    }
}

pub(super) fn set_forwarded_proto(headers: &mut HeaderMap, connection: &ConnectionInfo) {
    headers
        .entry(forwarded::PROTO)
        .or_insert_with(|| proto(connection));
}

pub(super) fn proto(connection: &ConnectionInfo) -> HeaderValue {
    HeaderValue::from_static(if connection.tls.is_some() {
        "https"
    } else {
        "http"
    })
}

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
