//! Which operators there are, and their arguments.

use http::HeaderName;

use super::{
    AddressPart,
    CertificatePart::{DnsSan, EmailSan, IpSan, Issuer, Pem, Serial, Sha256, Subject, UriSan},
    GrpcStatusForm, HeaderReference, Operator, Point, TlsPart, Unit,
    path::{PathForm, QueryForm},
};
use crate::{matcher::MatchedHeader, route::format::date::DateFormat};

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

/// What TLS says of the client and of ourselves.
const TLS: &[(&str, TlsPart)] = &[
    ("DOWNSTREAM_LOCAL_DNS_SAN", TlsPart::OfLocal(DnsSan)),
    ("DOWNSTREAM_LOCAL_EMAIL_SAN", TlsPart::OfLocal(EmailSan)),
    ("DOWNSTREAM_LOCAL_IP_SAN", TlsPart::OfLocal(IpSan)),
    ("DOWNSTREAM_LOCAL_SUBJECT", TlsPart::OfLocal(Subject)),
    ("DOWNSTREAM_LOCAL_URI_SAN", TlsPart::OfLocal(UriSan)),
    ("DOWNSTREAM_PEER_CERT", TlsPart::OfPeer(Pem)),
    ("DOWNSTREAM_PEER_DNS_SAN", TlsPart::OfPeer(DnsSan)),
    ("DOWNSTREAM_PEER_EMAIL_SAN", TlsPart::OfPeer(EmailSan)),
    ("DOWNSTREAM_PEER_FINGERPRINT_256", TlsPart::OfPeer(Sha256)),
    ("DOWNSTREAM_PEER_IP_SAN", TlsPart::OfPeer(IpSan)),
    ("DOWNSTREAM_PEER_ISSUER", TlsPart::OfPeer(Issuer)),
    ("DOWNSTREAM_PEER_SERIAL", TlsPart::OfPeer(Serial)),
    ("DOWNSTREAM_PEER_SUBJECT", TlsPart::OfPeer(Subject)),
    ("DOWNSTREAM_PEER_URI_SAN", TlsPart::OfPeer(UriSan)),
    ("DOWNSTREAM_TLS_CIPHER", TlsPart::Cipher),
    ("DOWNSTREAM_TLS_VERSION", TlsPart::Version),
];

fn tls_part(name: &str) -> Option<TlsPart> {
    let found = TLS.iter().find(|(of, _)| *of == name);
    found.map(|(_, part)| *part)
}

/// What is never there: it belongs to extensions that are not here.
const ABSENT: &[&str] = &[
    "CONNECTION_TERMINATION_DETAILS",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "ROUNDTRIP_DURATION",
    "SPAN_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UPSTREAM_LOCAL_CLOSE_REASON",
];

/// What counts what nothing here counts.
const ZERO: &[&str] = &["BYTES_RETRANSMITTED", "PACKETS_RETRANSMITTED"];

/// What Envoy knows and we do not yet.
const NOT_YET: &[&str] = &[
    "CLUSTER_METADATA",
    "COALESCE",
    "CONNECTION_ID",
    "DOWNSTREAM_CX_RTT",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "EMIT_TIME_LOCAL",
    "FILTER_CHAIN_NAME",
    "LISTENER_NAME",
    "START_TIME_LOCAL",
    "STREAM_ID",
    "UNIQUE_ID",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOSTS_ATTEMPTED",
    "UPSTREAM_METADATA",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_CERT_V_END",
    "UPSTREAM_PEER_CERT_V_START",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
];

impl Operator {
    /// `REQ_WITHOUT_QUERY`, which only an extension knows.
    pub(in super::super) fn request_without_query(
        name: &str,
        argument: &str,
    ) -> Result<Self, String> {
        HeaderReference::parse(name, argument).map(Self::RequestWithoutQuery)
    }

