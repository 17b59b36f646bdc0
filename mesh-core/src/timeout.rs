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
mod tests {
    use http::{HeaderName, Method};

    use super::*;
    use crate::model::{ClusterSpecifier, MaxStreamDuration, RouteSource};

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A route to any cluster, with a timeout of 10 ms unless changed.
    fn forward(change: impl FnOnce(&mut Forward)) -> Forward {
        let mut forward = Forward::to(ClusterSpecifier::Cluster("c".into()));
        forward.timeout = ms(10);
        change(&mut forward);
        forward
    }

    fn manager() -> ConnectionManagerConfig {
        ConnectionManagerConfig::new("ingress", RouteSource::Rds("r".into()))
    }

    fn of(
        forward: &Forward,
        manager: &ConnectionManagerConfig,
        per_try: Duration,
        lines: &[&str],
    ) -> Timeouts {
        let headers: HeaderMap = lines
            .iter()
            .map(|line| {
                let (name, value) = line.split_once(": ").unwrap();
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let head = RequestHead {
            method: &Method::POST,
            scheme: "http",
            authority: "a",
            path: "/",
            headers: &headers,
        };
        Timeouts::of(forward, manager, per_try, Duration::ZERO, &head)
    }

    #[test]
    fn global_and_per_try() {
        let limited = forward(|_| ());
        let unlimited = forward(|f| f.timeout = Duration::ZERO);
        let global = "x-envoy-upstream-rq-timeout-ms: 15";
        let per_try = "x-envoy-upstream-rq-per-try-timeout-ms: 5";
        for (forward, policy, headers, expected) in [
            (&limited, 0, &[][..], (Some(10), None)),
            (&limited, 7, &[], (Some(10), Some(7))),
            // Not below the global timeout: ignored.
            (&limited, 10, &[], (Some(10), None)),
            (&limited, 20, &[], (Some(10), None)),
            (&unlimited, 20, &[], (None, Some(20))),
            (&limited, 0, &[global], (Some(15), None)),
            (&limited, 12, &[global], (Some(15), Some(12))),
            (&limited, 0, &[global, per_try], (Some(15), Some(5))),
            (&limited, 7, &[per_try], (Some(10), Some(5))),
            (
                &limited,
                7,
                &["x-envoy-upstream-rq-timeout-ms: bad"],
                (Some(10), Some(7)),
            ),
            (
                &limited,
                7,
                &["x-envoy-upstream-rq-timeout-ms: 0"],
                (None, Some(7)),
            ),
            (
                &limited,
                7,
                &["x-envoy-upstream-rq-per-try-timeout-ms: 0"],
                (Some(10), None),
            ),
            (
                &limited,
                0,
                &["x-envoy-expected-rq-timeout-ms: 8"],
                (Some(10), None),
            ),
        ] {
            let timeouts = of(forward, &manager(), ms(policy), headers);
            let expected = (expected.0.map(ms), expected.1.map(ms));
            assert_eq!(
                (timeouts.global, timeouts.per_try),
                expected,
                "{policy} {headers:?}"
            );
        }
    }

    #[test]
    fn fixed_timeouts_are_those_of_a_request_that_asks_for_nothing() {
        let mut manager = manager();
        manager.max_stream_duration = ms(50);
        for global in [0, 10] {
            for per_try in [0, 7, 10, 20] {
                for idle in [0, 3] {
                    let forward = forward(|f| f.timeout = ms(global));
                    let fixed = Timeouts::fixed(&forward, ms(per_try), ms(idle)).unwrap();
                    let headers = HeaderMap::new();
                    let head = RequestHead {
                        method: &Method::GET,
                        scheme: "http",
                        authority: "a",
                        path: "/",
                        headers: &headers,
                    };
                    let asked =
                        Timeouts::configured(&forward, &manager, ms(per_try), ms(idle), &head);
                    let of_manager = Timeouts {
                        max_stream_duration: limit(manager.max_stream_duration),
                        idle: limit(manager.stream_idle_timeout),
                        ..fixed
                    };
                    assert_eq!(asked, of_manager, "{global} {per_try} {idle}");
                }
            }
        }
    }

    #[test]
    fn the_expected_timeout_of_an_egress_proxy_is_respected() {
        let mut manager = manager();
        manager.respect_expected_rq_timeout = true;
        let expected = "x-envoy-expected-rq-timeout-ms: 8";
        let upstream = "x-envoy-upstream-rq-timeout-ms: 15";
        for (headers, global) in [
            (&[expected][..], 8),
            (&[upstream, expected], 8),
            (&[upstream], 15),
            (&["x-envoy-expected-rq-timeout-ms: bad", upstream], 10),
        ] {
            let timeouts = of(&forward(|_| ()), &manager, Duration::ZERO, headers);
            assert_eq!(timeouts.global, Some(ms(global)), "{headers:?}");
        }
    }

    #[test]
    fn grpc_requests_use_their_own_timeout() {
        let grpc = "content-type: application/grpc";
        for (max, offset, headers, expected) in [
            // None: grpc-timeout is not used.
            (None, None, &[grpc, "grpc-timeout: 5m"][..], Some(10)),
            (Some(0), None, &[grpc, "grpc-timeout: 5m"], Some(5)),
            (Some(0), None, &["grpc-timeout: 5m"], Some(10)),
            (Some(0), None, &[grpc], None),
            (Some(0), None, &[grpc, "grpc-timeout: 0m"], None),
            (Some(0), None, &[grpc, "grpc-timeout: bad"], None),
            (Some(20), None, &[grpc], Some(20)),
            (Some(20), None, &[grpc, "grpc-timeout: 1S"], Some(20)),
            (Some(20), None, &[grpc, "grpc-timeout: 5m"], Some(5)),
            (Some(0), Some(3), &[grpc, "grpc-timeout: 5m"], Some(2)),
            (Some(0), Some(5), &[grpc, "grpc-timeout: 5m"], Some(5)),
            (Some(0), Some(3), &[grpc], None),
            (
                Some(0),
                None,
                &[
                    grpc,
                    "grpc-timeout: 5m",
                    "x-envoy-upstream-rq-timeout-ms: 7",
                ],
                Some(7),
            ),
        ] {
            let forward = forward(|f| {
                f.max_grpc_timeout = max.map(ms);
                f.grpc_timeout_offset = offset.map(ms);
            });
            let timeouts = of(&forward, &manager(), Duration::ZERO, headers);
            assert_eq!(
                timeouts.global,
                expected.map(ms),
                "{max:?} {offset:?} {headers:?}"
            );
        }
    }

    #[test]
    fn max_stream_duration_replaces_the_route_timeout() {
        let header = &["grpc-timeout: 50m"][..];
        for (route, max, offset, manager_max, headers, expected) in [
            (Some(30), None, None, 0, &[][..], Some(30)),
            (Some(0), None, None, 40, &[], None),
            (None, None, None, 40, &[], Some(40)),
            (None, None, None, 0, &[], None),
            // Without grpc_timeout_header_max the header is not used.
            (Some(30), None, None, 0, header, Some(30)),
            (Some(30), Some(0), None, 0, header, Some(50)),
            (Some(30), Some(20), None, 0, header, Some(20)),
            (Some(30), Some(20), None, 0, &[], Some(30)),
            (None, Some(0), Some(10), 0, header, Some(40)),
            (None, Some(0), Some(60), 0, header, Some(0)),
        ] {
            let forward = forward(|f| {
                f.max_stream_duration = Some(MaxStreamDuration {
                    max_stream_duration: route.map(ms),
                    grpc_timeout_header_max: max.map(ms),
                    grpc_timeout_header_offset: offset.map(ms),
                });
            });
            let mut manager = manager();
            manager.max_stream_duration = ms(manager_max);
            let timeouts = of(&forward, &manager, Duration::ZERO, headers);
            assert_eq!(timeouts.global, None);
            assert_eq!(
                timeouts.max_stream_duration,
                expected.map(ms),
                "{forward:?} {headers:?}"
            );
        }
        let mut manager = manager();
        manager.max_stream_duration = ms(40);
        let timeouts = of(&forward(|_| ()), &manager, Duration::ZERO, &[]);
        assert_eq!(
            (timeouts.global, timeouts.max_stream_duration),
            (Some(ms(10)), Some(ms(40)))
        );
    }

    #[test]
    fn idle_timeout_and_alternative_response() {
        let mut never_idle = manager();
        never_idle.stream_idle_timeout = Duration::ZERO;
        let default = of(&forward(|_| ()), &manager(), Duration::ZERO, &[]);
        assert_eq!(default.idle, Some(Duration::from_secs(300)));
        assert!(!default.alternative_response);
        assert_eq!(
            of(&forward(|_| ()), &never_idle, Duration::ZERO, &[]).idle,
            None
        );
        let own = forward(|f| f.idle_timeout = Some(ms(3)));
        let alternative = &["x-envoy-upstream-rq-timeout-alt-response: 204"];
        let timeouts = of(&own, &never_idle, Duration::ZERO, alternative);
        assert_eq!(timeouts.idle, Some(ms(3)));
        assert!(timeouts.alternative_response);
        let off = forward(|f| f.idle_timeout = Some(Duration::ZERO));
        assert_eq!(of(&off, &manager(), Duration::ZERO, &[]).idle, None);
    }

    #[test]
    fn tells_the_upstream_what_is_left() {
        for (global, per_try, elapsed, expected) in [
            (None, None, 5, None),
            (Some(200), None, 0, Some(200)),
            (Some(200), None, 50, Some(150)),
            (Some(200), None, 200, Some(1)),
            (Some(200), None, 300, Some(1)),
            (Some(200), Some(50), 0, Some(50)),
            (Some(200), Some(50), 170, Some(30)),
            (None, Some(50), 170, Some(50)),
        ] {
            let timeouts = Timeouts {
                global: global.map(ms),
                per_try: per_try.map(ms),
                ..Timeouts::default()
            };
            assert_eq!(timeouts.expected_rq_timeout(ms(elapsed)), expected.map(ms));
        }
    }

    #[test]
    fn grpc_timeout_units() {
        for (text, expected) in [
            ("0S", Some(0)),
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("3S", Some(3000)),
            ("82m", Some(82)),
            ("1u", Some(1)),
            ("1001u", Some(2)),
            ("1000001n", Some(2)),
            ("99999999H", Some(99_999_999 * 3_600_000)),
            ("123456789m", None),
            ("6kHz", None),
            ("-1m", None),
            ("1 m", None),
            ("1", None),
            ("m", None),
            ("", None),
        ] {
            assert_eq!(
                parse_grpc_timeout(text.as_bytes()),
                expected.map(ms),
                "{text}"
            );
        }
        for (milliseconds, expected) in [
            (0, "0m"),
            (1, "1m"),
            (99_999_999, "99999999m"),
            (100_000_000, "100000S"),
            (100_000_000_000, "1666666M"),
            (99_999_999_000, "99999999S"),
            (6_000_000_000_000, "1666666H"),
            (u64::MAX, "99999999H"),
        ] {
            assert_eq!(format_grpc_timeout(ms(milliseconds)), expected);
        }
    }
}
