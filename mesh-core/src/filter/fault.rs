//! The fault filter: delays and aborts (Envoy `source/extensions/filters/http/fault/fault_filter.cc`).

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::{FilterContext, FilterVerdict, holds};
use crate::{
    flags::ResponseFlag, head::RequestHead, local_reply::LocalReply, matcher::HeaderMatcher,
    model::Fraction, stats::FaultStats,
};

/// `envoy.extensions.filters.http.fault.v3.HTTPFault`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FaultConfig {
    /// `delay.fixed_delay`.
    pub delay: Option<Duration>,
    /// `delay.percentage`; unset: never.
    pub delay_fraction: Option<Fraction>,
    /// `delay.header_delay`: the request says how long (`x-envoy-fault-delay-request`, milliseconds).
    pub header_delay: bool,
    /// `abort`.
    pub abort: Option<FaultAbort>,
    /// `abort.percentage`; unset: never.
    pub abort_fraction: Option<Fraction>,
    /// `upstream_cluster`: only for routes to it; empty: all.
    pub upstream_cluster: Box<str>,
    /// `headers`: only requests that match all.
    pub headers: Vec<HeaderMatcher>,
    /// `downstream_nodes`; empty: all.
    pub downstream_nodes: Vec<Box<str>>,
    /// `max_active_faults`.
    pub max_active_faults: Option<u32>,
}

/// `FaultAbort.error_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultAbort {
    /// `http_status`.
    Http(StatusCode),
    /// `grpc_status`.
    Grpc(u32),
    /// `header_abort`: the request says which (`x-envoy-fault-abort-request`, `x-envoy-fault-abort-grpc-request`).
    Header,
}

/// The slot's value of a stream that counts as an active fault.
const ACTIVE: u64 = 1;

pub(super) fn on_request_head(
    config: &FaultConfig,
    stats: &FaultStats,
    cx: &mut FilterContext<'_>,
    slot: &mut u64,
) -> FilterVerdict {
    // The filter stands in every chain of istiod, nearly always without a fault.
    if config.delay.is_none() && !config.header_delay && config.abort.is_none() {
        return FilterVerdict::Continue;
    }
    if !applies(config, cx) {
        return FilterVerdict::Continue;
    }
    if let Some(delay) = delay(config, cx)
        && activate(config, stats, slot)
    {
        stats.delays_injected.inc();
        cx.flags.set(ResponseFlag::DelayInjected);
        return FilterVerdict::Delay(delay);
    }
    abort(config, stats, cx, slot)
}

pub(super) fn on_delay_over(
    config: &FaultConfig,
    stats: &FaultStats,
    cx: &mut FilterContext<'_>,
    slot: &mut u64,
) -> FilterVerdict {
    abort(config, stats, cx, slot)
}

pub(super) fn on_complete(stats: &FaultStats, slot: &mut u64) {
    if std::mem::take(slot) == ACTIVE {
        stats.active_faults.dec();
    }
}

/// Whether the request is of those that the configuration speaks of.
fn applies(config: &FaultConfig, cx: &mut FilterContext<'_>) -> bool {
    if !config.upstream_cluster.is_empty() && cx.cluster != Some(&*config.upstream_cluster) {
        return false;
    }
    if !config.downstream_nodes.is_empty() {
        let node = text(&cx.parts.headers, "x-envoy-downstream-service-node");
        if !config
            .downstream_nodes
            .iter()
            .any(|allowed| node == Some(&**allowed))
        {
            return false;
        }
    }
    let head = RequestHead::of(cx.parts);
    config
        .headers
        .iter()
        .all(|matcher| matcher.matches(&head, cx.scratch))
}

