//! Attempts of one request that are under way at the same time (`hedge_policy.hedge_on_per_try_timeout`, Envoy
//! `Filter::onSoftPerTryTimeout`): a per-try timeout ends no attempt, but makes another one; the first good answer is
//! taken, and with it the others are dropped.
//!
//! Only requests whose route hedges come here; each of their attempts costs a box.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response, request, response};
use http_body::Body;
use mesh_core::{cluster::InFlight, local_reply::LocalReply, outcome::ResetReason};
use tower_service::Service;

use crate::{
    body::{Replay, RequestBody},
    clock::Moment,
    deadline::Timer,
    dispatch::{Dispatch, PoolReady},
    error::{BoxError, TransportError},
    future::{Leave, next_body},
    limits::Expired,
    stages::{Attempt, Decision},
    stream::Stream,
};

/// The attempts of one request.
pub(crate) struct Hedges<F> {
    /// Oldest first. What belongs to the newest is in the stream.
    attempts: Vec<Hedged<F>>,
    /// A retry waits for its back-off.
    pending: bool,
    /// The head of a retry that waits for the inner service.
    head: Option<Box<request::Parts>>,
    /// Of the attempts beside the newest.
    timer: Timer,
}

struct Hedged<F> {
    future: Pin<Box<F>>,
    /// Another was made because it took too long: it is never retried again.
    retried: bool,
    parked: Parked,
}

/// What a stream holds of its attempt.
#[derive(Default)]
struct Parked {
    load: Option<InFlight>,
    pool_ready: Option<PoolReady>,
    ready: Option<Moment>,
    per_try_over: bool,
}

impl Parked {
    fn exchange(&mut self, stream: &mut Stream) {
        std::mem::swap(&mut self.load, &mut stream.seen.in_flight);
        std::mem::swap(&mut self.pool_ready, &mut stream.pool_ready);
        std::mem::swap(&mut self.ready, &mut stream.limits.ready);
        std::mem::swap(&mut self.per_try_over, &mut stream.limits.per_try_over);
    }
}

/// What came of all attempts together.
pub(crate) enum Outcome<RB> {
    Deliver(response::Parts, RB, Moment),
    Redirect,
    Reply(Box<LocalReply>, Option<BoxError>),
}

impl<F> Hedges<F> {
    pub(crate) fn new(first: F) -> Self {
        Self {
            attempts: vec![Hedged::new(first)],
            pending: false,
            head: None,
            timer: Timer::default(),
        }
    }

