//! What a filter is: the application's own implement [`HttpFilter`].

use std::{fmt::Debug, time::Duration};

use http::{HeaderMap, StatusCode};

use super::{FilterContext, FilterOverride};
use crate::local_reply::LocalReply;

/// What a filter does next with a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum FilterVerdict {
    /// On to the next filter.
    Continue,
    /// Hold the request this long, then ask [`HttpFilter::on_delay_over`].
    Delay(Duration),
    /// Hold the request until its body is here, then go on; 413 if it is longer than so many bytes.
    Buffer(u64),
    /// Answer here.
    Reply(Box<LocalReply>),
}

/// An HTTP filter. All hooks have a default that does nothing.
///
/// Requests run through the chain in its order, responses in reverse, also those that a filter or the router made. A
/// filter's slot is one word per stream; the request's body has a word of its own, since it is read by the transport,
/// maybe while the response is under way.
pub trait HttpFilter: Debug + Send + Sync {
    /// The request's head came. `config`: the route's own configuration, if it has one.
    fn on_request_head(
        &self,
        cx: &mut FilterContext<'_>,
        config: Option<&FilterOverride>,
        slot: &mut u64,
    ) -> FilterVerdict {
        let _ = (cx, config, slot);
        FilterVerdict::Continue
    }

    /// The delay asked for is over.
    fn on_delay_over(
        &self,
        cx: &mut FilterContext<'_>,
        config: Option<&FilterOverride>,
        slot: &mut u64,
    ) -> FilterVerdict {
        let _ = (cx, config, slot);
        FilterVerdict::Continue
    }

    /// Whether the hooks of the request's body are called at all; false spares every request with a body an
    /// allocation, and every chunk the call.
    fn wants_request_body(&self) -> bool {
        false
    }

    /// A chunk of the request's body leaves for the first attempt. `slot`: the body's word, at first what the head's
    /// slot was.
    fn on_request_data(&self, data: &[u8], slot: &mut u64) {
        let _ = (data, slot);
    }

    /// The request's trailers leave for the first attempt.
    fn on_request_trailers(&self, trailers: &mut HeaderMap, slot: &mut u64) {
        let _ = (trailers, slot);
    }

    /// Nothing more of the request's body will pass: it is over, or nobody reads it any more.
    fn on_request_end(&self, slot: &mut u64) {
        let _ = slot;
    }

    /// The response's head, from upstream or local, on its way down.
    fn on_response_head(
        &self,
        status: StatusCode,
        headers: &mut HeaderMap,
        config: Option<&FilterOverride>,
        slot: &mut u64,
    ) {
        let _ = (status, headers, config, slot);
    }

    /// Whether [`Self::on_response_data`] is called at all; false spares every chunk of every body the call.
    fn wants_response_data(&self) -> bool {
        false
    }

    /// A chunk of an upstream's body passed.
    fn on_response_data(&self, data: &[u8], slot: &mut u64) {
        let _ = (data, slot);
    }

    /// The response's trailers.
    fn on_response_trailers(&self, trailers: &mut HeaderMap, slot: &mut u64) {
        let _ = (trailers, slot);
    }

    /// The stream is over, however it ended; called exactly once.
    fn on_complete(&self, slot: &mut u64) {
        let _ = slot;
    }
}
