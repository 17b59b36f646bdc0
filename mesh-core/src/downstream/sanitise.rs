//! What belongs to the connection and what a peer must not say is taken out of a request's head.

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{CONNECTION, EXPECT, REFERER, TE, TRANSFER_ENCODING, UPGRADE},
    request,
};

use super::request::bad_request;
use crate::{local_reply::LocalReply, model::ConnectionManagerConfig};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");

/// Removes what belongs to the connection, and what a peer must not say.
pub(super) fn sanitise(
    manager: &ConnectionManagerConfig,
    parts: &mut request::Parts,
    upgrade: bool,
) {
    let headers = &mut parts.headers;
    if !upgrade {
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
    if headers.contains_key(REFERER) {
        let mut values = headers.get_all(REFERER).iter();
        let valid = values.next().is_some_and(is_referer) && values.next().is_none();
        if !valid {
            headers.remove(REFERER);
        }
    }
}

/// Whether `connection` calls the host its own: then there is none.
pub(super) fn nominates_host(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|line| {
        let mut tokens = line.as_bytes().split(|byte| *byte == b',');
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"host"))
    })
}

/// How many headers `connection` may name.
const NOMINATIONS: usize = 10;

/// Removes the headers that `connection` names as its own. Those that tell of the client cannot be made to vanish
/// (Envoy `Utility::sanitizeConnectionHeader`).
pub(super) fn remove_nominated(headers: &mut HeaderMap) -> Result<(), Box<LocalReply>> {
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

/// An absolute http(s) URI without user information and fragment, or a relative reference (Envoy `Utility::isValidRefererValue`).
fn is_referer(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else {
        return false;
    };
    let (first, _) = text.split_once('/').unwrap_or((text, ""));
    if !first.contains(':') {
        return text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?".contains(&b));
    }
    let web = text.starts_with("http://") || text.starts_with("https://");
    let plain = |uri: Uri| uri.authority().is_some_and(|a| !a.as_str().contains('@'));
    web && !text.contains('#') && text.parse().is_ok_and(plain)
}
