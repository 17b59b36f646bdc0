//! Requests for another protocol on their connection.

use http::{
    Version,
    header::{CONNECTION, UPGRADE},
    request,
};

/// The protocol that an HTTP/1.1 request asks for, in lower case: `upgrade`, and `connection` naming it.
pub(super) fn asked_for(parts: &request::Parts) -> Option<Box<str>> {
    if parts.version != Version::HTTP_11 {
        return None;
    }
    let kind = parts.headers.get(UPGRADE)?.to_str().ok()?;
    let named = parts.headers.get_all(CONNECTION).iter().any(|line| {
        line.as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    (named && !kind.is_empty()).then(|| kind.to_ascii_lowercase().into())
}
