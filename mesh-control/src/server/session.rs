use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_proto::envoy::config::core::v3::ControlPlane as Identifier;
use mesh_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};

use super::client::{Affected, Client, Refused};
use super::status::{Clients, SYNCZ, TypeStatus, syncz};
use super::stream::Conversation;
use super::subscription::{ResourceType, Subscription};
use crate::config::Config;
use crate::translate::Node;

/// The conversation of [`Responses`](super::Responses): state of the world.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    subscriptions: BTreeMap<ResourceType, Subscription>,
    nonces: u64,
}

impl Conversation for Session {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn new(config: Arc<Config>) -> Self {
        Session {
            client: Client::new(config),
            subscriptions: BTreeMap::new(),
            nonces: 0,
        }
    }

    fn node(&self) -> Option<&Node> {
        self.client.node()
    }

    fn aside(request: &DiscoveryRequest, clients: &Clients) -> Option<Option<DiscoveryResponse>> {
        // asked once; who asks is no client of the mesh
        let is_asked = request.response_nonce.is_empty();
        (request.type_url == SYNCZ).then(|| is_asked.then(|| syncz(&clients.all())))
    }

    fn handle_request(&mut self, request: &DiscoveryRequest) -> Result<(), Refused> {
        let (node, translator) = self.client.of_request(request.node.as_ref())?;
        let Some(kind) = ResourceType::of_url(&request.type_url) else {
            // types that we have nothing of (secrets, extensions) stay unanswered, as from istiod
            tracing::debug!(type_url = %request.type_url, "subscription to a type that is not served");
            return Ok(());
        };
        let subscription = match self.subscriptions.get_mut(&kind) {
            Some(subscription) => subscription,
            None => {
                let mut subscription = Subscription::new(kind);
                subscription.set_names(&request.resource_names);
                subscription.update(translator);
                self.subscriptions.insert(kind, subscription);
                return Ok(());
            }
        };
        if request.response_nonce != subscription.nonce {
            // an answer to what has been replaced since; the answer to the newest one is still to come
            return Ok(());
        }
        match &request.error_detail {
            Some(error) => {
                tracing::warn!(
                    node = %node.id, r#type = %request.type_url, version = %subscription.version(),
                    "client refused: {}", error.message
                );
                subscription.nack = Some(error.message.clone());
            }
            None => {
                subscription.acked_version.clone_from(&request.version_info);
                subscription.nack = None;
            }
        }
        if subscription.set_names(&request.resource_names) {
            subscription.update(translator);
            subscription.due = true;
        }
        Ok(())
    }

    fn handle_config(&mut self, config: Arc<Config>) {
        let Some((translator, affected)) = self.client.reconfigure(config) else {
            return;
        };
        match affected {
            Affected::EndpointsOf(hosts) => {
                if let Some(endpoints) = self.subscriptions.get_mut(&ResourceType::Endpoint) {
                    endpoints.update_endpoints(translator, &hosts);
                }
                return;
            }
            Affected::Routes => {
                if let Some(routes) = self.subscriptions.get_mut(&ResourceType::Route) {
                    routes.due |= routes.update(translator);
                }
                return;
            }
            Affected::Everything => {}
        }
        let mut depends = false;
        for (kind, subscription) in &mut self.subscriptions {
            let changed = subscription.update(translator);
            // new clusters wait for endpoints and new listeners for routes, even for unchanged ones
            subscription.due |= changed
                || (depends && matches!(kind, ResourceType::Endpoint | ResourceType::Route));
            depends = changed;
        }
    }

    fn poll_response(&mut self) -> Option<DiscoveryResponse> {
        let (kind, subscription) = self.subscriptions.iter_mut().find(|(_, s)| s.due)?;
        subscription.due = false;
        self.nonces += 1;
        subscription.nonce = format!("{:x}", self.nonces);
        Some(DiscoveryResponse {
            version_info: subscription.version().to_owned(),
            resources: subscription.take_encoded(),
            type_url: kind.url(),
            nonce: subscription.nonce.clone(),
            control_plane: Some(Identifier {
                identifier: "mesh-control".to_owned(),
            }),
            ..Default::default()
        })
    }

    fn type_statuses(&self) -> Vec<TypeStatus> {
        let status = |(kind, subscription): (&ResourceType, &Subscription)| TypeStatus {
            type_url: kind.url(),
            sent_version: subscription.version().to_owned(),
            acked_version: subscription.acked_version.clone(),
            nack: subscription.nack.clone(),
        };
        self.subscriptions.iter().map(status).collect()
    }
}
