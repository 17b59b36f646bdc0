//! Path and host rewrites (Envoy `RouteEntryImplBase::finalizePathHeader`, `finalizeHostHeader`).

use std::borrow::Cow;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, StatusCode, Uri, request,
    uri::{Authority, PathAndQuery},
};

use crate::{
    local_reply::LocalReply,
    model::{Forward, HostRewrite, PathMatcher, PathRewrite},
};

const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The path with query after a rewrite; None: it stays as it is. `matcher`: what matched the path.
pub(super) fn rewritten_path(
    rewrite: &PathRewrite,
    matcher: &PathMatcher,
    path: &str,
) -> Option<String> {
    let path_only = path.split(['?', '#']).next().unwrap_or_default();
    let (replaced, replacement) = match rewrite {
        PathRewrite::Prefix(prefix) => {
            (matched_length(matcher, path_only), Cow::Borrowed(&**prefix))
        }
        PathRewrite::Full(path) => (path_only.len(), Cow::Borrowed(&**path)),
        PathRewrite::Regex {
            pattern,
            substitution,
        } => (
            path_only.len(),
            Cow::Owned(pattern.replace_all(path_only, substitution)),
        ),
    };
    let rest = path.get(replaced..)?;
    (!replacement.is_empty()).then(|| [&*replacement, rest].concat())
}

/// How much of the path the route's matcher covers: what `prefix_rewrite` replaces.
fn matched_length(matcher: &PathMatcher, path_only: &str) -> usize {
    match matcher {
        PathMatcher::Prefix(path)
        | PathMatcher::Path(path)
        | PathMatcher::PathSeparatedPrefix(path) => path.len(),
        PathMatcher::Regex(_) | PathMatcher::Connect => path_only.len(),
    }
}

/// Rewrites host, then path, as the route says. `auto_host_rewrite` comes later, when an endpoint is known.
pub(super) fn apply(
    forward: &Forward,
    matcher: &PathMatcher,
    parts: &mut request::Parts,
    suppress_envoy_headers: bool,
) -> Result<(), Box<LocalReply>> {
    let host = match &forward.host_rewrite {
        Some(HostRewrite::Literal(host)) => Some(host.clone()),
        Some(HostRewrite::Header(name)) => parts.headers.get(name).cloned(),
        Some(HostRewrite::Auto) | None => None,
    };
    if let Some(host) = host.filter(|host| !host.is_empty()) {
        rewrite_host(
            parts,
            parse_authority(&host)?,
            forward.append_x_forwarded_host,
            suppress_envoy_headers,
        )?;
    }
    let Some(rewrite) = &forward.path_rewrite else {
        return Ok(());
    };
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let Some(new) = rewritten_path(rewrite, matcher, path) else {
        return Ok(());
    };
    set_path(parts, new, suppress_envoy_headers)
}

/// Replaces the path with query; the old one goes to `x-envoy-original-path`.
pub(super) fn set_path(
    parts: &mut request::Parts,
    new: String,
    suppress_envoy_headers: bool,
) -> Result<(), Box<LocalReply>> {
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    if !suppress_envoy_headers && let Ok(old) = HeaderValue::from_str(path) {
        parts.headers.insert(ORIGINAL_PATH, old);
    }
    let new = PathAndQuery::from_maybe_shared(Bytes::from(new))
        .map_err(|_| invalid_rewrite("path_rewrite_invalid"))?;
    replace_uri(parts, |uri| uri.path_and_query = Some(new))
}

/// Rewrites the request's host (Envoy `Utility::updateAuthority`): `x-forwarded-host` on demand, the old host in
/// `x-envoy-original-host` unless suppressed. For `auto_host_rewrite` called with what [`auto_host`] returns.
///
/// # Errors
/// The request's URI cannot carry the host: a 400 reply.
pub fn rewrite_host(
    parts: &mut request::Parts,
    host: Authority,
    append_x_forwarded_host: bool,
    suppress_envoy_headers: bool,
) -> Result<(), Box<LocalReply>> {
    let old = parts.uri.authority().map_or("", Authority::as_str);
    if let Some(old) = HeaderValue::from_str(old)
        .ok()
        .filter(|old| !old.is_empty())
    {
        if append_x_forwarded_host {
            append_forwarded_host(parts, &old);
        }
        if !suppress_envoy_headers {
            parts.headers.insert(ORIGINAL_HOST, old);
        }
    }
    set_authority(parts, host)
}

/// Appends to the list in `x-forwarded-host`, unless the host is its last element already.
fn append_forwarded_host(parts: &mut request::Parts, host: &HeaderValue) {
    let list = parts
        .headers
        .get(FORWARDED_HOST)
        .filter(|list| !list.is_empty());
    let new = match list {
        None => Some(host.clone()),
        Some(list) => {
            let list = list.as_bytes();
            let last = list.rsplit(|b| *b == b',').next().unwrap_or_default();
            if last == host.as_bytes() {
                return;
            }
            HeaderValue::from_maybe_shared(Bytes::from([list, b",", host.as_bytes()].concat())).ok()
        }
    };
    if let Some(new) = new {
        parts.headers.insert(FORWARDED_HOST, new);
    }
}

/// Replaces the authority and nothing else.
pub(super) fn set_authority(
    parts: &mut request::Parts,
    host: Authority,
) -> Result<(), Box<LocalReply>> {
    replace_uri(parts, |uri| uri.authority = Some(host))
}

pub(super) fn parse_authority(host: &HeaderValue) -> Result<Authority, Box<LocalReply>> {
    Authority::try_from(host.as_bytes()).map_err(|_| invalid_rewrite("host_rewrite_invalid"))
}

fn replace_uri(
    parts: &mut request::Parts,
    change: impl FnOnce(&mut http::uri::Parts),
) -> Result<(), Box<LocalReply>> {
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    change(&mut uri);
    parts.uri = Uri::from_parts(uri).map_err(|_| invalid_rewrite("host_rewrite_invalid"))?;
    Ok(())
}

fn invalid_rewrite(details: &'static str) -> Box<LocalReply> {
    Box::new(LocalReply::failure(
        StatusCode::BAD_REQUEST,
        Bytes::new(),
        None,
        details,
    ))
}

/// `auto_host_rewrite`, when an endpoint is known: its hostname. None: it has none, and the host stays.
pub fn auto_host(hostname: &str) -> Option<Authority> {
    Authority::try_from(hostname).ok()
}
