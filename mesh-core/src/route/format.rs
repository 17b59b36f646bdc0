//! Header values with Envoy's substitution operators (`%REQ(x)%`, `%DOWNSTREAM_REMOTE_ADDRESS%`, …).

mod date;
mod json;
mod operator;
mod sink;
mod substitution;

use std::{
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use operator::{Operator, Point, Written};
use sink::{Buffer, Length, Limited, Sink};
pub use substitution::{Formatter, SubstitutionFormat};

use crate::{
    flags::ResponseFlags,
    head::{ConnectionInfo, RequestHead},
    metadata::DynamicMetadata,
};

/// A header value, parsed. A constant costs a reference count per request, an operator at most one allocation.
#[derive(Clone, Debug)]
pub struct HeaderFormat(Parsed);

#[derive(Clone, Debug)]
enum Parsed {
    Constant(HeaderValue),
    Segments {
        segments: Box<[Segment]>,
        /// Written where an operator's value is not there.
        missing: &'static str,
    },
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(Box<str>),
    Operator {
        operator: Operator,
        /// `:Z`: no more than so many bytes.
        limit: Option<usize>,
    },
}

impl Segment {
    fn reads_request(&self) -> bool {
        match self {
            Self::Operator { operator, .. } => operator.reads_request(),
            Self::Literal(_) => false,
        }
    }
}

/// Why a format is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidFormat(pub(crate) String);

/// What the operators read.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FormatContext<'a> {
    /// The request as it is now.
    pub head: RequestHead<'a>,
    /// The downstream connection.
    pub connection: &'a ConnectionInfo,
    /// The client that the connection manager found, where it is not the connection's peer.
    pub client: Option<IpAddr>,
    /// The downstream protocol (`%PROTOCOL%`).
    pub protocol: Option<Version>,
    /// Response headers, for response operations.
    pub response: Option<&'a HeaderMap>,
    /// The status that is answered (`%RESP(:STATUS)%`).
    pub status: Option<&'a StatusCode>,
    /// The upstream's status; 0: there is none (yet).
    pub response_code: u16,
    /// The details of the response's status.
    pub response_code_details: Option<&'a str>,
    /// The flags set so far.
    pub response_flags: ResponseFlags,
    /// When the request came.
    pub started: Option<Instant>,
    /// Attempts made.
    pub attempts: u32,
    /// What filters said.
    pub metadata: Option<&'a DynamicMetadata>,
    /// The upstream host's address, once picked.
    pub upstream_host: Option<SocketAddr>,
    /// The upstream host's name, if it has one.
    pub upstream_hostname: Option<&'a str>,
    /// The upstream address to which a connection was made.
    pub upstream_remote: Option<SocketAddr>,
    /// Our end of the connection that took the attempt.
    pub upstream_local: Option<SocketAddr>,
    /// What that connection speaks.
    pub upstream_protocol: Option<Version>,
    /// The upstream cluster's name, once drawn.
    pub upstream_cluster: Option<&'a str>,
    /// The route's name.
    pub route_name: &'a str,
    /// Response trailers, once they are there.
    pub trailers: Option<&'a HeaderMap>,
    /// The body of a reply made here (`%LOCAL_REPLY_BODY%`).
    pub local_reply_body: &'a [u8],
    /// Bytes of the request's body that have come.
    pub bytes_received: u64,
    /// Bytes of the response's body that have left.
    pub bytes_sent: u64,
    /// What a log is written for; `NotSet` outside of access logs.
    pub access_log_type: &'static str,
    /// When what happened.
    pub timing: Timing,
    /// What only the process knows.
    pub process: ProcessValues,
}

/// Points in the life of a stream, as far as they are reached and known; [`FormatContext::started`] is the first.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Timing {
    /// The moment of writing: `%DURATION%`, `%EMIT_TIME%`.
    pub now: Option<Instant>,
    /// The last byte of the request came (`DS_RX_END`).
    pub request_end: Option<Instant>,
    /// The first byte of the request left for the upstream (`US_TX_BEG`).
    pub sending_begin: Option<Instant>,
    /// Its last byte left (`US_TX_END`).
    pub sending_end: Option<Instant>,
    /// The first byte of the response came (`US_RX_BEG`).
    pub response_begin: Option<Instant>,
    /// Its last byte came (`US_RX_END`).
    pub response_end: Option<Instant>,
    /// The first byte of the response left for the client (`DS_TX_BEG`).
    pub answer_begin: Option<Instant>,
    /// Its last byte left (`DS_TX_END`).
    pub answer_end: Option<Instant>,
}

