//! Whether a client is internal, and what it therefore may say.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::VIA, uri::Scheme};

use super::{
    forwarded,
    request::{append, proto, refused, set_forwarded_proto},
};
use crate::{head::ConnectionInfo, local_reply::LocalReply, model::ConnectionManagerConfig};

const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");

/// x-forwarded-*, `via` and the headers that only internal peers may send. Returns whether the client is internal, and
/// its address where it is not the peer's.
pub(super) fn forward(
    manager: &ConnectionManagerConfig,
    headers: &mut HeaderMap,
    connection: &ConnectionInfo,
) -> Result<(bool, Option<IpAddr>), Box<LocalReply>> {
    let peer = connection.peer.map(|peer| peer.ip().to_canonical());
    let client = forwarded::client(manager, headers, peer).map_err(|status| {
        let mut reply = refused(status, "", "rejecting_because_detection_failed");
        reply.closes_connection = false;
        reply
    })?;
    if let (Some(peer), true) = (peer, client.append) {
        let shown = match connection.node_address {
            Some(node) if peer.is_loopback() => node,
            _ => peer,
        };
        forwarded::append(headers, shown);
    }
    if let Some(scheme) = &manager.scheme_to_overwrite {
        let https = *scheme == Scheme::HTTPS;
        let proto = HeaderValue::from_static(if https { "https" } else { "http" });
        headers.insert(forwarded::PROTO, proto);
    } else if manager.use_remote_address && manager.xff_num_trusted_hops == 0 {
        headers.insert(forwarded::PROTO, proto(connection));
    }
    set_forwarded_proto(headers, connection);

    let is_internal = |address: IpAddr| {
        let ranges = &manager.internal_address_ranges;
        ranges.iter().any(|range| range.contains(&address))
    };
    let internal = client.trusted && client.address.is_some_and(is_internal);
    let edge = !internal && manager.use_remote_address;
    if internal {
        headers.insert(INTERNAL, HeaderValue::from_static("true"));
    } else if headers
        .keys()
        .any(|name| name.as_str().starts_with("x-envoy-"))
    {
        for name in EXTERNAL_MAY_NOT {
            headers.remove(*name);
        }
        if edge {
            for name in EDGE_MAY_NOT {
                headers.remove(*name);
            }
        }
    }
    if let Some(via) = manager.via.as_ref().filter(|via| !via.is_empty()) {
        append(headers, VIA, via);
    }
    if let (true, Some(address)) = (edge, client.address.or(peer))
        && let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(address.to_string()))
    {
        headers.insert(EXTERNAL_ADDRESS, value);
    }
    Ok((internal, client.address.filter(|_| client.address != peer)))
}

/// What external peers may not say, at the edge or behind it.
const EXTERNAL_MAY_NOT: &[&str] = &[
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-upstream-stream-duration-ms",
];

/// What clients of a front proxy may not say either.
const EDGE_MAY_NOT: &[&str] = &[
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
    "x-envoy-original-host",
];
