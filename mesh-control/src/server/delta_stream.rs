use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use mesh_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio_stream::wrappers::WatchStream;

use super::delta::DeltaSession;
use super::session::Refused;
use super::status::ClientStatus;
use super::stream::Source;
use crate::config::Config;

/// The incremental responses to one client; ends when its requests have, after what is due.
#[derive(Debug)]
pub struct DeltaResponses<S> {
    requests: S,
    configs: WatchStream<Arc<Config>>,
    session: DeltaSession,
    source: Arc<Source>,
    id: u64,
    requests_ended: bool,
    ended: bool,
}

impl<S> DeltaResponses<S> {
    pub(crate) fn new(source: Arc<Source>, requests: S) -> Self {
        let receiver = source.config.subscribe();
        let session = DeltaSession::new(receiver.borrow().clone());
        let id = source.next_id();
        DeltaResponses {
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

impl<S: Stream<Item = DeltaDiscoveryRequest> + Unpin> Stream for DeltaResponses<S> {
    type Item = Result<DeltaDiscoveryResponse, Refused>;

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

impl<S> Drop for DeltaResponses<S> {
    fn drop(&mut self) {
        if let Some(node) = self.session.node() {
            tracing::info!(node = %node.id, "client disconnected");
        }
        self.source.clients.remove(self.id);
    }
}