/// What a format may read of the process, asked for only where a format does.
#[derive(Clone, Copy, Debug)]
pub struct ProcessValues {
    /// The machine's name (`%HOSTNAME%`).
    pub hostname: fn() -> &'static str,
    /// The date of a moment (`%START_TIME%`).
    pub wall_clock: fn(Instant) -> SystemTime,
    /// A variable of the environment (`%ENVIRONMENT(X)%`).
    pub variable: fn(&str) -> Option<String>,
}

impl ProcessValues {
    /// Nothing is known.
    pub const NONE: Self = Self {
        hostname: || "",
        wall_clock: |_| SystemTime::UNIX_EPOCH,
        variable: |_| None,
    };
}

impl<'a> FormatContext<'a> {
    /// A context before routing.
    pub fn new(head: RequestHead<'a>, connection: &'a ConnectionInfo) -> Self {
        Self {
            head,
            connection,
            client: None,
            protocol: None,
            response: None,
            status: None,
            response_code: 0,
            response_code_details: None,
            response_flags: ResponseFlags::NONE,
            started: None,
            attempts: 0,
            metadata: None,
            upstream_host: None,
            upstream_hostname: None,
            upstream_remote: None,
            upstream_local: None,
            upstream_protocol: None,
            upstream_cluster: None,
            route_name: "",
            trailers: None,
            local_reply_body: b"",
            bytes_received: 0,
            bytes_sent: 0,
            access_log_type: "NotSet",
            timing: Timing::default(),
            process: ProcessValues::NONE,
        }
    }

    /// The same over a request as it is now.
    pub(crate) fn of_request<'b>(&self, parts: &'b http::request::Parts) -> FormatContext<'b>
    where
        'a: 'b,
    {
        FormatContext {
            head: RequestHead::of(parts),
            protocol: self.protocol.or(Some(parts.version)),
            ..*self
        }
    }

    fn point(&self, point: Point) -> Option<Instant> {
        match point {
            Point::RequestBegins => self.started,
            Point::RequestEnds => self.timing.request_end,
            Point::SendingBegins => self.timing.sending_begin,
            Point::SendingEnds => self.timing.sending_end,
            Point::ResponseBegins => self.timing.response_begin,
            Point::ResponseEnds => self.timing.response_end,
            Point::AnswerBegins => self.timing.answer_begin,
            Point::AnswerEnds => self.timing.answer_end,
            Point::Now => self.timing.now,
            Point::Unknown => None,
        }
    }

    /// A context without a request: for [`super::RouteTable::finalize_request`], which reads the request that it
    /// changes, and for responses whose operations read no request header
    /// ([`super::CompiledRoute::response_reads_request`]).
    pub fn without_request(connection: &'a ConnectionInfo) -> Self {
        static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        let head = RequestHead {
            method: &Method::GET,
            scheme: "",
            authority: "",
            path: "",
            headers: &NO_HEADERS,
        };
        Self::new(head, connection)
    }
}

impl HeaderFormat {
    /// Parses a value with Envoy's command operators (`%REQ(X?Y):Z%`, `%DOWNSTREAM_REMOTE_ADDRESS%`, …); `%%` is a
    /// percent sign. What an operator names but is not there is empty.
    ///
    /// # Errors
    /// An unknown operator, wrong parameters, a `%` that begins no operator, or bytes that no header may hold; in Envoy's
    /// words.
    pub fn parse(value: &[u8]) -> Result<Self, InvalidFormat> {
        Self::parse_with(value, "")
    }

