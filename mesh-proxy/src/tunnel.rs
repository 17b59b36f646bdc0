//! Upgraded connections: bytes both ways once both sides have switched.

use http::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use mesh_tower::{MeshBody, transport::TransportBody};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

type Answer = Response<MeshBody<TransportBody>>;

/// Joins a client's stream with that of the upstream that answered, until either ends.
pub(crate) async fn join(mut downstream: impl AsyncRead + AsyncWrite + Unpin, mut answer: Answer) {
    let upstream = hyper::upgrade::on(&mut answer);
    // The body holds the request's place at its endpoint.
    let held = std::mem::take(answer.body_mut());
    let upstream = match upstream.await {
        Ok(upstream) => upstream,
        Err(e) => return tracing::debug!(error = %e, "upgrade failed"),
    };
    let copied = copy_bidirectional(&mut downstream, &mut TokioIo::new(upstream)).await;
    if let Err(e) = copied {
        tracing::debug!(error = %e, "upgraded stream ended");
    }
    drop(held);
}

/// The same for a client's stream that hyper gives away later.
pub(crate) async fn join_later(downstream: OnUpgrade, answer: Answer) {
    match downstream.await {
        Ok(downstream) => join(TokioIo::new(downstream), answer).await,
        Err(e) => tracing::debug!(error = %e, "upgrade failed"),
    }
}

/// What an upgraded stream leaves of its answer: the head.
pub(crate) fn head_of(answer: &mut Answer) -> Answer {
    let mut head = Response::new(MeshBody::default());
    *head.status_mut() = answer.status();
    *head.headers_mut() = std::mem::take(answer.headers_mut());
    head
}
