//! A request's body out of bytes.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use mesh_core::downstream::CodecError;

/// How long the line of a chunk's size, and all trailers together, may be.
const MAX_LINE: usize = 8 * 1024;
const MAX_TRAILERS: usize = 60 * 1024;

/// How much of a body is still to come.
#[derive(Debug)]
pub(super) enum Decoder {
    /// So many bytes.
    Length(u64),
    /// Chunks: what is next.
    Chunked(Chunk),
    Done,
}

/// Where in a chunked body the next byte is.
#[derive(Debug)]
pub(super) enum Chunk {
    Size,
    Data(u64),
    /// The line's end behind a chunk.
    End,
    /// And how long they may still be.
    Trailers(HeaderMap, usize),
}

const BAD: CodecError = CodecError::bad_request("http1.codec_error");

impl Decoder {
    pub(super) fn none() -> Self {
        Self::Done
    }

    pub(super) fn length(length: u64) -> Self {
        match length {
            0 => Self::Done,
            _ => Self::Length(length),
        }
    }

    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunk::Size)
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// What is known of the body's length; None: nothing.
    pub(super) fn exact(&self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Length(length) => Some(*length),
            Self::Chunked(_) => None,
        }
    }

    /// The next frame; None: more bytes are needed, or the body is done.
    pub(super) fn next(
        &mut self,
        bytes: &mut BytesMut,
    ) -> Result<Option<Frame<Bytes>>, CodecError> {
        loop {
            match self {
                Self::Done => return Ok(None),
                Self::Length(left) => {
                    let Some(data) = take(bytes, left) else {
                        return Ok(None);
                    };
                    if *left == 0 {
                        *self = Self::Done;
                    }
                    return Ok(Some(Frame::data(data)));
                }
                Self::Chunked(Chunk::Size) => {
                    let Some(line) = line(bytes, MAX_LINE)? else {
                        return Ok(None);
                    };
                    *self = Self::Chunked(match size(&line)? {
                        0 => Chunk::Trailers(HeaderMap::new(), MAX_TRAILERS),
                        size => Chunk::Data(size),
                    });
                }
                Self::Chunked(Chunk::Data(left)) => {
                    let Some(data) = take(bytes, left) else {
                        return Ok(None);
                    };
                    if *left == 0 {
                        *self = Self::Chunked(Chunk::End);
                    }
                    return Ok(Some(Frame::data(data)));
                }
                Self::Chunked(Chunk::End) => match line(bytes, 2)? {
                    None => return Ok(None),
                    Some(line) if line.is_empty() => *self = Self::chunked(),
                    Some(_) => return Err(BAD),
                },
                Self::Chunked(Chunk::Trailers(trailers, left)) => {
                    let Some(line) = line(bytes, *left)? else {
                        return Ok(None);
                    };
                    if line.is_empty() {
                        let trailers = std::mem::take(trailers);
                        *self = Self::Done;
                        return Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)));
                    }
                    *left = left.saturating_sub(line.len());
                    let (name, value) = trailer(line)?;
                    trailers.append(name, value);
                    if trailers.len() > 100 {
                        return Err(CodecError::HEAD_TOO_LARGE);
                    }
                }
            }
        }
    }
}

fn take(bytes: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    if bytes.is_empty() {
        return None;
    }
    let length = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
    *left -= length as u64;
    Some(bytes.split_to(length).freeze())
}

/// A line without its end; None: it is not whole yet.
fn line(bytes: &mut BytesMut, max: usize) -> Result<Option<Bytes>, CodecError> {
    let Some(newline) = bytes.iter().take(max).position(|b| *b == b'\n') else {
        return if bytes.len() >= max {
            Err(BAD)
        } else {
            Ok(None)
        };
    };
    let mut line = bytes.split_to(newline).freeze();
    bytes.advance(1);
    if line.last() == Some(&b'\r') {
        line.truncate(newline - 1);
    }
    Ok(Some(line))
}

/// The size before the extensions of a chunk.
fn size(line: &[u8]) -> Result<u64, CodecError> {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default();
    let digits = digits.trim_ascii_end();
    if digits.is_empty() || digits.len() > 15 {
        return Err(BAD);
    }
    digits.iter().try_fold(0, |size, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or(BAD)?;
        Ok(size * 16 + u64::from(digit))
    })
}

fn trailer(line: Bytes) -> Result<(HeaderName, HeaderValue), CodecError> {
    let colon = line.iter().position(|b| *b == b':').ok_or(BAD)?;
    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| BAD)?;
    let value = line.slice_ref(line[colon + 1..].trim_ascii());
    Ok((
        name,
        HeaderValue::from_maybe_shared(value).map_err(|_| BAD)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data and trailers of a body that comes in pieces of `step` bytes; what is left.
    fn read(
        mut decoder: Decoder,
        whole: &[u8],
        step: usize,
    ) -> Result<(String, usize, String), CodecError> {
        let (mut data, mut trailers) = (String::new(), 0);
        let mut bytes = BytesMut::new();
        for piece in whole.chunks(step) {
            bytes.extend_from_slice(piece);
            while let Some(frame) = decoder.next(&mut bytes)? {
                match frame.into_data() {
                    Ok(some) => data += std::str::from_utf8(&some).unwrap(),
                    Err(frame) => trailers = frame.into_trailers().unwrap().len(),
                }
            }
        }
        assert!(decoder.is_done());
        Ok((data, trailers, String::from_utf8_lossy(&bytes).into_owned()))
    }

    #[test]
    fn bodies_come_in_pieces_of_any_size() {
        let chunks = b"3;x=y\r\nabc\r\nA \r\n0123456789\r\n0\r\nx-t: 1\r\ny: 2\r\n\r\nGET";
        for step in 1..chunks.len() + 1 {
            let read = read(Decoder::chunked(), chunks, step).unwrap();
            assert_eq!((read.0.as_str(), read.1), ("abc0123456789", 2));
            assert!(b"GET".starts_with(read.2.as_bytes()) || read.2 == "GET");
        }
        let (data, _, left) = read(Decoder::length(3), b"abcGET", 6).unwrap();
        assert_eq!((data.as_str(), left.as_str()), ("abc", "GET"));
        assert!(Decoder::length(0).is_done());
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for wrong in [
            &b"x\r\n"[..],
            b"\r\n",
            b"3\r\nabcd\r\n",
            b"1234567890abcdef0\r\n",
            b"0\r\nno trailer\r\n\r\n",
        ] {
            assert!(read(Decoder::chunked(), wrong, 64).is_err(), "{wrong:?}");
        }
        // Not one too long, but all together.
        let large = format!("x: {}\r\n", "y".repeat(20_000));
        for (n, is_refused) in [(2, false), (4, true)] {
            let trailers = format!("0\r\n{}\r\n", large.repeat(n));
            let read = read(Decoder::chunked(), trailers.as_bytes(), 8_192);
            assert_eq!(read.is_err(), is_refused, "{n}");
        }
    }
}
