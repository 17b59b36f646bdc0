//! `%PATH(X:Y)%`, `%QUERY_PARAM(X)%`, `%QUERY_PARAMS(X)%`.

use std::borrow::Cow;

use super::{super::sink::Sink, FormatContext, Written};

/// `PATH(X:Y)`.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct PathForm {
    with_query: bool,
    /// Of `x-envoy-original-path`, if it is there.
    original: Original,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Original {
    Never,
    Only,
    First,
}

impl PathForm {
    pub(super) fn parse(argument: &str) -> Result<Self, String> {
        let (query, original) = argument.split_once(':').unwrap_or((argument, ""));
        let with_query = match query {
            "" | "WQ" => true,
            "NQ" => false,
            other => {
                return Err(format!(
                    "Invalid PATH option: '{other}', only 'WQ'/'NQ' are allowed"
                ));
            }
        };
        let original = match original {
            "ORIG" => Original::Only,
            "PATH" => Original::Never,
            "" | "ORIG_OR_PATH" => Original::First,
            other => {
                return Err(format!(
                    "Invalid PATH option: '{other}', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed"
                ));
            }
        };
        Ok(Self {
            with_query,
            original,
        })
    }

    pub(super) fn of<'a>(self, cx: &FormatContext<'a>) -> Option<&'a str> {
        let original = cx
            .head
            .headers
            .get("x-envoy-original-path")
            .and_then(|path| path.to_str().ok());
        let own = Some(cx.head.path).filter(|path| !path.is_empty());
        let path = match self.original {
            Original::Never => own,
            Original::Only => original,
            Original::First => original.or(own),
        };
        match self.with_query {
            true => path,
            false => path?.split('?').next(),
        }
    }
}

/// `QUERY_PARAMS(X)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum QueryForm {
    /// `ORIG`, the default.
    Original,
    /// `DECODED`: percent-decoded.
    Decoded,
}

impl QueryForm {
    pub(super) fn parse(argument: &str) -> Result<Self, String> {
        match argument {
            "" | "ORIG" => Ok(Self::Original),
            "DECODED" => Ok(Self::Decoded),
            other => Err(format!(
                "Invalid QUERY_PARAMS option: '{other}', only 'ORIG'/'DECODED' are allowed"
            )),
        }
    }

    pub(super) fn write(self, path: &str, sink: &mut impl Sink) -> Written {
        let Some((_, query)) = path.split_once('?') else {
            return Written::Missing;
        };
        match self {
            Self::Original => sink.bytes(query.as_bytes()),
            Self::Decoded => sink.bytes(&decoded_query(query)),
        }
        Written::Text
    }
}

/// With `%XX` as the byte that it stands for; what stands for none remains (Envoy `PercentEncoding::decode`).
fn decoded(text: &str) -> Cow<'_, [u8]> {
    let mut rest = text.as_bytes();
    if !rest.contains(&b'%') {
        return Cow::Borrowed(rest);
    }
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((first, after)) = rest.split_first() {
        let byte = encoded_byte(rest);
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    Cow::Owned(decoded)
}

/// The same for what a query may hold only so: other bytes remain encoded, and a `%` before what is no number is lost
/// (Envoy `PercentEncoding::urlDecodeQueryParameter`).
fn decoded_query(query: &str) -> Vec<u8> {
    let mut rest = query.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((first, after)) = rest.split_first() {
        match encoded_byte(rest) {
            Some(byte) => {
                let (encoded, behind) = rest.split_at(3);
                match byte {
                    b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'{' | b'|' | b'}' => {
                        decoded.extend_from_slice(encoded);
                    }
                    b'!'..=b'~' => decoded.push(byte),
                    _ => decoded.extend_from_slice(encoded),
                }
                rest = behind;
            }
            None => {
                if *first != b'%' || after.len() < 2 {
                    decoded.push(*first);
                }
                rest = after;
            }
        }
    }
    decoded
}

/// What `%XX` stands for, at the start of a text.
fn encoded_byte(text: &[u8]) -> Option<u8> {
    match text {
        [b'%', high, low, ..] => hex(*high).zip(hex(*low)).map(|(h, l)| h << 4 | l),
        _ => None,
    }
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// The first parameter of the name; both are decoded (Envoy `parseAndDecodeQueryString`).
pub(super) fn query_parameter<'p>(path: &'p str, name: &str) -> Option<Cow<'p, [u8]>> {
    let (_, query) = path.split_once('?')?;
    let query = query.split('#').next().unwrap_or_default();
    query.split('&').find_map(|parameter| {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        (*decoded(key) == *name.as_bytes()).then(|| decoded(value))
    })
}
