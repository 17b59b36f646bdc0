//! How much a request's head may hold, and which names it may use (what Envoy's codecs check while they read).

use http::{HeaderMap, HeaderName, Version, request};

use super::{
    CodecError,
    request::{bad_request, refused},
};
use crate::{
    local_reply::LocalReply,
    model::{ConnectionManagerConfig, UnderscoresAction},
};

/// `:method`, `:scheme`, `:authority` and `:path`, which HTTP/2 counts among the headers.
const PSEUDO_HEADERS: usize = 4;

/// Checks size, number and names of the headers; drops those whose names have underscores, if it shall.
///
/// # Errors
/// 400 on HTTP/1, a reset on HTTP/2.
pub(super) fn check(
    manager: &ConnectionManagerConfig,
    parts: &mut request::Parts,
) -> Result<(), Box<LocalReply>> {
    let http2 = parts.version >= Version::HTTP_2;
    // HTTP/1's own codec has counted while it read.
    if http2 && is_too_large(manager, &parts.headers) {
        let error = CodecError::HEAD_TOO_LARGE;
        let mut reply = refused(error.status, error.body, error.details);
        reply.resets_stream = true;
        return Err(reply);
    }
    match manager.headers_with_underscores {
        UnderscoresAction::Allow => Ok(()),
        action => underscores(action, &mut parts.headers, http2),
    }
}

fn is_too_large(manager: &ConnectionManagerConfig, headers: &HeaderMap) -> bool {
    let lengths = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    let most = manager.max_request_headers_kb as usize * 1024;
    let count = headers.len() + PSEUDO_HEADERS;
    lengths.sum::<usize>() > most || count > manager.max_headers_count as usize
}

fn underscores(
    action: UnderscoresAction,
    headers: &mut HeaderMap,
    http2: bool,
) -> Result<(), Box<LocalReply>> {
    let has_one = |name: &&HeaderName| name.as_str().contains('_');
    if !headers.keys().any(|name| has_one(&name)) {
        return Ok(());
    }
    if action == UnderscoresAction::RejectRequest {
        let mut reply = bad_request("http1.unexpected_underscore");
        reply.resets_stream = http2;
        return Err(reply);
    }
    let names: Vec<HeaderName> = headers.keys().filter(has_one).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    Ok(())
}
