//! The inbound chain in front of an application.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, Version, header::CONNECTION};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{ApplicationService, Peer, application::ApplicationFuture};
use crate::{
    body::{MeshBody, RequestBody},
    data_plane::DataPlane,
    error::BoxError,
    future::ResponseFuture,
    mesh_error::MeshError,
    service::MeshService,
    stages::{Application, Entry},
    stream::Connection,
};

/// Puts the inbound chain of a port in front of an application. Made by [`DataPlane::server_layer`].
#[derive(Clone, Debug)]
pub struct ServerLayer {
    plane: DataPlane,
    port: u16,
    application: Arc<Application>,
}

impl ServerLayer {
    pub(crate) fn new(plane: DataPlane, port: u16) -> Self {
        Self {
            plane,
            port,
            application: Application::new(port),
        }
    }

    /// The service of one connection.
    #[cfg(feature = "axum")]
    pub(crate) fn for_connection<A>(&self, application: A, peer: &Peer) -> ServerService<A> {
        let mut service = self.layer(application);
        service.accept(peer);
        service
    }
}

impl<A> Layer<A> for ServerLayer {
    type Service = ServerService<A>;

    fn layer(&self, application: A) -> ServerService<A> {
        ServerService {
            plane: self.plane.clone(),
            port: self.port,
            local: Arc::clone(&self.application),
            connection: Connection::Accepted(Arc::default()),
            peer: None,
            application: ApplicationService::new(application),
        }
    }
}

/// An application behind its inbound chain: Downstream stage, filters, the route's timeouts; then the application is
/// called where a proxy would forward. Without a chain for the port requests pass.
///
/// The peer is that of the connection if the service was made for one
/// ([`ServerLayer::into_make_service`], feature `axum`), else the request's [`Peer`] extension, which tonic's server
/// sets. Handlers find who the caller has proved to be as a [`PeerIdentity`](super::PeerIdentity) extension. Never fails: local replies are responses. Ready when the application is, inside the call. Cloning costs a few
/// reference counts and the application's clone, and each call makes one.
#[derive(Clone, Debug)]
pub struct ServerService<A> {
    plane: DataPlane,
    port: u16,
    local: Arc<Application>,
    connection: Connection,
    peer: Option<Peer>,
    application: ApplicationService<A>,
}

impl<A> ServerService<A> {
    fn accept(&mut self, peer: &Peer) {
        if self.peer.as_ref() == Some(peer) {
            return;
        }
        self.connection = Connection::Accepted(peer.info());
        self.peer = Some(peer.clone());
    }
}

impl<A, B, RB> Service<Request<B>> for ServerService<A>
where
    A: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone,
    A::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
    RB: Body,
    RB::Error: Into<BoxError>,
{
    type Response = Response<MeshBody<RB>>;
    type Error = Infallible;
    type Future = ServerFuture<A, B, A::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(peer) = request.extensions().get::<Peer>() {
            self.accept(peer);
        }
        let peer = self.peer.as_ref();
        if let Some(identity) = peer.and_then(Peer::identity) {
            request.extensions_mut().insert(identity);
        }
        let closes = self.plane.is_draining() && request.version() < Version::HTTP_2;
        let entry = Entry::Inbound {
            port: self.port,
            connection: self.connection.clone(),
            arrived: peer.and_then(|peer| peer.arrived.clone()),
            application: Arc::clone(&self.local),
        };
        let mut service = MeshService::new(self.plane.clone(), entry, self.application.clone());
        ServerFuture {
            future: service.call(request),
            closes,
        }
    }
}

pin_project! {
    /// The future of [`ServerService`].
    #[derive(Debug)]
    pub struct ServerFuture<A, B, F> {
        #[pin]
        future: ResponseFuture<ApplicationService<A>, B, ApplicationFuture<F>>,
        closes: bool,
    }
}

impl<A, B, RB, E, F> Future for ServerFuture<A, B, F>
where
    A: Service<Request<RequestBody<B>>, Response = Response<RB>, Error = E, Future = F>,
    F: Future<Output = Result<Response<RB>, E>>,
    E: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
    RB: Body,
    RB::Error: Into<BoxError>,
{
    type Output = Result<Response<MeshBody<RB>>, Infallible>;

    fn poll(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = std::task::ready!(this.future.poll(cx));
        let mut response = result.unwrap_or_else(MeshError::into_response);
        if *this.closes {
            let close = http::HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        Poll::Ready(Ok(response))
    }
}
