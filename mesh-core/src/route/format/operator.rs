//! The operators of formats: what each reads, and how it is written.

mod parse;
mod path;

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, Version};

use self::path::{PathForm, QueryForm};
use super::{FormatContext, date::DateFormat, json, sink::Sink};
use crate::{grpc, matcher::MatchedHeader};

#[derive(Clone, Debug)]
pub(super) enum Operator {
    Request(HeaderReference),
    /// Up to the first question mark.
    RequestWithoutQuery(HeaderReference),
    Response(HeaderReference),
    Trailer(HeaderReference),
    /// Known, and not there wherever formats are written here: what belongs to TLS or to other extensions.
    Nothing,
    /// Why no connection was made: the last part of the details.
    TransportFailure,
    /// Empty text, where Envoy says so.
    Empty,
    /// The client, behind trusted proxies.
    Remote(AddressPart),
    /// The connection's peer.
    Peer(AddressPart),
    Local(AddressPart),
    Protocol,
    /// The host that was picked.
    UpstreamHost(AddressPart),
    /// The same by name, with or without the port.
    UpstreamHostName(bool),
    /// The address to which a connection was made.
    UpstreamRemote(AddressPart),
    /// Our end of that connection.
    UpstreamLocal(AddressPart),
    UpstreamProtocol,
    UpstreamCluster,
    RouteName,
    StartTime(DateFormat),
    EmitTime(DateFormat),
    ResponseCode,
    ResponseCodeDetails,
    ResponseFlags,
    ResponseFlagsLong,
    Attempts,
    Hostname,
    /// A number that nothing here counts.
    Zero,
    BytesReceived,
    BytesSent,
    RequestHeadersBytes,
    ResponseHeadersBytes,
    ResponseTrailersBytes,
    /// Whole milliseconds from one point of the stream to another; a unit of its own for `COMMON_DURATION`.
    Span(Point, Point, Unit),
    GrpcStatus(GrpcStatusForm),
    LocalReplyBody,
    AccessLogType,
    ServerName,
    /// Of the handshake with the client, or of a certificate in it.
    Tls(TlsPart),
    Environment(Box<str>),
    /// `DYNAMIC_METADATA(FILTER:KEY:…)`.
    DynamicMetadata(Box<str>, Vec<Box<str>>),
    QueryParameter(Box<str>),
    QueryParameters(QueryForm),
    Path(PathForm),
}

/// What an operator has written, as JSON sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing: what it names is not there.
    Missing,
    /// A text, which may be empty.
    Text,
    /// JSON: a number, or a value of metadata.
    Json,
}

/// `X?Y`: the first of two headers that is there.
#[derive(Clone, Debug)]
pub(super) struct HeaderReference {
    main: MatchedHeader,
    alternative: Option<MatchedHeader>,
}

/// What an operator reads of the downstream connection's TLS.
#[derive(Clone, Copy, Debug)]
pub(super) enum TlsPart {
    Version,
    Cipher,
    OfPeer(CertificatePart),
    OfLocal(CertificatePart),
}

/// What an operator reads of a certificate.
#[derive(Clone, Copy, Debug)]
pub(super) enum CertificatePart {
    UriSan,
    DnsSan,
    EmailSan,
    IpSan,
    Subject,
    Issuer,
    Serial,
    Sha256,
    Pem,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum AddressPart {
    Whole,
    WithoutPort,
    Port,
}

/// A point in the life of a stream (`COMMON_DURATION`'s names).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// `DS_RX_BEG`
    RequestBegins,
    /// `DS_RX_END`
    RequestEnds,
    /// `US_TX_BEG`
    SendingBegins,
    /// `US_TX_END`
    SendingEnds,
    /// `US_RX_BEG`
    ResponseBegins,
    /// `US_RX_END`
    ResponseEnds,
    /// `DS_TX_BEG`
    AnswerBegins,
    /// `DS_TX_END`
    AnswerEnds,
    /// The moment of writing.
    Now,
    /// A name that nothing here sets.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcStatusForm {
    Camel,
    Snake,
    Number,
}

