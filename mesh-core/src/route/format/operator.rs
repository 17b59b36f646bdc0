//! The operators of [`super::HeaderFormat`]: what each reads, and how it is written.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::{FormatContext, date::DateFormat, sink::Sink};
use crate::{matcher::MatchedHeader, metadata::MetadataValue};

#[derive(Clone, Debug)]
pub(super) enum Operator {
    Request(HeaderReference),
    Response(HeaderReference),
    /// Known, and empty wherever headers are written here: trailers, TLS, what Envoy knows only at the end.
    Nothing,
    /// The client, behind trusted proxies.
    Remote(AddressPart),
    /// The connection's peer.
    Peer(AddressPart),
    Local(AddressPart),
    Protocol,
    UpstreamHost(AddressPart),
    UpstreamCluster,
    RouteName,
    StartTime(DateFormat),
    ResponseCode,
    ResponseCodeDetails,
    ResponseFlags,
    Attempts,
    Hostname,
    /// A number that is zero while headers are written.
    Zero,
    ServerName,
    Environment(Box<str>),
    /// `DYNAMIC_METADATA(FILTER:KEY:…)`.
    DynamicMetadata(Box<str>, Vec<Box<str>>),
    QueryParameter(Box<str>),
    Path(PathForm),
}

/// `X?Y`: the first of two headers that is there.
#[derive(Clone, Debug)]
pub(super) struct HeaderReference {
    main: MatchedHeader,
    alternative: Option<MatchedHeader>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum AddressPart {
    Whole,
    WithoutPort,
    Port,
}

/// `PATH(X:Y)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathForm {
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

/// What an operator may be followed by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    /// Parameters in parentheses, which must be there, and `:length`.
    Parameters,
    /// Parameters or none, without a length.
    Maybe,
    /// Parameters and a length, or neither.
    Any,
}

/// What is empty while headers are written: the value is only known later, or belongs to TLS, which ends elsewhere.
const EMPTY: &[&str] = &[
    "CONNECTION_TERMINATION_DETAILS",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "LOCAL_REPLY_BODY",
    "RESPONSE_TX_DURATION",
    "ROUNDTRIP_DURATION",
    "SPAN_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
];

/// What counts bytes: nothing has been counted that a header could tell.
const ZERO: &[&str] = &[
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "RESPONSE_TRAILERS_BYTES",
];

/// What Envoy knows and we do not yet.
const NOT_YET: &[&str] = &[
    "ACCESS_LOG_TYPE",
    "CLUSTER_METADATA",
    "COMMON_DURATION",
    "CONNECTION_ID",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DURATION",
    "EMIT_TIME",
    "EMIT_TIME_LOCAL",
    "FILTER_CHAIN_NAME",
    "GRPC_STATUS",
    "GRPC_STATUS_NUMBER",
    "REQUEST_DURATION",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "RESPONSE_DURATION",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_HEADERS_BYTES",
    "START_TIME_LOCAL",
    "STREAM_ID",
    "UNIQUE_ID",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_METADATA",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
];

