//! Path and host rewrites (Envoy `RouteEntryImplBase::finalizePathHeader`, `finalizeHostHeader`).

use std::borrow::Cow;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, StatusCode, Uri,
    header::HOST,
    request,
    uri::{Authority, PathAndQuery},
};

use super::FormatContext;
use crate::{
    head::RequestHead,
    local_reply::LocalReply,
    model::{Forward, HostRewrite, PathMatcher, PathRewrite},
};

pub(super) const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The path with query after a rewrite; None: it stays as it is. `matcher`: what matched the path. `cx` is read by
/// `path_rewrite` only.
pub(super) fn rewritten_path(
    rewrite: &PathRewrite,
    matcher: &PathMatcher,
    path: &str,
    cx: Option<&FormatContext<'_>>,
) -> Option<String> {
    let path_only = path.split(['?', '#']).next().unwrap_or_default();
    let whole = path_only.len();
    let (replaced, replacement) = match rewrite {
        PathRewrite::Prefix(prefix) => {
            let length = matched_length(matcher, path, path_only)?;
            (length, Cow::Borrowed(&**prefix))
        }
        PathRewrite::Full(path) => (whole, Cow::Borrowed(&**path)),
        PathRewrite::Regex {
            pattern,
            substitution,
        } => (
            whole,
            Cow::Owned(pattern.replace_all(path_only, substitution)),
        ),
        PathRewrite::Format(format) => {
            let value = format.evaluate(cx?)?;
            (whole, Cow::Owned(value.to_str().ok()?.to_owned()))
        }
    };
    let rest = path.get(replaced..)?;
    (!replacement.is_empty()).then(|| [&*replacement, rest].concat())
}

/// How much of the path `prefix_rewrite` replaces: the matched part. None: the path does not begin with it (it matched
/// without its parameters, or by a template), and stays.
fn matched_length(matcher: &PathMatcher, path: &str, path_only: &str) -> Option<usize> {
    let start = match matcher {
        PathMatcher::Prefix(start)
        | PathMatcher::Path(start)
        | PathMatcher::PathSeparatedPrefix(start) => &**start,
        PathMatcher::Template(template) => template.as_str(),
        PathMatcher::Regex(_) | PathMatcher::Connect => return Some(path_only.len()),
    };
    let begins = path.as_bytes().get(..start.len())?;
    begins
        .eq_ignore_ascii_case(start.as_bytes())
        .then_some(start.len())
}

/// Rewrites host, then path, as the route says. `auto_host_rewrite` comes later, when an endpoint is known.
pub(super) fn apply(
    forward: &Forward,
    matcher: &PathMatcher,
    parts: &mut request::Parts,
    cx: &FormatContext<'_>,
    suppress_envoy_headers: bool,
) -> Result<(), Box<LocalReply>> {
    if let Some(host) = new_host(forward, parts, cx).filter(|host| !host.is_empty()) {
        keep_host(
            parts,
            forward.append_x_forwarded_host,
            suppress_envoy_headers,
        );
        set_host(parts, host)?;
    }
    let Some(rewrite) = &forward.path_rewrite else {
        return Ok(());
    };
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let cx = cx.of_request(parts);
    match rewritten_path(rewrite, matcher, path, Some(&cx)) {
        Some(new) => set_path(parts, new, suppress_envoy_headers),
        None => Ok(()),
    }
}

fn new_host(
    forward: &Forward,
    parts: &request::Parts,
    cx: &FormatContext<'_>,
) -> Option<HeaderValue> {
    match forward.host_rewrite.as_ref()? {
        HostRewrite::Literal(host) => Some(host.clone()),
        HostRewrite::Header(name) => {
            HeaderValue::from_bytes(RequestHead::of(parts).value(name)?).ok()
        }
        HostRewrite::PathRegex {
            pattern,
            substitution,
        } => {
            let path = RequestHead::of(parts).path_without_query();
            HeaderValue::try_from(pattern.replace_all(path, substitution)).ok()
        }
        HostRewrite::Format(format) => format.evaluate(&cx.of_request(parts)),
        HostRewrite::Auto => None,
    }
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
    keep_host(parts, append_x_forwarded_host, suppress_envoy_headers);
    set_authority(parts, host)
}

/// Says what the host was, before it is rewritten.
fn keep_host(
    parts: &mut request::Parts,
    append_x_forwarded_host: bool,
    suppress_envoy_headers: bool,
) {
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
}

/// Replaces the host. One that no URI can hold goes to the `host` header, which HTTP/1.1 sends as it is.
pub(super) fn set_host(
    parts: &mut request::Parts,
    host: HeaderValue,
) -> Result<(), Box<LocalReply>> {
    match Authority::try_from(host.as_bytes()) {
        Ok(authority) => {
            parts.headers.remove(HOST);
            set_authority(parts, authority)
        }
        Err(_) => {
            parts.headers.insert(HOST, host);
            Ok(())
        }
    }
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
fn set_authority(parts: &mut request::Parts, host: Authority) -> Result<(), Box<LocalReply>> {
    replace_uri(parts, |uri| uri.authority = Some(host))
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