impl Operator {
    /// Whether the value is the request's, or its attempt's, which are gone when the response comes.
    pub(super) fn reads_request(&self) -> bool {
        matches!(
            self,
            Self::Request(_)
                | Self::RequestWithoutQuery(_)
                | Self::UpstreamLocal(_)
                | Self::UpstreamProtocol
                | Self::QueryParameter(_)
                | Self::QueryParameters(_)
                | Self::Path(_)
                | Self::Remote(_)
                | Self::RequestHeadersBytes
                | Self::GrpcStatus(_)
        )
    }

    /// The value, where it is a header value already.
    pub(super) fn shared_value<'a>(&self, cx: &FormatContext<'a>) -> Option<&'a HeaderValue> {
        match self {
            Self::Request(reference) => reference.shared_value(cx.head.headers),
            Self::Response(reference) => reference.shared_value(cx.response?),
            _ => None,
        }
    }

    pub(super) fn write(&self, cx: &FormatContext<'_>, sink: &mut impl Sink) -> Written {
        match self {
            Self::Request(reference) => text(reference.find(|name| cx.head.value(name)), sink),
            Self::RequestWithoutQuery(reference) => {
                let value = reference.find(|name| cx.head.value(name));
                text(value.and_then(|v| v.split(|b| *b == b'?').next()), sink)
            }
            Self::Response(reference) => {
                text(reference.find(|name| response_header(cx, name)), sink)
            }
            Self::Trailer(reference) => {
                text(reference.find(|name| in_map(cx.trailers, name)), sink)
            }
            Self::Nothing => Written::Missing,
            Self::TransportFailure => {
                let failure = cx.response_code_details.and_then(|details| {
                    let (_, failure) = details.split_once("{remote_connection_failure|")?;
                    failure.strip_suffix('}')
                });
                text(failure.map(str::as_bytes), sink)
            }
            Self::Empty => Written::Text,
            Self::Zero => number(0, sink),
            Self::Remote(part) => part.write(client(cx), sink),
            Self::Peer(part) => part.write(cx.connection.peer, sink),
            Self::Local(part) => part.write(cx.connection.local, sink),
            Self::Protocol => text(cx.protocol.and_then(protocol), sink),
            Self::UpstreamHost(part) => part.write(cx.upstream_host, sink),
            Self::UpstreamHostName(with_port) => host_name(cx, *with_port, sink),
            Self::UpstreamRemote(part) => part.write(cx.upstream_remote, sink),
            Self::UpstreamLocal(part) => part.write(cx.upstream_local, sink),
            Self::UpstreamProtocol => text(cx.upstream_protocol.and_then(protocol), sink),
            Self::UpstreamCluster => text(cx.upstream_cluster.map(str::as_bytes), sink),
            Self::RouteName => {
                let name = Some(cx.route_name).filter(|name| !name.is_empty());
                text(name.map(str::as_bytes), sink)
            }
            Self::StartTime(format) => match cx.started {
                Some(started) => date(format, (cx.process.wall_clock)(started), sink),
                None => Written::Missing,
            },
            Self::EmitTime(format) => match cx.timing.now {
                Some(now) => date(format, (cx.process.wall_clock)(now), sink),
                None => Written::Missing,
            },
            Self::ResponseCode => number(cx.response_code.into(), sink),
            Self::ResponseCodeDetails => text(cx.response_code_details.map(str::as_bytes), sink),
            Self::ResponseFlags => {
                sink.display(format_args!("{}", cx.response_flags));
                Written::Text
            }
            Self::ResponseFlagsLong => {
                if cx.response_flags.is_empty() {
                    sink.bytes(b"-");
                }
                for (at, flag) in cx.response_flags.iter().enumerate() {
                    sink.bytes(if at == 0 { b"" } else { b"," });
                    sink.bytes(flag.long().as_bytes());
                }
                Written::Text
            }
            Self::Attempts => number(cx.attempts.into(), sink),
            Self::Hostname => text(Some((cx.process.hostname)().as_bytes()), sink),
            Self::BytesReceived => number(cx.bytes_received, sink),
            Self::BytesSent => number(cx.bytes_sent, sink),
            Self::RequestHeadersBytes => number(request_size(cx), sink),
            Self::ResponseHeadersBytes => {
                let status = cx.status.map_or(0, |_| ":status".len() + 3);
                number((cx.response.map_or(0, size) + status) as u64, sink)
            }
            Self::ResponseTrailersBytes => number(cx.trailers.map_or(0, size) as u64, sink),
            Self::Span(from, to, unit) => {
                let span = cx.point(*to).and_then(|to| {
                    let from = cx.point(*from)?;
                    to.checked_duration_since(from)
                });
                match span {
                    Some(span) => number(unit.of(span), sink),
                    None => Written::Missing,
                }
            }
            Self::GrpcStatus(form) => form.write(cx, sink),
            Self::LocalReplyBody => text(Some(cx.local_reply_body), sink),
            Self::AccessLogType => text(Some(cx.access_log_type.as_bytes()), sink),
            Self::ServerName => {
                let name = cx.connection.server_name.as_deref();
                text(name.map(str::as_bytes), sink)
            }
            Self::Tls(part) => part.write(cx, sink),
            Self::Environment(name) => {
                let value = (cx.process.variable)(name);
                text(Some(value.as_deref().unwrap_or("-").as_bytes()), sink)
            }
            Self::DynamicMetadata(filter, path) => {
                let value = cx.metadata.and_then(|m| m.find(filter, path));
                value.map_or(Written::Missing, |value| json::write_outermost(value, sink))
            }
            Self::QueryParameter(name) => {
                text(path::query_parameter(cx.head.path, name).as_deref(), sink)
            }
            Self::QueryParameters(form) => form.write(cx.head.path, sink),
            Self::Path(form) => text(form.of(cx).map(str::as_bytes), sink),
        }
    }
}

