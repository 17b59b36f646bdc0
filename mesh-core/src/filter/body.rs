//! The request's body as filters see it: on its way to the first attempt, in the transport's task.

use std::{fmt, sync::Arc};

use http::HeaderMap;

use super::{
    HttpFilter,
    header_mutation::{self, ReadyMutation},
};

/// What filters do to a request's body. Only made where a filter asks for it.
pub struct RequestBodyFilters(pub(super) Vec<BodyFilter>);

pub(super) enum BodyFilter {
    Custom(Arc<dyn HttpFilter>, u64),
    Trailers(Vec<ReadyMutation>),
}

impl RequestBodyFilters {
    /// A chunk passes.
    pub fn on_data(&mut self, data: &[u8]) {
        for filter in &mut self.0 {
            match filter {
                BodyFilter::Custom(filter, slot) => filter.on_request_data(data, slot),
                BodyFilter::Trailers(_) => {}
            }
        }
    }

    /// The trailers pass.
    pub fn on_trailers(&mut self, trailers: &mut HeaderMap) {
        for filter in &mut self.0 {
            match filter {
                BodyFilter::Custom(filter, slot) => filter.on_request_trailers(trailers, slot),
                BodyFilter::Trailers(mutations) => header_mutation::apply(mutations, trailers),
            }
        }
    }
}

impl Drop for RequestBodyFilters {
    fn drop(&mut self) {
        for filter in &mut self.0 {
            if let BodyFilter::Custom(filter, slot) = filter {
                filter.on_request_end(slot);
            }
        }
    }
}

impl fmt::Debug for RequestBodyFilters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestBodyFilters")
            .field(&self.0.len())
            .finish()
    }
}
