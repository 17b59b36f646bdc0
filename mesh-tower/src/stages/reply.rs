//! Replies made here: through the same header operations and filters as an upstream's.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode, Version,
    header::{CONNECTION, CONTENT_TYPE},
};
use mesh_core::{
    local_reply::{LocalReply, Made, Mapped},
    route::FormatContext,
};

use super::{router::ATTEMPT_COUNT, with_scratch};
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
        mut reply: LocalReply,
        source: Option<BoxError>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), MeshError> {
        if let Some(flag) = reply.flag {
            self.seen.flags.set(flag);
        }
        if let Some(chain) = &self.seen.chain {
            chain.stats().local_reply(&reply.details);
        }
        // Counted as what it is, but Envoy's details tell no difference.
        if reply.details == "path_normalization_redirect" {
            reply.details = "path_normalization_failed".into();
        }
        // Header operations see the status that HTTP clients get, not gRPC's 200.
        let (code, details) = (reply.status, reply.details.clone());
        let additions = std::mem::take(&mut reply.additions);
        let kept = reply.is_failure.then(|| reply.clone());
        // The connection manager knows of no attempts.
        let by_manager = matches!(
            &*reply.details,
            "stream_idle_timeout" | "max_duration_timeout" | "request_overall_timeout"
        );
        let closes = (reply.closes_connection || self.limits.tunnel)
            && self.downstream_version < Version::HTTP_2;
        self.limits.update(self.progress.as_deref());
        let mut headers = HeaderMap::with_capacity(reply.headers.len() + 8);
        headers.extend(reply.headers.iter().cloned());
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
        for addition in &additions {
            let mut cx = self.format_context();
            cx.response_code_details = Some(&details);
            cx.status = Some(&code);
            addition.apply_to_response(&mut headers, &cx);
        }
        let (status, mut body) = self.form_reply(&reply, &mut headers);
        if self.is_head {
            body = Bytes::new();
            headers.remove("grpc-message");
        }
        self.pass_up(status, &mut headers, false, Moment::now());
        if closes && !self.connection.info().in_process {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.seen.log.is_some() {
            self.log_answer(&headers, details, Moment::now());
            if let Some(log) = &mut self.seen.log {
                log.bytes_sent = body.len() as u64;
                log.local_body = body.clone();
            }
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

    /// The reply's last form: what the connection manager's `local_reply_config` makes of it.
    fn form_reply(&self, reply: &LocalReply, headers: &mut HeaderMap) -> (StatusCode, Bytes) {
        if let Some(content_type) = &reply.content_type {
            headers.insert(CONTENT_TYPE, content_type.clone());
        }
        let grpc = self.seen.grpc && !reply.by_codec;
        let mut made = Made {
            status: reply.status,
            body: reply.body.clone(),
            content_type: HeaderValue::from_static("text/plain"),
            is_changed: false,
        };
        let manager = self.seen.chain.as_ref().map(|chain| chain.manager());
        if let Some(config) = manager.and_then(|manager| manager.local_reply.as_ref()) {
            let mut cx = self.format_context();
            cx.response_code_details = Some(&reply.details);
            cx.timing.now = Some(Moment::now().instant());
            let was = headers.get(CONTENT_TYPE).cloned();
            let mut mapped = Mapped {
                status: reply.status,
                headers: &mut *headers,
                body: reply.body.clone(),
            };
            made.content_type =
                with_scratch(|scratch| config.rewrite(&mut mapped, &cx, self.random, scratch));
            (made.status, made.body) = (mapped.status, mapped.body);
            let is_named = headers.get(CONTENT_TYPE) != was.as_ref();
            made.is_changed = made.body != reply.body && !is_named;
        }
        reply.finish(grpc, made, headers)
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
        cx.upstream_hostname = self
            .seen
            .in_flight
            .as_ref()
            .map(|load| &**load.endpoint().hostname())
            .filter(|name| !name.is_empty());
        if self.sent || self.limits.ready.is_some() {
            cx.upstream_remote = cx.upstream_host;
        }
        if let Some(connected) = self.kept.as_ref().and_then(|kept| kept.connected) {
            cx.upstream_local = connected.local;
            cx.upstream_protocol = Some(connected.version);
        }
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
        if let Some(led_to) = self.kept.as_ref().and_then(|kept| kept.led_to.as_ref()) {
            cx.route_name = &led_to.route_name;
            cx.upstream_cluster = led_to.cluster.as_ref().map(|c| &*c.config().name);
        }
    }
}