/// The delay that is due; only durations of at least a millisecond are.
fn delay(config: &FaultConfig, cx: &mut FilterContext<'_>) -> Option<Duration> {
    let mut fraction = config.delay_fraction;
    if config.header_delay {
        let name = "x-envoy-fault-delay-request-percentage";
        fraction = lowered(fraction, &cx.parts.headers, name);
    }
    if !holds(fraction, cx.entropy) {
        return None;
    }
    let duration = if config.header_delay {
        let millis = number(&cx.parts.headers, "x-envoy-fault-delay-request")?;
        Duration::from_millis(millis)
    } else {
        config.delay?
    };
    (duration.as_millis() > 0).then_some(duration)
}

fn abort(
    config: &FaultConfig,
    stats: &FaultStats,
    cx: &mut FilterContext<'_>,
    slot: &mut u64,
) -> FilterVerdict {
    let Some(kind) = config.abort else {
        return FilterVerdict::Continue;
    };
    let headers = &cx.parts.headers;
    let mut fraction = config.abort_fraction;
    if kind == FaultAbort::Header {
        let name = "x-envoy-fault-abort-request-percentage";
        fraction = lowered(fraction, headers, name);
    }
    if !holds(fraction, cx.entropy) {
        return FilterVerdict::Continue;
    }
    let (status, grpc_status) = match kind {
        FaultAbort::Http(status) => (Some(status), None),
        FaultAbort::Grpc(status) => (None, Some(status)),
        FaultAbort::Header => (
            number(headers, "x-envoy-fault-abort-request")
                .filter(|code| (200..600).contains(code))
                .and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok()),
            number(headers, "x-envoy-fault-abort-grpc-request")
                .and_then(|status| u32::try_from(status).ok()),
        ),
    };
    // An HTTP status beats a gRPC status, which alone answers 200.
    let grpc_status = grpc_status.filter(|_| status.is_none());
    if (status.is_none() && grpc_status.is_none()) || !activate(config, stats, slot) {
        return FilterVerdict::Continue;
    }
    stats.aborts_injected.inc();
    cx.flags.set(ResponseFlag::FaultInjected);
    let status = status.unwrap_or(StatusCode::OK);
    let mut reply = LocalReply::answer(status, "fault filter abort", "fault_filter_abort");
    reply.grpc_status = grpc_status;
    FilterVerdict::Reply(Box::new(reply))
}

/// Counts the stream as an active fault, once; false: there are `max_active_faults` already.
fn activate(config: &FaultConfig, stats: &FaultStats, slot: &mut u64) -> bool {
    if *slot == ACTIVE {
        return true;
    }
    if config
        .max_active_faults
        .is_some_and(|max| stats.active_faults.value() >= u64::from(max))
    {
        stats.faults_overflow.inc();
        return false;
    }
    stats.active_faults.inc();
    *slot = ACTIVE;
    true
}

