//! Replies made here: through the same header operations and filters as an upstream's.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header::CONNECTION};
use mesh_core::{local_reply::LocalReply, route::FormatContext};

use super::router::ATTEMPT_COUNT;
use crate::{
    clock::Moment,
    error::BoxError,
    mesh_error::{ErrorKind, MeshError, kind_of},
    numbers::number,
    process::PROCESS,
    stream::Stream,
};

impl Stream {
    /// Finishes a reply and the stream with it. Err: no answer came; Ok: configuration answered.
    pub(crate) fn reply(
        &mut self,
        reply: LocalReply,
        source: Option<BoxError>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), MeshError> {
        if let Some(flag) = reply.flag {
            self.seen.flags.set(flag);
        }
        if let Some(chain) = &self.seen.chain {
            chain.stats().local_reply(&reply.details);
        }
        // Header operations see the status that HTTP clients get, not gRPC's 200.
        let (code, details) = (reply.status, reply.details.clone());
        let by_codec = reply.by_codec;
        let kept = reply.is_failure.then(|| reply.clone());
        // The connection manager knows of no attempts.
        let by_manager = matches!(
            &*reply.details,
            "stream_idle_timeout" | "max_duration_timeout" | "request_overall_timeout"
        );
        let closes = (reply.closes_connection || self.limits.tunnel)
            && self.downstream_version < Version::HTTP_2;
        self.limits.update(self.progress.as_deref());
        let (status, mut headers, mut body) = reply.into_response(self.seen.grpc && !by_codec);
        if self.is_head {
            body = Bytes::new();
            headers.remove("grpc-message");
        }
        if let (Some(at), Some(table)) = (self.route, self.table()) {
            let mut cx = self.format_context();
            cx.response_code_details = Some(&details);
            cx.status = Some(&code);
            table.finalize_response(at, self.selected.as_ref(), &mut headers, &cx);
            let counts = table
                .virtual_host(at)
                .is_some_and(|v| v.include_attempt_count_in_response);
            if counts && self.attempts > 0 && !by_manager {
                headers.insert(ATTEMPT_COUNT, number(u64::from(self.attempts)));
            }
        }
        self.pass_up(status, &mut headers, false, Moment::now());
        if closes && !self.connection.info().in_process {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.seen.status = Some(status);
        if self.seen.grpc {
            self.seen.grpc_status = mesh_core::grpc::status_in(&headers);
        }
        self.seen.finish();
        match kept {
            None => Ok((status, headers, body)),
            Some(reply) => {
                let kind = match &*reply.details {
                    "caller_deadline" => ErrorKind::Deadline,
                    _ => kind_of(&reply),
                };
                let flags = self.seen.flags;
                let head = (status, headers, body);
                Err(MeshError::new(kind, flags, reply, head, self.sent, source))
            }
        }
    }

    /// What response header formats read.
    pub(super) fn format_context(&self) -> FormatContext<'_> {
        let mut cx = FormatContext::new(self.kept_head(), self.connection.info());
        cx.protocol = Some(self.downstream_version);
        cx.upstream_host = self
            .seen
            .in_flight
            .as_ref()
            .map(|load| load.endpoint().address());
        cx.upstream_cluster = self.seen.cluster.as_ref().map(|c| &*c.config().name);
        cx.response_flags = self.seen.flags;
        cx.attempts = self.attempts;
        self.name_route(&mut cx);
        cx
    }

    /// What formats of requests and of responses read alike.
    pub(super) fn name_route<'a>(&'a self, cx: &mut FormatContext<'a>) {
        cx.started = Some(self.limits.started.instant());
        cx.process = PROCESS;
        cx.client = self.client();
        if let (Some(at), Some(table)) = (self.route, self.table()) {
            cx.route_name = table.route(at).map_or("", |r| &r.config().name);
        }
    }
}
