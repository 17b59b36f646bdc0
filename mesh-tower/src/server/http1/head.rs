//! A request's head out of bytes: as lenient and as strict as Envoy's codec (`http1/codec_impl.cc` over Balsa).

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING},
    request, uri,
};
use mesh_core::{downstream::CodecError, model::UnderscoresAction};

use super::{Http1Options, decode::Decoder};

/// A head, and what the codec keeps of it.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) parts: request::Parts,
    pub(super) decoder: Decoder,
    /// The request wants the connection to end with it.
    pub(super) closes: bool,
    /// `expect: 100-continue`.
    pub(super) expects: bool,
}

/// Where a head ends (behind its empty line). `from`: how much was looked at before; it is moved on.
pub(super) fn end_of_head(bytes: &[u8], from: &mut usize) -> Option<usize> {
    let mut at = *from;
    while let Some(newline) = bytes[at..].iter().position(|b| *b == b'\n') {
        let next = at + newline + 1;
        match bytes.get(next) {
            Some(b'\n') => return Some(next + 1),
            Some(b'\r') if bytes.get(next + 1) == Some(&b'\n') => return Some(next + 2),
            Some(b'\r') if bytes.len() > next + 1 => at = next,
            Some(b'\r') | None => {
                // Looked at again with more bytes.
                *from = next - 1;
                return None;
            }
            Some(_) => at = next,
        }
    }
    *from = bytes.len();
    None
}

/// Why a head is none.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: CodecError,
    /// In which version it is answered.
    pub(super) version: Version,
}

impl From<CodecError> for Refusal {
    fn from(error: CodecError) -> Self {
        Self {
            error,
            version: Version::HTTP_11,
        }
    }
}

/// Reads a whole head.
pub(super) fn parse(bytes: &Bytes, options: &Http1Options) -> Result<Head, Refusal> {
    let mut lines = Lines { bytes, at: 0 };
    let line = lines.next().unwrap_or_default();
    let (method, target, version) = request_line(&bytes[line.0..line.1])?;
    let uri = match uri(bytes, &method, target) {
        Err(error) if error == CodecError::BAD_PATH => Err(error),
        Err(error) if target == b"*" => {
            let version = version.unwrap_or(Version::HTTP_10);
            return Err(Refusal { error, version });
        }
        Err(error) => return Err(error.into()),
        Ok(uri) => Ok(uri),
    };
    // Without a version nothing but the first line is looked at.
    let is_simple = version.is_none();
    let version = version.unwrap_or(Version::HTTP_10);
    let mut headers = HeaderMap::with_capacity(if is_simple { 0 } else { 16 });
    let mut size = 0;
    for (start, end) in lines.take_while(|(start, end)| start != end && !is_simple) {
        let (name, value) = header_line(bytes, start, end)?;
        size += name.as_str().len() + value.len();
        if size > options.max_head || headers.len() >= options.max_headers {
            return Err(CodecError::HEAD_TOO_LARGE.into());
        }
        match options.underscores {
            UnderscoresAction::DropHeader if name.as_str().contains('_') => continue,
            UnderscoresAction::RejectRequest if name.as_str().contains('_') => {
                return Err(CodecError::bad_request("http1.unexpected_underscore").into());
            }
            _ => {}
        }
        // A map has an end of its own, beyond which it would panic.
        if headers.try_append(name, value).is_err() {
            return Err(CodecError::HEAD_TOO_LARGE.into());
        }
    }
    let refused = |error| Refusal { error, version };
    let decoder = framing(&headers, &method).map_err(|error| match error {
        CodecError::NOT_IMPLEMENTED => refused(error),
        error => error.into(),
    })?;
    let mut parts = http::Request::new(()).into_parts().0;
    match uri {
        Ok(uri) => parts.uri = uri,
        // Known for what it is to everybody who answers.
        Err(error) => drop(parts.extensions.insert(error)),
    }
    let expects = expects(&headers);
    if expects && !has_valid_host(&headers) {
        return Err(refused(CodecError::bad_request("http.invalid_authority")));
    }
    let closes = is_simple || closes(&headers, version);
    parts.method = method;
    parts.version = version;
    parts.headers = headers;
    Ok(Head {
        parts,
        decoder,
        closes,
        expects,
    })
}

/// Start and end of each line, without its end.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let start = self.at;
        let length = self.bytes.get(start..)?.iter().position(|b| *b == b'\n')?;
        self.at = start + length + 1;
        let end = start + length;
        let has_return = length > 0 && self.bytes[end - 1] == b'\r';
        Some((start, if has_return { end - 1 } else { end }))
    }
}

/// The methods that Envoy's codec knows.
const METHODS: &[&[u8]] = &[
    b"GET",
    b"POST",
    b"PUT",
    b"HEAD",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"ACL",
    b"BIND",
    b"CHECKOUT",
    b"COPY",
    b"LINK",
    b"LOCK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MOVE",
    b"MSEARCH",
    b"NOTIFY",
    b"PROPFIND",
    b"PROPPATCH",
    b"PURGE",
    b"QUERY",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"SOURCE",
    b"SUBSCRIBE",
    b"UNBIND",
    b"UNLINK",
    b"UNLOCK",
    b"UNSUBSCRIBE",
];

