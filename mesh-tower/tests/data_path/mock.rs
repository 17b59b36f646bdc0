//! An upstream whose part the test plays.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use mesh_core::outcome::ResetReason;
use mesh_tower::{BoxError, Dispatch, RequestBody, TransportError};
use tokio::sync::{mpsc, oneshot};
use tower::Service;

pub(crate) type TestBody = UnsyncBoxBody<Bytes, BoxError>;

/// The service under the mesh.
#[derive(Clone)]
pub(crate) struct Mock {
    attempts: mpsc::UnboundedSender<Attempt>,
    gate: Arc<Gate>,
}

/// Holds back readiness.
#[derive(Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    waker: AtomicWaker,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
        self.waker.wake();
    }
}

/// The test's side.
pub(crate) struct Upstream {
    attempts: mpsc::UnboundedReceiver<Attempt>,
    pub(crate) gate: Arc<Gate>,
}

/// One attempt that arrived.
pub(crate) struct Attempt {
    pub(crate) dispatch: Dispatch<TestBody>,
    answer: oneshot::Sender<Result<Response<TestBody>, TransportError>>,
    polled: Arc<AtomicWaker>,
}

pub(crate) fn mock() -> (Mock, Upstream) {
    let (attempts, receiver) = mpsc::unbounded_channel();
    let gate = Arc::new(Gate::default());
    let upstream = Upstream {
        attempts: receiver,
        gate: Arc::clone(&gate),
    };
    (Mock { attempts, gate }, upstream)
}

impl<B> Service<Dispatch<RequestBody<B>>> for Mock
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<TestBody>;
    type Error = TransportError;
    type Future = MockFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.gate.waker.register(cx.waker());
        if self.gate.closed.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, dispatch: Dispatch<RequestBody<B>>) -> MockFuture {
        let (answer, receiver) = oneshot::channel();
        let dispatch = dispatch.map_body(|body| body.map_err(|e| e.into()).boxed_unsync());
        let polled = Arc::new(AtomicWaker::new());
        let _ = self.attempts.send(Attempt {
            dispatch,
            answer,
            polled: Arc::clone(&polled),
        });
        MockFuture { receiver, polled }
    }
}

pub(crate) struct MockFuture {
    receiver: oneshot::Receiver<Result<Response<TestBody>, TransportError>>,
    polled: Arc<AtomicWaker>,
}

impl Future for MockFuture {
    type Output = Result<Response<TestBody>, TransportError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.polled.register(cx.waker());
        let answer = ready!(Pin::new(&mut self.receiver).poll(cx));
        Poll::Ready(
            answer
                .unwrap_or_else(|_| Err(TransportError::sent(ResetReason::ConnectionTermination))),
        )
    }
}

impl Upstream {
    pub(crate) async fn next(&mut self) -> Attempt {
        // Paused time jumps there once nothing else can happen.
        let limit = std::time::Duration::from_secs(3600);
        let next = tokio::time::timeout(limit, self.attempts.recv()).await;
        next.expect("no attempt came").expect("an attempt")
    }

    pub(crate) fn try_next(&mut self) -> Result<Attempt, mpsc::error::TryRecvError> {
        self.attempts.try_recv()
    }

    /// Whether no attempt has come.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.attempts.try_recv().is_err()
    }
}

impl Attempt {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let value = self.dispatch.request().headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    pub(crate) fn answer(self, status: u16) {
        self.respond(response(status, &[]));
    }

    pub(crate) fn respond(self, response: Response<TestBody>) {
        let _ = self.answer.send(Ok(response));
    }

    pub(crate) fn fail(self, error: TransportError) {
        let _ = self.answer.send(Err(error));
    }

    /// A connection has taken the request.
    pub(crate) fn connect(&self) {
        self.dispatch.pool_ready().expect("a timeout is set").set();
        self.polled.wake();
    }

    /// Whether the mesh has given the attempt up.
    pub(crate) fn is_reset(&self) -> bool {
        self.answer.is_closed()
    }

    /// The whole body, and its trailers.
    pub(crate) async fn read_all(&mut self) -> (Bytes, Option<http::HeaderMap>) {
        let body = self.dispatch.request_mut().body_mut();
        let body = body.collect().await.expect("a body");
        let trailers = body.trailers().cloned();
        (body.to_bytes(), trailers)
    }

    /// Reads the request's body; keeps the attempt open.
    pub(crate) async fn read(&mut self) -> Result<Bytes, BoxError> {
        let body = std::mem::replace(self.dispatch.request_mut().body_mut(), empty());
        Ok(body.collect().await?.to_bytes())
    }
}

pub(crate) fn empty() -> TestBody {
    Empty::new().map_err(|e| match e {}).boxed_unsync()
}

pub(crate) fn full(text: &'static str) -> TestBody {
    Full::new(Bytes::from_static(text.as_bytes()))
        .map_err(|e| match e {})
        .boxed_unsync()
}

pub(crate) fn response(
    status: u16,
    headers: &[(&'static str, &'static str)],
) -> Response<TestBody> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        let value = http::HeaderValue::from_static(value);
        response.headers_mut().append(*name, value);
    }
    response
}

/// A body that ends when the sender is dropped.
pub(crate) fn channel() -> (mpsc::UnboundedSender<http_body::Frame<Bytes>>, TestBody) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let frames = futures_util::stream::poll_fn(move |cx| {
        receiver
            .poll_recv(cx)
            .map(|frame| frame.map(Ok::<_, BoxError>))
    });
    (
        sender,
        http_body_util::StreamBody::new(frames).boxed_unsync(),
    )
}

pub(crate) fn data(text: &'static str) -> http_body::Frame<Bytes> {
    http_body::Frame::data(Bytes::from_static(text.as_bytes()))
}

pub(crate) fn trailers(pairs: &[(&'static str, &'static str)]) -> http_body::Frame<Bytes> {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, http::HeaderValue::from_static(value));
    }
    http_body::Frame::trailers(map)
}