fn text(value: Option<&[u8]>, sink: &mut impl Sink) -> Written {
    match value {
        None => Written::Missing,
        Some(value) => {
            sink.bytes(value);
            Written::Text
        }
    }
}

fn number(value: u64, sink: &mut impl Sink) -> Written {
    sink.display(format_args!("{value}"));
    Written::Json
}

fn date(format: &DateFormat, time: SystemTime, sink: &mut impl Sink) -> Written {
    format.write(time, sink);
    Written::Text
}

fn protocol(version: Version) -> Option<&'static [u8]> {
    Some(match version {
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_11 => b"HTTP/1.1",
        Version::HTTP_2 => b"HTTP/2",
        Version::HTTP_3 => b"HTTP/3",
        _ => return None,
    })
}

/// The host's name with its port, or its address where it has no name.
fn host_name(cx: &FormatContext<'_>, with_port: bool, sink: &mut impl Sink) -> Written {
    let Some(address) = cx.upstream_host else {
        return Written::Missing;
    };
    match (cx.upstream_hostname, with_port) {
        (Some(name), true) => sink.display(format_args!("{name}:{}", address.port())),
        (Some(name), false) => sink.bytes(name.as_bytes()),
        (None, true) => sink.display(format_args!("{address}")),
        (None, false) => sink.display(format_args!("{}", address.ip())),
    }
    Written::Text
}

/// Names and values together.
fn size(headers: &HeaderMap) -> usize {
    let sizes = headers.iter().map(|(n, v)| n.as_str().len() + v.len());
    sizes.sum()
}

fn request_size(cx: &FormatContext<'_>) -> u64 {
    let head = &cx.head;
    let pseudo = [
        (":method", head.method.as_str()),
        (":scheme", head.scheme),
        (":authority", head.authority),
        (":path", head.path),
    ];
    let there = pseudo.iter().filter(|(_, value)| !value.is_empty());
    let pseudo: usize = there.map(|(name, value)| name.len() + value.len()).sum();
    (pseudo + size(head.headers)) as u64
}

