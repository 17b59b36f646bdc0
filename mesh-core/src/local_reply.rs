//! Answers that no upstream gave: Envoy's statuses, bodies and details, word for word.

mod mapper;

pub use mapper::{LocalReplyConfig, Mapped, ResponseMapper};

use std::borrow::Cow;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};

use crate::{flags::ResponseFlag, grpc::status_of_http, model::HeaderMutations};

/// A reply made here: what a client sees, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LocalReply {
    /// The HTTP status for a request that is not gRPC.
    pub status: StatusCode,
    /// The body, or the `grpc-message`.
    pub body: Bytes,
    /// `grpc-status` for a gRPC request; None: mapped from the HTTP status.
    pub grpc_status: Option<u32>,
    /// The answer is the same for a gRPC request (a CORS preflight's).
    pub never_grpc: bool,
    /// Headers besides content-type and content-length (`location`, `x-envoy-overloaded`, …).
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Header operations that come after the route's.
    pub additions: Vec<HeaderMutations>,
    /// The flag to set; None for replies that configuration asked for.
    pub flag: Option<ResponseFlag>,
    /// Response-code details.
    pub details: Cow<'static, str>,
    /// False: the configuration's answer (direct response, redirect, fault abort); true: no answer (NR, UH, UF, …).
    pub is_failure: bool,
    /// An HTTP/1 connection is closed after it: the request was refused before it was read to its end.
    pub closes_connection: bool,
    /// An HTTP/2 stream is reset instead of answered, where the server can: what is wrong with the request is the
    /// codec's business.
    pub resets_stream: bool,
    /// The codec refused the request: nobody has seen yet that it is gRPC.
    pub by_codec: bool,
    /// The content-type of a body that a format made.
    pub content_type: Option<HeaderValue>,
}

impl LocalReply {
    /// A failure with a body.
    pub fn failure(
        status: StatusCode,
        body: impl Into<Bytes>,
        flag: Option<ResponseFlag>,
        details: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            body: body.into(),
            grpc_status: None,
            never_grpc: false,
            headers: Vec::new(),
            additions: Vec::new(),
            flag,
            details: details.into(),
            is_failure: true,
            closes_connection: false,
            resets_stream: false,
            by_codec: false,
            content_type: None,
        }
    }

    /// An answer that configuration asked for.
    pub fn answer(
        status: StatusCode,
        body: impl Into<Bytes>,
        details: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            is_failure: false,
            ..Self::failure(status, body, None, details)
        }
    }

    /// Head and body of the response as Envoy sends it: for gRPC HTTP 200 with `grpc-status` and a percent-encoded
    /// `grpc-message`, otherwise the status with `content-type: text/plain` and `content-length` if there is a body.
    pub fn into_response(self, grpc: bool) -> (StatusCode, HeaderMap, Bytes) {
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 8);
        headers.extend(self.headers.iter().cloned());
        let made = Made {
            status: self.status,
            body: self.body.clone(),
            content_type: HeaderValue::from_static("text/plain"),
            is_changed: false,
        };
        let (status, body) = self.finish(grpc, made, &mut headers);
        (status, headers, body)
    }

    /// Puts what was made of the reply into its last form, headers of the body included: `headers` are the reply's own
    /// and what configuration has added to them (Envoy `Utility::prepareLocalReply`).
    pub fn finish(&self, grpc: bool, made: Made, headers: &mut HeaderMap) -> (StatusCode, Bytes) {
        if grpc && !self.never_grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            if headers.get(GRPC_STATUS).is_none_or(HeaderValue::is_empty) {
                let status = self
                    .grpc_status
                    .unwrap_or_else(|| status_of_http(made.status));
                headers.insert(GRPC_STATUS, HeaderValue::from(status));
            }
            // What ends a line of JSON ends no header.
            let message = match made.content_type == "application/json" {
                true => made.body.strip_suffix(b"\n").unwrap_or(&made.body),
                false => &made.body,
            };
            if !message.is_empty() {
                headers.insert(GRPC_MESSAGE, percent_encoded(message));
            }
            headers.remove(CONTENT_LENGTH);
            return (StatusCode::OK, Bytes::new());
        }
        if made.body.is_empty() {
            headers.remove(CONTENT_LENGTH);
            headers.remove(CONTENT_TYPE);
        } else {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(made.body.len()));
            if made.is_changed || !headers.contains_key(CONTENT_TYPE) {
                headers.insert(CONTENT_TYPE, made.content_type);
            }
        }
        (made.status, made.body)
    }
}