impl Operator {
    pub(super) fn parse(
        name: &str,
        argument: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Self, String> {
        use AddressPart::{Port, Whole, WithoutPort};
        let (takes, operator) = match name {
            "REQ" => (Takes::Parameters, Self::Nothing),
            "RESP" => (Takes::Parameters, Self::Nothing),
            "TRAILER"
            | "FILTER_STATE"
            | "CLUSTER_METADATA"
            | "UPSTREAM_METADATA"
            | "UPSTREAM_FILTER_STATE" => (Takes::Parameters, Self::Nothing),
            "DYNAMIC_METADATA" | "ENVIRONMENT" | "QUERY_PARAM" => {
                (Takes::Parameters, Self::Nothing)
            }
            "PATH" => (Takes::Any, Self::Nothing),
            "START_TIME" => (Takes::Maybe, Self::Nothing),
            "DOWNSTREAM_REMOTE_ADDRESS" => (Takes::Nothing, Self::Remote(Whole)),
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => (Takes::Nothing, Self::Remote(WithoutPort)),
            "DOWNSTREAM_REMOTE_PORT" => (Takes::Nothing, Self::Remote(Port)),
            "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => (Takes::Nothing, Self::Peer(Whole)),
            "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => {
                (Takes::Nothing, Self::Peer(WithoutPort))
            }
            "DOWNSTREAM_DIRECT_REMOTE_PORT" => (Takes::Nothing, Self::Peer(Port)),
            "DOWNSTREAM_LOCAL_ADDRESS" | "DOWNSTREAM_DIRECT_LOCAL_ADDRESS" => {
                (Takes::Nothing, Self::Local(Whole))
            }
            "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => (Takes::Nothing, Self::Local(WithoutPort)),
            "DOWNSTREAM_LOCAL_PORT" => (Takes::Nothing, Self::Local(Port)),
            "PROTOCOL" => (Takes::Nothing, Self::Protocol),
            "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => {
                (Takes::Nothing, Self::UpstreamHost(Whole))
            }
            "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => {
                (Takes::Nothing, Self::UpstreamHost(WithoutPort))
            }
            "UPSTREAM_REMOTE_PORT" => (Takes::Nothing, Self::UpstreamHost(Port)),
            "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => (Takes::Nothing, Self::UpstreamCluster),
            "ROUTE_NAME" => (Takes::Nothing, Self::RouteName),
            "RESPONSE_CODE" => (Takes::Nothing, Self::ResponseCode),
            "RESPONSE_CODE_DETAILS" => (Takes::Maybe, Self::ResponseCodeDetails),
            "RESPONSE_FLAGS" => (Takes::Nothing, Self::ResponseFlags),
            "UPSTREAM_REQUEST_ATTEMPT_COUNT" => (Takes::Nothing, Self::Attempts),
            "HOSTNAME" => (Takes::Nothing, Self::Hostname),
            "REQUESTED_SERVER_NAME" => (Takes::Nothing, Self::ServerName),
            name if EMPTY.contains(&name) => (Takes::Nothing, Self::Nothing),
            name if ZERO.contains(&name) => (Takes::Nothing, Self::Zero),
            name if NOT_YET.contains(&name) => {
                return Err(format!("operator %{name}% is not supported in headers yet"));
            }
            _ => return Err(format!("Not supported field in StreamInfo: {name}")),
        };
        check_takes(takes, name, argument, limit)?;
        let argument = argument.unwrap_or_default();
        Ok(match name {
            "REQ" => Self::Request(HeaderReference::parse(name, argument)?),
            "RESP" => Self::Response(HeaderReference::parse(name, argument)?),
            "TRAILER" => HeaderReference::parse(name, argument).map(|_| Self::Nothing)?,
            "START_TIME" => Self::StartTime(DateFormat::parse(argument)?),
            "ENVIRONMENT" => Self::Environment(argument.into()),
            "QUERY_PARAM" => Self::QueryParameter(argument.into()),
            "PATH" => Self::Path(PathForm::parse(argument)?),
            "DYNAMIC_METADATA" => {
                let mut keys = keys(argument);
                match keys.next() {
                    Some(filter) => Self::DynamicMetadata(filter, keys.collect()),
                    None => return Err(format!("%{name}% needs a filter's name")),
                }
            }
            _ => operator,
        })
    }

    /// Whether the value is the request's, which is gone when the response comes.
    pub(super) fn reads_request(&self) -> bool {
        matches!(
            self,
            Self::Request(_) | Self::QueryParameter(_) | Self::Path(_) | Self::Remote(_)
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

    pub(super) fn write(&self, cx: &FormatContext<'_>, sink: &mut impl Sink) {
        match self {
            Self::Request(reference) => {
                sink.bytes(
                    reference
                        .find(|name| cx.head.value(name))
                        .unwrap_or_default(),
                );
            }
            Self::Response(reference) => {
                let value = reference.find(|name| response_header(cx, name));
                sink.bytes(value.unwrap_or_default());
            }
            Self::Nothing => {}
            Self::Zero => sink.bytes(b"0"),
            Self::Remote(part) => part.write(client(cx), sink),
            Self::Peer(part) => part.write(cx.connection.peer, sink),
            Self::Local(part) => part.write(cx.connection.local, sink),
            Self::Protocol => sink.bytes(match cx.protocol {
                Some(Version::HTTP_10) => b"HTTP/1.0",
                Some(Version::HTTP_11) => b"HTTP/1.1",
                Some(Version::HTTP_2) => b"HTTP/2",
                Some(Version::HTTP_3) => b"HTTP/3",
                _ => b"",
            }),
            Self::UpstreamHost(part) => part.write(cx.upstream_host, sink),
            Self::UpstreamCluster => sink.bytes(cx.upstream_cluster.unwrap_or("").as_bytes()),
            Self::RouteName => sink.bytes(cx.route_name.as_bytes()),
            Self::StartTime(format) => {
                if let Some(started) = cx.started {
                    format.write((cx.process.wall_clock)(started), sink);
                }
            }
            Self::ResponseCode => sink.display(format_args!("{}", cx.response_code)),
            Self::ResponseCodeDetails => {
                sink.bytes(cx.response_code_details.unwrap_or("").as_bytes());
            }
            Self::ResponseFlags => sink.display(format_args!("{}", cx.response_flags)),
            Self::Attempts => sink.display(format_args!("{}", cx.attempts)),
            Self::Hostname => sink.bytes((cx.process.hostname)().as_bytes()),
            Self::ServerName => {
                let name = cx.connection.server_name.as_deref();
                sink.bytes(name.unwrap_or("").as_bytes());
            }
            Self::Environment(name) => {
                let value = (cx.process.variable)(name);
                sink.bytes(value.as_deref().unwrap_or("-").as_bytes());
            }
            Self::DynamicMetadata(filter, path) => {
                if let Some(value) = cx.metadata.and_then(|metadata| metadata.find(filter, path)) {
                    write_value(value, true, sink);
                }
            }
            Self::QueryParameter(name) => sink.bytes(query_parameter(cx.head.path, name)),
            Self::Path(form) => sink.bytes(form.of(cx).as_bytes()),
        }
    }
}

fn check_takes(
    takes: Takes,
    name: &str,
    argument: Option<&str>,
    limit: Option<usize>,
) -> Result<(), String> {
    let parameters = argument.is_some_and(|a| !a.is_empty());
    match takes {
        Takes::Nothing if argument.is_some() || limit.is_some() => {
            Err(format!("{name} does not take any parameters or length"))
        }
        Takes::Parameters if !parameters => Err(format!("{name} requires parameters")),
        Takes::Maybe if limit.is_some() => {
            Err(format!("{name} does not allow length to be specified."))
        }
        _ => Ok(()),
    }
}

/// `A:B:C`, or the older `["A", "B", "C"]`.
fn keys(argument: &str) -> impl Iterator<Item = Box<str>> + '_ {
    let list = argument
        .trim()
        .strip_prefix('[')
        .and_then(|inside| inside.strip_suffix(']'));
    let separator = if list.is_some() { ',' } else { ':' };
    let unquoted = move |key: &str| match list {
        Some(_) => Box::from(key.trim().trim_matches('"')),
        None => Box::from(key),
    };
    list.unwrap_or(argument).split(separator).map(unquoted)
}

