//! HTTP/1 on an accepted connection, as Envoy's codec does it.
//!
//! hyper's server repairs and refuses in its own words, keeps connections that Envoy closes and the other way round, and
//! hides what Envoy decides by (a fragment in the path, several hosts). Here the bytes are read as Envoy reads them;
//! what is no request becomes one with a [`CodecError`], so that the connection manager answers it like any other.
//!
//! * [`head`](self::head), [`decode`]: bytes to requests; [`encode`]: responses to bytes; [`exchange`]: both at once.

mod body;
mod decode;
mod encode;
mod exchange;
mod head;
mod informational;

#[cfg(test)]
mod tests;

pub use body::Http1Body;
pub use informational::Informational;

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use http::{
    Method, Request, Response, Version,
    header::{CONTENT_TYPE, UPGRADE},
};
use http_body::Body;
use mesh_core::{downstream::CodecError, model::UnderscoresAction};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use self::{
    decode::Decoder,
    encode::Asked,
    exchange::{Exchanged, exchange},
    head::Head,
};
use super::{PrefixedIo, delayed_close};

/// What a connection manager says of HTTP/1.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Http1Options {
    /// `accept_http_10`: HTTP/1.0 is answered in HTTP/1.0.
    pub accept_http_10: bool,
    /// `enable_trailers`.
    pub trailers: bool,
    /// `proxy_100_continue`: nobody but the upstream says `100 Continue`.
    pub proxy_100_continue: bool,
    /// `headers_with_underscores_action`.
    pub underscores: UnderscoresAction,
    /// `max_headers_count`.
    pub max_headers: usize,
    /// `max_request_headers_kb`, in bytes. What is longer than this and a request line is not read to its end.
    pub max_head: usize,
    /// `request_headers_timeout`; zero: none.
    pub headers_timeout: Duration,
    /// `stream_idle_timeout`: how long a head may take from its first byte, and the client to take more of what is
    /// written to it; zero: for ever.
    pub stream_idle_timeout: Duration,
    /// `delayed_close_timeout`: how long a closed connection waits for its peer to have read all; zero: not at all.
    pub delayed_close: Duration,
}

impl Default for Http1Options {
    fn default() -> Self {
        Self {
            accept_http_10: false,
            trailers: false,
            proxy_100_continue: false,
            underscores: UnderscoresAction::Allow,
            max_headers: 100,
            max_head: 60 * 1024,
            headers_timeout: Duration::ZERO,
            stream_idle_timeout: Duration::from_secs(300),
            delayed_close: Duration::from_secs(1),
        }
    }
}

impl Http1Options {
    /// How long a head may take, and what it is answered then.
    fn head_limit(&self) -> Option<(Duration, CodecError)> {
        let limits = [
            (self.headers_timeout, CodecError::HEAD_TIMEOUT),
            (self.stream_idle_timeout, CodecError::STREAM_IDLE),
        ];
        let limits = limits.into_iter().filter(|(limit, _)| !limit.is_zero());
        limits.min_by_key(|(limit, _)| *limit)
    }
}

/// How much longer than its headers a head may be: names' and values' marks, and the request line.
const HEAD_SLACK: usize = 16 * 1024;
/// The first read, and each further one.
const READ: usize = 8 * 1024;

/// A connection that speaks another protocol from here on.
#[derive(Debug)]
pub struct Switched<T, B> {
    /// The stream, with what was read of it already.
    pub io: PrefixedIo<T>,
    /// The response that switched; its head was sent.
    pub response: Response<B>,
}

/// Serves a connection until it ends: by the peer, by a request or a response that says so, or once `over` is ready
/// and nothing is in flight. `read`: what was read of it before. `call` answers one request at a time.
///
/// # Errors
/// The connection failed, or a response could not be sent to its end.
pub async fn serve_http1<T, S, F, B>(
    io: T,
    read: Bytes,
    options: &Http1Options,
    mut call: S,
    over: impl Future<Output = ()>,
) -> io::Result<Option<Switched<T, B>>>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: FnMut(Request<Http1Body>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let mut connection = Connection {
        io,
        bytes: BytesMut::from(read),
        out: BytesMut::new(),
        early: Informational::default(),
        over: pin!(Over {
            future: over,
            is_over: false
        }),
    };
    loop {
        let mut content_type = None;
        let (request, asked, mut flow) = match connection.arrival(options).await? {
            Arrival::Closed => return Ok(None),
            Arrival::Head(head) => {
                let asked = asked(&head.parts, options);
                let mut flow = Flow::new(head.decoder, head.closes);
                let is_refused = asked.version < Version::HTTP_11 && !options.accept_http_10;
                if head.expects && !options.proxy_100_continue && !is_refused {
                    encode::continues(&mut connection.out, asked);
                }
                let body = flow.body();
                if flow.sender.is_some() {
                    content_type = head.parts.headers.get(CONTENT_TYPE).cloned();
                }
                let mut request = Request::from_parts(head.parts, body);
                if options.proxy_100_continue {
                    // Of this request: an attempt that was given up may say something yet.
                    connection.early = Informational::default();
                    request.extensions_mut().insert(connection.early.clone());
                }
                (request, asked, flow)
            }
            Arrival::Refused(refusal, is_head) => {
                let mut request = Request::new(Http1Body::empty());
                request.extensions_mut().insert(refusal.error);
                let mut asked = asked_by(&Method::GET, refusal.version, options);
                asked.is_head = is_head;
                (request, asked, Flow::new(Decoder::none(), true))
            }
        };
        let future = call(request);
        match exchange(&mut connection, options, asked, &mut flow, future).await? {
            Exchanged::Kept => {}
            Exchanged::Closes => return connection.close(options).await.map(|()| None),
            Exchanged::Gone => return Ok(None),
            Exchanged::Broken(error) => {
                connection.close(options).await?;
                return Err(error);
            }
            Exchanged::Switched(response) => {
                let io = PrefixedIo::new(connection.bytes.freeze(), connection.io);
                return Ok(Some(Switched { io, response }));
            }
            Exchanged::BadBody(error) => {
                let mut request = Request::new(Http1Body::empty());
                request.extensions_mut().insert(error);
                // The answer to gRPC is gRPC's.
                if let Some(content_type) = content_type {
                    request.headers_mut().insert(CONTENT_TYPE, content_type);
                }
                let mut flow = Flow::new(Decoder::none(), true);
                exchange(&mut connection, options, asked, &mut flow, call(request)).await?;
                return connection.close(options).await.map(|()| None);
            }
        }
    }
}

