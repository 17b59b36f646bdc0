use std::time::Duration;

use mesh_proto::envoy::config::core::v3 as core;
use prost::Name;

pub(super) fn socket(address: &str, port: u32) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
            ..Default::default()
        })),
    }
}

/// A message as `Any`. Encoding into memory cannot fail.
pub(super) fn any<M: prost::Message + Name>(message: &M) -> prost_types::Any {
    prost_types::Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

pub(super) fn zero() -> prost_types::Duration {
    prost_types::Duration {
        seconds: 0,
        nanos: 0,
    }
}

/// The ADS stream as the source of other resources.
pub(super) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        initial_fetch_timeout: Some(zero()),
        resource_api_version: core::ApiVersion::V3.into(),
        ..Default::default()
    }
}

/// What istiod puts behind names of statistics so that they can be split again.
pub(super) fn stat_prefix(name: &str) -> String {
    format!("{name};")
}

/// A socket of the file system.
pub(super) fn pipe(path: &str) -> core::Address {
    core::Address {
        address: Some(core::address::Address::Pipe(core::Pipe {
            path: path.to_owned(),
            mode: 0,
        })),
    }
}