/// A text stands by itself, anything else is JSON (Envoy `MetadataFormatter`).
fn write_value(value: &MetadataValue, outermost: bool, sink: &mut impl Sink) {
    match value {
        MetadataValue::Null => sink.bytes(if outermost { b"" } else { b"null" }),
        MetadataValue::Bool(value) => sink.display(format_args!("{value}")),
        MetadataValue::Number(value) => sink.display(format_args!("{value}")),
        MetadataValue::String(text) if outermost => sink.bytes(text.as_bytes()),
        MetadataValue::String(text) => write_text(text, sink),
        MetadataValue::List(list) => {
            sink.bytes(b"[");
            for (at, value) in list.iter().enumerate() {
                sink.bytes(if at == 0 { b"" } else { b"," });
                write_value(value, false, sink);
            }
            sink.bytes(b"]");
        }
        MetadataValue::Struct(fields) => {
            sink.bytes(b"{");
            for (at, (key, value)) in fields.iter().enumerate() {
                sink.bytes(if at == 0 { b"" } else { b"," });
                write_text(key, sink);
                sink.bytes(b":");
                write_value(value, false, sink);
            }
            sink.bytes(b"}");
        }
    }
}

/// A JSON string.
fn write_text(text: &str, sink: &mut impl Sink) {
    sink.bytes(b"\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => sink.display(format_args!("\\{c}")),
            c if c.is_control() => sink.display(format_args!("\\u{:04x}", u32::from(c))),
            c => sink.display(format_args!("{c}")),
        }
    }
    sink.bytes(b"\"");
}

fn query_parameter<'p>(path: &'p str, name: &str) -> &'p [u8] {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    let value = query.split('&').find_map(|parameter| {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        (key == name).then_some(value)
    });
    value.unwrap_or("").as_bytes()
}

impl PathForm {
    fn parse(argument: &str) -> Result<Self, String> {
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

    fn of<'a>(self, cx: &FormatContext<'a>) -> &'a str {
        let original = cx
            .head
            .headers
            .get("x-envoy-original-path")
            .and_then(|path| path.to_str().ok());
        let path = match self.original {
            Original::Never => cx.head.path,
            Original::Only => original.unwrap_or(""),
            Original::First => original.unwrap_or(cx.head.path),
        };
        match self.with_query {
            true => path,
            false => path.split('?').next().unwrap_or_default(),
        }
    }
}

impl HeaderReference {
    fn parse(operator: &str, argument: &str) -> Result<Self, String> {
        let (main, alternative) = match argument.split_once('?') {
            Some((_, more)) if more.contains('?') => {
                return Err(format!(
                    "More than 1 alternative header specified in token: {argument}"
                ));
            }
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
    let name = name.to_ascii_lowercase();
    Ok(match name.as_str() {
        ":method" => MatchedHeader::Method,
        ":scheme" => MatchedHeader::Scheme,
        ":authority" | "host" => MatchedHeader::Authority,
        ":path" => MatchedHeader::Path,
        pseudo if pseudo.starts_with(':') => MatchedHeader::Absent(pseudo.into()),
        other => MatchedHeader::Name(
            HeaderName::from_bytes(other.as_bytes())
                .map_err(|_| format!("{name:?} is not a header name"))?,
        ),
    })
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
        MatchedHeader::Name(name) => cx.response?.get(name).map(HeaderValue::as_bytes),
        MatchedHeader::Absent(name) if **name == *":status" => Some(cx.status?.as_str().as_bytes()),
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
