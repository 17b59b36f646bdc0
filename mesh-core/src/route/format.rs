//! Header values with Envoy's substitution operators (`%REQ(x)%`, `%DOWNSTREAM_REMOTE_ADDRESS%`, …).

use std::{fmt, net::SocketAddr, sync::LazyLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::{
    head::{ConnectionInfo, RequestHead},
    matcher::MatchedHeader,
};

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

#[derive(Clone, Debug)]
enum Operator {
    Request(HeaderReference),
    Response(HeaderReference),
    Remote(AddressPart),
    Local(AddressPart),
    Protocol,
    UpstreamHost,
    UpstreamCluster,
    RouteName,
}

/// `X?Y`: the first of two headers that is there.
#[derive(Clone, Debug)]
struct HeaderReference {
    main: MatchedHeader,
    alternative: Option<MatchedHeader>,
}

#[derive(Clone, Copy, Debug)]
enum AddressPart {
    Whole,
    WithoutPort,
    Port,
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

impl Operator {
    fn parse(name: &str, argument: Option<&str>) -> Result<Self, String> {
        match name {
            "REQ" => return HeaderReference::parse(name, argument).map(Self::Request),
            "RESP" => return HeaderReference::parse(name, argument).map(Self::Response),
            _ => {}
        }
        let operator = match name {
            "DOWNSTREAM_REMOTE_ADDRESS" => Self::Remote(AddressPart::Whole),
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Self::Remote(AddressPart::WithoutPort),
            "DOWNSTREAM_REMOTE_PORT" => Self::Remote(AddressPart::Port),
            "DOWNSTREAM_LOCAL_ADDRESS" => Self::Local(AddressPart::Whole),
            "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Self::Local(AddressPart::WithoutPort),
            "DOWNSTREAM_LOCAL_PORT" => Self::Local(AddressPart::Port),
            "PROTOCOL" => Self::Protocol,
            "UPSTREAM_HOST" => Self::UpstreamHost,
            "UPSTREAM_CLUSTER" => Self::UpstreamCluster,
            "ROUTE_NAME" => Self::RouteName,
            _ => {
                return Err(format!(
                    "operator %{name}% is not supported; supported are REQ, RESP, \
                     DOWNSTREAM_REMOTE_ADDRESS, DOWNSTREAM_LOCAL_ADDRESS (also _WITHOUT_PORT), \
                     DOWNSTREAM_REMOTE_PORT, DOWNSTREAM_LOCAL_PORT, PROTOCOL, UPSTREAM_HOST, \
                     UPSTREAM_CLUSTER, ROUTE_NAME"
                ));
            }
        };
        match argument {
            None => Ok(operator),
            Some(_) => Err(format!("operator %{name}% takes no argument")),
        }
    }

    /// The value, where it is a header value already.
    fn shared_value<'a>(&self, cx: &FormatContext<'a>) -> Option<&'a HeaderValue> {
        match self {
            Self::Request(reference) => reference.shared_value(cx.head.headers),
            Self::Response(reference) => reference.shared_value(cx.response?),
            _ => None,
        }
    }

    fn write(&self, cx: &FormatContext<'_>, limit: Option<usize>, sink: &mut impl Sink) {
        let mut header = |value: Option<&[u8]>| {
            let value = value.unwrap_or_default();
            sink.bytes(&value[..value.len().min(limit.unwrap_or(usize::MAX))]);
        };
        match self {
            Self::Request(reference) => header(reference.find(|name| request_header(cx, name))),
            Self::Response(reference) => header(reference.find(|name| response_header(cx, name))),
            Self::Remote(part) => part.write(cx.connection.peer, sink),
            Self::Local(part) => part.write(cx.connection.local, sink),
            Self::Protocol => sink.bytes(match cx.protocol {
                Some(Version::HTTP_10) => b"HTTP/1.0",
                Some(Version::HTTP_11) => b"HTTP/1.1",
                Some(Version::HTTP_2) => b"HTTP/2",
                Some(Version::HTTP_3) => b"HTTP/3",
                _ => b"",
            }),
            Self::UpstreamHost => AddressPart::Whole.write(cx.upstream_host, sink),
            Self::UpstreamCluster => sink.bytes(cx.upstream_cluster.unwrap_or("").as_bytes()),
            Self::RouteName => sink.bytes(cx.route_name.as_bytes()),
        }
    }
}

