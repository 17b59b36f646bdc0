use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_proto::envoy::config::core::v3 as core;

use crate::config::{Changed, Config};
use crate::translate::{InvalidNode, Node, Translator};

/// Why a stream ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct Refused(#[from] RefusedKind);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum RefusedKind {
    #[error("the first request has no node")]
    NoNode,
    #[error(transparent)]
    Node(#[from] InvalidNode),
}

/// What of a client's resources a configuration may change.
#[derive(Debug)]
pub(super) enum Affected {
    Everything,
    /// Only the endpoints of some hosts' clusters.
    EndpointsOf(BTreeSet<String>),
    /// Only route configurations.
    Routes,
}

/// Who is at the other end of a stream, and what makes its resources.
#[derive(Debug)]
pub(super) struct Client {
    config: Arc<Config>,
    known: Option<(Arc<Node>, Translator)>,
}

impl Client {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Client {
            config,
            known: None,
        }
    }

    /// The node, once it is known.
    pub(super) fn node(&self) -> Option<&Node> {
        self.known.as_ref().map(|(node, _)| &**node)
    }

    /// The client that a request is from; only the first must say its node.
    pub(super) fn of_request(
        &mut self,
        node: Option<&core::Node>,
    ) -> Result<(&Node, &Translator), Refused> {
        let known = match self.known.take() {
            Some(known) => known,
            None => {
                let node = node.ok_or(RefusedKind::NoNode)?;
                let node = Arc::new(Node::parse(node).map_err(RefusedKind::from)?);
                tracing::info!(node = %node.id, "client connected");
                let translator = Translator::new(self.config.clone(), node.clone());
                (node, translator)
            }
        };
        let (node, translator) = self.known.insert(known);
        Ok((node, translator))
    }

    /// Takes a configuration; gives what makes resources now and what must be made anew, if the client is known.
    pub(super) fn reconfigure(&mut self, config: Arc<Config>) -> Option<(&Translator, Affected)> {
        let earlier_config = std::mem::replace(&mut self.config, config.clone());
        let (node, translator) = self.known.as_mut()?;
        let new = Translator::new(config.clone(), node.clone());
        let earlier = std::mem::replace(translator, new);
        let affected = match config.changed_since(&earlier_config) {
            Some(Changed::Endpoints(hosts)) => Affected::EndpointsOf(hosts.clone()),
            Some(Changed::HttpRoutes) if translator.differs_only_in_routes(&earlier) => {
                Affected::Routes
            }
            Some(Changed::HttpRoutes) | None => Affected::Everything,
        };
        Some((translator, affected))
    }
}
