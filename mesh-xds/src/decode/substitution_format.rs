//! `SubstitutionFormatString`.

use bytes::Bytes;
use http::HeaderValue;
use mesh_core::route::SubstitutionFormat;
use mesh_proto::envoy::config::core::v3::{
    DataSource, SubstitutionFormatString, data_source::Specifier as Source,
    substitution_format_string::Format,
};

use super::metadata;
use crate::problems::Problems;

/// A format of a body or of a line.
pub(super) fn substitution_format(
    p: &mut Problems,
    value: &SubstitutionFormatString,
) -> Option<SubstitutionFormat> {
    let omits_empty = value.omit_empty_values;
    for (at, formatter) in value.formatters.iter().enumerate() {
        p.field("formatters", |p| {
            p.index(at, |p| {
                p.warn(format!(
                    "{} is not supported yet; ignored: its operators are refused",
                    formatter.name
                ));
            });
        });
    }
    let format = match &value.format {
        Some(Format::TextFormat(text)) if text.is_empty() => {
            p.error_at("text_format", "must not be empty");
            None
        }
        Some(Format::TextFormat(text)) => p.field("text_format", |p| {
            p.check(SubstitutionFormat::text(text, omits_empty))
        }),
        Some(Format::TextFormatSource(source)) => p.field("text_format_source", |p| {
            let text = data_source(source);
            let text = p.check(std::str::from_utf8(&text))?;
            p.check(SubstitutionFormat::text(text, omits_empty))
        }),
        Some(Format::JsonFormat(fields)) => p.field("json_format", |p| {
            let fields = metadata::struct_of(fields);
            p.check(SubstitutionFormat::json(&fields, omits_empty))
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

/// What a source holds. Files and variables of the environment are found by the field table.
pub(super) fn data_source(source: &DataSource) -> Bytes {
    match &source.specifier {
        Some(Source::InlineString(text)) => Bytes::from(text.clone().into_bytes()),
        Some(Source::InlineBytes(bytes)) => Bytes::from(bytes.clone()),
        Some(Source::Filename(_) | Source::EnvironmentVariable(_)) | None => Bytes::new(),
    }
}
