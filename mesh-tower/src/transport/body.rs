//! Bodies at the edge of the pool: requests without their type, responses with their connection.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use mesh_core::cluster::Permit;

use super::{pool::Lease, reset};
use crate::error::{BoxError, TransportError};

/// How much of a body that no connection took is read: Envoy's buffer of a downstream connection.
const READ_UNSENT: usize = 1024 * 1024;

/// A request body without its type, so that requests of all kinds share connections. Empty bodies cost nothing.
pub struct PooledBody(Kind);

enum Kind {
    Empty,
    Boxed {
        body: Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>,
        sending: Arc<Sending>,
        drops_trailers: bool,
    },
}

/// How far a request's body is, for the body itself and for who waits for the answer.
#[derive(Debug, Default)]
struct Sending {
    ended: AtomicBool,
    aborted: AtomicBool,
    waker: AtomicWaker,
}

/// Tells whether a request's body was read to its end. Dropped before, it breaks the body off: hyper would go on
/// sending it over HTTP/2 although nobody waits for the answer.
#[derive(Debug)]
pub(crate) struct RequestEnd {
    sending: Option<Arc<Sending>>,
    becomes_tunnel: bool,
}

impl RequestEnd {
    pub(crate) fn is_reached(&self) -> bool {
        self.sending
            .as_ref()
            .is_none_or(|sending| sending.ended.load(Ordering::Acquire))
    }

    /// The answer to a CONNECT came: the stream goes on without the request's body.
    pub(crate) fn becomes_tunnel(&mut self) {
        self.becomes_tunnel = true;
    }
}

impl Drop for RequestEnd {
    fn drop(&mut self) {
        if let Some(sending) = &self.sending
            && !self.becomes_tunnel
            && !sending.ended.load(Ordering::Acquire)
        {
            sending.aborted.store(true, Ordering::Release);
            sending.waker.wake();
        }
    }
}

impl PooledBody {
    /// Boxes a body unless it is empty.
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self(Kind::Empty);
        }
        Self(Kind::Boxed {
            body: Box::pin(MapError { body }),
            sending: Arc::default(),
            drops_trailers: false,
        })
    }

    /// Trailers are not sent.
    pub(crate) fn drop_trailers(&mut self) {
        if let Kind::Boxed { drops_trailers, .. } = &mut self.0 {
            *drops_trailers = true;
        }
    }

    /// Reads what has arrived of a body that no connection took, so that it counts as received, and as complete if it is.
    pub(crate) fn read_arrived(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut left = READ_UNSENT;
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut *self).poll_frame(&mut cx) {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    }

    pub(crate) fn request_end(&self) -> RequestEnd {
        let sending = match &self.0 {
            Kind::Empty => None,
            Kind::Boxed { sending, .. } => Some(Arc::clone(sending)),
        };
        RequestEnd {
            sending,
            becomes_tunnel: false,
        }
    }
}

impl Body for PooledBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Boxed {
                body,
                sending,
                drops_trailers,
            } => {
                let polled = body.as_mut().poll_frame(cx);
                if polled.is_pending() {
                    sending.waker.register(cx.waker());
                }
                if sending.aborted.load(Ordering::Acquire) {
                    let abandoned = h2::Error::from(h2::Reason::CANCEL);
                    return Poll::Ready(Some(Err(abandoned.into())));
                }
                let mut frame = ready!(polled);
                let is_trailers = matches!(&frame, Some(Ok(frame)) if frame.is_trailers());
                if frame.is_none() || is_trailers || body.is_end_stream() {
                    sending.ended.store(true, Ordering::Release);
                }
                if is_trailers && *drops_trailers {
                    frame = None;
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Boxed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            // Exactly 0 would make hyper's HTTP/2 add a `content-length: 0` that nobody sent.
            Kind::Empty => SizeHint::default(),
            Kind::Boxed { body, .. } => body.size_hint(),
        }
    }
}

impl fmt::Debug for PooledBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PooledBody")
    }
}

pin_project! {
    struct MapError<B> {
        #[pin]
        body: B,
    }
}

impl<B> Body for MapError<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.project().body.poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response body; at its end the connection goes back to its pool, and the breaker's request is released. Dropped
/// before, it resets the stream.
pub struct TransportBody {
    body: Incoming,
    drops_trailers: bool,
    lease: Option<Lease>,
    /// Of a response that ended with its head: the request counts until it is decided whether it is retried.
    permit: Option<Permit>,
}

impl TransportBody {
    pub(crate) fn new(body: Incoming, lease: Lease) -> Self {
        let mut this = Self {
            body,
            drops_trailers: false,
            lease: Some(lease),
            permit: None,
        };
        this.permit = this.release_at_end();
        this
    }

    /// Trailers are not passed on.
    pub(crate) fn drop_trailers(mut self) -> Self {
        self.drops_trailers = true;
        self
    }

    fn release_at_end(&mut self) -> Option<Permit> {
        let lease = match self.body.is_end_stream() {
            true => self.lease.take(),
            false => None,
        };
        lease.map(Lease::finish)
    }
}

impl Body for TransportBody {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if self.drops_trailers && matches!(&frame, Some(Ok(frame)) if frame.is_trailers()) {
            frame = None;
        }
        match &frame {
            None => {
                if let Some(lease) = self.lease.take() {
                    drop(lease.finish());
                }
            }
            Some(Ok(_)) => drop(self.release_at_end()),
            // The lease is dropped without being finished: the connection is not used again.
            Some(Err(error)) => {
                if let Some(lease) = self.lease.take()
                    && !reset::is_ours(error)
                {
                    lease.fail();
                }
            }
        }
        Poll::Ready(
            frame.map(|f| f.map_err(|e| TransportError::sent(reset::reason(&e)).with_source(e))),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for TransportBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportBody").finish_non_exhaustive()
    }
}
