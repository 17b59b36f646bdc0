//! Which timeouts hold for a request (Envoy `FilterUtility::finalTimeout`, connection manager).

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

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
    /// One attempt as a whole, from pool-ready to the end of its response (`x-envoy-upstream-stream-duration-ms`, else
    /// the cluster's `common_http_protocol_options.max_stream_duration`).
    pub upstream_duration: Option<Duration>,
    /// `x-envoy-upstream-rq-timeout-alt-response`: answer 204 on timeout.
    pub alternative_response: bool,
    /// What `max_stream_duration` of the route makes of a gRPC request's `grpc-timeout`.
    pub grpc_timeout: GrpcTimeoutHeader,
    /// `x-envoy-expected-rq-timeout-ms` was respected: `x-envoy-upstream-rq-timeout-ms` was not read and goes on.
    pub respects_expected: bool,
}

/// What becomes of a request's `grpc-timeout` (Envoy `refreshDurationTimeout`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrpcTimeoutHeader {
    /// Nothing.
    #[default]
    Keep,
    /// It goes: the route takes the connection manager's limit off.
    Remove,
    /// It says what limits the stream.
    Set(Duration),
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
        let overrides = Overrides::read(head.headers);
        Self::with_overrides(&overrides, forward, manager, per_try, per_try_idle, head)
    }

    /// What configuration alone says of a route, for requests that are known to have no `x-envoy-*` header: route,
    /// per-try and per-try idle timeout; the others are the connection manager's. None: other headers of the request
    /// have a say, or the route has limits of its own beside.
    pub fn fixed(forward: &Forward, per_try: Duration, per_try_idle: Duration) -> Option<Self> {
        if forward.max_grpc_timeout.is_some()
            || forward.max_stream_duration.is_some()
            || forward.idle_timeout.is_some()
        {
            return None;
        }
        let global = forward.timeout;
        let per_try = match !global.is_zero() && per_try >= global {
            true => Duration::ZERO,
            false => per_try,
        };
        Some(Self {
            global: limit(global),
            per_try: limit(per_try),
            per_try_idle: limit(per_try_idle),
            ..Self::default()
        })
    }

    /// The same for a request that is known to have no `x-envoy-*` header.
    pub fn configured(
        forward: &Forward,
        manager: &ConnectionManagerConfig,
        per_try: Duration,
        per_try_idle: Duration,
        head: &RequestHead<'_>,
    ) -> Self {
        let none = Overrides::default();
        Self::with_overrides(&none, forward, manager, per_try, per_try_idle, head)
    }

    fn with_overrides(
        overrides: &Overrides<'_>,
        forward: &Forward,
        manager: &ConnectionManagerConfig,
        per_try: Duration,
        per_try_idle: Duration,
        head: &RequestHead<'_>,
    ) -> Self {
        let mut global = configured_global(forward, head);
        let expected = overrides
            .expected
            .filter(|_| manager.respect_expected_rq_timeout);
        if let Some(value) = expected.or(overrides.global) {
            global = milliseconds(value).unwrap_or(global);
        }

        let mut per_try = overrides.per_try.and_then(milliseconds).unwrap_or(per_try);
        if !global.is_zero() && per_try >= global {
            per_try = Duration::ZERO;
        }

        let max_stream_duration = max_stream_duration(forward, manager, head);
        let rewrites = forward.max_stream_duration.is_some() && head.is_grpc();
        let grpc_timeout = match (rewrites, max_stream_duration) {
            (true, Some(duration)) => GrpcTimeoutHeader::Set(duration),
            (true, None) if !manager.max_stream_duration.is_zero() => GrpcTimeoutHeader::Remove,
            _ => GrpcTimeoutHeader::Keep,
        };
        Self {
            grpc_timeout,
            global: limit(global),
            per_try: limit(per_try),
            per_try_idle: limit(per_try_idle),
            max_stream_duration,
            idle: limit(forward.idle_timeout.unwrap_or(manager.stream_idle_timeout)),
            upstream_duration: overrides.upstream_duration.and_then(milliseconds),
            alternative_response: overrides.alternative_response,
            respects_expected: expected.is_some(),
        }
    }

    /// `x-envoy-expected-rq-timeout-ms` for an attempt made `elapsed` after the first: the per-try timeout, else the
    /// global one, but no more than what is left of the global one, and at least 1 ms. None: no header.
    pub fn expected_rq_timeout(&self, elapsed: Duration) -> Option<Duration> {
        let expected = self.per_try.or(self.global)?;
        let Some(global) = self.global else {
            return Some(expected);
        };
        let left = global.saturating_sub(elapsed);
        Some(expected.min(left).max(Duration::from_millis(1)))
    }
}

