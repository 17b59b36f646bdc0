//! Who the client is, by its connection and `x-forwarded-for` (Envoy `Utility::getLastAddressFromXFF`).

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::model::{ConnectionManagerConfig, OriginalIpDetection};

/// `x-forwarded-for`.
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// `x-forwarded-proto`.
pub(super) const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The client behind trusted proxies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Client {
    /// None: nothing says, and the connection is not asked.
    pub(super) address: Option<IpAddr>,
    /// There is no other hop that could be lying: only then may the client count as internal.
    pub(super) trusted: bool,
    /// The peer is appended to `x-forwarded-for`.
    pub(super) append: bool,
}

/// Finds the client before anything is appended to `x-forwarded-for`.
///
/// # Errors
/// The status of an extension that refuses requests in which it finds nobody.
pub(super) fn client(
    manager: &ConnectionManagerConfig,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Result<Client, StatusCode> {
    let hops = manager.xff_num_trusted_hops as usize;
    if manager.use_remote_address {
        let trusted = hops
            .checked_sub(1)
            .and_then(|skip| from_right(headers, skip));
        return Ok(Client {
            address: trusted.or(peer),
            trusted: !headers.contains_key(FOR),
            append: !manager.skip_xff_append,
        });
    }
    if manager.original_ip_detection.is_empty() {
        return Ok(by_xff(headers, hops, false));
    }
    let mut found = Client::default();
    for extension in &manager.original_ip_detection {
        found = detect(extension, headers, peer)?;
        if found.address.is_some() {
            break;
        }
    }
    Ok(found)
}

fn by_xff(headers: &HeaderMap, hops: usize, append: bool) -> Client {
    Client {
        address: from_right(headers, hops),
        trusted: hops == 0 && elements(headers).nth(1).is_none(),
        append,
    }
}

fn detect(
    extension: &OriginalIpDetection,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Result<Client, StatusCode> {
    match extension {
        OriginalIpDetection::Xff {
            trusted_hops,
            trusted_ranges,
            skip_append,
        } => {
            let is_trusted = |ip: IpAddr| trusted_ranges.iter().any(|range| range.contains(&ip));
            if trusted_ranges.is_empty() {
                return Ok(by_xff(headers, *trusted_hops as usize, !skip_append));
            }
            if !peer.is_some_and(is_trusted) {
                return Ok(Client {
                    append: true,
                    ..Client::default()
                });
            }
            let mut hops = elements(headers).map_while(address);
            let address = hops.find(|ip| !is_trusted(*ip));
            Ok(Client {
                address,
                trusted: elements(headers).nth(1).is_none(),
                append: !skip_append,
            })
        }
        OriginalIpDetection::CustomHeader {
            name,
            trusted,
            reject,
        } => {
            let value = headers.get(name).map(HeaderValue::as_bytes);
            match (value.and_then(address), reject) {
                (None, Some(status)) => Err(*status),
                (address, _) => Ok(Client {
                    address,
                    trusted: *trusted,
                    append: false,
                }),
            }
        }
    }
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
    elements(headers).nth(skip).and_then(address)
}

fn address(element: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(element).ok()?.parse().ok()
}

/// Appends an address; several lines become one.
pub(crate) fn append(headers: &mut HeaderMap, address: IpAddr) {
    let mut text = String::new();
    for line in headers.get_all(FOR).iter().filter(|line| !line.is_empty()) {
        text.push_str(line.to_str().unwrap_or_default());
        text.push(',');
    }
    text.push_str(&address.to_string());
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
        headers.insert(FOR, value);
    }
}
