//! The upstream's response on its way up: router's headers, header operations, filters, Downstream stage.

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, SET_COOKIE},
    response,
};
use mesh_core::{downstream, filter::ResponseContext, outcome::Outcome};

use super::router::ATTEMPT_COUNT;
use crate::{
    clock::{Moment, with_date},
    numbers::number,
    stream::{Stream, Tunnel},
};

/// `x-envoy-decorator-operation`.
pub(super) const DECORATOR_OPERATION: HeaderName =
    HeaderName::from_static("x-envoy-decorator-operation");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// In the extensions of a response whose body is not sent on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WithoutBody;

impl Stream {
    /// What the response says of its attempt.
    pub(crate) fn outcome_of(&self, parts: &response::Parts) -> Outcome {
        let grpc_status = match self.seen.grpc {
            true => mesh_core::grpc::status_in(&parts.headers),
            false => None,
        };
        let cluster = self.seen.cluster.as_ref();
        let detection = cluster.and_then(|cluster| cluster.config().outlier_detection.as_ref());
        let detects_degraded = detection.is_some_and(|d| d.detect_degraded_hosts);
        Outcome::Response {
            status: parts.status,
            grpc_status,
            grpc: self.seen.grpc,
            degraded: detects_degraded && parts.headers.contains_key("x-envoy-degraded"),
        }
    }

    /// Finishes the response's head.
    pub(crate) fn deliver(&mut self, parts: &mut response::Parts, now: Moment) {
        // A 101 that nobody asked for is an answer like any other, without a body.
        let upgraded = match self.tunnel {
            Tunnel::No => false,
            Tunnel::Connect => parts.status.is_success(),
            _ => parts.status == StatusCode::SWITCHING_PROTOCOLS,
        };
        self.seen.tunnel = upgraded;
        self.limits.update(self.progress.as_deref());
        if let Some(table) = self.table() {
            self.router_headers(&mut parts.headers, now);
            for cookie in self.kept.iter().flat_map(|kept| &kept.cookies) {
                parts.headers.append(SET_COOKIE, cookie.clone());
            }
            let at = self.route;
            if let Some((at, route)) = at.and_then(|at| Some((at, table.route(at)?))) {
                if route.changes_response() {
                    let mut cx = self.format_context();
                    cx.response_code = parts.status.as_u16();
                    cx.status = Some(&parts.status);
                    cx.response_code_details = Some("via_upstream");
                    table.finalize_response(at, self.selected.as_ref(), &mut parts.headers, &cx);
                }
                if route.counts_attempts_in_response() {
                    let attempts = number(u64::from(self.attempts));
                    parts.headers.insert(ATTEMPT_COUNT, attempts);
                }
            }
        }
        self.pass_up(parts.status, &mut parts.headers, upgraded, now);
        if self.limits.tunnel && !upgraded && self.downstream_version < Version::HTTP_2 {
            let headers = &mut parts.headers;
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            // Success that is no upgrade has no body.
            if parts.status.is_success() && self.tunnel == Tunnel::WebSocket {
                headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
                parts.extensions.insert(WithoutBody);
            }
        }
        if self.seen.log.is_some() {
            self.log_answer(&parts.headers, "via_upstream".into(), now);
        }
        self.seen.status = Some(parts.status);
        if self.seen.grpc {
            self.seen.grpc_status = mesh_core::grpc::status_in(&parts.headers);
        }
    }

    fn router_headers(&self, headers: &mut HeaderMap, now: Moment) {
        if let Some(complete) = self.limits.complete
            && !self.suppresses_envoy_headers()
        {
            let from = self.limits.routed.map_or(complete, |at| at.max(complete));
            let milliseconds = u64::try_from(now.since(from).as_millis()).unwrap_or(u64::MAX);
            headers.insert(SERVICE_TIME, number(milliseconds));
        }
    }

    /// Filters, then the Downstream stage.
    pub(super) fn pass_up(
        &mut self,
        status: StatusCode,
        headers: &mut HeaderMap,
        upgraded: bool,
        now: Moment,
    ) {
        self.filter_response(status, headers, now);
        let Some(chain) = &self.seen.chain else {
            return;
        };
        let request_id = self.kept.as_ref().and_then(|k| k.request_id.as_ref());
        with_date(now, |date| {
            downstream::on_response(chain.manager(), status, headers, date, request_id, upgraded);
        });
        if self.answers_operation
            && let Some(operation) = self
                .route
                .and_then(|at| chain.routes()?.route(at)?.config().decorator.clone())
        {
            headers.insert(DECORATOR_OPERATION, operation);
        }
        if !upgraded && self.answers_early() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// Filters, in reverse.
    fn filter_response(&mut self, status: StatusCode, headers: &mut HeaderMap, now: Moment) {
        let Some(chain) = &self.seen.chain else {
            return;
        };
        let filters = chain.filters();
        if filters.is_empty() {
            return;
        }
        // Formats read the whole stream: meanwhile the states are elsewhere.
        let mut states = std::mem::take(&mut self.seen.states);
        let mut cx = ResponseContext::new(status, headers, now.instant());
        if filters.formats() {
            cx.format = Some(self.format_context());
        }
        let route = self
            .route
            .and_then(|at| chain.routes()?.route(at))
            .map(|compiled| compiled.filters_for(self.selected.as_ref()));
        filters.on_response_head(&mut states, route, &mut cx);
        self.seen.states = states;
    }

    /// Whether an HTTP/1 request is answered before it was read to its end: the rest is not waited for
    /// (Envoy `ActiveStream::encodeHeaders`).
    fn answers_early(&self) -> bool {
        let unread = !self.is_empty && self.limits.complete.is_none();
        unread && self.downstream_version < Version::HTTP_2 && !self.connection.info().in_process
    }
}
