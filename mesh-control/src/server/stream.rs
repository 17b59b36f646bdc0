use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_core::Stream;
use mesh_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use super::client::Refused;
use super::delta::DeltaSession;
use super::session::Session;
use super::status::{ClientStatus, Clients, TypeStatus};
use crate::config::Config;
use crate::translate::Node;

/// What streams are made from.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) config: watch::Sender<Arc<Config>>,
    pub(crate) clients: Clients,
    /// What makes certificates, once there is one.
    #[cfg(feature = "ca")]
    pub(crate) authority: std::sync::OnceLock<Arc<crate::ca::CertificateAuthority>>,
    next_id: AtomicU64,
}

impl Source {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Source {
            config: watch::Sender::new(config),
            clients: Clients::default(),
            #[cfg(feature = "ca")]
            authority: std::sync::OnceLock::new(),
            next_id: AtomicU64::new(0),
        }
    }

    /// By which a stream's status is kept.
    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }
}

/// What is said on one client's stream, without I/O: requests and configurations in, responses out.
pub(super) trait Conversation {
    type Request;
    type Response;

    fn new(config: Arc<Config>) -> Self;

    /// The client's node, once it is known.
    fn node(&self) -> Option<&Node>;

    /// What the client has, by type.
    fn type_statuses(&self) -> Vec<TypeStatus>;

    /// The answer, if one is due, to a request that is no part of the conversation; `None`: it is a part.
    fn aside(_request: &Self::Request, _clients: &Clients) -> Option<Option<Self::Response>> {
        None
    }

    fn handle_request(&mut self, request: &Self::Request) -> Result<(), Refused>;

    fn handle_config(&mut self, config: Arc<Config>);

    /// The next response that is due, clusters before endpoints before listeners before routes.
    fn poll_response(&mut self) -> Option<Self::Response>;
}

/// The responses to one client; ends when its requests have, after what is due.
#[derive(Debug)]
pub struct Responses<S>(Served<S, Session>);

/// The incremental responses to one client; ends when its requests have, after what is due.
#[derive(Debug)]
pub struct DeltaResponses<S>(Served<S, DeltaSession>);

impl<S> Responses<S> {
    pub(crate) fn new(source: Arc<Source>, requests: S) -> Self {
        Responses(Served::new(source, requests))
    }
}

impl<S> DeltaResponses<S> {
    pub(crate) fn new(source: Arc<Source>, requests: S) -> Self {
        DeltaResponses(Served::new(source, requests))
    }
}

impl<S: Stream<Item = DiscoveryRequest> + Unpin> Stream for Responses<S> {
    type Item = Result<DiscoveryResponse, Refused>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(cx)
    }
}

impl<S: Stream<Item = DeltaDiscoveryRequest> + Unpin> Stream for DeltaResponses<S> {
    type Item = Result<DeltaDiscoveryResponse, Refused>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(cx)
    }
}

/// A conversation that is under way.
#[derive(Debug)]
struct Served<S, C: Conversation> {
    requests: S,
    configs: WatchStream<Arc<Config>>,
    conversation: C,
    source: Arc<Source>,
    id: u64,
    requests_ended: bool,
    ended: bool,
}

impl<S, C: Conversation> Served<S, C> {
    fn new(source: Arc<Source>, requests: S) -> Self {
        let receiver = source.config.subscribe();
        let conversation = C::new(receiver.borrow().clone());
        let id = source.next_id();
        Served {
            requests,
            configs: WatchStream::from_changes(receiver),
            conversation,
            source,
            id,
            requests_ended: false,
            ended: false,
        }
    }

    fn publish_status(&self) {
        if let Some(node) = self.conversation.node() {
            let status = ClientStatus::of(node, self.conversation.type_statuses());
            self.source.clients.set(self.id, status);
        }
    }
}

impl<S: Stream<Item = C::Request> + Unpin, C: Conversation> Served<S, C> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<C::Response, Refused>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // what arrived is taken first, so that several requests need one response
        while !self.requests_ended
            && let Poll::Ready(request) = Pin::new(&mut self.requests).poll_next(cx)
        {
            let Some(request) = request else {
                self.requests_ended = true;
                break;
            };
            match C::aside(&request, &self.source.clients) {
                None => {}
                Some(None) => continue,
                Some(Some(answer)) => return Poll::Ready(Some(Ok(answer))),
            }
            if let Err(refused) = self.conversation.handle_request(&request) {
                self.ended = true;
                return Poll::Ready(Some(Err(refused)));
            }
            self.publish_status();
        }
        while let Poll::Ready(Some(config)) = Pin::new(&mut self.configs).poll_next(cx) {
            self.conversation.handle_config(config);
            self.publish_status();
        }
        match self.conversation.poll_response() {
            Some(response) => {
                self.publish_status();
                Poll::Ready(Some(Ok(response)))
            }
            None if self.requests_ended => {
                self.ended = true;
                Poll::Ready(None)
            }
            None => Poll::Pending,
        }
    }
}

impl<S, C: Conversation> Drop for Served<S, C> {
    fn drop(&mut self) {
        if let Some(node) = self.conversation.node() {
            tracing::info!(node = %node.id, "client disconnected");
        }
        self.source.clients.remove(self.id);
    }
}