fn asked(parts: &http::request::Parts, options: &Http1Options) -> Asked {
    Asked {
        upgrades: parts.headers.contains_key(UPGRADE),
        ..asked_by(&parts.method, parts.version, options)
    }
}

fn asked_by(method: &Method, version: Version, options: &Http1Options) -> Asked {
    Asked {
        version,
        is_head: *method == Method::HEAD,
        is_connect: *method == Method::CONNECT,
        upgrades: false,
        accepts_http_10: options.accept_http_10,
    }
}

/// A request's body on its way.
struct Flow {
    decoder: Decoder,
    sender: Option<body::Sender>,
    closes: bool,
}

impl Flow {
    fn new(decoder: Decoder, closes: bool) -> Self {
        Self {
            decoder,
            sender: None,
            closes,
        }
    }

    fn body(&mut self) -> Http1Body {
        if self.decoder.is_done() {
            return Http1Body::empty();
        }
        let (sender, body) = Http1Body::channel(self.decoder.exact());
        self.sender = Some(sender);
        body
    }
}

pin_project_lite::pin_project! {
    /// Whether the connection shall end.
    struct Over<O> {
        #[pin]
        future: O,
        is_over: bool,
    }
}

struct Connection<'a, T, O> {
    io: T,
    /// Read, not yet looked at.
    bytes: BytesMut,
    /// To be written.
    out: BytesMut,
    /// Informational responses from upstream.
    early: Informational,
    over: Pin<&'a mut Over<O>>,
}

enum Arrival {
    Head(Box<Head>),
    /// And whether it was a HEAD.
    Refused(head::Refusal, bool),
    Closed,
}

impl<O: Future<Output = ()>> Over<O> {
    fn is_over(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        let this = self.project();
        if !*this.is_over {
            *this.is_over = this.future.poll(cx).is_ready();
        }
        *this.is_over
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin, O: Future<Output = ()>> Connection<'_, T, O> {
    /// Waits for a whole head.
    async fn arrival(&mut self, options: &Http1Options) -> io::Result<Arrival> {
        let mut looked = 0;
        let mut deadline = None;
        let limit = options.head_limit();
        loop {
            while let Some(b'\r' | b'\n') = self.bytes.first() {
                self.bytes.advance(1);
            }
            if let Some(end) = head::end_of_head(&self.bytes, &mut looked) {
                let bytes = self.bytes.split_to(end).freeze();
                return Ok(match head::parse(&bytes, options) {
                    Ok(head) => Arrival::Head(Box::new(head)),
                    Err(refusal) => Arrival::Refused(refusal, bytes.starts_with(b"HEAD ")),
                });
            }
            let is_head = self.bytes.starts_with(b"HEAD ");
            if self.bytes.len() > options.max_head + HEAD_SLACK {
                return Ok(Arrival::Refused(CodecError::HEAD_TOO_LARGE.into(), is_head));
            }
            if deadline.is_none()
                && !self.bytes.is_empty()
                && let Some((limit, _)) = limit
            {
                deadline = Some(Box::pin(tokio::time::sleep(limit)));
            }
            self.bytes.reserve(READ);
            let (io, bytes, over) = (&mut self.io, &mut self.bytes, &mut self.over);
            let is_idle = bytes.is_empty();
            let read = pin!(io.read_buf(bytes));
            let read = Read {
                read,
                over: is_idle.then_some(over.as_mut()),
                deadline: deadline.as_mut(),
            };
            match read.await {
                Arrived::Bytes(Ok(0)) | Arrived::Over => return Ok(Arrival::Closed),
                Arrived::Bytes(read) => drop(read?),
                Arrived::Late => {
                    let error = limit.map_or(CodecError::HEAD_TIMEOUT, |(_, error)| error);
                    return Ok(Arrival::Refused(error.into(), is_head));
                }
            }
        }
    }

    async fn close(mut self, options: &Http1Options) -> io::Result<()> {
        delayed_close(&mut self.io, options.delayed_close).await
    }
}

/// Bytes, or the first reason not to wait for them any longer.
struct Read<'a, R, O> {
    read: Pin<&'a mut R>,
    over: Option<Pin<&'a mut Over<O>>>,
    deadline: Option<&'a mut Pin<Box<tokio::time::Sleep>>>,
}

enum Arrived {
    Bytes(io::Result<usize>),
    Over,
    Late,
}

impl<R, O> Future for Read<'_, R, O>
where
    R: Future<Output = io::Result<usize>>,
    O: Future<Output = ()>,
{
    type Output = Arrived;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Arrived> {
        if let Poll::Ready(read) = self.read.as_mut().poll(cx) {
            return Poll::Ready(Arrived::Bytes(read));
        }
        if let Some(over) = &mut self.over
            && over.as_mut().is_over(cx)
        {
            return Poll::Ready(Arrived::Over);
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Arrived::Late);
        }
        Poll::Pending
    }
}