impl HeaderReference {
    fn parse(operator: &str, argument: Option<&str>) -> Result<Self, String> {
        let argument = argument
            .filter(|a| !a.is_empty())
            .ok_or_else(|| format!("operator %{operator}% needs a header name in parentheses"))?;
        let (main, alternative) = match argument.split_once('?') {
            Some((main, alternative)) => (main, Some(alternative)),
            None => (argument, None),
        };
        let name =
            |name: &str| header_name(name).map_err(|e| format!("operator %{operator}%: {e}"));
        Ok(Self {
            main: name(main)?,
            alternative: alternative.map(name).transpose()?,
        })
    }

    fn shared_value<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let (MatchedHeader::Name(main), None) = (&self.main, &self.alternative) else {
            return None;
        };
        headers.get(main)
    }

    fn find<'a>(&self, value: impl Fn(&MatchedHeader) -> Option<&'a [u8]>) -> Option<&'a [u8]> {
        value(&self.main).or_else(|| value(self.alternative.as_ref()?))
    }
}

fn header_name(name: &str) -> Result<MatchedHeader, String> {
    Ok(match name.to_ascii_lowercase().as_str() {
        ":method" => MatchedHeader::Method,
        ":scheme" => MatchedHeader::Scheme,
        ":authority" | "host" => MatchedHeader::Authority,
        ":path" => MatchedHeader::Path,
        other => MatchedHeader::Name(
            HeaderName::from_bytes(other.as_bytes())
                .map_err(|_| format!("{name:?} is not a header name"))?,
        ),
    })
}

fn request_header<'a>(cx: &FormatContext<'a>, name: &MatchedHeader) -> Option<&'a [u8]> {
    let head = &cx.head;
    let value = match name {
        MatchedHeader::Method => head.method.as_str(),
        MatchedHeader::Scheme => head.scheme,
        MatchedHeader::Authority => head.authority,
        MatchedHeader::Path => head.path,
        MatchedHeader::Name(name) => return head.headers.get(name).map(HeaderValue::as_bytes),
    };
    (!value.is_empty()).then_some(value.as_bytes())
}

fn response_header<'a>(cx: &FormatContext<'a>, name: &MatchedHeader) -> Option<&'a [u8]> {
    match name {
        MatchedHeader::Name(name) => cx.response?.get(name).map(HeaderValue::as_bytes),
        _ => None,
    }
}

impl AddressPart {
    fn write(self, address: Option<SocketAddr>, sink: &mut impl Sink) {
        let Some(address) = address else { return };
        match self {
            Self::Whole => sink.display(format_args!("{address}")),
            Self::WithoutPort => sink.display(format_args!("{}", address.ip())),
            Self::Port => sink.display(format_args!("{}", address.port())),
        }
    }
}

fn write_all(segments: &[Segment], cx: &FormatContext<'_>, sink: &mut impl Sink) {
    for segment in segments {
        match segment {
            Segment::Literal(text) => sink.bytes(text.as_bytes()),
            Segment::Operator { operator, limit } => operator.write(cx, *limit, sink),
        }
    }
}

/// Written to twice: once to measure, once into a buffer of exactly that size, so that there is one allocation.
trait Sink: fmt::Write {
    fn bytes(&mut self, bytes: &[u8]);

    fn display(&mut self, arguments: fmt::Arguments<'_>) {
        // Neither sink fails.
        let _ = self.write_fmt(arguments);
    }
}

struct Length(usize);

impl Sink for Length {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

impl fmt::Write for Length {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0 += s.len();
        Ok(())
    }
}

struct Buffer(Vec<u8>);

impl Sink for Buffer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl fmt::Write for Buffer {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.bytes(s.as_bytes());
        Ok(())
    }
}
