//! The state machine: thin, the decisions are in [`crate::stages`].

mod bodies;

pub(crate) use bodies::next_body;
use bodies::{first_body, poll_body};

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response, request, response};
use http_body::Body;
use mesh_core::{
    local_reply::LocalReply,
    one_line::{self, HeadKind},
    outcome::{Outcome, ResetReason},
};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    body::{MeshBody, Progress, Replay, RequestBody},
    clock::Moment,
    dispatch::Dispatch,
    error::{BoxError, TransportError},
    hedge::{self, Hedges},
    limits::Expired,
    mesh_error::MeshError,
    stages::{Attempt, Decision, Slow, Step, dns_failed},
    stream::{Outside, Position, Stream},
};

pin_project! {
    /// The future of [`MeshService`](crate::MeshService): a plain state machine, nothing boxed.
    ///
    /// Dropping it at any point ends the request; what was held is released exactly once.
    // `F` is `S::Future`, spelt out: a projection in a field would make the future not `Send` for boxed bodies.
    pub struct ResponseFuture<S, B, F> {
        inner: S,
        stream: Stream,
        replay: Option<Replay<B>>,
        #[pin]
        state: State<B, F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<B, F> {
        // The head is here: stages up to the first attempt, or a retry about to leave.
        Head { parts: Option<request::Parts>, body: Option<B> },
        // Waiting to retry.
        BackOff,
        // An attempt is under way.
        Attempt { #[pin] future: F },
        // Several may be.
        Hedging { hedges: Box<Hedges<F>> },
        Done,
    }
}

impl<S, B, F> ResponseFuture<S, B, F> {
    #[inline]
    pub(crate) fn new(inner: S, stream: Stream, parts: request::Parts, body: B) -> Self {
        Self {
            inner,
            stream,
            replay: None,
            state: State::Head {
                parts: Some(parts),
                body: Some(body),
            },
        }
    }
}

type Output<RB> = Result<Response<MeshBody<RB>>, MeshError>;

impl<S, B, RB, E, F> Future for ResponseFuture<S, B, F>
where
    S: Service<Dispatch<RequestBody<B>>, Response = Response<RB>, Error = E, Future = F>,
    F: Future<Output = Result<Response<RB>, E>>,
    E: Into<TransportError>,
    B: Body,
    B::Error: Into<BoxError>,
    RB: Body,
    RB::Error: Into<BoxError>,
{
    type Output = Output<RB>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output<RB>> {
        let mut this = self.project();
        let stream = this.stream;
        loop {
            let result = match this.state.as_mut().project() {
                StateProj::Head { parts, body } => {
                    let Some(head) = parts else {
                        return Poll::Pending;
                    };
                    let refused = match (stream.position, &*this.replay) {
                        (Position::Buffer(_, max), Some(replay)) => {
                            ready!(poll_body(stream, head, replay, max, cx))
                        }
                        _ => None,
                    };
                    let inner = &mut *this.inner;
                    let mut is_ready =
                        |cx: &mut Context<'_>| inner.poll_ready(cx).map_err(Into::into);
                    let leave = match refused {
                        Some(reply) => Leave::Reply(reply, None),
                        None => ready!(stream.poll_head(head, cx, &mut is_ready)),
                    };
                    if stream.seen.log.is_some() {
                        stream.log_head(head);
                    }
                    match leave {
                        Leave::Reply(reply, source) => {
                            stream.keep_for_mapper(head);
                            Err((reply, source))
                        }
                        Leave::Buffer => {
                            if let Some(body) = body.take() {
                                let progress = Progress::new();
                                stream.progress = Some(progress.clone());
                                *this.replay = Some(Replay::new(body, usize::MAX, progress));
                            }
                            continue;
                        }
                        Leave::Attempt(attempt) => {
                            let Some(parts) = parts.take() else {
                                return Poll::Pending;
                            };
                            let body = match body.take() {
                                Some(body) => first_body(stream, &parts, this.replay, body),
                                None => next_body(stream, &parts, this.replay.as_ref(), false),
                            };
                            let dispatch = Dispatch::new(
                                Request::from_parts(parts, body),
                                attempt.endpoint,
                                attempt.cluster,
                                attempt.priority,
                                stream.downstream_version,
                                attempt.pool_ready,
                            );
                            let future = this.inner.call(dispatch);
                            this.state.set(match stream.limits.hedges {
                                false => State::Attempt { future },
                                true => {
                                    let hedges = Box::new(Hedges::new(future));
                                    State::Hedging { hedges }
                                }
                            });
                            continue;
                        }
                    }
                }
                StateProj::BackOff => {
                    let now = Moment::now();
                    let outgrown = this.replay.as_ref().is_some_and(|replay| {
                        replay.read_arrived(cx);
                        !replay.can_replay()
                    });
                    if outgrown {
                        Err((stream.outgrown(), None))
                    } else if let Poll::Ready(expired) = stream.poll_expired(now, cx) {
                        Err((stream.expire(expired), None))
                    } else if !stream.wait_is_over(now) {
                        return Poll::Pending;
                    } else if let Some(parts) = stream.head_of_retry(now) {
                        let parts = Some(parts);
                        this.state.set(State::Head { parts, body: None });
                        continue;
                    } else {
                        let lost = TransportError::unsent(ResetReason::LocalReset);
                        Err((stream.reset_reply(&lost), None))
                    }
                }
                StateProj::Attempt { future } => {
                    let can_replay = || this.replay.as_ref().is_none_or(Replay::can_replay);
                    match future.poll(cx) {
                        Poll::Ready(Ok(response)) => {
                            let now = Moment::now();
                            let (mut parts, body) = response.into_parts();
                            match stream.answered(&mut parts, can_replay(), now) {
                                Decision::Retry => {
                                    this.state.set(State::BackOff);
                                    continue;
                                }
                                Decision::Redirect => {
                                    let Some((parts, drops_body)) = stream.begin_again(now) else {
                                        return Poll::Pending;
                                    };
                                    if drops_body {
                                        *this.replay = None;
                                    }
                                    let parts = Some(parts);
                                    this.state.set(State::Head { parts, body: None });
                                    continue;
                                }
                                Decision::Deliver | Decision::Wait => Ok((parts, body, now)),
                            }
                        }
                        Poll::Ready(Err(error)) => {
                            let mut error = error.into();
                            // What a breaker refused was refused before any of its body was looked at.
                            let refused = error.reason() == ResetReason::Overflow;
                            if let Some(replay) = this.replay.as_ref().filter(|_| !refused) {
                                replay.read_arrived(cx);
                            }
                            let decision = stream.failed(&error, refused || can_replay());
                            error.release();
                            match decision {
                                Decision::Retry => {
                                    this.state.set(State::BackOff);
                                    continue;
                                }
                                _ => {
                                    let reply = stream.reset_reply(&error);
                                    Err((reply, Some(error.into())))
                                }
                            }
                        }
                        Poll::Pending => {
                            let now = Moment::now();
                            let expired = ready!(stream.poll_attempt_expired(now, cx));
                            match stream.attempt_expired(expired, can_replay(), now) {
                                Decision::Retry => {
                                    this.state.set(State::BackOff);
                                    continue;
                                }
                                _ => Err((stream.expired_reply(expired), None)),
                            }
                        }
                    }
                }
                StateProj::Hedging { hedges } => {
                    let replay = this.replay.as_ref();
                    match ready!(hedges.poll(stream, &mut *this.inner, replay, cx)) {
                        hedge::Outcome::Deliver(parts, body, now) => Ok((parts, body, now)),
                        hedge::Outcome::Reply(reply, source) => Err((reply, source)),
                        hedge::Outcome::Redirect => {
                            let Some((parts, drops_body)) = stream.begin_again(Moment::now())
                            else {
                                return Poll::Pending;
                            };
                            if drops_body {
                                *this.replay = None;
                            }
                            let parts = Some(parts);
                            this.state.set(State::Head { parts, body: None });
                            continue;
                        }
                    }
                }
                StateProj::Done => {
                    debug_assert!(false, "polled after it was ready");
                    return Poll::Pending;
                }
            };
            // The attempt ends here, before its answer goes on.
            this.state.set(State::Done);
            if let Some(replay) = &*this.replay {
                replay.release();
            }
            return Poll::Ready(match result {
                Ok((mut parts, body, now)) => {
                    stream.deliver(&mut parts, now);
                    let body = match !stream.seen.tunnel && body.is_end_stream() {
                        true => {
                            stream.seen.finish_at(now);
                            // What it still holds of its connection ends here.
                            drop(body);
                            MeshBody::default()
                        }
                        false => MeshBody::upstream(body, Some(stream.tail())),
                    };
                    Ok(Response::from_parts(parts, body))
                }
                Err((reply, source)) => answer(stream, *reply, source),
            });
        }
    }
}

/// What comes of the head.
pub(crate) enum Leave {
    Attempt(Attempt),
    Buffer,
    Reply(Box<LocalReply>, Option<BoxError>),
}

fn reply_with(reply: Box<LocalReply>, source: Option<BoxError>) -> Poll<Option<Leave>> {
    Poll::Ready(Some(Leave::Reply(reply, source)))
}

impl Stream {
    /// Runs the head's stages, then waits for the inner service, then picks.
    pub(crate) fn poll_head(
        &mut self,
        parts: &mut request::Parts,
        cx: &mut Context<'_>,
        is_ready: &mut dyn FnMut(&mut Context<'_>) -> Poll<Result<(), TransportError>>,
    ) -> Poll<Leave> {
        let now = Moment::now();
        if self.limits.started == Moment::UNSET {
            // A future does nothing before it is polled: it may have waited long.
            self.limits.begin(now, self.is_empty);
            self.seen.started = now;
        }
        loop {
            let leave = ready!(self.poll_stages(parts, now, cx, is_ready));
            // The address of a host outside is looked for first.
            if let Some(leave) = leave {
                return Poll::Ready(leave);
            }
        }
    }

    /// None: once more.
    fn poll_stages(
        &mut self,
        parts: &mut request::Parts,
        now: Moment,
        cx: &mut Context<'_>,
        is_ready: &mut dyn FnMut(&mut Context<'_>) -> Poll<Result<(), TransportError>>,
    ) -> Poll<Option<Leave>> {
        if let Some(Outside::Waits(slow)) = self.outside.as_deref_mut() {
            match slow.as_mut().poll(cx) {
                Poll::Pending => return self.poll_stuck(now, cx),
                Poll::Ready(found) => {
                    self.outside = None;
                    if let Some(reply) = self.found(found) {
                        return reply_with(reply, None);
                    }
                }
            }
        }
        if !self.wait_is_over(now) {
            return self.poll_stuck(now, cx);
        }
        match self.step_head(parts, now) {
            Step::Attempt => {}
            Step::Wait => return self.poll_stuck(now, cx),
            Step::Buffer => return Poll::Ready(Some(Leave::Buffer)),
            Step::Reply(reply) => return reply_with(reply, None),
        }
        match is_ready(cx) {
            Poll::Pending => return self.poll_stuck(now, cx),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                let reply = self.reset_reply(&error);
                return reply_with(reply, Some(error.into()));
            }
        }
        match self.pick(parts, now) {
            Ok(attempt) => Poll::Ready(attempt.map(Leave::Attempt)),
            Err(reply) => reply_with(reply, None),
        }
    }

    /// Nothing can go on: only a limit can end it.
    fn poll_stuck(&mut self, now: Moment, cx: &Context<'_>) -> Poll<Option<Leave>> {
        let expired = ready!(self.poll_expired(now, cx));
        reply_with(self.expire(expired), None)
    }

    /// What a slow path found.
    fn found(&mut self, found: Slow) -> Option<Box<LocalReply>> {
        match found {
            Slow::Snapshot(snapshot, target) => {
                self.snapshot = snapshot;
                self.target = target;
                None
            }
            Slow::Address(Ok(address)) => {
                self.outside = Some(Box::new(Outside::Address(address)));
                None
            }
            Slow::Address(Err(error)) => Some(dns_failed(&error)),
        }
    }

    /// A limit was reached while no attempt was under way.
    pub(crate) fn expire(&mut self, expired: Expired) -> Box<LocalReply> {
        self.until = None;
        self.expired_reply(expired)
    }

    pub(crate) fn poll_attempt_expired(&mut self, now: Moment, cx: &Context<'_>) -> Poll<Expired> {
        if self.limits.ready.is_none() && self.pool_ready.as_ref().is_some_and(|p| p.is_set()) {
            self.limits.ready = Some(now);
        }
        self.poll_expired(now, cx)
    }

    pub(crate) fn answered(
        &mut self,
        parts: &mut response::Parts,
        can_replay: bool,
        now: Moment,
    ) -> Decision {
        self.sent = true;
        one_line::join(HeadKind::Response, &mut parts.headers);
        let outcome = self.outcome_of(parts);
        self.attempt_ended(outcome, Some(&parts.headers), can_replay, now)
    }

    pub(crate) fn failed(&mut self, error: &TransportError, can_replay: bool) -> Decision {
        self.sent |= error.was_sent();
        self.limits.update(self.progress.as_deref());
        let outcome = Outcome::Reset(error.reason());
        self.attempt_ended(outcome, None, can_replay, Moment::now())
    }

    pub(crate) fn attempt_expired(
        &mut self,
        expired: Expired,
        can_replay: bool,
        now: Moment,
    ) -> Decision {
        // What a transport that was cut off has sent is not known.
        self.sent = true;
        let outcome = match expired {
            Expired::Route => Outcome::RouteTimeout,
            Expired::PerTry | Expired::PerTryIdle => Outcome::PerTryTimeout,
            Expired::Attempt => Outcome::MaxDuration,
            Expired::Duration | Expired::Idle | Expired::Caller => {
                if !can_replay {
                    self.abandon_retries();
                }
                return Decision::Deliver;
            }
        };
        self.seen.count_expired(expired);
        self.attempt_ended(outcome, None, can_replay, now)
    }
}

fn answer<RB>(stream: &mut Stream, reply: LocalReply, source: Option<BoxError>) -> Output<RB> {
    let (status, headers, body) = stream.reply(reply, source)?;
    let mut response = Response::new(MeshBody::local(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

impl<S, B, F> fmt::Debug for ResponseFuture<S, B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
