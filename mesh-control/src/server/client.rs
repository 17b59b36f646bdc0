use std::sync::Arc;

use mesh_proto::envoy::config::core::v3 as core;

use crate::config::Config;
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

    /// Takes a configuration; gives the one before, and what makes resources now if the client is known.
    pub(super) fn reconfigure(
        &mut self,
        config: Arc<Config>,
    ) -> (Arc<Config>, Option<&Translator>) {
        let earlier = std::mem::replace(&mut self.config, config.clone());
        let translator = self.known.as_mut().map(|(node, translator)| {
            *translator = Translator::new(config, node.clone());
            &*translator
        });
        (earlier, translator)
    }
}
