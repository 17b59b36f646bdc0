//! What configuration makes of replies: `local_reply_config` (Envoy `source/common/local_reply/local_reply.cc`).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::{
    access_log::AccessLogFilter,
    model::HeaderMutations,
    regex::Scratch,
    route::{FormatContext, SubstitutionFormat},
};

/// `LocalReplyConfig`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LocalReplyConfig {
    /// `mappers`: the first whose filter matches is used.
    pub mappers: Vec<ResponseMapper>,
    /// `body_format`; None: the body as it is.
    pub body_format: Option<SubstitutionFormat>,
}

/// `ResponseMapper`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResponseMapper {
    /// `filter`.
    pub filter: AccessLogFilter,
    /// `status_code`.
    pub status_code: Option<StatusCode>,
    /// `body`.
    pub body: Option<Bytes>,
    /// `body_format_override`.
    pub body_format: Option<SubstitutionFormat>,
    /// `headers_to_add`.
    pub headers: HeaderMutations,
}

impl ResponseMapper {
    /// Changes nothing yet.
    pub fn new(filter: AccessLogFilter) -> Self {
        Self {
            filter,
            status_code: None,
            body: None,
            body_format: None,
            headers: HeaderMutations::default(),
        }
    }
}

/// A reply on its way through the mappers.
#[derive(Debug)]
pub struct Mapped<'h> {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those of the body.
    pub headers: &'h mut HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl LocalReplyConfig {
    /// Maps a reply, and makes its body; returns the content-type of what was made. `cx`: the stream; what is the
    /// reply's own in it is not read.
    pub fn rewrite(
        &self,
        reply: &mut Mapped<'_>,
        cx: &FormatContext<'_>,
        random: u64,
        scratch: &mut Scratch,
    ) -> HeaderValue {
        let mapper = self.mappers.iter().find(|mapper| {
            let cx = of_reply(cx, reply);
            mapper.filter.matches(&cx, random, scratch)
        });
        if let Some(mapper) = mapper {
            if let Some(body) = &mapper.body {
                reply.body = body.clone();
            }
            let status = reply.status;
            let mut cx = *cx;
            cx.response_code = status.as_u16();
            cx.status = Some(&status);
            mapper.headers.apply_to_response(reply.headers, &cx);
            if let Some(status) = mapper.status_code {
                reply.status = status;
            }
        }
        let format = mapper.and_then(|mapper| mapper.body_format.as_ref());
        let Some(format) = format.or(self.body_format.as_ref()) else {
            return HeaderValue::from_static("text/plain");
        };
        let mut body = Vec::new();
        let original = reply.body.clone();
        let mut cx = of_reply(cx, reply);
        cx.local_reply_body = &original;
        format.write(&cx, &mut body);
        reply.body = body.into();
        format.content_type().clone()
    }

    /// Whether anything in it reads the request's head.
    pub fn reads_request(&self) -> bool {
        let formats = self.mappers.iter().filter_map(|m| m.body_format.as_ref());
        let mut formats = formats.chain(&self.body_format);
        let additions = self.mappers.iter().flat_map(|m| &m.headers.add);
        formats.any(SubstitutionFormat::reads_request)
            || self.mappers.iter().any(|m| m.filter.reads_request())
            || additions.into_iter().any(|a| a.value.reads_request())
    }
}

fn of_reply<'a>(cx: &FormatContext<'a>, reply: &'a Mapped<'_>) -> FormatContext<'a> {
    let mut cx = *cx;
    cx.response_code = reply.status.as_u16();
    cx.status = Some(&reply.status);
    cx.response = Some(reply.headers);
    cx
}
