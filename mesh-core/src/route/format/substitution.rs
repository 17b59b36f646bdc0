//! Whole texts: bodies of local replies, lines of access logs (`envoy.config.core.v3.SubstitutionFormatString`).

use http::HeaderValue;

use super::{
    FormatContext, InvalidFormat, Segment, json::JsonFormat, operator::Operator, parse_segments,
    sink::Buffer, write_all,
};
use crate::metadata::MetadataStruct;

/// An extension that knows further operators (`SubstitutionFormatString.formatters`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Formatter {
    /// `envoy.formatter.req_without_query`: `%REQ_WITHOUT_QUERY(X?Y):Z%`, a header up to its first question mark.
    ReqWithoutQuery,
}

impl Formatter {
    /// None: the operator is not the extension's.
    pub(super) fn operator(
        self,
        name: &str,
        argument: Option<&str>,
    ) -> Option<Result<Operator, String>> {
        match self {
            Self::ReqWithoutQuery => (name == "REQ_WITHOUT_QUERY")
                .then(|| Operator::request_without_query(name, argument.unwrap_or_default())),
        }
    }
}

/// `SubstitutionFormatString`. Writing it allocates no more than the text that is written into.
#[derive(Clone, Debug)]
pub struct SubstitutionFormat {
    form: Form,
    content_type: HeaderValue,
}

#[derive(Clone, Debug)]
enum Form {
    Text {
        segments: Box<[Segment]>,
        /// Written where an operator's value is not there.
        missing: &'static str,
    },
    Json(JsonFormat),
}

impl SubstitutionFormat {
    /// `text_format` or `text_format_source`. `omits_empty` (`omit_empty_values`): what is not there is empty, not `-`.
    /// `formatters`: what else than Envoy's own operators is known.
    ///
    /// # Errors
    /// As [`HeaderFormat::parse`](super::HeaderFormat::parse), but any text may be in it.
    pub fn text(
        format: &str,
        omits_empty: bool,
        formatters: &[Formatter],
    ) -> Result<Self, InvalidFormat> {
        Ok(Self {
            form: Form::Text {
                segments: parse_segments(format, formatters)?,
                missing: if omits_empty { "" } else { "-" },
            },
            content_type: HeaderValue::from_static("text/plain"),
        })
    }

    /// `json_format`: an object on a line of its own, keys sorted. An operator alone keeps its type; what is not there is
    /// null, or with `omits_empty` left out, as are objects that it leaves empty.
    ///
    /// # Errors
    /// As [`Self::text`], for any text in it.
    pub fn json(
        fields: &MetadataStruct,
        omits_empty: bool,
        formatters: &[Formatter],
    ) -> Result<Self, InvalidFormat> {
        Ok(Self {
            form: Form::Json(JsonFormat::parse(fields, omits_empty, formatters)?),
            content_type: HeaderValue::from_static("application/json"),
        })
    }

    /// With `content_type`.
    #[must_use]
    pub fn with_content_type(mut self, content_type: HeaderValue) -> Self {
        self.content_type = content_type;
        self
    }

    /// `content_type`; default `text/plain`, or `application/json` for JSON.
    pub fn content_type(&self) -> &HeaderValue {
        &self.content_type
    }

    /// Writes the text behind what is there.
    pub fn write(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) {
        match &self.form {
            Form::Text { segments, missing } => {
                let mut buffer = Buffer(std::mem::take(out));
                write_all(segments, missing, cx, &mut buffer);
                *out = buffer.0;
            }
            Form::Json(json) => json.write(cx, out),
        }
    }

    /// Whether the text depends on the request's head.
    pub fn reads_request(&self) -> bool {
        self.any(&Segment::reads_request)
    }

    fn any(&self, holds: &dyn Fn(&Segment) -> bool) -> bool {
        match &self.form {
            Form::Text { segments, .. } => segments.iter().any(holds),
            Form::Json(json) => json.any(holds),
        }
    }
}
