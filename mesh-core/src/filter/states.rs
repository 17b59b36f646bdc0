//! What filters remember of a stream.

use std::sync::Arc;

use http::HeaderValue;

use super::header_mutation::ReadyMutation;
use crate::{metadata::DynamicMetadata, rate_limit::TokenBucket};

/// How many filters have their word without an allocation.
const INLINE: usize = 4;

/// A stream's words, one per filter. The first four filters need no allocation.
#[derive(Debug, Default)]
pub struct FilterStates {
    slots: [u64; INLINE],
    more: Option<Box<More>>,
}

/// What few streams need: every stream carries only the place.
#[derive(Debug, Default)]
pub(super) struct More {
    slots: Vec<u64>,
    /// The allowed `origin` of a CORS request, for its response.
    pub(super) origin: Option<HeaderValue>,
    pub(super) metadata: Option<Box<DynamicMetadata>>,
    /// Which filters run, once a filter has cleared the route that says so.
    pub(super) enabled: Option<Box<[bool]>>,
    /// The bucket that a filter took from, and that its response tells of.
    pub(super) buckets: Vec<(usize, Arc<TokenBucket>)>,
    /// What becomes of the response's trailers.
    pub(super) trailers: Vec<ReadyMutation>,
}

impl FilterStates {
    pub(super) fn slot(&mut self, at: usize) -> &mut u64 {
        if at < INLINE {
            return &mut self.slots[at];
        }
        let at = at - INLINE;
        let more = &mut self.more().slots;
        if more.len() <= at {
            more.resize(at + 1, 0);
        }
        &mut more[at]
    }

    pub(super) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    pub(super) fn rare(&self) -> Option<&More> {
        self.more.as_deref()
    }

    pub(super) fn rare_mut(&mut self) -> Option<&mut More> {
        self.more.as_deref_mut()
    }

    /// The stream's dynamic metadata; None: nothing was written.
    pub fn metadata(&self) -> Option<&DynamicMetadata> {
        self.more.as_ref()?.metadata.as_deref()
    }
}
