//! The response's body: the upstream's, polled through, with what must live until its end.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use mesh_core::{
    flags::ResponseFlag,
    outcome::{Outcome, ResetReason},
};
use pin_project_lite::pin_project;

use super::{Progress, to_bytes};
use crate::{
    clock::Moment,
    deadline::Timer,
    entropy::ThreadEntropy,
    error::{BoxError, TransportError},
    limits::{Expired, Limits},
    mesh_error::{ErrorKind, MeshError},
    observe::Observed,
};

pin_project! {
    /// The response's body: the upstream's, or the text of a reply made here.
    ///
    /// The endpoint's load, its breaker and the request's metrics are released and recorded when it ends, fails or is
    /// dropped, exactly once. Dropped before its end it resets the stream, which counts as the caller going away
    /// (flag DC). After an upgrade (101) keep it, or its [`guard`](Self::guard), as long as the tunnel is open.
    pub struct MeshBody<RB> {
        #[pin]
        kind: Answer<RB>,
        tail: Option<Tail>,
    }
}

pin_project! {
    #[project = AnswerProj]
    enum Answer<RB> {
        Upstream { #[pin] body: RB },
        Local { text: Bytes },
    }
}

impl<RB> MeshBody<RB> {
    pub(crate) fn local(text: Bytes) -> Self {
        Self {
            kind: Answer::Local { text },
            tail: None,
        }
    }

    /// What counts the stream as open: for an upgraded connection, whose body says nothing of its end.
    pub fn guard(&mut self) -> StreamGuard {
        StreamGuard {
            tail: self.tail.take(),
        }
    }

    /// Bytes of an upgraded stream passed: its idle timeout begins anew.
    pub fn touch(&mut self) {
        if let Some(tail) = &mut self.tail {
            tail.limits.touch();
        }
    }

    /// Ready once an upgraded stream reaches a limit (`stream_idle_timeout`, `max_stream_duration`); it is recorded as
    /// such then, and over.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(expired) = self.tail.as_mut().and_then(|t| t.poll_expired(cx)) else {
            return Poll::Pending;
        };
        if let Some(tail) = self.tail.take() {
            tail.expire(expired);
        }
        Poll::Ready(())
    }
}

impl<RB: Body> MeshBody<RB> {
    /// `tail`: what ends with the body; None: the stream is over already.
    pub(crate) fn upstream(body: RB, tail: Option<Tail>) -> Self {
        Self {
            kind: Answer::Upstream { body },
            tail,
        }
    }
}

/// tonic's interceptors ask for it.
impl<RB> Default for MeshBody<RB> {
    fn default() -> Self {
        Self::local(Bytes::new())
    }
}

impl<RB> Body for MeshBody<RB>
where
    RB: Body,
    RB::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = MeshError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, MeshError>>> {
        let mut this = self.project();
        let mut body = match this.kind.as_mut().project() {
            AnswerProj::Upstream { body } => body,
            AnswerProj::Local { text } if text.is_empty() => return Poll::Ready(None),
            AnswerProj::Local { text } => {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(text)))));
            }
        };
        let error = match body.as_mut().poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let mut frame = to_bytes(frame);
                if let Some(tail) = this.tail {
                    tail.on_frame(&mut frame);
                    if body.is_end_stream() {
                        tail.seen.finish();
                        *this.tail = None;
                    }
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(None) => {
                if let Some(mut tail) = this.tail.take() {
                    tail.seen.finish();
                }
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => match this.tail.take() {
                Some(tail) => tail.fail(error.into()),
                None => {
                    let details = "upstream_reset_after_response_started";
                    MeshError::body(
                        ErrorKind::Body,
                        Default::default(),
                        details,
                        Some(error.into()),
                    )
                }
            },
            Poll::Pending => {
                let Some(expired) = this.tail.as_mut().and_then(|t| t.poll_expired(cx)) else {
                    return Poll::Pending;
                };
                match this.tail.take() {
                    Some(tail) => tail.expire(expired),
                    None => return Poll::Pending,
                }
            }
        };
        // Resets the upstream's stream now, not when the caller lets go of us.
        this.kind.set(Answer::Local { text: Bytes::new() });
        Poll::Ready(Some(Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Answer::Upstream { body } => body.is_end_stream(),
            Answer::Local { text } => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Answer::Upstream { body } => body.size_hint(),
            Answer::Local { text } => SizeHint::with_exact(text.len() as u64),
        }
    }
}

impl<RB> fmt::Debug for MeshBody<RB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshBody").finish_non_exhaustive()
    }
}

