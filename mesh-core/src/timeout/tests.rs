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
                let asked = Timeouts::configured(&forward, &manager, ms(per_try), ms(idle), &head);
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