/// Method, target and version; None: there is no version, as in HTTP/0.9.
fn request_line(line: &[u8]) -> Result<(Method, &[u8], Option<Version>), CodecError> {
    const BAD: CodecError = CodecError::bad_request("http1.codec_error");
    let mut words = line.splitn(3, |b| *b == b' ');
    let method = words.next().unwrap_or_default();
    if !METHODS.contains(&method) {
        return Err(BAD);
    }
    let method = Method::from_bytes(method).map_err(|_| BAD)?;
    let target = words.next().filter(|t| !t.is_empty()).ok_or(BAD)?;
    let version = match words.next().unwrap_or_default().trim_ascii() {
        b"HTTP/1.1" => Some(Version::HTTP_11),
        b"" => None,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            // Whatever is not 1.1 is older.
            Some(Version::HTTP_10)
        }
        _ => return Err(BAD),
    };
    Ok((method, target, version))
}

fn uri(bytes: &Bytes, method: &Method, target: &[u8]) -> Result<Uri, CodecError> {
    const BAD: CodecError = CodecError::bad_request("http1.codec_error");
    if !target.is_ascii() {
        return Err(BAD);
    }
    if target.contains(&b'#') {
        return Err(CodecError::BAD_PATH);
    }
    if *method == Method::CONNECT {
        let authority =
            uri::Authority::from_maybe_shared(bytes.slice_ref(target)).map_err(|_| BAD)?;
        if authority.port_u16().is_none() {
            return Err(BAD);
        }
        let mut parts = uri::Parts::default();
        parts.authority = Some(authority);
        return Uri::from_parts(parts).map_err(|_| BAD);
    }
    let uri = Uri::from_maybe_shared(bytes.slice_ref(target)).map_err(|_| BAD)?;
    match uri.scheme_str() {
        None if target == b"*" && *method != Method::OPTIONS => Err(BAD),
        None if uri.authority().is_some() => Err(BAD),
        None | Some("http" | "https") => Ok(uri),
        Some(_) => Err(BAD),
    }
}

fn header_line(
    bytes: &Bytes,
    start: usize,
    end: usize,
) -> Result<(HeaderName, HeaderValue), CodecError> {
    const BAD: CodecError = CodecError::bad_request("http1.codec_error");
    let line = &bytes[start..end];
    let colon = line.iter().position(|b| *b == b':').ok_or(BAD)?;
    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| BAD)?;
    let value = line[colon + 1..].trim_ascii();
    if value.contains(&b'\r') {
        let kept: Vec<u8> = value.iter().copied().filter(|b| *b != b'\r').collect();
        return Ok((name, HeaderValue::from_bytes(&kept).map_err(|_| BAD)?));
    }
    let value = HeaderValue::from_maybe_shared(bytes.slice_ref(value))
        .map_err(|_| CodecError::bad_request("http1.invalid_characters"))?;
    Ok((name, value))
}

/// How the body is told (RFC 9112, 6.3); both ways at once, or anything unclear, is refused.
fn framing(headers: &HeaderMap, method: &Method) -> Result<Decoder, CodecError> {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(encoding) = encodings.next() {
        let chunked = encoding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(CodecError::bad_request("http1.content_length_and_chunked"));
        }
        if !chunked || encodings.next().is_some() {
            return Err(CodecError::NOT_IMPLEMENTED);
        }
        if *method == Method::CONNECT {
            return Err(CodecError::bad_request("http1.body_disallowed"));
        }
        return Ok(Decoder::chunked());
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(Decoder::none());
    };
    const BAD: CodecError = CodecError::bad_request("http1.codec_error");
    let digits = length.as_bytes();
    if lengths.next().is_some() || digits.is_empty() || digits.len() > 18 {
        return Err(BAD);
    }
    let number = digits.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Some(number * 10 + u64::from(digit - b'0')),
        _ => None,
    });
    let number = number.ok_or(BAD)?;
    if *method == Method::CONNECT && number > 0 {
        return Err(CodecError::bad_request("http1.body_disallowed"));
    }
    Ok(Decoder::length(number))
}

fn closes(headers: &HeaderMap, version: Version) -> bool {
    let says = |word: &[u8]| {
        headers.get_all(CONNECTION).iter().any(|line| {
            line.as_bytes()
                .split(|byte| *byte == b',')
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(word))
        })
    };
    match version {
        Version::HTTP_11 => headers.contains_key(CONNECTION) && says(b"close"),
        _ => !says(b"keep-alive") || says(b"close"),
    }
}

fn expects(headers: &HeaderMap) -> bool {
    let mut expect = headers.get_all(EXPECT).iter();
    let first = expect.next().map(HeaderValue::as_bytes);
    let says = first.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    says && expect.next().is_none()
}

fn has_valid_host(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    host.is_none_or(|host| host.is_empty() || uri::Authority::try_from(host).is_ok())
}
