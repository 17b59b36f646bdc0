//! Upgraded connections: bytes both ways once both sides have switched.

use std::{
    future::{Future, poll_fn},
    io,
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
    time::Duration,
};

use bytes::BytesMut;
use http::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use mesh_tower::{MeshBody, server::delayed_close};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::body::AnswerBody;

type Answer = Response<AnswerBody>;

/// How much is read at a time.
const READ: usize = 16 * 1024;
/// How long a client may take to read the last of it (`delayed_close_timeout`'s default).
const CLOSE: Duration = Duration::from_secs(1);

/// What ends a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Either side's end: HTTP/1 knows no half-closed connection.
    Either,
    /// Both sides' ends.
    Both,
}

/// Joins a client's stream with that of the upstream that answered, until they end or a limit of the stream is reached
/// (`stream_idle_timeout`, `max_stream_duration`).
pub(crate) async fn join(
    mut downstream: impl AsyncRead + AsyncWrite + Unpin,
    mut answer: Answer,
    end: End,
) {
    let upstream = hyper::upgrade::on(&mut answer);
    // The body holds the request's place at its endpoint.
    let AnswerBody { mut body, stream } = answer.into_body();
    let mut upstream = match upstream.await {
        Ok(upstream) => TokioIo::new(upstream),
        Err(e) => return tracing::debug!(error = %e, "upgrade failed"),
    };
    let passed = AtomicBool::new(false);
    let copied = {
        let (down_read, down_write) = tokio::io::split(&mut downstream);
        let (up_read, up_write) = tokio::io::split(&mut upstream);
        let mut there = Box::pin(copy(down_read, up_write, &passed));
        let mut back = Box::pin(copy(up_read, down_write, &passed));
        let (mut there_ended, mut back_ended) = (false, false);
        poll_fn(|cx| {
            if !there_ended && let Poll::Ready(copied) = there.as_mut().poll(cx) {
                copied?;
                there_ended = true;
            }
            if !back_ended && let Poll::Ready(copied) = back.as_mut().poll(cx) {
                copied?;
                back_ended = true;
            }
            let is_over = match end {
                End::Either => there_ended || back_ended,
                End::Both => there_ended && back_ended,
            };
            if is_over {
                return Poll::Ready(Ok(()));
            }
            if passed.swap(false, Ordering::Relaxed) {
                body.touch();
            }
            body.poll_expired(cx).map(io::Result::Ok)
        })
        .await
    };
    if let Err(e) = copied {
        tracing::debug!(error = %e, "upgraded stream ended");
    }
    drop((body, stream));
    // Whoever is gone needs no goodbye.
    let _ = delayed_close(&mut downstream, CLOSE).await;
}

/// Passes bytes one way to their end, and that too.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passed: &AtomicBool,
) -> io::Result<()> {
    let mut bytes = BytesMut::with_capacity(READ);
    while from.read_buf(&mut bytes).await? > 0 {
        passed.store(true, Ordering::Relaxed);
        while !bytes.is_empty() {
            to.write_buf(&mut bytes).await?;
            passed.store(true, Ordering::Relaxed);
        }
        to.flush().await?;
        bytes.reserve(READ);
    }
    to.shutdown().await
}

/// The same for a client's stream that hyper gives away later.
pub(crate) async fn join_later(downstream: OnUpgrade, answer: Answer) {
    match downstream.await {
        Ok(downstream) => join(TokioIo::new(downstream), answer, End::Both).await,
        Err(e) => tracing::debug!(error = %e, "upgrade failed"),
    }
}

/// What an upgraded stream leaves of its answer: the head.
pub(crate) fn head_of(answer: &mut Answer) -> Answer {
    let mut head = Response::new(AnswerBody {
        body: MeshBody::default(),
        stream: None,
    });
    *head.status_mut() = answer.status();
    *head.headers_mut() = std::mem::take(answer.headers_mut());
    head
}
