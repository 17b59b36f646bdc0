//! Small values: durations, fractions, header names and values, addresses.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use mesh_core::model::Fraction;
use mesh_proto::envoy::{
    config::core::v3::{
        Address, CidrRange, RuntimeFractionalPercent, SocketAddress, address, socket_address,
    },
    r#type::v3::{FractionalPercent, Percent, fractional_percent::DenominatorType},
};

use crate::problems::Problems;

/// A duration at a field; None: not set, or wrong.
pub(crate) fn duration(
    p: &mut Problems,
    name: &'static str,
    value: Option<&prost_types::Duration>,
) -> Option<Duration> {
    let value = value?;
    let seconds = u64::try_from(value.seconds);
    let nanos = u32::try_from(value.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000);
    match (seconds, nanos) {
        // protobuf's own limit: about 10,000 years
        (Ok(seconds), Some(nanos)) if seconds <= 315_576_000_000 => {
            Some(Duration::new(seconds, nanos))
        }
        _ => {
            let shown = value.seconds as f64 + f64::from(value.nanos) / 1e9;
            p.error_at(
                name,
                format!("{shown}s is not a duration from 0 to 315576000000s"),
            );
            None
        }
    }
}

/// A duration at a field, or its default.
pub(super) fn duration_or(
    p: &mut Problems,
    name: &'static str,
    value: Option<&prost_types::Duration>,
    default: Duration,
) -> Duration {
    duration(p, name, value).unwrap_or(default)
}

/// A duration at a field that must not be zero.
pub(super) fn positive_duration(
    p: &mut Problems,
    name: &'static str,
    value: Option<&prost_types::Duration>,
) -> Option<Duration> {
    let value = duration(p, name, value)?;
    if value.is_zero() {
        p.error_at(name, "must be greater than 0s");
        return None;
    }
    Some(value)
}

/// `FractionalPercent`.
pub(super) fn fraction(p: &mut Problems, value: &FractionalPercent) -> Option<Fraction> {
    let denominator = match DenominatorType::try_from(value.denominator) {
        Ok(DenominatorType::Hundred) => 100,
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        Err(_) => {
            p.error_at(
                "denominator",
                format!("{} is not a DenominatorType", value.denominator),
            );
            return None;
        }
    };
    Some(Fraction {
        numerator: value.numerator,
        denominator,
    })
}

/// `RuntimeFractionalPercent`: its default value, since there is no runtime. One that is missing is an
/// error, as in Envoy.
pub(super) fn runtime_fraction(
    p: &mut Problems,
    value: &RuntimeFractionalPercent,
) -> Option<Fraction> {
    match &value.default_value {
        Some(default) => p.field("default_value", |p| fraction(p, default)),
        None => {
            p.require("default_value", None::<()>);
            None
        }
    }
}

/// `Percent`: 0 to 100.
pub(super) fn percent(
    p: &mut Problems,
    name: &'static str,
    value: Option<&Percent>,
) -> Option<f64> {
    let value = value?.value;
    if !(0.0..=100.0).contains(&value) {
        p.error_at(name, format!("{value} is not a percentage from 0 to 100"));
        return None;
    }
    Some(value)
}

/// A whole percentage, 0 to 100.
pub(super) fn whole_percent(
    p: &mut Problems,
    name: &'static str,
    value: Option<u32>,
    default: u32,
) -> u32 {
    let value = value.unwrap_or(default);
    if value > 100 {
        p.error_at(name, format!("{value} is not a percentage from 0 to 100"));
    }
    value
}

/// A header's name, lower case.
pub(super) fn header_name(p: &mut Problems, name: &str) -> Option<HeaderName> {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => Some(name),
        Err(_) if name.is_empty() => {
            p.error("must not be empty");
            None
        }
        Err(_) => {
            p.error(format!("{name:?} is not a header name"));
            None
        }
    }
}

/// A header's value; empty: None.
pub(super) fn header_value(
    p: &mut Problems,
    name: &'static str,
    value: &str,
) -> Option<HeaderValue> {
    if value.is_empty() {
        return None;
    }
    p.field(name, |p| {
        p.check(
            HeaderValue::from_str(value).map_err(|_| format!("{value:?} is not a header value")),
        )
    })
}

/// An address that is an IP address and a port.
pub(crate) fn socket_address(p: &mut Problems, value: &Address) -> Option<SocketAddr> {
    match &value.address {
        Some(address::Address::SocketAddress(socket)) => {
            p.field("socket_address", |p| ip_and_port(p, socket))
        }
        Some(address::Address::Pipe(_)) => {
            p.error_at("pipe", "not supported yet; use a socket_address");
            None
        }
        Some(address::Address::EnvoyInternalAddress(_)) => {
            p.error_at(
                "envoy_internal_address",
                "not supported yet; use a socket_address",
            );
            None
        }
        None => {
            p.error("must hold a socket_address");
            None
        }
    }
}

pub(super) fn ip_and_port(p: &mut Problems, socket: &SocketAddress) -> Option<SocketAddr> {
    only_tcp(p, socket);
    let ip = p.field("address", |p| {
        let text = socket.address.as_str();
        p.check(
            text.parse::<IpAddr>()
                .map_err(|_| format!("{text:?} is not an IP address")),
        )
    });
    let port = port(p, socket);
    Some(SocketAddr::new(ip?, port?))
}

/// An address that is a name (or an IP address) and a port.
pub(super) fn name_and_port<'a>(p: &mut Problems, value: &'a Address) -> Option<(&'a str, u16)> {
    let Some(address::Address::SocketAddress(socket)) = &value.address else {
        socket_address(p, value);
        return None;
    };
    p.field("socket_address", |p| {
        only_tcp(p, socket);
        let name = p.require_text("address", &socket.address);
        let port = port(p, socket);
        Some((name?, port?))
    })
}

fn only_tcp(p: &mut Problems, socket: &SocketAddress) {
    if socket.protocol != socket_address::Protocol::Tcp as i32 {
        p.error_at("protocol", "only TCP is supported");
    }
}

fn port(p: &mut Problems, socket: &SocketAddress) -> Option<u16> {
    match &socket.port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port)) => p.field("port_value", |p| {
            p.check(u16::try_from(*port).map_err(|_| format!("{port} is not a port")))
        }),
        Some(socket_address::PortSpecifier::NamedPort(_)) => {
            p.error_at("named_port", "not supported; use port_value");
            None
        }
        None => {
            p.error_at("port_value", "must be set");
            None
        }
    }
}

/// `CidrRange`.
pub(super) fn cidr_range(p: &mut Problems, value: &CidrRange) -> Option<IpNet> {
    let text = value.address_prefix.as_str();
    let ip = p.field("address_prefix", |p| {
        p.check(
            text.parse::<IpAddr>()
                .map_err(|_| format!("{text:?} is not an IP address")),
        )
    })?;
    let length = value.prefix_len.unwrap_or(0);
    if length > 128 {
        p.error_at("prefix_len", format!("{length} is greater than 128"));
    }
    // what is too long for IPv4 is the whole address, as in Envoy
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    let length = u8::try_from(length).unwrap_or(longest).min(longest);
    IpNet::new(ip, length).ok().map(|network| network.trunc())
}

/// An enum's value by its number, or an error that it is not one.
pub(super) fn enumeration<E: TryFrom<i32>>(
    p: &mut Problems,
    name: &'static str,
    value: i32,
) -> Option<E> {
    let known = E::try_from(value).ok();
    if known.is_none() {
        p.error_at(name, format!("{value} is not a value of this enum"));
    }
    known
}
