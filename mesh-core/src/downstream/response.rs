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
    // One look at all names is cheaper than a look-up for each.
    let found = headers.keys().fold(0, |found, name| found | of_name(name));
    if found & OF_CONNECTION != 0 {
        if !upgraded {
            headers.remove(CONNECTION);
            headers.remove(UPGRADE);
        }
        headers.remove(TRANSFER_ENCODING);
        headers.remove(KEEP_ALIVE);
        headers.remove(PROXY_CONNECTION);
    }
    // Informational heads pass as they are otherwise: the final one speaks for us. 101 is a final one, asked for or not.
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    match manager.server_header {
        ServerHeader::Overwrite => {
            headers.insert(SERVER, manager.server_name.clone());
        }
        ServerHeader::AppendIfAbsent if found & HAS_SERVER == 0 => {
            headers.insert(SERVER, manager.server_name.clone());
        }
        ServerHeader::AppendIfAbsent | ServerHeader::PassThrough => {}
    }
    if found & HAS_DATE == 0 {
        headers.insert(DATE, date.clone());
    }
    if let (true, Some(id)) = (manager.always_set_request_id_in_response, request_id) {
        headers.insert(REQUEST_ID, id.clone());
    }
    if let Some(via) = manager.via.as_ref().filter(|via| !via.is_empty()) {
        append(headers, VIA, via);
    }
}

const OF_CONNECTION: u8 = 1;
const HAS_SERVER: u8 = 1 << 1;
const HAS_DATE: u8 = 1 << 2;

/// What a name tells, by length first: most names are done with one jump.
fn of_name(name: &HeaderName) -> u8 {
    let name = name.as_str().as_bytes();
    let (is, tells) = match name.len() {
        4 => (name == b"date", HAS_DATE),
        6 => (name == b"server", HAS_SERVER),
        7 => (name == b"upgrade", OF_CONNECTION),
        10 => (
            name == b"connection" || name == b"keep-alive",
            OF_CONNECTION,
        ),
        16 => (name == b"proxy-connection", OF_CONNECTION),
        17 => (name == b"transfer-encoding", OF_CONNECTION),
        _ => return 0,
    };
    if is { tells } else { 0 }
}
