//! The buffer filter: a request goes on when its body is here (Envoy `source/extensions/filters/http/buffer`).

use http::{HeaderValue, StatusCode, header::CONTENT_LENGTH};

use super::{FilterContext, FilterVerdict};
use crate::local_reply::LocalReply;

/// `envoy.extensions.filters.http.buffer.v3.Buffer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferConfig {
    /// `max_request_bytes`; a longer body is answered with 413.
    pub max_request_bytes: u32,
}

/// `BufferPerRoute`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferOverride {
    /// `disabled`.
    Disabled,
    /// `buffer`.
    Buffer(BufferConfig),
}

pub(super) fn on_request_head(
    config: BufferConfig,
    over: Option<BufferOverride>,
    cx: &FilterContext<'_>,
) -> FilterVerdict {
    if cx.end_stream {
        return FilterVerdict::Continue;
    }
    match over {
        Some(BufferOverride::Disabled) => FilterVerdict::Continue,
        Some(BufferOverride::Buffer(config)) => {
            FilterVerdict::Buffer(u64::from(config.max_request_bytes))
        }
        None => FilterVerdict::Buffer(u64::from(config.max_request_bytes)),
    }
}

/// The whole body is here: a request that did not say its length does now.
pub(super) fn on_buffered(cx: &mut FilterContext<'_>, length: u64) {
    let headers = &mut cx.parts.headers;
    if !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// 413: the body is longer than the filter keeps.
pub(super) fn too_large(whole: bool) -> LocalReply {
    let details = "request_payload_too_large";
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    let mut reply = LocalReply::answer(status, "Payload Too Large", details);
    reply.closes_connection = !whole;
    reply
}
