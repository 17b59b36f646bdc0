use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_core::Stream;
use mesh_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use super::session::{Refused, Session};
use super::status::{ClientStatus, Clients, SYNCZ, syncz};
use crate::config::Config;

/// What streams are made from.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) config: watch::Sender<Arc<Config>>,
    pub(crate) clients: Clients,
    next_id: AtomicU64,
}

impl Source {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Source {
            config: watch::Sender::new(config),
            clients: Clients::default(),
            next_id: AtomicU64::new(0),
        }
    }

    /// By which a stream's status is kept.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }
}

/// The responses to one client; ends when its requests have, after what is due.
#[derive(Debug)]
pub struct Responses<S> {
    requests: S,
    configs: WatchStream<Arc<Config>>,
    session: Session,
    source: Arc<Source>,
    id: u64,
    requests_ended: bool,
    ended: bool,
}

impl<S> Responses<S> {
    pub(crate) fn new(source: Arc<Source>, requests: S) -> Self {
        let receiver = source.config.subscribe();
        let session = Session::new(receiver.borrow().clone());
        let id = source.next_id();
        Responses {
            requests,
            configs: WatchStream::from_changes(receiver),
            session,
            source,
            id,
            requests_ended: false,
            ended: false,
        }
    }

    fn publish_status(&self) {
        if let Some(node) = self.session.node() {
            let status = ClientStatus::of(node, self.session.type_statuses());
            self.source.clients.set(self.id, status);
        }
    }
}

impl<S: Stream<Item = DiscoveryRequest> + Unpin> Stream for Responses<S> {
    type Item = Result<DiscoveryResponse, Refused>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        // what arrived is taken first, so that several requests need one response
        while !this.requests_ended
            && let Poll::Ready(request) = Pin::new(&mut this.requests).poll_next(cx)
        {
            let Some(request) = request else {
                this.requests_ended = true;
                break;
            };
            if request.type_url == SYNCZ {
                // asked once; who asks is no client of the mesh
                if request.response_nonce.is_empty() {
                    return Poll::Ready(Some(Ok(syncz(&this.source.clients.all()))));
                }
                continue;
            }
            if let Err(refused) = this.session.handle_request(&request) {
                this.ended = true;
                return Poll::Ready(Some(Err(refused)));
            }
            this.publish_status();
        }
        while let Poll::Ready(Some(config)) = Pin::new(&mut this.configs).poll_next(cx) {
            this.session.handle_config(config);
            this.publish_status();
        }
        match this.session.poll_response() {
            Some(response) => {
                this.publish_status();
                Poll::Ready(Some(Ok(response)))
            }
            None if this.requests_ended => {
                this.ended = true;
                Poll::Ready(None)
            }
            None => Poll::Pending,
        }
    }
}

impl<S> Drop for Responses<S> {
    fn drop(&mut self) {
        if let Some(node) = self.session.node().map(|node| &node.id) {
            tracing::info!(%node, "client disconnected");
        }
        self.source.clients.remove(self.id);
    }
}
