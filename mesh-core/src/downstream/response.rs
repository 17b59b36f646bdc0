//! A response's head on its way to the peer.

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONNECTION, DATE, SERVER, TRANSFER_ENCODING, UPGRADE, VIA},
};

use super::request::append;
use crate::model::{ConnectionManagerConfig, ServerHeader};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Rewrites a response's head: hop-by-hop headers, `server`, `date`, `via`, `x-request-id`.
/// `date`: the value for now, used if the response has none. `request_id`: for `always_set_request_id_in_response`.
/// `upgraded`: 101 (or the answer to CONNECT) keeps `upgrade` and `connection`. Costs no allocation but for a `via`
/// that is appended to another.
pub fn on_response(
    manager: &ConnectionManagerConfig,
    status: StatusCode,
    headers: &mut HeaderMap,
    date: &HeaderValue,
    request_id: Option<&HeaderValue>,
    upgraded: bool,
) {
    // Nearly no response has any of these here: one look at the names is cheaper than five lookups.
    if headers.keys().any(is_of_connection) {
        if !upgraded {
            headers.remove(CONNECTION);
            headers.remove(UPGRADE);
        }
        headers.remove(TRANSFER_ENCODING);
        headers.remove(KEEP_ALIVE);
        headers.remove(PROXY_CONNECTION);
    }
    // Informational heads pass as they are otherwise: the final one speaks for us.
    if status.is_informational() && !upgraded {
        return;
    }
    match manager.server_header {
        ServerHeader::Overwrite => {
            headers.insert(SERVER, manager.server_name.clone());
        }
        ServerHeader::AppendIfAbsent if !headers.contains_key(SERVER) => {
            headers.insert(SERVER, manager.server_name.clone());
        }
        ServerHeader::AppendIfAbsent | ServerHeader::PassThrough => {}
    }
    if !headers.contains_key(DATE) {
        headers.insert(DATE, date.clone());
    }
    if let (true, Some(id)) = (manager.always_set_request_id_in_response, request_id) {
        headers.insert(REQUEST_ID, id.clone());
    }
    if let Some(via) = manager.via.as_ref().filter(|via| !via.is_empty()) {
        append(headers, VIA, via);
    }
}

fn is_of_connection(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == UPGRADE
        || *name == TRANSFER_ENCODING
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}
