//! The operators of [`super::HeaderFormat`]: what each reads, and how it is written.

use std::{fmt, net::SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::FormatContext;
use crate::matcher::MatchedHeader;

#[derive(Clone, Debug)]
pub(super) enum Operator {
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

impl Operator {
    pub(super) fn parse(name: &str, argument: Option<&str>) -> Result<Self, String> {
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
    pub(super) fn shared_value<'a>(&self, cx: &FormatContext<'a>) -> Option<&'a HeaderValue> {
        match self {
            Self::Request(reference) => reference.shared_value(cx.head.headers),
            Self::Response(reference) => reference.shared_value(cx.response?),
            _ => None,
        }
    }

    pub(super) fn write(&self, cx: &FormatContext<'_>, limit: Option<usize>, sink: &mut impl Sink) {
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
        MatchedHeader::Absent(_) => return None,
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

/// Written to twice: once to measure, once into a buffer of exactly that size, so that there is one allocation.
pub(super) trait Sink: fmt::Write {
    fn bytes(&mut self, bytes: &[u8]);

    fn display(&mut self, arguments: fmt::Arguments<'_>) {
        // Neither sink fails.
        let _ = self.write_fmt(arguments);
    }
}

pub(super) struct Length(pub(super) usize);

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

pub(super) struct Buffer(pub(super) Vec<u8>);

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
