//! Transport sockets: cleartext and TLS.

use std::sync::Arc;

use mesh_core::model::{DownstreamTls, TransportSocketMatch, UpstreamTls};
use mesh_proto::envoy::{
    config::{
        cluster::v3::cluster::TransportSocketMatch as Match,
        core::v3::{TransportSocket, transport_socket::ConfigType},
    },
    extensions::transport_sockets::tls::v3::{DownstreamTlsContext, UpstreamTlsContext},
};
use prost_types::Any;

use super::{
    any::{extension_name, unpack_checked},
    subset::struct_criteria,
    tls,
};
use crate::problems::Problems;

const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const UPSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const DOWNSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

/// A cluster's socket in field `transport_socket`; None: cleartext, or refused.
pub(super) fn upstream(
    p: &mut Problems,
    socket: Option<&TransportSocket>,
) -> Option<Arc<UpstreamTls>> {
    socket_of(p, socket, UPSTREAM_TLS, |p, config| {
        let context: UpstreamTlsContext = unpack_checked(p, config)?;
        Some(tls::upstream(p, &context))
    })
}

/// A filter chain's socket in field `transport_socket`; None: cleartext, or refused.
pub(super) fn downstream(
    p: &mut Problems,
    socket: Option<&TransportSocket>,
) -> Option<Arc<DownstreamTls>> {
    socket_of(p, socket, DOWNSTREAM_TLS, |p, config| {
        let context: DownstreamTlsContext = unpack_checked(p, config)?;
        Some(tls::downstream(p, &context))
    })
}

/// `transport_socket_matches`.
pub(super) fn matches(p: &mut Problems, matches: &[Match]) -> Vec<TransportSocketMatch> {
    p.each("transport_socket_matches", matches, |p, entry| {
        let name = p.require_text("name", &entry.name);
        let socket = upstream(p, entry.transport_socket.as_ref());
        Some(TransportSocketMatch {
            name: name?.into(),
            criteria: entry
                .r#match
                .as_ref()
                .map(struct_criteria)
                .unwrap_or_default(),
            socket,
        })
    })
}

fn socket_of<C>(
    p: &mut Problems,
    socket: Option<&TransportSocket>,
    tls: &str,
    read: impl FnOnce(&mut Problems, &Any) -> Option<C>,
) -> Option<Arc<C>> {
    let socket = socket?;
    p.field("transport_socket", |p| match &socket.config_type {
        None if socket.name == "envoy.transport_sockets.raw_buffer" => None,
        None => {
            p.error(format!("{} needs a typed_config", socket.name));
            None
        }
        Some(ConfigType::TypedConfig(config)) => {
            let kind = extension_name(config);
            if kind == RAW_BUFFER {
                return None;
            }
            if kind != tls {
                p.error(format!(
                    "{kind} is not supported here; only raw_buffer and tls are"
                ));
                return None;
            }
            p.field("typed_config", |p| read(p, config)).map(Arc::new)
        }
    })
}
