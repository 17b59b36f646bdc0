//! When a stream has taken too long: all deadlines of one request, as moments and lengths.

use std::time::Duration;

use mesh_core::timeout::Timeouts;

use crate::{body::Progress, clock::Moment};

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// The route timeout.
    Route,
    /// The per-try timeout.
    PerTry,
    /// The per-try idle timeout.
    PerTryIdle,
    /// The stream's maximum duration.
    Duration,
    /// The maximum duration of one attempt.
    Attempt,
    /// The stream's idle timeout.
    Idle,
    /// The caller's own deadline.
    Caller,
}

/// A length in milliseconds, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Length(u32);

impl Length {
    const NONE: Self = Self(u32::MAX);

    fn of(length: Option<Duration>) -> Self {
        length.map_or(Self::NONE, |d| {
            Self(u32::try_from(d.as_millis()).unwrap_or(u32::MAX))
        })
    }

    fn get(self) -> Option<Duration> {
        (self.0 != u32::MAX).then(|| Duration::from_millis(u64::from(self.0)))
    }

    fn from(self, start: Option<Moment>) -> Option<Moment> {
        Some(start?.after(self.get()?))
    }
}

/// The limits of one stream, and the moments that they are counted from.
#[derive(Debug)]
pub(crate) struct Limits {
    route: Length,
    per_try: Length,
    per_try_idle: Length,
    duration: Length,
    attempt: Length,
    idle: Length,
    /// Answer 204 on the route timeout.
    pub(crate) alternative_response: bool,
    /// A per-try timeout makes another attempt beside the one that it is over for.
    pub(crate) hedges: bool,
    /// The attempt's per-try timeout is over, and the attempt goes on.
    pub(crate) per_try_over: bool,
    /// The stream is (to be) a tunnel: its request is never complete.
    pub(crate) tunnel: bool,
    /// The stream's first moment.
    pub(crate) started: Moment,
    /// The last frame of the response.
    active: Moment,
    caller: Option<Moment>,
    /// The router has the request.
    pub(crate) routed: Option<Moment>,
    /// The request is complete.
    pub(crate) complete: Option<Moment>,
    /// A connection has the attempt.
    pub(crate) ready: Option<Moment>,
}

impl Limits {
    /// Without any limit but the caller's, and not begun.
    #[inline]
    pub(crate) fn new(caller: Option<Moment>) -> Self {
        Self {
            route: Length::NONE,
            per_try: Length::NONE,
            per_try_idle: Length::NONE,
            duration: Length::NONE,
            attempt: Length::NONE,
            idle: Length::NONE,
            alternative_response: false,
            hedges: false,
            per_try_over: false,
            tunnel: false,
            started: Moment::UNSET,
            active: Moment::UNSET,
            caller,
            routed: None,
            complete: None,
            ready: None,
        }
    }

    /// The stream's first moment. `complete`: its request is complete.
    pub(crate) fn begin(&mut self, now: Moment, complete: bool) {
        self.started = now;
        self.active = now;
        self.complete = complete.then_some(now);
    }

    /// The connection manager's, until the route is known.
    pub(crate) fn of_manager(&mut self, duration: Duration, idle: Duration) {
        self.duration = Length::of((!duration.is_zero()).then_some(duration));
        self.idle = Length::of((!idle.is_zero()).then_some(idle));
    }

    /// The route's, if its configuration alone says them; what is the connection manager's stays.
    pub(crate) fn of_fixed(&mut self, timeouts: &Timeouts) {
        self.route = Length::of(timeouts.global);
        self.per_try = Length::of(timeouts.per_try);
        self.per_try_idle = Length::of(timeouts.per_try_idle);
    }

    /// The cluster's limit of an attempt.
    pub(crate) fn of_cluster(&mut self, attempt: Duration) {
        self.attempt = Length::of((!attempt.is_zero()).then_some(attempt));
    }

    /// The route's.
    pub(crate) fn of_route(&mut self, timeouts: &Timeouts) {
        self.route = Length::of(timeouts.global);
        self.per_try = Length::of(timeouts.per_try);
        self.per_try_idle = Length::of(timeouts.per_try_idle);
        self.duration = Length::of(timeouts.max_stream_duration);
        self.attempt = Length::of(timeouts.upstream_duration.filter(|d| !d.is_zero()));
        self.idle = Length::of(timeouts.idle);
        self.alternative_response = timeouts.alternative_response;
    }

    /// What the request's `x-envoy-expected-rq-timeout-ms` says for an attempt made now.
    #[inline]
    pub(crate) fn expected(&self, now: Moment) -> Option<u64> {
        if self.routed != Some(now) {
            return self.expected_later(now);
        }
        // The first attempt, nearly always: nothing is used up yet.
        match (self.expected_per_try(), self.route) {
            (Length::NONE, Length::NONE) => None,
            (Length(per_try), Length::NONE) => Some(u64::from(per_try)),
            // None is the longest.
            (Length(per_try), Length(route)) => Some(u64::from(per_try.min(route).max(1))),
        }
    }

    /// An attempt that is hedged may take longer.
    fn expected_per_try(&self) -> Length {
        match self.hedges {
            true => Length::NONE,
            false => self.per_try,
        }
    }

