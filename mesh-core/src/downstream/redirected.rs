//! What is done to a request that comes again because a redirect was followed: nothing that was done the first time,
//! but for what depends on its new host and path (Envoy `ActiveStream::decodeHeaders`, `is_internally_created`).

use http::request;

use super::request::{path, rewrite_uri, stripped};
use crate::{head::ConnectionInfo, local_reply::LocalReply, model::ConnectionManagerConfig};

/// Checks and rewrites host and path.
///
/// # Errors
/// The reply for a path that is refused here, or redirected to its normal form.
pub fn on_redirected(
    manager: &ConnectionManagerConfig,
    parts: &mut request::Parts,
    connection: &ConnectionInfo,
) -> Result<(), Box<LocalReply>> {
    let path = path(manager, parts)?;
    let authority = stripped(None, manager, connection, parts);
    let to_overwrite = manager.scheme_to_overwrite.as_ref();
    rewrite_uri(parts, authority, path, connection, to_overwrite);
    Ok(())
}
