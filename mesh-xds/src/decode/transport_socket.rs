//! Transport sockets: cleartext only, until TLS exists.

use mesh_proto::envoy::config::{
    cluster::v3::cluster::TransportSocketMatch,
    core::v3::{TransportSocket, transport_socket::ConfigType},
};

use super::any::extension_name;
use crate::problems::Problems;

const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

/// Refuses any socket but `raw_buffer` in field `transport_socket`.
pub(super) fn must_be_plaintext(p: &mut Problems, socket: Option<&TransportSocket>) {
    let Some(socket) = socket else { return };
    if let Some(kind) = not_plaintext(socket) {
        p.error_at(
            "transport_socket",
            format!("{kind} is not supported yet; only raw_buffer is"),
        );
    }
}

/// Sockets chosen by endpoint metadata: one of TLS is left alone as long as the default is `raw_buffer` (what istiod
/// sends for auto mTLS); an endpoint that asks for it is refused where it is decoded.
pub(super) fn matches(p: &mut Problems, matches: &[TransportSocketMatch]) {
    p.field("transport_socket_matches", |p| {
        let has_plaintext_default = matches.iter().any(|entry| {
            let matches_all = entry
                .r#match
                .as_ref()
                .is_none_or(|fields| fields.fields.is_empty());
            matches_all
                && entry
                    .transport_socket
                    .as_ref()
                    .is_some_and(|socket| not_plaintext(socket).is_none())
        });
        for (at, entry) in matches.iter().enumerate() {
            let Some(kind) = entry.transport_socket.as_ref().and_then(not_plaintext) else {
                continue;
            };
            p.index(at, |p| {
                p.field("transport_socket", |p| match has_plaintext_default {
                    true => p.warn(format!(
                        "{kind} is not supported yet; endpoints that ask for it are refused"
                    )),
                    false => p.error(format!("{kind} is not supported yet; only raw_buffer is")),
                });
            });
        }
    });
}

/// The extension's name, unless it is `raw_buffer`.
fn not_plaintext(socket: &TransportSocket) -> Option<String> {
    let kind = match &socket.config_type {
        Some(ConfigType::TypedConfig(config)) => extension_name(config),
        None if socket.name == "envoy.transport_sockets.raw_buffer" => return None,
        None => socket.name.clone(),
    };
    (kind != RAW_BUFFER).then_some(kind)
}
