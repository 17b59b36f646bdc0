//! A response's head and frames as bytes (Envoy `StreamEncoderImpl::encodeHeadersBase`).

use bytes::{BufMut, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH},
};

/// How a response's body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoder {
    /// As it is: its length was said, or the connection ends with it.
    Plain,
    Chunked,
    /// Not at all: HEAD, 204, 304.
    Nothing,
}

/// What the encoder must know of the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) version: Version,
    pub(super) is_head: bool,
    pub(super) is_connect: bool,
    /// It wants to switch protocols.
    pub(super) upgrades: bool,
    /// HTTP/1.0 is accepted; otherwise its refusal says HTTP/1.1.
    pub(super) accepts_http_10: bool,
}

impl Asked {
    fn is_http_10(self) -> bool {
        self.version < Version::HTTP_11 && self.accepts_http_10
    }
}

/// Writes a head. `ends`: no body follows. `closes`: the connection ends after the response; returned true also if
/// only its end can tell that of the body.
pub(super) fn head(
    out: &mut BytesMut,
    asked: Asked,
    status: StatusCode,
    headers: &HeaderMap,
    ends: bool,
    mut closes: bool,
) -> (Encoder, bool) {
    let http_10 = asked.is_http_10();
    let switches = asked.upgrades && status == StatusCode::SWITCHING_PROTOCOLS;
    closes &= !switches;
    status_line(out, http_10, status);
    for (name, value) in headers {
        if *name != CONNECTION || !closes {
            field(out, name.as_str().as_bytes(), value);
        }
    }
    let bodiless = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    let is_tunnel = asked.is_connect && status.is_success();
    let mut encoder = Encoder::Plain;
    if bodiless || is_tunnel {
        encoder = Encoder::Nothing;
    } else if !headers.contains_key(CONTENT_LENGTH) {
        if ends && !asked.is_head {
            out.put_slice(b"content-length: 0\r\n");
        } else if http_10 {
            closes |= !asked.is_head;
        } else {
            out.put_slice(b"transfer-encoding: chunked\r\n");
            encoder = Encoder::Chunked;
        }
    }
    if asked.is_head {
        encoder = Encoder::Nothing;
    }
    if closes && !is_tunnel && !switches {
        field(out, b"connection", &HeaderValue::from_static("close"));
    } else if http_10 && !closes && !switches {
        field(out, b"connection", &HeaderValue::from_static("keep-alive"));
    }
    out.put_slice(b"\r\n");
    (encoder, closes)
}

/// `100 Continue`.
pub(super) fn continues(out: &mut BytesMut, asked: Asked) {
    status_line(out, asked.is_http_10(), StatusCode::CONTINUE);
    out.put_slice(b"\r\n");
}

/// An informational head.
pub(super) fn informational(
    out: &mut BytesMut,
    asked: Asked,
    status: StatusCode,
    headers: &HeaderMap,
) {
    status_line(out, asked.is_http_10(), status);
    for (name, value) in headers {
        field(out, name.as_str().as_bytes(), value);
    }
    out.put_slice(b"\r\n");
}

fn status_line(out: &mut BytesMut, http_10: bool, status: StatusCode) {
    out.reserve(1024);
    out.put_slice(if http_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(reason(status).as_bytes());
    out.put_slice(b"\r\n");
}

/// Envoy's words, where they are not those of everybody (`CodeUtility::toString`).
fn reason(status: StatusCode) -> &'static str {
    match status.as_u16() {
        102 | 103 | 418 => "Unknown",
        _ => status.canonical_reason().unwrap_or("Unknown"),
    }
}

fn field(out: &mut BytesMut, name: &[u8], value: &HeaderValue) {
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_slice(b"\r\n");
}

impl Encoder {
    /// Writes a body's data.
    pub(super) fn data(self, out: &mut BytesMut, data: &Bytes) {
        match self {
            Self::Nothing => {}
            _ if data.is_empty() => {}
            Self::Plain => out.put_slice(data),
            Self::Chunked => {
                size(out, data.len());
                out.put_slice(data);
                out.put_slice(b"\r\n");
            }
        }
    }

