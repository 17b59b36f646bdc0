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
    /// Always as long as its memory, so that writing is a copy and nothing else.
    flat: Box<[u8]>,
    /// How much of it is the head.
    used: u32,
    version: Version,
    extensions: Extensions,
}

/// Marks a piece that is not there.
const ABSENT: u64 = u64::MAX;
/// Set in the length of a value that must not be logged.
const SENSITIVE: u64 = 1 << 63;

/// Enough for most heads.
const FIRST_SIZE: usize = 1024;

/// How many are kept per thread for reuse.
const KEPT: usize = 64;
/// A larger one is given back to the allocator.
const KEPT_SIZE: usize = 16 * 1024;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

impl HeadCopy {
    pub(crate) fn of(parts: &request::Parts) -> Self {
        let mut flat = POOL.with_borrow_mut(Vec::pop).unwrap_or_default();
        let used = loop {
            if let Some(used) = write(parts, &mut flat) {
                break used;
            }
            flat = vec![0; (flat.len() * 2).max(FIRST_SIZE)].into();
        };
        Self {
            flat,
            // A head beyond 4 GiB is not one: cut short it fails to decode, and is not retried.
            used: u32::try_from(used).unwrap_or(0),
            version: parts.version,
            extensions: parts.extensions.clone(),
        }
    }

    /// The head again. None cannot happen for a head that was valid; it means that no retry is made.
    pub(crate) fn decode(&self) -> Option<request::Parts> {
        let mut flat = Bytes::copy_from_slice(self.flat.get(..self.used as usize)?);
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
        let flat = std::mem::take(&mut self.flat);
        if flat.len() > KEPT_SIZE {
            return;
        }
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

/// Writes a head; None: there is not enough room.
fn write(parts: &request::Parts, flat: &mut [u8]) -> Option<usize> {
    let pieces = [
        Some(parts.method.as_str()),
        parts.uri.scheme_str(),
        parts.uri.authority().map(Authority::as_str),
        parts.uri.path_and_query().map(PathAndQuery::as_str),
    ];
    let mut at = 0;
    for piece in pieces {
        let length = piece.map_or(ABSENT, |text| text.len() as u64);
        at = put(flat, at, &length.to_le_bytes())?;
        at = put(flat, at, piece.unwrap_or_default().as_bytes())?;
    }
    for (name, value) in &parts.headers {
        let mark = if value.is_sensitive() { SENSITIVE } else { 0 };
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        let (lengths, rest) = flat.get_mut(at..)?.split_first_chunk_mut::<16>()?;
        let lengths_are =
            u128::from(name.len() as u64) | u128::from(value.len() as u64 | mark) << u64::BITS;
        *lengths = lengths_are.to_le_bytes();
        let (for_name, rest) = rest.split_at_mut_checked(name.len())?;
        for_name.copy_from_slice(name);
        rest.get_mut(..value.len())?.copy_from_slice(value);
        at += 16 + name.len() + value.len();
    }
    Some(at)
}

/// Writes bytes; returns where they end.
#[inline]
fn put(flat: &mut [u8], at: usize, bytes: &[u8]) -> Option<usize> {
    let room = flat.get_mut(at..)?.get_mut(..bytes.len())?;
    room.copy_from_slice(bytes);
    Some(at + bytes.len())
}

/// The next number; None: broken.
fn number(flat: &mut Bytes) -> Option<u64> {
    let number = u64::from_le_bytes(*flat.first_chunk::<8>()?);
    let _ = flat.split_to(8);
    Some(number)
}

/// The next piece of this length; None: broken.
fn take(flat: &mut Bytes, length: u64) -> Option<Bytes> {
    let length = usize::try_from(length).ok()?;
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
