//! The bodies of attempts.

use std::task::{Context, Poll, ready};

use http::{Version, request};
use http_body::Body;
use mesh_core::local_reply::LocalReply;

use crate::{
    body::{Progress, Replay, RequestBody},
    clock::Moment,
    error::BoxError,
    stream::Stream,
};

/// The body of the first attempt. Only a body that may be needed again is kept, and only a body at all has progress.
pub(super) fn first_body<B: Body>(
    stream: &mut Stream,
    parts: &request::Parts,
    replay: &mut Option<Replay<B>>,
    body: B,
) -> RequestBody<B> {
    if stream.is_empty {
        return RequestBody::empty();
    }
    let tee = stream.kept.as_mut().and_then(|kept| kept.tee.take());
    let progress = Progress::watched(stream.body_filters(parts), tee);
    stream.progress = Some(progress.clone());
    if stream.retry.is_none() && stream.internal_redirects().is_none() {
        return RequestBody::once(body, progress);
    }
    let kept = replay.insert(Replay::new(body, stream.replay_cap(), progress));
    RequestBody::replay(kept.reader())
}

/// Reads the body that a filter waits for. Some: it is not to be had, or not in time.
pub(super) fn poll_body<B>(
    stream: &mut Stream,
    parts: &request::Parts,
    replay: &Replay<B>,
    max: u32,
    cx: &mut Context<'_>,
) -> Poll<Option<Box<LocalReply>>>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let streamed = stream.downstream_version >= Version::HTTP_2;
    if let Poll::Ready(filled) = replay.poll_fill(max, streamed, cx) {
        stream.limits.update(stream.progress.as_deref());
        return Poll::Ready(stream.filled(parts, filled));
    }
    let expired = ready!(stream.poll_expired(Moment::now(), cx));
    Poll::Ready(Some(stream.expire(expired)))
}

/// The body of a retry, or of the first attempt where a filter has waited for it.
/// `beside`: others read it meanwhile.
pub(crate) fn next_body<B>(
    stream: &mut Stream,
    parts: &request::Parts,
    replay: Option<&Replay<B>>,
    beside: bool,
) -> RequestBody<B> {
    let Some(replay) = replay else {
        return RequestBody::empty();
    };
    if stream.attempts <= 1
        && let Some(filters) = stream.body_filters(parts)
    {
        replay.pass(filters);
    }
    if let Some(tee) = stream.kept.as_mut().and_then(|kept| kept.tee.take()) {
        replay.copy_to(&tee);
    }
    RequestBody::replay(match beside {
        false => replay.reader(),
        true => replay.reader_beside(),
    })
}