    pub(in super::super) fn parse(
        name: &str,
        argument: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Self, String> {
        use AddressPart::{Port, Whole, WithoutPort};
        let whole = |from, to| (Takes::Nothing, Self::Span(from, to, Unit::Milliseconds));
        // What an argument changes is read below.
        let (takes, operator) = match name {
            "REQ"
            | "RESP"
            | "TRAILER"
            | "FILTER_STATE"
            | "UPSTREAM_FILTER_STATE"
            | "DYNAMIC_METADATA"
            | "ENVIRONMENT"
            | "QUERY_PARAM" => (Takes::Parameters, Self::Nothing),
            "COMMON_DURATION" => (Takes::Parameters, Self::Nothing),
            "PATH" | "QUERY_PARAMS" => (Takes::Any, Self::Nothing),
            "START_TIME" | "EMIT_TIME" | "GRPC_STATUS" => (Takes::Maybe, Self::Nothing),
            "GRPC_STATUS_NUMBER" => (Takes::Maybe, Self::GrpcStatus(GrpcStatusForm::Number)),
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
            "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT"
            | "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT" => {
                (Takes::Nothing, Self::Local(WithoutPort))
            }
            "DOWNSTREAM_LOCAL_PORT" | "DOWNSTREAM_DIRECT_LOCAL_PORT" => {
                (Takes::Nothing, Self::Local(Port))
            }
            "PROTOCOL" => (Takes::Nothing, Self::Protocol),
            "UPSTREAM_HOST" => (Takes::Nothing, Self::UpstreamHost(Whole)),
            "UPSTREAM_HOST_NAME" => (Takes::Nothing, Self::UpstreamHostName(true)),
            "UPSTREAM_HOST_NAME_WITHOUT_PORT" => (Takes::Nothing, Self::UpstreamHostName(false)),
            "UPSTREAM_REMOTE_ADDRESS" => (Takes::Nothing, Self::UpstreamRemote(Whole)),
            "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => {
                (Takes::Nothing, Self::UpstreamRemote(WithoutPort))
            }
            "UPSTREAM_REMOTE_PORT" => (Takes::Nothing, Self::UpstreamRemote(Port)),
            "UPSTREAM_LOCAL_ADDRESS" => (Takes::Nothing, Self::UpstreamLocal(Whole)),
            "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => {
                (Takes::Nothing, Self::UpstreamLocal(WithoutPort))
            }
            "UPSTREAM_LOCAL_PORT" => (Takes::Nothing, Self::UpstreamLocal(Port)),
            "UPSTREAM_PROTOCOL" => (Takes::Nothing, Self::UpstreamProtocol),
            "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => (Takes::Nothing, Self::UpstreamCluster),
            "ROUTE_NAME" => (Takes::Nothing, Self::RouteName),
            "RESPONSE_CODE" => (Takes::Nothing, Self::ResponseCode),
            "RESPONSE_CODE_DETAILS" => (Takes::Maybe, Self::ResponseCodeDetails),
            "RESPONSE_FLAGS" => (Takes::Nothing, Self::ResponseFlags),
            "RESPONSE_FLAGS_LONG" => (Takes::Nothing, Self::ResponseFlagsLong),
            "UPSTREAM_REQUEST_ATTEMPT_COUNT" => (Takes::Nothing, Self::Attempts),
            "HOSTNAME" => (Takes::Nothing, Self::Hostname),
            "REQUESTED_SERVER_NAME" => (Takes::Nothing, Self::ServerName),
            "UPSTREAM_TRANSPORT_FAILURE_REASON" => (Takes::Nothing, Self::TransportFailure),
            "CUSTOM_FLAGS" => (Takes::Nothing, Self::Empty),
            "LOCAL_REPLY_BODY" => (Takes::Nothing, Self::LocalReplyBody),
            "ACCESS_LOG_TYPE" => (Takes::Nothing, Self::AccessLogType),
            "BYTES_RECEIVED" => (Takes::Nothing, Self::BytesReceived),
            "BYTES_SENT" => (Takes::Nothing, Self::BytesSent),
            "REQUEST_HEADERS_BYTES" => (Takes::Nothing, Self::RequestHeadersBytes),
            "RESPONSE_HEADERS_BYTES" => (Takes::Nothing, Self::ResponseHeadersBytes),
            "RESPONSE_TRAILERS_BYTES" => (Takes::Nothing, Self::ResponseTrailersBytes),
            "DURATION" => whole(Point::RequestBegins, Point::Now),
            "REQUEST_DURATION" => whole(Point::RequestBegins, Point::RequestEnds),
            "REQUEST_TX_DURATION" => whole(Point::RequestBegins, Point::SendingEnds),
            "RESPONSE_DURATION" => whole(Point::RequestBegins, Point::ResponseBegins),
            "RESPONSE_TX_DURATION" => whole(Point::ResponseBegins, Point::AnswerEnds),
            name if tls_part(name).is_some() => (
                Takes::Nothing,
                tls_part(name).map_or(Self::Nothing, Self::Tls),
            ),
            name if ABSENT.contains(&name) => (Takes::Nothing, Self::Nothing),
            name if ZERO.contains(&name) => (Takes::Nothing, Self::Zero),
            name if NOT_YET.contains(&name) => {
                return Err(format!("operator %{name}% is not supported yet"));
            }
            _ => return Err(format!("Not supported field in StreamInfo: {name}")),
        };
        check_takes(takes, name, argument, limit)?;
        let argument = argument.unwrap_or_default();
        Ok(match name {
            "REQ" => Self::Request(HeaderReference::parse(name, argument)?),
            "RESP" => Self::Response(HeaderReference::parse(name, argument)?),
            "TRAILER" => Self::Trailer(HeaderReference::parse(name, argument)?),
            "START_TIME" => Self::StartTime(DateFormat::parse(argument)?),
            "EMIT_TIME" => Self::EmitTime(DateFormat::parse(argument)?),
            "ENVIRONMENT" => Self::Environment(argument.into()),
            "QUERY_PARAM" => Self::QueryParameter(argument.into()),
            "QUERY_PARAMS" => Self::QueryParameters(QueryForm::parse(argument)?),
            "PATH" => Self::Path(PathForm::parse(argument)?),
            "GRPC_STATUS" => Self::GrpcStatus(GrpcStatusForm::parse(argument)?),
            "COMMON_DURATION" => common_duration(argument)?,
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

/// Points in time that are not kept.
const POINTS_NOT_YET: &[&str] = &["DS_HS_BEG", "DS_HS_END", "DS_RX_HDR_END"];

/// `FROM:TO` or `FROM:TO:UNIT`.
fn common_duration(argument: &str) -> Result<Operator, String> {
    let parts: Vec<&str> = argument.split(':').collect();
    let (from, to, unit) = match parts[..] {
        [from, to] => (from, to, "ms"),
        [from, to, unit] => (from, to, unit),
        _ => {
            return Err(format!(
                "Invalid common duration configuration: {argument}."
            ));
        }
    };
    let unit = match unit {
        "ms" => Unit::Milliseconds,
        "us" => Unit::Microseconds,
        "ns" => Unit::Nanoseconds,
        other => return Err(format!("Invalid common duration precision: {other}.")),
    };
    if let Some(point) = [from, to].into_iter().find(|p| POINTS_NOT_YET.contains(p)) {
        return Err(format!("{point} of %COMMON_DURATION% is not supported yet"));
    }
    Ok(Operator::Span(Point::named(from), Point::named(to), unit))
}

impl Point {
    fn named(name: &str) -> Self {
        match name {
            "DS_RX_BEG" => Self::RequestBegins,
            "DS_RX_END" => Self::RequestEnds,
            "US_TX_BEG" => Self::SendingBegins,
            "US_TX_END" => Self::SendingEnds,
            "US_RX_BEG" => Self::ResponseBegins,
            "US_RX_END" => Self::ResponseEnds,
            "DS_TX_BEG" => Self::AnswerBegins,
            "DS_TX_END" => Self::AnswerEnds,
            _ => Self::Unknown,
        }
    }
}

impl GrpcStatusForm {
    fn parse(argument: &str) -> Result<Self, String> {
        match argument {
            "" | "CAMEL_STRING" => Ok(Self::Camel),
            "SNAKE_STRING" => Ok(Self::Snake),
            "NUMBER" => Ok(Self::Number),
            other => Err(format!(
                "GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: {other}"
            )),
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
