//! The buffer filter.

use mesh_core::filter::{BufferConfig, BufferOverride};
use mesh_proto::envoy::extensions::filters::http::buffer::v3::{
    Buffer, BufferPerRoute, buffer_per_route::Override,
};

use crate::problems::Problems;

/// `Buffer`.
pub(super) fn buffer_config(p: &mut Problems, value: &Buffer) -> Option<BufferConfig> {
    let max_request_bytes = p.require("max_request_bytes", value.max_request_bytes)?;
    if max_request_bytes == 0 {
        p.error_at("max_request_bytes", "must be greater than 0");
        return None;
    }
    Some(BufferConfig { max_request_bytes })
}

/// `BufferPerRoute`.
pub(super) fn buffer_override(p: &mut Problems, value: &BufferPerRoute) -> Option<BufferOverride> {
    match &value.r#override {
        Some(Override::Disabled(true)) => Some(BufferOverride::Disabled),
        Some(Override::Disabled(false)) => {
            p.error_at("disabled", "must be true");
            None
        }
        Some(Override::Buffer(buffer)) => p
            .field("buffer", |p| buffer_config(p, buffer))
            .map(BufferOverride::Buffer),
        None => {
            p.error("must hold disabled or buffer");
            None
        }
    }
}