    #[inline(never)]
    fn expected_later(&self, now: Moment) -> Option<u64> {
        let mut timeouts = Timeouts::default();
        timeouts.global = self.route.get();
        timeouts.per_try = self.expected_per_try().get();
        let elapsed = self.routed.map_or(Duration::ZERO, |at| now.since(at));
        let expected = timeouts.expected_rq_timeout(elapsed)?;
        Some(u64::try_from(expected.as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether nothing can ever expire.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.caller.is_none()
            && [
                self.route,
                self.per_try,
                self.per_try_idle,
                self.duration,
                self.attempt,
                self.idle,
            ]
            .iter()
            .all(|l| l.0 == u32::MAX)
    }

    /// A frame of the response passed.
    pub(crate) fn touch(&mut self) {
        if self.idle.get().or(self.per_try_idle.get()).is_some() {
            self.active = Moment::now();
        }
    }

    /// The route timeout.
    pub(crate) fn route_timeout(&self) -> Option<Duration> {
        self.route.get()
    }

    /// The caller's own deadline.
    pub(crate) fn caller(&self) -> Option<Moment> {
        self.caller
    }

    /// When an attempt that has had its connection since `ready` has lasted as long as one may.
    pub(crate) fn attempt_over(&self, ready: Option<Moment>) -> Option<Moment> {
        self.attempt.from(ready)
    }

    /// Takes over what the request's body says of itself.
    pub(crate) fn update(&mut self, progress: Option<&Progress>) {
        let Some(progress) = progress else { return };
        if self.complete.is_none() && !self.tunnel {
            self.complete = progress.ended();
        }
        if let Some(active) = progress.active() {
            self.active = self.active.max(active);
        }
    }

    /// Whether the caller's deadline is over.
    pub(crate) fn caller_expired(&self, now: Moment) -> bool {
        self.caller.is_some_and(|at| at <= now)
    }

    /// The first of all limits that hold now. `headers`: response headers have come.
    pub(crate) fn earliest(&self, headers: bool) -> Option<(Moment, Expired)> {
        let complete = match (self.complete, self.routed) {
            (Some(complete), Some(routed)) => Some(complete.max(routed)),
            _ => None,
        };
        let ready = match (self.ready, complete) {
            (Some(ready), Some(complete)) if !self.per_try_over => Some(ready.max(complete)),
            _ => None,
        };
        let idle_try = ready.map(|at| at.max(self.active));
        let idle_over = self.per_try_idle.from(idle_try).filter(|over| {
            // The end of the per-try timeout stops this timer, even where it has nothing else to do because the response
            // has begun; the next activity starts it again (Envoy `UpstreamRequest::onPerTryTimeout`).
            let stop = self.per_try.from(ready);
            !stop.is_some_and(|stop| idle_try < Some(stop) && stop <= *over)
        });
        // What is hedged has answered: nobody makes another attempt.
        let idle_over = idle_over.filter(|_| !(headers && self.hedges));
        let per_try = if headers { None } else { ready };
        [
            (self.caller, Expired::Caller),
            (self.route.from(complete), Expired::Route),
            (self.per_try.from(per_try), Expired::PerTry),
            (idle_over, Expired::PerTryIdle),
            (self.duration.from(Some(self.started)), Expired::Duration),
            (self.attempt_over(self.ready), Expired::Attempt),
            (self.idle.from(Some(self.active)), Expired::Idle),
        ]
        .into_iter()
        .filter_map(|(at, which)| Some((at?, which)))
        .min_by_key(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn limits(start: Moment) -> Limits {
        let mut timeouts = Timeouts::default();
        timeouts.global = Some(ms(100));
        timeouts.per_try = Some(ms(40));
        let mut limits = Limits::new(None);
        limits.begin(start, false);
        limits.of_route(&timeouts);
        limits
    }

    #[test]
    fn the_route_timeout_waits_for_the_router_and_the_complete_request() {
        let start = Moment::now();
        let mut limits = limits(start);
        assert_eq!(limits.earliest(false), None);
        limits.complete = Some(start);
        assert_eq!(limits.earliest(false), None);
        limits.routed = Some(start.after(ms(5)));
        assert_eq!(
            limits.earliest(false),
            Some((start.after(ms(105)), Expired::Route))
        );
    }

    #[test]
    fn the_per_try_timeout_waits_for_the_connection_and_ends_with_headers() {
        let start = Moment::now();
        let mut limits = limits(start);
        limits.complete = Some(start);
        limits.routed = Some(start);
        limits.ready = Some(start.after(ms(7)));
        assert_eq!(
            limits.earliest(false),
            Some((start.after(ms(47)), Expired::PerTry))
        );
        assert_eq!(
            limits.earliest(true),
            Some((start.after(ms(100)), Expired::Route))
        );
    }

    #[test]
    fn the_first_attempt_is_told_what_later_ones_would_be_without_a_wait() {
        let start = Moment::now();
        for global in [None, Some(0), Some(1), Some(100)] {
            for per_try in [None, Some(1), Some(40), Some(200)] {
                let mut timeouts = Timeouts::default();
                timeouts.global = global.map(ms);
                timeouts.per_try = per_try.map(ms);
                let mut limits = Limits::new(None);
                limits.of_route(&timeouts);
                limits.routed = Some(start);
                let expected = limits.expected_later(start);
                assert_eq!(limits.expected(start), expected, "{global:?} {per_try:?}");
            }
        }
    }

    #[test]
    fn the_callers_deadline_holds_from_the_start() {
        let start = Moment::now();
        let mut limits = Limits::new(Some(start.after(ms(1))));
        limits.begin(start, false);
        assert_eq!(
            limits.earliest(false),
            Some((start.after(ms(1)), Expired::Caller))
        );
        assert!(!limits.caller_expired(start));
        assert!(limits.caller_expired(start.after(ms(1))));
    }
}