    pub(crate) fn poll<S, B, RB, E>(
        &mut self,
        stream: &mut Stream,
        inner: &mut S,
        replay: Option<&Replay<B>>,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome<RB>>
    where
        S: Service<Dispatch<RequestBody<B>>, Response = Response<RB>, Error = E, Future = F>,
        F: Future<Output = Result<Response<RB>, E>>,
        E: Into<TransportError>,
        B: Body,
        B::Error: Into<BoxError>,
    {
        let can_replay = || replay.is_none_or(Replay::can_replay);
        loop {
            let now = Moment::now();
            match self.poll_retry(stream, inner, replay, now, cx) {
                Some(Leave::Reply(reply, source)) => {
                    return Poll::Ready(Outcome::Reply(reply, source));
                }
                Some(_) => continue,
                None => {}
            }
            let Some((result, retried)) = self.poll_attempts(stream, cx) else {
                if let Some(reply) = self.poll_older_expired(stream, can_replay(), now, cx) {
                    return Poll::Ready(Outcome::Reply(reply, None));
                }
                let expired = match stream.poll_attempt_expired(now, cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(expired) => expired,
                };
                match self.expired(stream, expired, can_replay(), now) {
                    Some(reply) => return Poll::Ready(Outcome::Reply(reply, None)),
                    None => continue,
                }
            };
            let others = self.pending || !self.attempts.is_empty();
            stream.kept.get_or_insert_default().hedging = Some(Hedging { others, retried });
            let decision = match result {
                Ok(response) => {
                    let (mut parts, body) = response.into_parts();
                    match stream.answered(&mut parts, can_replay(), now) {
                        Decision::Deliver => {
                            return Poll::Ready(Outcome::Deliver(parts, body, now));
                        }
                        Decision::Redirect => return Poll::Ready(Outcome::Redirect),
                        decision => decision,
                    }
                }
                Err(error) => {
                    let mut error = error.into();
                    let refused = error.reason() == ResetReason::Overflow;
                    if let Some(replay) = replay.filter(|_| self.attempts.is_empty() && !refused) {
                        replay.read_arrived(cx);
                    }
                    let decision = stream.failed(&error, refused || can_replay());
                    error.release();
                    if matches!(decision, Decision::Deliver | Decision::Redirect) {
                        let reply = stream.reset_reply(&error);
                        return Poll::Ready(Outcome::Reply(reply, Some(error.into())));
                    }
                    decision
                }
            };
            self.pending |= decision == Decision::Retry;
            self.bring_back_newest(stream);
        }
    }

    /// A retry whose time has come. None: there is none, or it waits for the inner service.
    fn poll_retry<S, B, RB, E>(
        &mut self,
        stream: &mut Stream,
        inner: &mut S,
        replay: Option<&Replay<B>>,
        now: Moment,
        cx: &mut Context<'_>,
    ) -> Option<Leave>
    where
        S: Service<Dispatch<RequestBody<B>>, Response = Response<RB>, Error = E, Future = F>,
        E: Into<TransportError>,
    {
        if !self.pending || (self.head.is_none() && !stream.wait_is_over(now)) {
            return None;
        }
        if self.head.is_none() {
            let Some(head) = stream.head_of_retry(now) else {
                let lost = TransportError::unsent(ResetReason::LocalReset);
                return Some(Leave::Reply(stream.reset_reply(&lost), None));
            };
            self.head = Some(Box::new(head));
        }
        let head = self.head.as_mut()?;
        if let Some(newest) = self.attempts.last_mut() {
            newest.parked.exchange(stream);
        }
        let mut is_ready = |cx: &mut Context<'_>| inner.poll_ready(cx).map_err(Into::into);
        let Poll::Ready(leave) = stream.poll_head(head, cx, &mut is_ready) else {
            self.bring_back_newest(stream);
            return None;
        };
        let Leave::Attempt(attempt) = leave else {
            return Some(leave);
        };
        let parts = *self.head.take()?;
        self.pending = false;
        let body = next_body(stream, &parts, replay, !self.attempts.is_empty());
        let request = Request::from_parts(parts, body);
        let Attempt {
            endpoint,
            cluster,
            priority,
            pool_ready,
        } = attempt;
        let version = stream.downstream_version;
        let dispatch = Dispatch::new(request, endpoint, cluster, priority, version, pool_ready);
        self.attempts.push(Hedged::new(inner.call(dispatch)));
        Some(Leave::Buffer)
    }

    /// The first attempt that has ended, taken out, its state in the stream; and whether it was retried.
    fn poll_attempts<T>(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Option<(T, bool)>
    where
        F: Future<Output = T>,
    {
        let poll = |hedged: &mut Hedged<F>| match hedged.future.as_mut().poll(cx) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        };
        let (at, result) = self
            .attempts
            .iter_mut()
            .map(poll)
            .enumerate()
            .find_map(|(at, result)| Some((at, result?)))?;
        Some((result, self.take_out(at, stream)))
    }

    /// An attempt is over: its state goes into the stream. Returns whether it was retried.
    fn take_out(&mut self, at: usize, stream: &mut Stream) -> bool {
        let mut ended = self.attempts.remove(at);
        if at < self.attempts.len() {
            if let Some(newest) = self.attempts.last_mut() {
                newest.parked.exchange(stream);
            }
            ended.parked.exchange(stream);
        }
        ended.retried
    }

    /// An attempt beside the newest has lasted as long as one may. It was retried, and is not again: the request ends,
    /// whatever else is under way (Envoy `Filter::onStreamMaxDurationReached`).
    fn poll_older_expired(
        &mut self,
        stream: &mut Stream,
        can_replay: bool,
        now: Moment,
        cx: &Context<'_>,
    ) -> Option<Box<LocalReply>> {
        let (_, older) = self.attempts.split_last()?;
        let over = |hedged: &Hedged<F>| stream.limits.attempt_over(hedged.parked.ready);
        let (at, over) = older
            .iter()
            .enumerate()
            .filter_map(|(at, hedged)| Some((at, over(hedged)?)))
            .min_by_key(|(_, over)| *over)?;
        if over > now {
            self.timer.arm(over, cx.waker());
            return None;
        }
        self.take_out(at, stream);
        stream.kept.get_or_insert_default().hedging = Some(Hedging::LAST);
        stream.attempt_expired(Expired::Attempt, can_replay, now);
        Some(stream.expired_reply(Expired::Attempt))
    }

    /// The attempt whose state is in the stream is over, or will be another.
    fn bring_back_newest(&mut self, stream: &mut Stream) {
        let mut over = Parked::default();
        over.exchange(stream);
        if let Some(newest) = self.attempts.last_mut() {
            newest.parked.exchange(stream);
        }
    }

    /// A limit was reached. None: the request goes on.
    fn expired(
        &mut self,
        stream: &mut Stream,
        expired: Expired,
        can_replay: bool,
        now: Moment,
    ) -> Option<Box<LocalReply>> {
        let Some(newest) = self.attempts.last_mut() else {
            return Some(stream.expire(expired));
        };
        if matches!(expired, Expired::PerTry | Expired::PerTryIdle) {
            newest.retried = stream.hedge(can_replay, now);
            self.pending |= newest.retried;
            return None;
        }
        // What was retried is not retried again.
        stream.kept.get_or_insert_default().hedging = newest.retried.then_some(Hedging::LAST);
        if expired == Expired::Route {
            self.count_timeouts(stream);
        }
        match stream.attempt_expired(expired, can_replay, now) {
            Decision::Retry => {
                self.attempts.pop();
                self.pending = true;
                self.bring_back_newest(stream);
                None
            }
            _ => Some(stream.expired_reply(expired)),
        }
    }
}

impl<F> Hedges<F> {
    /// The route timeout counts for each attempt; outlier detection has heard of those before the newest.
    fn count_timeouts(&mut self, stream: &mut Stream) {
        let Some((newest, older)) = self.attempts.split_last_mut() else {
            return;
        };
        newest.parked.exchange(stream);
        for hedged in older {
            hedged.parked.exchange(stream);
            stream.count_route_timeout();
            hedged.parked.exchange(stream);
        }
        newest.parked.exchange(stream);
    }
}

impl<F> Hedged<F> {
    fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            retried: false,
            parked: Parked::default(),
        }
    }
}

/// How an attempt that has ended stands among the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hedging {
    /// Others may still answer: under way, or about to be made.
    pub(crate) others: bool,
    /// Another was made for it.
    pub(crate) retried: bool,
}

impl Hedging {
    /// The request ends with it, though another was made for it.
    const LAST: Self = Self {
        others: false,
        retried: true,
    };
}