/// The `x-envoy-*` headers that override timeouts: honoured only from internal peers, since the Downstream stage strips
/// them from others. Found in one pass, because most requests have none of them.
#[derive(Default)]
struct Overrides<'a> {
    expected: Option<&'a HeaderValue>,
    global: Option<&'a HeaderValue>,
    per_try: Option<&'a HeaderValue>,
    upstream_duration: Option<&'a HeaderValue>,
    alternative_response: bool,
}

impl<'a> Overrides<'a> {
    fn read(headers: &'a HeaderMap) -> Self {
        let mut overrides = Self::default();
        for (name, value) in headers {
            match name.as_str().strip_prefix("x-envoy-") {
                Some("expected-rq-timeout-ms") => overrides.expected = Some(value),
                Some("upstream-rq-timeout-ms") => overrides.global = Some(value),
                Some("upstream-rq-per-try-timeout-ms") => overrides.per_try = Some(value),
                Some("upstream-stream-duration-ms") => overrides.upstream_duration = Some(value),
                Some("upstream-rq-timeout-alt-response") => overrides.alternative_response = true,
                _ => {}
            }
        }
        overrides
    }
}

/// The global timeout before headers override it; zero: none.
fn configured_global(forward: &Forward, head: &RequestHead<'_>) -> Duration {
    if forward.max_stream_duration.is_some() {
        return Duration::ZERO;
    }
    let Some(max) = forward.max_grpc_timeout.filter(|_| head.is_grpc()) else {
        return forward.timeout;
    };
    let mut timeout = grpc_timeout(head).unwrap_or_default();
    if let Some(offset) = forward.grpc_timeout_offset.filter(|o| *o < timeout) {
        timeout -= offset;
    }
    if !max.is_zero() && (timeout.is_zero() || timeout > max) {
        max
    } else {
        timeout
    }
}

/// Envoy's `refreshDurationTimeout`. Some(zero), possible only by `grpc-timeout`: expired at once.
fn max_stream_duration(
    forward: &Forward,
    manager: &ConnectionManagerConfig,
    head: &RequestHead<'_>,
) -> Option<Duration> {
    let route = forward.max_stream_duration.unwrap_or_default();
    if let Some(max) = route.grpc_timeout_header_max
        && let Some(timeout) = grpc_timeout(head)
    {
        let capped = limit(max).map_or(timeout, |max| timeout.min(max));
        let offset = route.grpc_timeout_header_offset.unwrap_or_default();
        return Some(capped.saturating_sub(offset));
    }
    limit(
        route
            .max_stream_duration
            .unwrap_or(manager.max_stream_duration),
    )
}

fn grpc_timeout(head: &RequestHead<'_>) -> Option<Duration> {
    parse_grpc_timeout(head.headers.get("grpc-timeout")?.as_bytes())
}

/// Zero means no limit in Envoy's configuration and headers.
fn limit(timeout: Duration) -> Option<Duration> {
    (!timeout.is_zero()).then_some(timeout)
}

/// A header that holds a number of milliseconds; one that does not is ignored.
fn milliseconds(value: &HeaderValue) -> Option<Duration> {
    let digits = value.to_str().ok()?.trim_ascii();
    digits.parse().ok().map(Duration::from_millis)
}

/// Parses `grpc-timeout`: 1–8 digits and H, M, S, m, u or n; fractions of a millisecond round up.
pub fn parse_grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let milliseconds = match unit {
        b'H' => n * 3_600_000,
        b'M' => n * 60_000,
        b'S' => n * 1000,
        b'm' => n,
        b'u' => n.div_ceil(1000),
        b'n' => n.div_ceil(1_000_000),
        _ => return None,
    };
    Some(Duration::from_millis(milliseconds))
}

/// Writes `grpc-timeout` as Envoy does: the finest unit of m, S, M, H that fits 8 digits.
pub fn format_grpc_timeout(timeout: Duration) -> String {
    const MAX: u128 = 99_999_999;
    let milliseconds = timeout.as_millis();
    let (n, unit) = [(1, 'm'), (1000, 'S'), (60_000, 'M')]
        .into_iter()
        .map(|(divisor, unit)| (milliseconds / divisor, unit))
        .find(|(n, _)| *n <= MAX)
        .unwrap_or(((milliseconds / 3_600_000).min(MAX), 'H'));
    format!("{n}{unit}")
}

#[cfg(test)]
mod tests;