    /// Writes what goes before data of this length; what goes behind it.
    pub(super) fn data_before(self, out: &mut BytesMut, length: usize) -> &'static [u8] {
        match self {
            Self::Chunked => {
                size(out, length);
                b"\r\n"
            }
            Self::Plain | Self::Nothing => b"",
        }
    }

    /// Writes the end; trailers only where chunks can carry them.
    pub(super) fn end(self, out: &mut BytesMut, trailers: Option<&HeaderMap>) {
        if self != Self::Chunked {
            return;
        }
        out.put_slice(b"0\r\n");
        for (name, value) in trailers.into_iter().flatten() {
            field(out, name.as_str().as_bytes(), value);
        }
        out.put_slice(b"\r\n");
    }
}

/// The line of a chunk's size.
fn size(out: &mut BytesMut, size: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.put_u8(HEX[size >> (4 * place) & 15]);
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(
        version: Version,
        is_head: bool,
        status: u16,
        headers: &[(&'static str, &'static str)],
        ends: bool,
        closes: bool,
    ) -> (String, Encoder, bool) {
        let asked = Asked {
            version,
            is_head,
            is_connect: false,
            upgrades: false,
            accepts_http_10: true,
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let mut out = BytesMut::new();
        let status = StatusCode::from_u16(status).unwrap();
        let (encoder, closes) = head(&mut out, asked, status, &map, ends, closes);
        let text = String::from_utf8(out.to_vec()).unwrap();
        (text.replace("\r\n", "|"), encoder, closes)
    }

    #[test]
    fn heads_tell_the_length_as_envoys_do() {
        let (v10, v11) = (Version::HTTP_10, Version::HTTP_11);
        let one = &[("a", "b"), ("a", "c")][..];
        let length = &[("content-length", "3")][..];
        for (version, is_head, status, headers, ends, closes, expected) in [
            (
                v11,
                false,
                200,
                one,
                true,
                false,
                (
                    "HTTP/1.1 200 OK|a: b|a: c|content-length: 0||",
                    Encoder::Plain,
                    false,
                ),
            ),
            (
                v11,
                false,
                200,
                &[][..],
                false,
                true,
                (
                    "HTTP/1.1 200 OK|transfer-encoding: chunked|connection: close||",
                    Encoder::Chunked,
                    true,
                ),
            ),
            (
                v11,
                false,
                418,
                length,
                false,
                false,
                (
                    "HTTP/1.1 418 Unknown|content-length: 3||",
                    Encoder::Plain,
                    false,
                ),
            ),
            (
                v11,
                true,
                200,
                length,
                true,
                false,
                (
                    "HTTP/1.1 200 OK|content-length: 3||",
                    Encoder::Nothing,
                    false,
                ),
            ),
            (
                v11,
                false,
                204,
                &[],
                true,
                false,
                ("HTTP/1.1 204 No Content||", Encoder::Nothing, false),
            ),
            (
                v10,
                false,
                200,
                &[],
                false,
                false,
                ("HTTP/1.0 200 OK|connection: close||", Encoder::Plain, true),
            ),
            (
                v10,
                false,
                200,
                length,
                false,
                false,
                (
                    "HTTP/1.0 200 OK|content-length: 3|connection: keep-alive||",
                    Encoder::Plain,
                    false,
                ),
            ),
        ] {
            let (got, encoder, closed) = text(version, is_head, status, headers, ends, closes);
            assert_eq!((got.as_str(), encoder, closed), expected);
        }
    }

    #[test]
    fn chunks_have_hexadecimal_sizes_and_trailers() {
        let mut out = BytesMut::new();
        Encoder::Chunked.data(&mut out, &Bytes::from(vec![b'x'; 26]));
        assert!(out.starts_with(b"1a\r\nxx") && out.ends_with(b"xx\r\n"));
        let mut out = BytesMut::new();
        let mut trailers = HeaderMap::new();
        trailers.insert("t", HeaderValue::from_static("1"));
        Encoder::Chunked.end(&mut out, Some(&trailers));
        assert_eq!(&out[..], b"0\r\nt: 1\r\n\r\n");
    }
}