impl HeaderReference {
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

/// The client's address; its port is known only if the client is the peer.
fn client(cx: &FormatContext<'_>) -> Option<SocketAddr> {
    let peer = cx.connection.peer?;
    match cx.client {
        Some(client) if client != peer.ip().to_canonical() => Some(SocketAddr::new(client, 0)),
        _ => Some(peer),
    }
}

fn response_header<'a>(cx: &FormatContext<'a>, name: &MatchedHeader) -> Option<&'a [u8]> {
    match name {
        MatchedHeader::Absent(name) if **name == *":status" => Some(cx.status?.as_str().as_bytes()),
        name => in_map(cx.response, name),
    }
}

fn in_map<'a>(map: Option<&'a HeaderMap>, name: &MatchedHeader) -> Option<&'a [u8]> {
    match name {
        MatchedHeader::Name(name) => map?.get(name).map(HeaderValue::as_bytes),
        _ => None,
    }
}

impl AddressPart {
    fn write(self, address: Option<SocketAddr>, sink: &mut impl Sink) -> Written {
        let Some(address) = address else {
            return Written::Missing;
        };
        match self {
            Self::Whole => sink.display(format_args!("{address}")),
            Self::WithoutPort => sink.display(format_args!("{}", address.ip())),
            Self::Port => return number(address.port().into(), sink),
        }
        Written::Text
    }
}

impl TlsPart {
    /// What is empty is not there.
    fn write(self, cx: &FormatContext<'_>, sink: &mut impl Sink) -> Written {
        let Some(tls) = cx.connection.tls.as_deref() else {
            return Written::Missing;
        };
        let (certificate, part) = match self {
            Self::Version => return some_text(tls.version, sink),
            Self::Cipher => return some_text(tls.cipher, sink),
            Self::OfPeer(part) => (&tls.peer, part),
            Self::OfLocal(part) => (&tls.local, part),
        };
        let Some(certificate) = certificate else {
            return Written::Missing;
        };
        let names = match part {
            CertificatePart::UriSan => &certificate.uri_sans,
            CertificatePart::DnsSan => &certificate.dns_sans,
            CertificatePart::EmailSan => &certificate.email_sans,
            CertificatePart::IpSan => &certificate.ip_sans,
            CertificatePart::Subject => return some_text(&certificate.subject, sink),
            CertificatePart::Issuer => return some_text(&certificate.issuer, sink),
            CertificatePart::Serial => return some_text(&certificate.serial, sink),
            CertificatePart::Sha256 => return some_text(&certificate.sha256_hex(), sink),
            CertificatePart::Pem => return some_text(&certificate.url_encoded_pem(), sink),
        };
        some_text(&names.join(","), sink)
    }
}

fn some_text(value: &str, sink: &mut impl Sink) -> Written {
    text(Some(value.as_bytes()).filter(|v| !v.is_empty()), sink)
}

impl Unit {
    fn of(self, span: Duration) -> u64 {
        let whole = match self {
            Self::Milliseconds => span.as_millis(),
            Self::Microseconds => span.as_micros(),
            Self::Nanoseconds => span.as_nanos(),
        };
        u64::try_from(whole).unwrap_or(u64::MAX)
    }
}

impl GrpcStatusForm {
    /// Of gRPC requests only: what the trailers say, else the head, else what the HTTP status means.
    fn write(self, cx: &FormatContext<'_>, sink: &mut impl Sink) -> Written {
        if !cx.head.is_grpc() {
            return Written::Missing;
        }
        let said = |map: Option<&HeaderMap>| map.and_then(grpc::status_in);
        let of_http = || cx.status.map(|status| grpc::status_of_http(*status));
        let Some(status) = said(cx.trailers)
            .or_else(|| said(cx.response))
            .or_else(of_http)
        else {
            return Written::Missing;
        };
        let name = match self {
            Self::Camel => CAMEL.get(status as usize),
            Self::Snake => grpc::STATUS_NAMES.get(status as usize),
            Self::Number => return number(status.into(), sink),
        };
        match name {
            Some(name) => sink.bytes(name.as_bytes()),
            None => sink.display(format_args!("{status}")),
        }
        Written::Text
    }
}

const CAMEL: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
