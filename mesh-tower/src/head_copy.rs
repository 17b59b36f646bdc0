//! One flat copy of a request's head, kept for retries: one allocation, decoded only when a retry happens.

use bytes::Bytes;
use http::{
    Extensions, HeaderName, HeaderValue, Method, Request, Uri, Version, request,
    uri::{Authority, PathAndQuery, Scheme},
};

/// A request's head as bytes. Extensions are cloned beside it; a request without any pays nothing for them.
#[derive(Debug)]
pub(crate) struct HeadCopy {
    /// Turned into `Bytes` only when it is decoded: that would allocate where capacity is left.
    flat: Vec<u8>,
    version: Version,
    extensions: Extensions,
}

/// Marks a piece that is not there.
const ABSENT: u32 = u32::MAX;
/// Set in the length of a value that must not be logged.
const SENSITIVE: u32 = 1 << 31;

impl HeadCopy {
    pub(crate) fn of(parts: &request::Parts) -> Self {
        let pieces = [
            Some(parts.method.as_str()),
            parts.uri.scheme_str(),
            parts.uri.authority().map(Authority::as_str),
            parts.uri.path_and_query().map(PathAndQuery::as_str),
        ];
        let mut flat = Vec::with_capacity(room_for(parts));
        for piece in pieces {
            match piece {
                Some(text) => put(&mut flat, text.as_bytes(), 0),
                None => flat.extend_from_slice(&ABSENT.to_le_bytes()),
            }
        }
        for (name, value) in &parts.headers {
            put(&mut flat, name.as_str().as_bytes(), 0);
            let mark = if value.is_sensitive() { SENSITIVE } else { 0 };
            put(&mut flat, value.as_bytes(), mark);
        }
        Self {
            flat,
            version: parts.version,
            extensions: parts.extensions.clone(),
        }
    }

    /// The head again. None cannot happen for a head that was valid; it means that no retry is made.
    pub(crate) fn decode(&self) -> Option<request::Parts> {
        let mut flat = Bytes::copy_from_slice(&self.flat);
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = Method::from_bytes(&take(&mut flat)??.0).ok()?;
        let mut uri = http::uri::Parts::default();
        if let Some((scheme, _)) = take(&mut flat)? {
            uri.scheme = Some(Scheme::try_from(&*scheme).ok()?);
        }
        if let Some((authority, _)) = take(&mut flat)? {
            uri.authority = Some(Authority::from_maybe_shared(authority).ok()?);
        }
        if let Some((path, _)) = take(&mut flat)? {
            uri.path_and_query = Some(PathAndQuery::from_maybe_shared(path).ok()?);
        }
        parts.uri = Uri::from_parts(uri).ok()?;
        parts.version = self.version;
        while !flat.is_empty() {
            let name = HeaderName::from_bytes(&take(&mut flat)??.0).ok()?;
            let (value, sensitive) = take(&mut flat)??;
            let mut value = HeaderValue::from_maybe_shared(value).ok()?;
            value.set_sensitive(sensitive);
            parts.headers.append(name, value);
        }
        parts.extensions = self.extensions.clone();
        Some(parts)
    }
}

/// Enough for nearly every head, so that one pass and one allocation do; what is longer grows.
fn room_for(parts: &request::Parts) -> usize {
    let uri = parts.uri.authority().map_or(0, |a| a.as_str().len())
        + parts.uri.path_and_query().map_or(0, |p| p.as_str().len());
    let values: usize = parts.headers.values().map(http::HeaderValue::len).sum();
    48 + uri + values + parts.headers.len() * 48
}

fn put(flat: &mut Vec<u8>, piece: &[u8], mark: u32) {
    // A head beyond 2 GiB is not one; cut short it fails to decode, and is not retried.
    let length = u32::try_from(piece.len()).unwrap_or(SENSITIVE - 1);
    flat.extend_from_slice(&(length | mark).to_le_bytes());
    flat.extend_from_slice(piece);
}

/// The next piece and its mark; inner None: absent; outer None: broken.
fn take(flat: &mut Bytes) -> Option<Option<(Bytes, bool)>> {
    let length = u32::from_le_bytes(*flat.first_chunk::<4>()?);
    let _ = flat.split_to(4);
    if length == ABSENT {
        return Some(None);
    }
    let size = (length & !SENSITIVE) as usize;
    if size > flat.len() {
        return None;
    }
    Some(Some((flat.split_to(size), length & SENSITIVE != 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_what_went_in() {
        for uri in [
            "http://reviews:9080/reviews/0?x=1",
            "/only/a/path",
            "reviews:9080",
            "*",
        ] {
            let mut secret = HeaderValue::from_static("token");
            secret.set_sensitive(true);
            let (parts, ()) = Request::builder()
                .method("PURGE")
                .uri(uri)
                .version(Version::HTTP_2)
                .header("x-a", "1")
                .header("x-b", HeaderValue::from_bytes(b"\xff").expect("a value"))
                .header("x-a", "2")
                .header("x-empty", "")
                .header("authorization", secret)
                .extension(7u8)
                .body(())
                .expect("a request")
                .into_parts();
            let back = HeadCopy::of(&parts).decode().expect("decodes");
            assert_eq!(back.method, parts.method);
            assert_eq!(back.uri, parts.uri);
            assert_eq!(back.version, parts.version);
            assert_eq!(back.headers, parts.headers);
            assert!(back.headers["authorization"].is_sensitive());
            assert!(!back.headers["x-empty"].is_sensitive());
            assert_eq!(back.extensions.get::<u8>(), Some(&7));
        }
    }
}