/// The fraction, its numerator lowered by a request header.
fn lowered(fraction: Option<Fraction>, headers: &HeaderMap, name: &str) -> Option<Fraction> {
    let mut fraction = fraction?;
    if let Some(numerator) = number(headers, name) {
        fraction.numerator = fraction
            .numerator
            .min(u32::try_from(numerator).unwrap_or(u32::MAX));
    }
    Some(fraction)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use http::Request;

    use super::*;
    use crate::{Entropy, flags::ResponseFlags, head::ConnectionInfo};

    /// Gives the numbers of a script; a draw beyond it fails the test.
    struct Script(Vec<u64>);

    impl Entropy for Script {
        fn next_u64(&mut self) -> u64 {
            assert!(!self.0.is_empty(), "a draw too many");
            self.0.remove(0)
        }
    }

    struct Run {
        verdict: FilterVerdict,
        flags: String,
        slot: u64,
    }

    /// Runs the request hook, and after a delay the hook behind it.
    fn run(
        config: &FaultConfig,
        stats: &FaultStats,
        draws: &[u64],
        headers: &[(&'static str, &'static str)],
    ) -> (Option<Duration>, Run) {
        let mut request = Request::get("http://a/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let mut flags = ResponseFlags::NONE;
        let mut script = Script(draws.to_vec());
        let mut slot = 0;
        let connection = ConnectionInfo::default();
        let mut scratch = Default::default();
        let mut cx = FilterContext::new(
            &mut parts,
            &connection,
            &mut flags,
            &mut script,
            &mut scratch,
            Instant::now(),
        );
        cx.cluster = Some("c");
        let mut verdict = on_request_head(config, stats, &mut cx, &mut slot);
        let mut delay = None;
        if let FilterVerdict::Delay(duration) = verdict {
            delay = Some(duration);
            verdict = on_delay_over(config, stats, &mut cx, &mut slot);
        }
        assert!(script.0.is_empty(), "a draw too few");
        let flags = flags.to_string();
        (
            delay,
            Run {
                verdict,
                flags,
                slot,
            },
        )
    }

    fn status(run: &Run) -> Option<u16> {
        match &run.verdict {
            FilterVerdict::Reply(reply) => Some(reply.status.as_u16()),
            _ => None,
        }
    }

    fn half() -> Option<Fraction> {
        Some(Fraction {
            numerator: 50,
            denominator: 100,
        })
    }

    #[test]
    fn delay_and_abort_are_drawn_apart_and_the_abort_after_the_delay() {
        let config = FaultConfig {
            delay: Some(Duration::from_millis(10)),
            delay_fraction: half(),
            abort: Some(FaultAbort::Http(StatusCode::IM_A_TEAPOT)),
            abort_fraction: half(),
            ..FaultConfig::default()
        };
        for (draws, delayed, aborted, flags) in [
            ([149, 100], true, true, "DI,FI"),
            ([150, 100], false, true, "FI"),
            ([100, 199], true, false, "DI"),
            ([199, 199], false, false, "-"),
        ] {
            let (delay, run) = run(&config, &FaultStats::default(), &draws, &[]);
            assert_eq!(delay.is_some(), delayed, "{draws:?}");
            assert_eq!(status(&run), aborted.then_some(418), "{draws:?}");
            assert_eq!(run.flags, flags, "{draws:?}");
        }
    }

    #[test]
    fn an_unset_percentage_is_never_and_a_full_one_draws_nothing() {
        let mut config = FaultConfig {
            abort: Some(FaultAbort::Http(StatusCode::BAD_GATEWAY)),
            ..FaultConfig::default()
        };
        let stats = FaultStats::default();
        assert_eq!(status(&run(&config, &stats, &[], &[]).1), None);
        config.abort_fraction = Some(Fraction::ALWAYS);
        assert_eq!(status(&run(&config, &stats, &[], &[]).1), Some(502));
        assert_eq!(stats.aborts_injected.value(), 1);
    }

    #[test]
    fn a_grpc_status_answers_200_with_the_status() {
        let config = FaultConfig {
            abort: Some(FaultAbort::Grpc(14)),
            abort_fraction: Some(Fraction::ALWAYS),
            ..FaultConfig::default()
        };
        let (_, run) = run(&config, &FaultStats::default(), &[], &[]);
        let FilterVerdict::Reply(reply) = run.verdict else {
            panic!("{:?}", run.verdict)
        };
        assert_eq!(
            (reply.status.as_u16(), reply.grpc_status, &reply.body[..]),
            (200, Some(14), b"fault filter abort".as_slice())
        );
        assert_eq!(reply.details, "fault_filter_abort");
        assert!(!reply.is_failure);
    }

    #[test]
    fn headers_choose_status_delay_and_lower_the_percentage() {
        let config = FaultConfig {
            header_delay: true,
            delay_fraction: Some(Fraction::ALWAYS),
            abort: Some(FaultAbort::Header),
            abort_fraction: Some(Fraction::ALWAYS),
            ..FaultConfig::default()
        };
        const ABORT: &str = "x-envoy-fault-abort-request";
        const GRPC: &str = "x-envoy-fault-abort-grpc-request";
        const PERCENTAGE: &str = "x-envoy-fault-abort-request-percentage";
        const DELAY: &str = "x-envoy-fault-delay-request";
        type Case<'a> = (
            &'a [(&'static str, &'static str)],
            &'a [u64],
            Option<u64>,
            Option<u16>,
        );
        let cases: [Case<'_>; 10] = [
            (&[], &[], None, None),
            (&[(ABORT, "418")], &[], None, Some(418)),
            (&[(ABORT, "199")], &[], None, None),
            (&[(ABORT, "600")], &[], None, None),
            (&[(ABORT, "x")], &[], None, None),
            (&[(GRPC, "5")], &[], None, Some(200)),
            (&[(GRPC, "5"), (ABORT, "503")], &[], None, Some(503)),
            (&[(ABORT, "418"), (PERCENTAGE, "0")], &[], None, None),
            (
                &[(ABORT, "418"), (PERCENTAGE, "30")],
                &[29],
                None,
                Some(418),
            ),
            (&[(DELAY, "20"), (ABORT, "500")], &[], Some(20), Some(500)),
        ];
        for (headers, draws, expected_delay, expected_status) in cases {
            let (delay, run) = run(&config, &FaultStats::default(), draws, headers);
            assert_eq!(
                delay,
                expected_delay.map(Duration::from_millis),
                "{headers:?}"
            );
            assert_eq!(status(&run), expected_status, "{headers:?}");
        }
        let (delay, _) = run(&config, &FaultStats::default(), &[], &[(DELAY, "0")]);
        assert_eq!(delay, None);
    }

    #[test]
    fn only_the_named_cluster_and_nodes() {
        let abort = FaultConfig {
            abort: Some(FaultAbort::Http(StatusCode::IM_A_TEAPOT)),
            abort_fraction: Some(Fraction::ALWAYS),
            ..FaultConfig::default()
        };
        let cluster = |name: &str| FaultConfig {
            upstream_cluster: name.into(),
            ..abort.clone()
        };
        let node = FaultConfig {
            downstream_nodes: vec!["n".into()],
            ..abort.clone()
        };
        let stats = FaultStats::default();
        let header = "x-envoy-downstream-service-node";
        assert_eq!(status(&run(&cluster("c"), &stats, &[], &[]).1), Some(418));
        assert_eq!(status(&run(&cluster("d"), &stats, &[], &[]).1), None);
        assert_eq!(status(&run(&node, &stats, &[], &[]).1), None);
        assert_eq!(status(&run(&node, &stats, &[], &[(header, "m")]).1), None);
        let named = run(&node, &stats, &[], &[(header, "n")]).1;
        assert_eq!(status(&named), Some(418));
    }

    #[test]
    fn active_faults_are_bounded_and_end_with_the_stream() {
        let config = FaultConfig {
            delay: Some(Duration::from_secs(1)),
            delay_fraction: Some(Fraction::ALWAYS),
            abort: Some(FaultAbort::Http(StatusCode::IM_A_TEAPOT)),
            abort_fraction: Some(Fraction::ALWAYS),
            max_active_faults: Some(1),
            ..FaultConfig::default()
        };
        let stats = FaultStats::default();
        let (delay, mut first) = run(&config, &stats, &[], &[]);
        assert!(delay.is_some());
        assert_eq!(status(&first), Some(418), "one stream counts once");
        let (delay, second) = run(&config, &stats, &[], &[]);
        assert_eq!((delay, status(&second)), (None, None));
        assert_eq!(stats.faults_overflow.value(), 2);
        assert_eq!(stats.active_faults.value(), 1);
        on_complete(&stats, &mut first.slot);
        on_complete(&stats, &mut first.slot);
        assert_eq!(stats.active_faults.value(), 0);
        assert!(run(&config, &stats, &[], &[]).0.is_some());
    }
}
