use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_proto::envoy::config::core::v3::ControlPlane as Identifier;
use mesh_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};

use super::status::TypeStatus;
use super::subscription::{ResourceType, Subscription};
use crate::config::Config;
use crate::translate::{InvalidNode, Node, Translator};

/// Why a stream ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct Refused(#[from] RefusedKind);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RefusedKind {
    #[error("the first request has no node")]
    NoNode,
    #[error(transparent)]
    Node(#[from] InvalidNode),
}

/// One client's conversation, without I/O: [`handle_request`](Session::handle_request) and
/// [`handle_config`](Session::handle_config) in, [`poll_response`](Session::poll_response) out.
#[derive(Debug)]
pub(super) struct Session {
    config: Arc<Config>,
    client: Option<(Arc<Node>, Translator)>,
    subscriptions: BTreeMap<ResourceType, Subscription>,
    nonces: u64,
}

impl Session {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Session {
            config,
            client: None,
            subscriptions: BTreeMap::new(),
            nonces: 0,
        }
    }

    /// The node, once it is known.
    pub(super) fn node(&self) -> Option<&Node> {
        self.client.as_ref().map(|(node, _)| &**node)
    }

    pub(super) fn handle_request(&mut self, request: &DiscoveryRequest) -> Result<(), Refused> {
        if self.client.is_none() {
            let node = request.node.as_ref().ok_or(RefusedKind::NoNode)?;
            let node = Arc::new(Node::parse(node).map_err(RefusedKind::from)?);
            tracing::info!(node = %node.id, "client connected");
            self.client = Some((node.clone(), Translator::new(self.config.clone(), node)));
        }
        let Some(kind) = ResourceType::of_url(&request.type_url) else {
            // types that we have nothing of (secrets, extensions) stay unanswered, as from istiod
            tracing::debug!(type_url = %request.type_url, "subscription to a type that is not served");
            return Ok(());
        };
        let Some((node, translator)) = &self.client else {
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

    pub(super) fn handle_config(&mut self, config: Arc<Config>) {
        let earlier = std::mem::replace(&mut self.config, config.clone());
        let Some((node, translator)) = &mut self.client else {
            return;
        };
        *translator = Translator::new(config.clone(), node.clone());
        if let Some(hosts) = config.endpoints_changed_since(&earlier) {
            if let Some(endpoints) = self.subscriptions.get_mut(&ResourceType::Endpoint) {
                endpoints.update_endpoints(translator, hosts);
            }
            return;
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

    /// The next response that is due.
    pub(super) fn poll_response(&mut self) -> Option<DiscoveryResponse> {
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

    pub(super) fn type_statuses(&self) -> Vec<TypeStatus> {
        let status = |(kind, subscription): (&ResourceType, &Subscription)| TypeStatus {
            type_url: kind.url(),
            sent_version: subscription.version().to_owned(),
            acked_version: subscription.acked_version.clone(),
            nack: subscription.nack.clone(),
        };
        self.subscriptions.iter().map(status).collect()
    }
}
