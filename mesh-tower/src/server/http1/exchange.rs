//! One request and its response, both ways at once, in the connection's own task.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use http::{Response, StatusCode, header::CONNECTION};
use http_body::Body;
use mesh_core::downstream::CodecError;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    time::{Instant, Sleep},
};

use super::{
    Connection, Flow, Http1Options, READ, body,
    encode::{self, Asked, Encoder},
};
use crate::stages::WithoutBody;

/// How a request ended.
pub(super) enum Exchanged<B> {
    /// The next may come.
    Kept,
    /// The response was sent, and is the last.
    Closes,
    /// The peer is gone.
    Gone,
    /// The response was a tunnel's head.
    Switched(Response<B>),
    /// The response's body broke off; what there was of it was sent.
    Broken(io::Error),
    /// The request's body is no body, and nothing was answered yet.
    BadBody(CodecError),
}

/// How much is written at a time; beyond it the response's body waits.
const WRITE: usize = 64 * 1024;
/// Data from this size on is written from where it lies.
const LARGE: usize = 4 * 1024;
/// How much of the next requests is read while one is answered.
const AHEAD: usize = 16 * 1024;

/// How far the response is.
enum Phase<B> {
    Waiting,
    Body,
    Switching(Response<B>),
    Broken(io::Error),
    Written,
}

struct Answering<B> {
    phase: Phase<B>,
    encoder: Encoder,
    closes: bool,
    trailers: bool,
    told_early: bool,
    body_is_bad: bool,
    /// Written behind what is in the connection's buffer, then the end of its chunk.
    large: Bytes,
    after_large: &'static [u8],
    /// Something was written that the stream may keep back, as TLS does while its socket is full.
    is_unflushed: bool,
    /// Running while the client takes nothing of what is written.
    stalled: Option<Pin<Box<Sleep>>>,
    /// It took something since.
    moved: bool,
}

