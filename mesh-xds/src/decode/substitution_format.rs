//! `SubstitutionFormatString`.

use http::HeaderValue;
use mesh_core::route::{Formatter, SubstitutionFormat};
use mesh_proto::envoy::config::core::v3::{
    SubstitutionFormatString, TypedExtensionConfig, substitution_format_string::Format,
};

use super::{any::extension_name, metadata};
use crate::{data_source::data, problems::Problems};

const REQ_WITHOUT_QUERY: &str = "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery";

/// A format of a body or of a line.
pub(super) fn substitution_format(
    p: &mut Problems,
    value: &SubstitutionFormatString,
) -> Option<SubstitutionFormat> {
    let omits_empty = value.omit_empty_values;
    let formatters = p.each("formatters", &value.formatters, formatter);
    let format = match &value.format {
        Some(Format::TextFormat(text)) if text.is_empty() => {
            p.error_at("text_format", "must not be empty");
            None
        }
        Some(Format::TextFormat(text)) => p.field("text_format", |p| {
            p.check(SubstitutionFormat::text(text, omits_empty, &formatters))
        }),
        Some(Format::TextFormatSource(source)) => p.field("text_format_source", |p| {
            let text = data(p, source)?;
            let text = p.check(std::str::from_utf8(&text))?;
            p.check(SubstitutionFormat::text(text, omits_empty, &formatters))
        }),
        Some(Format::JsonFormat(fields)) => p.field("json_format", |p| {
            let fields = metadata::struct_of(fields);
            p.check(SubstitutionFormat::json(&fields, omits_empty, &formatters))
        }),
        None => {
            p.error("must hold text_format, json_format or text_format_source");
            None
        }
    }?;
    if value.content_type.is_empty() {
        return Some(format);
    }
    let content_type = p.field("content_type", |p| {
        p.check(HeaderValue::from_str(&value.content_type))
    });
    Some(format.with_content_type(content_type?))
}

/// An extension that knows further operators. None: one that is not known here; its operators are refused.
fn formatter(p: &mut Problems, value: &TypedExtensionConfig) -> Option<Formatter> {
    let config = value.typed_config.as_ref();
    if config.map(extension_name).as_deref() == Some(REQ_WITHOUT_QUERY) {
        return Some(Formatter::ReqWithoutQuery);
    }
    p.warn(format!(
        "{} is not supported yet; ignored: its operators are refused",
        value.name
    ));
    None
}
