//! The request's body as a transport sees it.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{Progress, replay::Reader, to_bytes};
use crate::error::BoxError;

pin_project! {
    /// The body of one attempt: empty, the caller's own, or a reader of a body that may be read again.
    ///
    /// Polled through to the caller's body: back-pressure is the transport's. Dropping it drops the caller's body, or
    /// leaves it to the next attempt.
    pub struct RequestBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B> {
        Empty,
        Once { #[pin] body: B, progress: Arc<Progress>, ended: bool },
        Replay { reader: Reader<B> },
    }
}

impl<B> RequestBody<B> {
    pub(crate) fn empty() -> Self {
        Self { kind: Kind::Empty }
    }

    pub(crate) fn once(body: B, progress: Arc<Progress>) -> Self {
        Self {
            kind: Kind::Once {
                body,
                progress,
                ended: false,
            },
        }
    }

    pub(crate) fn replay(reader: Reader<B>) -> Self {
        Self {
            kind: Kind::Replay { reader },
        }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.project().kind.project() {
            KindProj::Empty => Poll::Ready(None),
            KindProj::Once {
                mut body,
                progress,
                ended,
            } => {
                ready!(progress.poll_room(cx));
                let mut frame = ready!(body.as_mut().poll_frame(cx))
                    .map(|f| f.map(to_bytes).map_err(|e| BodyError(e.into())));
                match &mut frame {
                    Some(Ok(frame)) => {
                        progress.touch();
                        progress.pass(frame);
                    }
                    Some(Err(_)) => progress.fail(),
                    None => {}
                }
                let is_last = match &frame {
                    None => true,
                    Some(Ok(frame)) => frame.is_trailers() || body.is_end_stream(),
                    Some(Err(_)) => false,
                };
                if !*ended && is_last {
                    *ended = true;
                    progress.end();
                }
                Poll::Ready(frame)
            }
            KindProj::Replay { reader } => reader.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Once { body, .. } => body.is_end_stream(),
            Kind::Replay { reader } => reader.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Once { body, .. } => body.size_hint(),
            Kind::Replay { reader } => reader.size_hint(),
        }
    }
}

impl<B> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}

/// The caller's body failed, or a retry has taken the body over from this attempt.
#[derive(Debug)]
pub struct BodyError(pub(crate) BoxError);

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("request body failed")
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}
