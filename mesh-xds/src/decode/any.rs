//! `google.protobuf.Any`: which extension it is, and reading it.

use mesh_proto::{udpa, xds};
use prost::{Message, Name};
use prost_types::Any;

use super::supported;
use crate::problems::Problems;

/// Steps of a field path. protobuf's own limit does not reach into the bytes of an `Any`, and the stack is finite.
pub(super) const MAX_DEPTH: usize = 100;

/// The message's full name: a type URL without its host.
pub(super) fn short_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

/// The message's full name; for a `TypedStruct` that of the message inside.
pub(super) fn extension_name(any: &Any) -> String {
    let inner = match short_name(&any.type_url) {
        "udpa.type.v1.TypedStruct" => {
            udpa::r#type::v1::TypedStruct::decode(any.value.as_slice()).map(|inner| inner.type_url)
        }
        "xds.type.v3.TypedStruct" => {
            xds::r#type::v3::TypedStruct::decode(any.value.as_slice()).map(|inner| inner.type_url)
        }
        name => return name.to_owned(),
    };
    inner.map_or_else(
        |_| short_name(&any.type_url).to_owned(),
        |url| short_name(&url).to_owned(),
    )
}

/// The message; an error if it is another one or cannot be read.
pub(super) fn unpack<M: Message + Name + Default>(p: &mut Problems, any: &Any) -> Option<M> {
    if p.depth() > MAX_DEPTH {
        p.error("is nested too deeply");
        return None;
    }
    let found = short_name(&any.type_url);
    if found != M::full_name() {
        p.error(format!("must be a {}, found {found:?}", M::full_name()));
        return None;
    }
    p.check(M::decode(any.value.as_slice()).map_err(|error| format!("cannot be read: {error}")))
}

/// The message of an extension whose fields the table knows, checked against it.
pub(super) fn unpack_checked<M: Message + Name + Default>(
    p: &mut Problems,
    any: &Any,
) -> Option<M> {
    let message = unpack(p, any)?;
    supported::check(p, &M::full_name(), &any.value);
    Some(message)
}
