//! The service that everything goes through.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    body::{MeshBody, RequestBody},
    clock::Moment,
    context,
    data_plane::DataPlane,
    dispatch::Dispatch,
    error::{BoxError, TransportError},
    future::ResponseFuture,
    mesh_error::MeshError,
    stages::{ChainSource, Entry},
    stream::{Connection, Stream},
};

/// Routes, balances and retries; made by [`MeshLayer`](crate::MeshLayer).
///
/// * **Readiness:** always ready; nothing is held between readiness and call. Back-pressure is the circuit breaker
///   (503 UO), so an outer `load_shed` never sheds. The inner service's readiness is awaited inside the call, before an
///   endpoint is picked.
/// * **Clone:** a reference count or two, and the inner service's clone, which each call makes once.
/// * **Cancellation:** dropping the future or the response's body ends the request at once: its load, permits and
///   filters are released exactly once, the stream is reset, metrics say DC.
#[derive(Clone)]
pub struct MeshService<S> {
    plane: DataPlane,
    entry: Entry,
    inner: S,
}

impl<S> MeshService<S> {
    pub(crate) fn new(plane: DataPlane, entry: Entry, inner: S) -> Self {
        Self {
            plane,
            entry,
            inner,
        }
    }

    /// For the requests of one accepted connection of a proxy.
    pub(crate) fn of_chain(
        plane: DataPlane,
        source: Arc<dyn ChainSource>,
        connection: Connection,
        inner: S,
    ) -> Self {
        let entry = Entry::Chain {
            source,
            connection,
            held: None,
        };
        Self::new(plane, entry, inner)
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: Clone> MeshService<S> {
    /// Sends a request: needs neither `ready()` nor `&mut`, since the service is always ready.
    pub fn request<B>(&self, request: Request<B>) -> ResponseFuture<S, B, S::Future>
    where
        S: Service<Dispatch<RequestBody<B>>>,
        B: Body,
    {
        self.request_until(request, None)
    }

    /// The same with a deadline of the caller.
    pub(crate) fn request_until<B>(
        &self,
        request: Request<B>,
        deadline: Option<Moment>,
    ) -> ResponseFuture<S, B, S::Future>
    where
        S: Service<Dispatch<RequestBody<B>>>,
        B: Body,
    {
        let mut entry = self.entry.clone();
        start(&self.plane, &mut entry, &self.inner, request, deadline)
    }
}

impl<S, B, RB> Service<Request<B>> for MeshService<S>
where
    S: Service<Dispatch<RequestBody<B>>, Response = Response<RB>> + Clone,
    S::Error: Into<TransportError>,
    B: Body,
    B::Error: Into<BoxError>,
    RB: Body,
    RB::Error: Into<BoxError>,
{
    type Response = Response<MeshBody<RB>>;
    type Error = MeshError;
    type Future = ResponseFuture<S, B, S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), MeshError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        start(&self.plane, &mut self.entry, &self.inner, request, None)
    }
}

/// Everything that happens at the call itself: snapshot, chain, deadline.
fn start<S, B>(
    plane: &DataPlane,
    entry: &mut Entry,
    inner: &S,
    request: Request<B>,
    deadline: Option<Moment>,
) -> ResponseFuture<S, B, S::Future>
where
    S: Service<Dispatch<RequestBody<B>>> + Clone,
    B: Body,
{
    let (mut parts, body) = request.into_parts();
    let isolated = !matches!(entry, Entry::Outbound { isolated: false });
    let inherited = context::propagate(&mut parts, isolated);
    let caller = context::earlier(deadline, inherited);
    let entered = entry.enter(plane, &parts);
    let stream = Stream::new(entered, caller, &parts, body.is_end_stream());
    ResponseFuture::new(inner.clone(), stream, parts, body)
}

impl<S: fmt::Debug> fmt::Debug for MeshService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