/// What configuration has made of a reply.
#[derive(Clone, Debug)]
pub struct Made {
    /// The status of a request that is not gRPC.
    pub status: StatusCode,
    /// The body, or the `grpc-message`.
    pub body: Bytes,
    /// What the body is, unless a header says so.
    pub content_type: HeaderValue,
    /// A format has changed the body, and no mapper has said what it is: then no header counts.
    pub is_changed: bool,
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// A `grpc-message`: bytes outside of printable ASCII, `%` and `~` as `%XX` (Envoy `PercentEncoding::encode`).
fn percent_encoded(text: &[u8]) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut value = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b' '..=b'}' if *byte != b'%' => value.push(*byte),
            _ => {
                let digits = [byte >> 4, byte & 15].map(|half| HEX[usize::from(half)]);
                value.push(b'%');
                value.extend(digits);
            }
        }
    }
    HeaderValue::from_maybe_shared(Bytes::from(value))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head as `name: value` lines, in the order of insertion.
    fn lines(headers: &HeaderMap) -> Vec<String> {
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect()
    }

    fn reply(status: u16, body: &'static str) -> LocalReply {
        LocalReply::failure(StatusCode::from_u16(status).unwrap(), body, None, "details")
    }

    #[test]
    fn a_body_is_plain_text_of_known_length() {
        let (status, headers, body) = reply(503, "no healthy upstream").into_response(false);
        assert_eq!(
            (status.as_u16(), &body[..]),
            (503, b"no healthy upstream".as_slice())
        );
        assert_eq!(
            lines(&headers),
            ["content-length: 19", "content-type: text/plain"]
        );
        let (status, headers, body) = reply(404, "").into_response(false);
        assert_eq!((status.as_u16(), body.len(), headers.len()), (404, 0, 0));
    }

    #[test]
    fn a_grpc_reply_is_200_with_status_and_message() {
        for (status, grpc) in [
            (400, "13"),
            (401, "16"),
            (403, "7"),
            (404, "12"),
            (429, "14"),
            (502, "14"),
            (503, "14"),
            (504, "14"),
            (500, "2"),
            (418, "2"),
        ] {
            let (http, headers, body) = reply(status, "a b").into_response(true);
            assert_eq!((http.as_u16(), body.len()), (200, 0));
            let expected = [
                "content-type: application/grpc".to_owned(),
                format!("grpc-status: {grpc}"),
                "grpc-message: a b".to_owned(),
            ];
            assert_eq!(lines(&headers), expected);
        }
        let (_, headers, _) = reply(404, "").into_response(true);
        assert!(!headers.contains_key("grpc-message"));
    }

    #[test]
    fn a_grpc_status_of_its_own_beats_the_mapping() {
        let fault = || {
            let mut reply = LocalReply::answer(StatusCode::OK, "fault filter abort", "x");
            reply.grpc_status = Some(5);
            reply
        };
        let (_, headers, _) = fault().into_response(true);
        assert_eq!(headers["grpc-status"], "5");
        assert_eq!(headers["grpc-message"], "fault filter abort");
        let (status, headers, body) = fault().into_response(false);
        assert_eq!(
            (status.as_u16(), &body[..]),
            (200, b"fault filter abort".as_slice())
        );
        assert!(!headers.contains_key("grpc-status"));
    }

    #[test]
    fn what_is_no_reply_to_grpc_stays_as_it_is() {
        let mut preflight = reply(200, "");
        preflight.never_grpc = true;
        let (status, headers, _) = preflight.into_response(true);
        assert_eq!((status.as_u16(), headers.len()), (200, 0));
    }

    #[test]
    fn a_message_is_percent_encoded() {
        let (_, headers, _) = reply(500, "100% ~ \n\u{fc}}").into_response(true);
        assert_eq!(headers["grpc-message"], "100%25 %7E %0A%C3%BC}");
    }

    /// As Envoy 1.40 answered it.
    #[test]
    fn the_end_of_a_line_of_json_is_not_in_a_message() {
        for (content_type, expected) in [("application/json", "{}"), ("text/html", "{}%0A")] {
            let made = Made {
                status: StatusCode::OK,
                body: Bytes::from_static(b"{}\n"),
                content_type: HeaderValue::from_static(content_type),
                is_changed: true,
            };
            let mut headers = HeaderMap::new();
            reply(404, "").finish(true, made.clone(), &mut headers);
            assert_eq!(headers["grpc-message"], expected);
            // and the status is what it became
            assert_eq!(headers["grpc-status"], "2");
            let mut headers = HeaderMap::new();
            let (_, body) = reply(404, "").finish(false, made, &mut headers);
            assert_eq!(
                (&body[..], &headers["content-length"]),
                (&b"{}\n"[..], &HeaderValue::from(3))
            );
            assert_eq!(headers["content-type"], content_type);
        }
    }

    #[test]
    fn more_headers_follow() {
        let mut redirect = reply(301, "");
        redirect.headers = vec![(
            http::header::LOCATION,
            HeaderValue::from_static("http://a/"),
        )];
        let (_, headers, _) = redirect.into_response(false);
        assert_eq!(lines(&headers), ["location: http://a/"]);
    }
}