    /// The same, but what is not there is written as `-`, as in access logs and in `host_rewrite`.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_marking_missing(value: &[u8]) -> Result<Self, InvalidFormat> {
        Self::parse_with(value, "-")
    }

    fn parse_with(value: &[u8], missing: &'static str) -> Result<Self, InvalidFormat> {
        let constant = HeaderValue::from_bytes(value)
            .map_err(|_| invalid(value, "control characters are not allowed in a header"))?;
        if !value.contains(&b'%') {
            return Ok(Self(Parsed::Constant(constant)));
        }
        let text = std::str::from_utf8(value)
            .map_err(|_| invalid(value, "a value with operators must be UTF-8"))?;
        let segments = parse_segments(text, &[])?;
        match &*segments {
            [Segment::Literal(literal)] => HeaderValue::from_str(literal)
                .map(|v| Self(Parsed::Constant(v)))
                .map_err(|_| invalid(value, "control characters are not allowed in a header")),
            _ => Ok(Self(Parsed::Segments { segments, missing })),
        }
    }

    /// The value for this request; None where it is empty. What an operator names but is not there is empty.
    pub fn evaluate(&self, cx: &FormatContext<'_>) -> Option<HeaderValue> {
        let (segments, missing) = match &self.0 {
            Parsed::Constant(value) => return (!value.is_empty()).then(|| value.clone()),
            Parsed::Segments { segments, missing } => (segments, missing),
        };
        // `%REQ(x)%` alone: a reference count.
        if let [
            Segment::Operator {
                operator,
                limit: None,
            },
        ] = &**segments
            && let Some(value) = operator.shared_value(cx)
        {
            return (!value.is_empty()).then(|| value.clone());
        }

        let mut length = Length(0);
        write_all(segments, missing, cx, &mut length);
        if length.0 == 0 {
            return None;
        }
        let mut buffer = Buffer(Vec::with_capacity(length.0));
        write_all(segments, missing, cx, &mut buffer);
        HeaderValue::from_maybe_shared(Bytes::from(buffer.0)).ok()
    }

    /// Whether the value depends on the request's head.
    pub fn reads_request(&self) -> bool {
        match &self.0 {
            Parsed::Constant(_) => false,
            Parsed::Segments { segments, .. } => segments.iter().any(Segment::reads_request),
        }
    }
}

fn invalid(value: &[u8], reason: &str) -> InvalidFormat {
    InvalidFormat(format!(
        "header value {:?}: {reason}",
        String::from_utf8_lossy(value)
    ))
}

/// The literals and operators of a text, those of extensions included; `%%` is a percent sign.
fn parse_segments(text: &str, formatters: &[Formatter]) -> Result<Box<[Segment]>, InvalidFormat> {
    let mut segments = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let at = text.len() - after.len() - 1;
        let (segment, after) =
            parse_operator(text, at, after, formatters).map_err(InvalidFormat)?;
        if !literal.is_empty() {
            segments.push(Segment::Literal(std::mem::take(&mut literal).into()));
        }
        segments.push(segment);
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() || segments.is_empty() {
        segments.push(Segment::Literal(literal.into()));
    }
    Ok(segments.into())
}

/// Parses what follows an opening `%` at a place of the text: `NAME`, `(argument)`, `:limit`, `%`. Returns what follows
/// that.
fn parse_operator<'t>(
    text: &str,
    at: usize,
    after: &'t str,
    formatters: &[Formatter],
) -> Result<(Segment, &'t str), String> {
    let incorrect =
        || format!("Incorrect configuration: {text}. Couldn't find valid command at position {at}");
    let end = after
        .find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_')
        .filter(|end| *end > 0)
        .ok_or_else(incorrect)?;
    let (name, rest) = after.split_at(end);
    let (argument, limit, rest) = match rest.strip_prefix('(') {
        // An argument may hold brackets: it ends where the operator can end.
        Some(inside) => inside
            .match_indices(')')
            .find_map(|(close, _)| {
                let (limit, rest) = operator_end(&inside[close + 1..])?;
                Some((Some(&inside[..close]), limit, rest))
            })
            .ok_or_else(incorrect)?,
        None => {
            let (limit, rest) = operator_end(rest).ok_or_else(incorrect)?;
            (None, limit, rest)
        }
    };
    let mut of_extensions = formatters.iter().filter_map(|f| f.operator(name, argument));
    let operator = match of_extensions.next() {
        Some(operator) => operator?,
        None => Operator::parse(name, argument, limit)?,
    };
    Ok((Segment::Operator { operator, limit }, rest))
}

/// `:limit%` or `%`: the limit and what follows.
fn operator_end(text: &str) -> Option<(Option<usize>, &str)> {
    if let Some(rest) = text.strip_prefix('%') {
        return Some((None, rest));
    }
    let (digits, rest) = text.strip_prefix(':')?.split_once('%')?;
    let limit = digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then_some(digits)?;
    Some((Some(limit.parse().ok()?), rest))
}

fn write_all(segments: &[Segment], missing: &str, cx: &FormatContext<'_>, sink: &mut impl Sink) {
    for segment in segments {
        if write_segment(segment, cx, sink) == Written::Missing {
            sink.bytes(missing.as_bytes());
        }
    }
}

fn write_segment(segment: &Segment, cx: &FormatContext<'_>, sink: &mut impl Sink) -> Written {
    match segment {
        Segment::Literal(text) => {
            sink.bytes(text.as_bytes());
            Written::Text
        }
        Segment::Operator {
            operator,
            limit: None,
        } => operator.write(cx, sink),
        Segment::Operator {
            operator,
            limit: Some(left),
        } => operator.write(cx, &mut Limited { sink, left: *left }),
    }
}
