//! Requests for another protocol on their connection.

use http::{
    Version,
    header::{CONNECTION, UPGRADE},
    request,
};

/// The protocol that a request asks for, in lower case: `upgrade`, and `connection` naming it. An HTTP/2 request has
/// these only if a server made them of an extended CONNECT.
pub(super) fn asked_for(parts: &request::Parts) -> Option<Box<str>> {
    if parts.version < Version::HTTP_10 {
        return None;
    }
    let kind = parts.headers.get(UPGRADE)?.to_str().ok()?;
    // HTTP/2 by upgrade is not spoken, and as good as not asked for.
    if kind.to_ascii_lowercase().contains("h2c") {
        return None;
    }
    let named = parts.headers.get_all(CONNECTION).iter().any(|line| {
        line.as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    (named && !kind.is_empty()).then(|| kind.to_ascii_lowercase().into())
}