/// Counts an upgraded stream as open until dropped.
#[derive(Debug)]
pub struct StreamGuard {
    tail: Option<Tail>,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        if let Some(tail) = &mut self.tail {
            tail.seen.finish();
        }
    }
}

/// What of a stream lives after the response's head.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) seen: Observed,
    pub(crate) limits: Limits,
    pub(crate) progress: Option<Arc<Progress>>,
    pub(crate) timer: Timer,
}

impl Tail {
    fn on_frame(&mut self, frame: &mut Frame<Bytes>) {
        self.limits.touch();
        let seen = &mut self.seen;
        if let Some(log) = &mut seen.log {
            match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => log.bytes_sent += data.len() as u64,
                (_, trailers) => log.trailers = trailers.cloned(),
            }
        }
        if let Some(trailers) = frame.trailers_mut() {
            if seen.grpc {
                seen.grpc_status = mesh_core::grpc::status_in(trailers).or(seen.grpc_status);
            }
            if let Some(chain) = &seen.chain {
                let filters = chain.filters();
                filters.on_response_trailers(&mut seen.states, trailers);
            }
        } else if let Some(data) = frame.data_ref()
            && let Some(chain) = &seen.chain
            && chain.filters().wants_response_data()
        {
            chain.filters().on_response_data(&mut seen.states, data);
        }
    }

    /// Whether a limit is reached; otherwise the task will be woken when it is.
    fn poll_expired(&mut self, cx: &Context<'_>) -> Option<Expired> {
        if self.limits.is_unlimited() {
            return None;
        }
        self.limits.update(self.progress.as_deref());
        if self.limits.complete.is_none()
            && let Some(progress) = &self.progress
        {
            progress.register(cx.waker());
            // It may have ended in between.
            self.limits.update(Some(progress));
        }
        let (at, which) = self.limits.earliest(true)?;
        if at <= Moment::now() {
            return Some(which);
        }
        self.timer.arm(at, cx.waker());
        None
    }

    /// The upstream's body failed.
    fn fail(mut self, error: BoxError) -> MeshError {
        let reason = error
            .downcast_ref::<TransportError>()
            .map_or(ResetReason::ConnectionTermination, TransportError::reason);
        self.seen.flags.set(reason.flag());
        self.outcome(Outcome::Reset(reason));
        let details = "upstream_reset_after_response_started";
        self.end(ErrorKind::Body, details, Some(error))
    }

    fn expire(mut self, expired: Expired) -> MeshError {
        self.seen.count_expired(expired);
        let (kind, flag, details) = match expired {
            // Outlier detection has heard of the response already.
            Expired::Route | Expired::PerTry => {
                let flag = ResponseFlag::UpstreamRequestTimeout;
                (ErrorKind::Timeout, flag, "response_timeout")
            }
            Expired::PerTryIdle => {
                self.outcome(match self.limits.alternative_response {
                    true => Outcome::AlternativeTimeout,
                    false => Outcome::PerTryTimeout,
                });
                let flag = ResponseFlag::UpstreamRequestTimeout;
                (ErrorKind::Timeout, flag, "upstream_per_try_idle_timeout")
            }
            Expired::Duration => {
                let flag = ResponseFlag::DurationTimeout;
                (ErrorKind::Timeout, flag, "max_duration_timeout")
            }
            Expired::Attempt => {
                let flag = ResponseFlag::UpstreamMaxStreamDurationReached;
                let details = "upstream_max_stream_duration_reached";
                (ErrorKind::Timeout, flag, details)
            }
            Expired::Idle => {
                let flag = ResponseFlag::StreamIdleTimeout;
                (ErrorKind::Timeout, flag, "stream_idle_timeout")
            }
            Expired::Caller => {
                let flag = ResponseFlag::DownstreamConnectionTermination;
                (ErrorKind::Deadline, flag, "caller_deadline")
            }
        };
        self.seen.flags.set(flag);
        self.end(kind, details, None)
    }

    fn outcome(&self, outcome: Outcome) {
        if let (Some(cluster), Some(load)) = (&self.seen.cluster, &self.seen.in_flight) {
            let now = Moment::now().instant();
            cluster.observe_late(load.endpoint(), outcome, now, &mut ThreadEntropy);
        }
    }

    fn end(
        mut self,
        kind: ErrorKind,
        details: &'static str,
        source: Option<BoxError>,
    ) -> MeshError {
        if let Some(log) = &mut self.seen.log {
            log.details = details.into();
        }
        self.seen.finish();
        MeshError::body(kind, self.seen.flags, details, source)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.recycle();
        }
    }
}
