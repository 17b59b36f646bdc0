//! Header values with Envoy's substitution operators (`%REQ(x)%`, `%DOWNSTREAM_REMOTE_ADDRESS%`, …).

mod operator;

use std::{net::SocketAddr, sync::LazyLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Version};

use operator::{Buffer, Length, Operator, Sink};

use crate::head::{ConnectionInfo, RequestHead};

/// A header value, parsed. A constant costs a reference count per request, an operator at most one allocation.
#[derive(Clone, Debug)]
pub struct HeaderFormat(Parsed);

#[derive(Clone, Debug)]
enum Parsed {
    Constant(HeaderValue),
    Segments(Box<[Segment]>),
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
    /// The downstream protocol (`%PROTOCOL%`).
    pub protocol: Option<Version>,
    /// Response headers, for response operations.
    pub response: Option<&'a HeaderMap>,
    /// The upstream host's address, once picked.
    pub upstream_host: Option<SocketAddr>,
    /// The upstream cluster's name, once drawn.
    pub upstream_cluster: Option<&'a str>,
    /// The route's name.
    pub route_name: &'a str,
}

impl<'a> FormatContext<'a> {
    /// A context before routing.
    pub fn new(head: RequestHead<'a>, connection: &'a ConnectionInfo) -> Self {
        Self {
            head,
            connection,
            protocol: None,
            response: None,
            upstream_host: None,
            upstream_cluster: None,
            route_name: "",
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
    /// Parses a value. Operators: `%REQ(X?Y):Z%`, `%RESP(X?Y):Z%`, `%DOWNSTREAM_REMOTE_ADDRESS%`,
    /// `%DOWNSTREAM_LOCAL_ADDRESS%` (each also `_WITHOUT_PORT`; `%DOWNSTREAM_REMOTE_PORT%`,
    /// `%DOWNSTREAM_LOCAL_PORT%`), `%PROTOCOL%`, `%UPSTREAM_HOST%`, `%UPSTREAM_CLUSTER%`, `%ROUTE_NAME%`; `%%` is a
    /// percent sign.
    ///
    /// # Errors
    /// An unknown operator, an unterminated `%`, or bytes that no header may hold.
    pub fn parse(value: &[u8]) -> Result<Self, InvalidFormat> {
        let constant = HeaderValue::from_bytes(value)
            .map_err(|_| invalid(value, "control characters are not allowed in a header"))?;
        if !value.contains(&b'%') {
            return Ok(Self(Parsed::Constant(constant)));
        }
        let text = std::str::from_utf8(value)
            .map_err(|_| invalid(value, "a value with operators must be UTF-8"))?;

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
            let (segment, after) = parse_operator(after).map_err(|e| invalid(value, &e))?;
            if !literal.is_empty() {
                segments.push(Segment::Literal(std::mem::take(&mut literal).into()));
            }
            segments.push(segment);
            rest = after;
        }
        literal.push_str(rest);

        if segments.is_empty() {
            return HeaderValue::from_bytes(literal.as_bytes())
                .map(|v| Self(Parsed::Constant(v)))
                .map_err(|_| invalid(value, "control characters are not allowed in a header"));
        }
        if !literal.is_empty() {
            segments.push(Segment::Literal(literal.into()));
        }
        Ok(Self(Parsed::Segments(segments.into())))
    }

    /// The value for this request; None where it is empty. What an operator names but is not there is empty.
    pub fn evaluate(&self, cx: &FormatContext<'_>) -> Option<HeaderValue> {
        let segments = match &self.0 {
            Parsed::Constant(value) => return (!value.is_empty()).then(|| value.clone()),
            Parsed::Segments(segments) => segments,
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
        write_all(segments, cx, &mut length);
        if length.0 == 0 {
            return None;
        }
        let mut buffer = Buffer(Vec::with_capacity(length.0));
        write_all(segments, cx, &mut buffer);
        HeaderValue::from_maybe_shared(Bytes::from(buffer.0)).ok()
    }

    /// Whether the value depends on the request's head.
    pub fn reads_request(&self) -> bool {
        match &self.0 {
            Parsed::Constant(_) => false,
            Parsed::Segments(segments) => segments.iter().any(|segment| {
                matches!(
                    segment,
                    Segment::Operator {
                        operator: Operator::Request(_),
                        ..
                    }
                )
            }),
        }
    }
}

fn invalid(value: &[u8], reason: &str) -> InvalidFormat {
    InvalidFormat(format!(
        "header value {:?}: {reason}",
        String::from_utf8_lossy(value)
    ))
}

/// Parses what follows an opening `%`: `NAME`, `(argument)`, `:limit`, `%`. Returns what follows that.
fn parse_operator(text: &str) -> Result<(Segment, &str), String> {
    let unterminated =
        || format!("operator %{text} has no closing %; a percent sign itself is written %%");
    let end = text
        .find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_')
        .filter(|end| *end > 0)
        .ok_or_else(unterminated)?;
    let (name, mut rest) = text.split_at(end);

    let mut argument = None;
    if let Some(after) = rest.strip_prefix('(') {
        let (inner, after) = after.split_once(')').ok_or_else(unterminated)?;
        argument = Some(inner);
        rest = after;
    }
    let mut limit = None;
    if let Some(after) = rest.strip_prefix(':') {
        let (digits, _) = after.split_once('%').ok_or_else(unterminated)?;
        let length = digits
            .parse()
            .map_err(|_| format!("operator %{name}%: length {digits:?} is not a number"))?;
        limit = Some(length);
        rest = &after[digits.len()..];
    }
    let rest = rest.strip_prefix('%').ok_or_else(unterminated)?;
    let operator = Operator::parse(name, argument)?;
    if limit.is_some() && !matches!(operator, Operator::Request(_) | Operator::Response(_)) {
        return Err(format!("operator %{name}% takes no length"));
    }
    Ok((Segment::Operator { operator, limit }, rest))
}

fn write_all(segments: &[Segment], cx: &FormatContext<'_>, sink: &mut impl Sink) {
    for segment in segments {
        match segment {
            Segment::Literal(text) => sink.bytes(text.as_bytes()),
            Segment::Operator { operator, limit } => operator.write(cx, *limit, sink),
        }
    }
}