pub(super) async fn exchange<T, O, F, B>(
    connection: &mut Connection<'_, T, O>,
    options: &Http1Options,
    asked: Asked,
    flow: &mut Flow,
    future: F,
) -> io::Result<Exchanged<B>>
where
    T: AsyncRead + AsyncWrite + Unpin,
    O: Future<Output = ()>,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let mut future = pin!(future);
    let mut body = pin!(None);
    let mut answering = Answering {
        phase: Phase::Waiting,
        encoder: Encoder::Plain,
        closes: flow.closes,
        trailers: options.trailers,
        told_early: false,
        body_is_bad: false,
        large: Bytes::new(),
        after_large: b"",
        is_unflushed: false,
        stalled: None,
        moved: false,
    };
    std::future::poll_fn(|cx| {
        loop {
            let Connection {
                io,
                bytes,
                out,
                early,
                over,
            } = &mut *connection;
            let mut progress = false;
            // Behind a lock, which nobody else pays for.
            if options.proxy_100_continue
                && matches!(answering.phase, Phase::Waiting)
                && let Poll::Ready(heads) = early.poll(cx)
            {
                progress = true;
                // Only the first is passed on.
                if let (Some((status, headers)), false) = (heads.first(), answering.told_early) {
                    encode::informational(out, asked, *status, headers);
                    answering.told_early = true;
                }
            }
            if matches!(answering.phase, Phase::Waiting)
                && let Poll::Ready(response) = future.as_mut().poll(cx)
            {
                progress = true;
                answering.closes |= over.as_mut().is_over(cx);
                answering.start(response, asked, out, body.as_mut());
            }
            // What the head alone decides is decided before the body is looked at.
            if !answering.body_is_bad {
                match poll_request(io, bytes, flow, options, cx) {
                    Request::Waits | Request::Done => {}
                    Request::Gone(Ok(())) => return Poll::Ready(Ok(Exchanged::Gone)),
                    Request::Gone(Err(error)) => return Poll::Ready(Err(error)),
                    Request::Bad(error) if matches!(answering.phase, Phase::Waiting) => {
                        return Poll::Ready(Ok(Exchanged::BadBody(error)));
                    }
                    // The answer was on its way: it is the last.
                    Request::Bad(_) => {
                        answering.body_is_bad = true;
                        answering.closes = true;
                    }
                }
            }
            match answering.poll_body(out, body.as_mut(), cx) {
                Poll::Ready(()) => progress = true,
                Poll::Pending => {}
            }
            match answering.poll_write(io, out, cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(wrote)) => {
                    if let Some(end) = answering.end(flow) {
                        return Poll::Ready(Ok(end));
                    }
                    progress |= wrote;
                }
                Poll::Pending => answering.stalls(options.stream_idle_timeout, cx)?,
            }
            if !progress {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// How far reading the request's body is.
enum Request {
    Waits,
    Done,
    Gone(io::Result<()>),
    Bad(CodecError),
}

/// Passes the body on as far as it is wanted; behind its end, only looks whether the peer is still there.
fn poll_request<T: AsyncRead + Unpin>(
    io: &mut T,
    bytes: &mut BytesMut,
    flow: &mut Flow,
    options: &Http1Options,
    cx: &mut Context<'_>,
) -> Request {
    loop {
        if let Some(sender) = &mut flow.sender {
            match sender.poll_ready(cx) {
                Poll::Pending => return Request::Waits,
                // Nobody wants the body: it is read and thrown away.
                Poll::Ready(Err(_)) => flow.sender = None,
                Poll::Ready(Ok(())) => {}
            }
        }
        match flow.decoder.next(bytes) {
            Err(error) => {
                if let Some(sender) = &mut flow.sender {
                    let broken = io::Error::new(io::ErrorKind::InvalidData, error.details);
                    // The receiver may just have gone.
                    let _ = sender.start_send(Err(broken));
                }
                flow.sender = None;
                return Request::Bad(error);
            }
            Ok(Some(frame)) => {
                if let Some(sender) = &mut flow.sender
                    && (options.trailers || !frame.is_trailers())
                {
                    let _ = sender.start_send(Ok(frame));
                }
                continue;
            }
            Ok(None) => {}
        }
        if flow.decoder.is_done() {
            if let Some(sender) = flow.sender.take() {
                body::end(sender);
            }
            if bytes.len() >= AHEAD {
                return Request::Done;
            }
        }
        match poll_read(io, bytes, cx) {
            Poll::Pending => return Request::Waits,
            Poll::Ready(Ok(0)) => return Request::Gone(Ok(())),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Request::Gone(Err(error)),
        }
    }
}

fn poll_read<T: AsyncRead + Unpin>(
    io: &mut T,
    bytes: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    bytes.reserve(READ);
    // The future holds nothing between polls.
    pin!(io.read_buf(bytes)).poll(cx)
}

impl<B> Answering<B>
where
    B: Body<Data = Bytes>,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    fn start(
        &mut self,
        response: Response<B>,
        asked: Asked,
        out: &mut BytesMut,
        mut body: Pin<&mut Option<B>>,
    ) {
        let status = response.status();
        let headers = response.headers();
        let says_close =
            |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"close");
        self.closes |= headers.get(CONNECTION).is_some_and(says_close);
        let ends = response.body().is_end_stream();
        let (encoder, closes) = encode::head(out, asked, status, headers, ends, self.closes);
        let refused = response.extensions().get::<WithoutBody>().is_some();
        self.encoder = if refused { Encoder::Nothing } else { encoder };
        self.closes = closes;
        // Nobody switches who was not asked to.
        let switches = asked.upgrades && status == StatusCode::SWITCHING_PROTOCOLS;
        if switches || (asked.is_connect && status.is_success()) {
            self.phase = Phase::Switching(response);
            return;
        }
        self.phase = Phase::Body;
        let given = response.into_body();
        if ends {
            self.encoder.end(out, None);
            self.phase = Phase::Written;
        }
        // Kept to its end even if it has none to write: it counts the stream as open.
        body.set(Some(given));
    }

    /// Takes frames as long as there is room. Ready: something was taken.
    fn poll_body(
        &mut self,
        out: &mut BytesMut,
        mut body: Pin<&mut Option<B>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut taken = Poll::Pending;
        while matches!(self.phase, Phase::Body) && out.len() < WRITE && self.large.is_empty() {
            let Some(from) = body.as_mut().as_pin_mut() else {
                break;
            };
            match from.poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Err(error))) => {
                    self.phase = Phase::Broken(io::Error::other(error));
                }
                Poll::Ready(None) => {
                    self.encoder.end(out, None);
                    self.phase = Phase::Written;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.len() >= LARGE && self.encoder != Encoder::Nothing => {
                        self.after_large = self.encoder.data_before(out, data.len());
                        self.large = data;
                    }
                    Ok(data) => self.encoder.data(out, &data),
                    Err(frame) => {
                        let trailers = frame.trailers_ref().filter(|_| self.trailers);
                        self.encoder.end(out, trailers);
                        self.phase = Phase::Written;
                    }
                },
            }
            taken = Poll::Ready(());
        }
        if matches!(self.phase, Phase::Written | Phase::Broken(_)) {
            body.set(None);
        }
        taken
    }

    /// Writes all there is. Ready: all was written and flushed; whether there was any.
    fn poll_write<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        out: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        loop {
            let written = match (out.is_empty(), self.large.is_empty()) {
                (true, true) if self.after_large.is_empty() => {
                    if self.is_unflushed {
                        ready!(Pin::new(&mut *io).poll_flush(cx))?;
                    }
                    return Poll::Ready(Ok(std::mem::take(&mut self.is_unflushed)));
                }
                (true, true) => {
                    out.extend_from_slice(self.after_large);
                    self.after_large = b"";
                    continue;
                }
                (false, true) => Pin::new(&mut *io).poll_write(cx, out),
                (true, false) => Pin::new(&mut *io).poll_write(cx, &self.large),
                (false, false) => {
                    let both = [io::IoSlice::new(out), io::IoSlice::new(&self.large)];
                    Pin::new(&mut *io).poll_write_vectored(cx, &both)
                }
            };
            let written = match written {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            };
            self.moved = true;
            let of_out = written.min(out.len());
            out.advance(of_out);
            self.large.advance(written - of_out);
            self.is_unflushed = true;
        }
    }

    /// The client takes nothing: an error, once that has lasted so long that no more is expected of it. Neither the body
    /// nor its limits are looked at meanwhile.
    fn stalls(&mut self, limit: Duration, cx: &mut Context<'_>) -> io::Result<()> {
        if limit.is_zero() {
            return Ok(());
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if std::mem::take(&mut self.moved) {
            stalled.as_mut().reset(Instant::now() + limit);
        }
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// What follows once all was written.
    fn end(&mut self, flow: &mut Flow) -> Option<Exchanged<B>> {
        match std::mem::replace(&mut self.phase, Phase::Written) {
            Phase::Written => Some(match self.closes || !flow.decoder.is_done() {
                true => Exchanged::Closes,
                false => Exchanged::Kept,
            }),
            Phase::Switching(response) => Some(Exchanged::Switched(response)),
            Phase::Broken(error) => Some(Exchanged::Broken(error)),
            waiting => {
                self.phase = waiting;
                None
            }
        }
    }
}
