//! Who the client is, by its connection and `x-forwarded-for` (Envoy `Utility::getLastAddressFromXFF`).

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{head::ConnectionInfo, model::ConnectionManagerConfig};

/// `x-forwarded-for`.
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// `x-forwarded-proto`.
pub(super) const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The client behind trusted proxies.
pub(super) struct Client {
    /// None: `x-forwarded-for` does not say, and the connection is not asked.
    pub(super) address: Option<IpAddr>,
    /// There is no other hop that could be lying: only then may the client count as internal.
    pub(super) only_one: bool,
}

/// Finds the client before anything is appended to `x-forwarded-for`.
pub(super) fn client(
    manager: &ConnectionManagerConfig,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Client {
    let hops = manager.xff_num_trusted_hops as usize;
    if manager.use_remote_address {
        let trusted = hops
            .checked_sub(1)
            .and_then(|skip| from_right(headers, skip));
        return Client {
            address: trusted.or(peer),
            only_one: !headers.contains_key(FOR),
        };
    }
    Client {
        address: from_right(headers, hops),
        only_one: hops == 0 && elements(headers).nth(1).is_none(),
    }
}

/// The client behind trusted proxies (Envoy `downstreamRemoteAddress`) of a request whose head [`super::on_request`]
/// has been through: by then the peer may be in `x-forwarded-for`. None: a call from inside the process.
pub fn client_address(
    manager: &ConnectionManagerConfig,
    headers: &HeaderMap,
    connection: &ConnectionInfo,
) -> Option<IpAddr> {
    let peer = connection.peer?.ip().to_canonical();
    let hops = manager.xff_num_trusted_hops as usize;
    let trusted = match (manager.use_remote_address, manager.skip_xff_append) {
        (false, _) => from_right(headers, hops),
        (true, _) if hops == 0 => None,
        (true, false) => from_right(headers, hops),
        (true, true) => from_right(headers, hops - 1),
    };
    Some(trusted.unwrap_or(peer))
}

/// The elements of all lines, the last first.
fn elements(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(FOR)
        .iter()
        .rev()
        .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// The address after `skip` others from the right; None: there are not so many, or it is no address.
fn from_right(headers: &HeaderMap, skip: usize) -> Option<IpAddr> {
    let element = elements(headers).nth(skip)?;
    std::str::from_utf8(element).ok()?.parse().ok()
}

/// Appends an address; several lines become one.
pub(super) fn append(headers: &mut HeaderMap, address: IpAddr) {
    let mut text = String::new();
    for line in headers.get_all(FOR) {
        text.push_str(line.to_str().unwrap_or_default());
        text.push(',');
    }
    text.push_str(&address.to_string());
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
        headers.insert(FOR, value);
    }
}
