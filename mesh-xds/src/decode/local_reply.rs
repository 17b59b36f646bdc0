//! `LocalReplyConfig`.

use http::StatusCode;
use mesh_core::local_reply::{LocalReplyConfig, ResponseMapper};
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3 as proto;

use super::{
    access_log_filter::{access_log_filter, holds_extension},
    header_operations::additions,
    substitution_format::substitution_format,
};
use crate::{data_source::body, problems::Problems};

/// `local_reply_config`.
pub(super) fn local_reply_config(
    p: &mut Problems,
    value: &proto::LocalReplyConfig,
) -> LocalReplyConfig {
    let mut config = LocalReplyConfig::default();
    config.mappers = p.each("mappers", &value.mappers, mapper);
    config.body_format = value
        .body_format
        .as_ref()
        .and_then(|format| p.field("body_format", |p| substitution_format(p, format)));
    config
}

fn mapper(p: &mut Problems, value: &proto::ResponseMapper) -> Option<ResponseMapper> {
    let filter = p.require("filter", value.filter.as_ref());
    if filter.is_some_and(holds_extension) {
        p.error_at("filter", "extension_filter is not supported yet");
    }
    let filter = filter.and_then(|filter| p.field("filter", |p| access_log_filter(p, filter)));
    let status_code = value.status_code.and_then(|code| {
        let status = u16::try_from(code).ok().filter(|c| (200..600).contains(c));
        if status.is_none() {
            p.error_at(
                "status_code",
                format!("{code} is not a status from 200 to 599"),
            );
        }
        StatusCode::from_u16(status?).ok()
    });
    let body_format = value
        .body_format_override
        .as_ref()
        .and_then(|format| p.field("body_format_override", |p| substitution_format(p, format)));
    let headers = additions(p, "headers_to_add", &value.headers_to_add);
    let mut mapper = ResponseMapper::new(filter?);
    mapper.status_code = status_code;
    mapper.body = value
        .body
        .as_ref()
        .and_then(|source| p.field("body", |p| body(p, source)));
    mapper.body_format = body_format;
    mapper.headers = headers;
    Some(mapper)
}
