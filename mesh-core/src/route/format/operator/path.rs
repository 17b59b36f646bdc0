//! `%PATH(X:Y)%`, `%QUERY_PARAM(X)%`, `%QUERY_PARAMS(X)%`.

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
        let mut rest = query.as_bytes();
        if self == Self::Original {
            sink.bytes(rest);
            return Written::Text;
        }
        while let Some((first, after)) = rest.split_first() {
            let byte = match (first, after) {
                (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(h, l)| h << 4 | l),
                _ => None,
            };
            match byte {
                Some(byte) => {
                    sink.bytes(&[byte]);
                    rest = &after[2..];
                }
                None => {
                    sink.bytes(&[*first]);
                    rest = after;
                }
            }
        }
        Written::Text
    }
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// The first parameter of the name.
pub(super) fn query_parameter<'p>(path: &'p str, name: &str) -> Option<&'p [u8]> {
    let (_, query) = path.split_once('?')?;
    let query = query.split('#').next().unwrap_or_default();
    let value = query.split('&').find_map(|parameter| {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        (key == name).then_some(value)
    });
    value.map(str::as_bytes)
}
