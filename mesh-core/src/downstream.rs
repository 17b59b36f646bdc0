//! The Downstream stage: what the connection manager does before the filters and after them
//! (Envoy `conn_manager_utility.cc`, `conn_manager_impl.cc`).

use http::{HeaderMap, HeaderValue, StatusCode, request};

use crate::{
    Entropy,
    head::ConnectionInfo,
    local_reply::LocalReply,
    model::{ConnectionManagerConfig, TrafficDirection},
};

/// What the stage found out about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The request is from an internal peer: `x-envoy-*` overrides are honoured.
    pub internal: bool,
    /// The request asks for an upgrade (lower case) or is CONNECT, and the manager allows it.
    pub upgrade: Option<Box<str>>,
}

/// Checks and rewrites a request's head: missing host, path normalisation, sanitising, x-forwarded-*, request id.
///
/// On entry `parts.uri` is as it came (origin or absolute form, `host` header). On success it is in absolute form:
/// scheme, authority (the request's `:authority`) and path; the `host` header is gone.
///
/// # Errors
/// The reply for a request that is refused here (400, 403, 426, redirect).
pub fn on_request(
    manager: &ConnectionManagerConfig,
    direction: TrafficDirection,
    parts: &mut request::Parts,
    connection: &ConnectionInfo,
    entropy: &mut dyn Entropy,
) -> Result<Accepted, Box<LocalReply>> {
    let _ = (manager, direction, parts, connection, entropy);
    todo!()
}

/// Rewrites a response's head: hop-by-hop headers, `server`, `date`, `via`, `x-request-id`.
/// `date`: the value for now. `request_id`: for `always_set_request_id_in_response`. `upgraded`: 101 keeps `upgrade`
/// and `connection`.
pub fn on_response(
    manager: &ConnectionManagerConfig,
    status: StatusCode,
    headers: &mut HeaderMap,
    date: &HeaderValue,
    request_id: Option<&HeaderValue>,
    upgraded: bool,
) {
    let _ = (manager, status, headers, date, request_id, upgraded);
    todo!()
}
