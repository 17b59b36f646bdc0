//! One flat copy of a request's head, kept for retries, decoded only when a retry happens. Its memory is reused by its
//! thread, so that it costs no allocation but for the first ones.

use std::cell::RefCell;

use bytes::Bytes;
use http::{
    Extensions, HeaderName, HeaderValue, Method, Request, Uri, Version, request,
    uri::{Authority, PathAndQuery, Scheme},
};

/// A request's head as bytes. Extensions are cloned beside it; a request without any pays nothing for them.
#[derive(Debug)]
pub(crate) struct HeadCopy {
    flat: Vec<u8>,
    version: Version,
    extensions: Extensions,
}

/// Marks a piece that is not there.
const ABSENT: u32 = u32::MAX;
/// Set in the length of a value that must not be logged.
const SENSITIVE: u32 = 1 << 31;

/// How many are kept per thread for reuse.
const KEPT: usize = 64;
/// A larger one is given back to the allocator.
const KEPT_SIZE: usize = 16 * 1024;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

impl HeadCopy {
    pub(crate) fn of(parts: &request::Parts) -> Self {
        let pieces = [
            Some(parts.method.as_str()),
            parts.uri.scheme_str(),
            parts.uri.authority().map(Authority::as_str),
            parts.uri.path_and_query().map(PathAndQuery::as_str),
        ];
        let mut flat = POOL.with_borrow_mut(Vec::pop).unwrap_or_default();
        for piece in pieces {
            match piece {
                Some(text) => {
                    flat.extend_from_slice(&length(text.as_bytes()).to_le_bytes());
                    flat.extend_from_slice(text.as_bytes());
                }
                None => flat.extend_from_slice(&ABSENT.to_le_bytes()),
            }
        }
        for (name, value) in &parts.headers {
            let mark = if value.is_sensitive() { SENSITIVE } else { 0 };
            let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
            let lengths = u64::from(length(name)) | u64::from(length(value) | mark) << 32;
            flat.reserve(8 + name.len() + value.len());
            flat.extend_from_slice(&lengths.to_le_bytes());
            flat.extend_from_slice(name);
            flat.extend_from_slice(value);
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
        parts.method = Method::from_bytes(&piece(&mut flat)??).ok()?;
        let mut uri = http::uri::Parts::default();
        if let Some(scheme) = piece(&mut flat)? {
            uri.scheme = Some(Scheme::try_from(&*scheme).ok()?);
        }
        if let Some(authority) = piece(&mut flat)? {
            uri.authority = Some(Authority::from_maybe_shared(authority).ok()?);
        }
        if let Some(path) = piece(&mut flat)? {
            uri.path_and_query = Some(PathAndQuery::from_maybe_shared(path).ok()?);
        }
        parts.uri = Uri::from_parts(uri).ok()?;
        parts.version = self.version;
        while !flat.is_empty() {
            let (name, mark) = (number(&mut flat)?, number(&mut flat)?);
            let name = HeaderName::from_bytes(&take(&mut flat, name)?).ok()?;
            let value = take(&mut flat, mark & !SENSITIVE)?;
            let mut value = HeaderValue::from_maybe_shared(value).ok()?;
            value.set_sensitive(mark & SENSITIVE != 0);
            parts.headers.append(name, value);
        }
        parts.extensions = self.extensions.clone();
        Some(parts)
    }
}

impl Drop for HeadCopy {
    fn drop(&mut self) {
        let mut flat = std::mem::take(&mut self.flat);
        if flat.capacity() > KEPT_SIZE {
            return;
        }
        flat.clear();
        // The thread may be ending: then it is dropped.
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut()
                && pool.len() < KEPT
            {
                pool.push(flat);
            }
        });
    }
}

/// A head beyond 2 GiB is not one; cut short it fails to decode, and is not retried.
fn length(piece: &[u8]) -> u32 {
    u32::try_from(piece.len())
        .unwrap_or(SENSITIVE)
        .min(SENSITIVE - 1)
}

/// The next number; None: broken.
fn number(flat: &mut Bytes) -> Option<u32> {
    let number = u32::from_le_bytes(*flat.first_chunk::<4>()?);
    let _ = flat.split_to(4);
    Some(number)
}

/// The next piece of this length; None: broken.
fn take(flat: &mut Bytes, length: u32) -> Option<Bytes> {
    let length = length as usize;
    (length <= flat.len()).then(|| flat.split_to(length))
}

/// The next piece with its length before it; inner None: absent; outer None: broken.
fn piece(flat: &mut Bytes) -> Option<Option<Bytes>> {
    match number(flat)? {
        ABSENT => Some(None),
        length => Some(Some(take(flat, length)?)),
    }
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
