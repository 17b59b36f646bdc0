//! Which timeouts hold for a request (Envoy `FilterUtility::finalTimeout`, connection manager).

use std::time::Duration;

use crate::{
    head::RequestHead,
    model::{ConnectionManagerConfig, Forward},
};

/// The timeouts of one request; None: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Route timeout: from the complete request to the complete response, over all attempts.
    pub global: Option<Duration>,
    /// Per try: from pool-ready (or the complete request) to response headers.
    pub per_try: Option<Duration>,
    /// Per try, without activity.
    pub per_try_idle: Option<Duration>,
    /// The stream as a whole, from its first byte.
    pub max_stream_duration: Option<Duration>,
    /// No activity on the stream.
    pub idle: Option<Duration>,
    /// `x-envoy-upstream-rq-timeout-alt-response`: answer 204 on timeout.
    pub alternative_response: bool,
}

impl Timeouts {
    /// The timeouts for a request on a forwarding route, `x-envoy-*` and `grpc-timeout` headers included.
    /// `per_try_timeout` and `per_try_idle_timeout` are those of the retry policy in force.
    pub fn of(
        forward: &Forward,
        manager: &ConnectionManagerConfig,
        per_try: Duration,
        per_try_idle: Duration,
        head: &RequestHead<'_>,
    ) -> Self {
        let _ = (forward, manager, per_try, per_try_idle, head);
        todo!()
    }

    /// `x-envoy-expected-rq-timeout-ms` for an attempt made `elapsed` after the first.
    pub fn expected_rq_timeout(&self, elapsed: Duration) -> Option<Duration> {
        let _ = elapsed;
        todo!()
    }
}

/// Parses `grpc-timeout`: 1–8 digits and H, M, S, m, u or n; fractions of a millisecond round up.
pub fn parse_grpc_timeout(value: &[u8]) -> Option<Duration> {
    let _ = value;
    todo!()
}

/// Writes `grpc-timeout` as Envoy does: the finest unit of m, S, M, H that fits 8 digits.
pub fn format_grpc_timeout(timeout: Duration) -> String {
    let _ = timeout;
    todo!()
}
