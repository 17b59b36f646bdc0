//! A request's body: frames from the connection that reads it. It ends only if its end was read: a connection that
//! breaks off is an error of the body, or half an upload would go on as a whole one.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_channel::mpsc;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// Who gives frames to a body.
pub(super) type Sender = mpsc::Sender<io::Result<Frame<Bytes>>>;

/// The body was read to its end.
pub(super) fn end(mut sender: Sender) {
    // Nobody may want it. Trailers that nobody sent tell a body without a length that this is all.
    let _ = sender.start_send(Ok(Frame::trailers(HeaderMap::new())));
}

/// The body of a request over HTTP/1: read from its connection no faster than it is polled.
#[derive(Debug)]
pub struct Http1Body {
    frames: Option<mpsc::Receiver<io::Result<Frame<Bytes>>>>,
    /// What is left of a length that was said.
    left: Option<u64>,
}

impl Http1Body {
    /// None.
    pub(super) fn empty() -> Self {
        Self {
            frames: None,
            left: Some(0),
        }
    }

    /// A body of this length, if it was said.
    pub(super) fn channel(length: Option<u64>) -> (Sender, Self) {
        let (sender, frames) = mpsc::channel(0);
        let frames = Some(frames);
        let body = Self {
            frames,
            left: length,
        };
        (sender, body)
    }
}

impl Body for Http1Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(frames) = &mut self.frames else {
            return Poll::Ready(None);
        };
        let frame = ready!(futures_util::Stream::poll_next(Pin::new(frames), cx));
        if let (Some(left), Some(Ok(frame))) = (&mut self.left, &frame) {
            *left -= frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        match frame {
            Some(Ok(frame)) if frame.is_trailers() => {
                self.frames = None;
                let is_mark = frame.trailers_ref().is_some_and(HeaderMap::is_empty);
                Poll::Ready((!is_mark).then_some(Ok(frame)))
            }
            None => {
                self.frames = None;
                let broken = self.left != Some(0);
                Poll::Ready(broken.then(|| Err(io::ErrorKind::UnexpectedEof.into())))
            }
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_none() || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
