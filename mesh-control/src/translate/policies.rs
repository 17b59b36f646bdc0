//! Which policies are for a node, by istiod's `pilot/pkg/model/policyattachment.go`.

use super::scope::Scope;
use crate::model::{GATEWAY_API, Metadata, PolicyTarget};

/// Pods of a Gateway of the Gateway API have it, with the Gateway's name.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// The namespaces whose policies a node heeds, in the order in which they are read.
pub(super) fn namespaces(scope: &Scope) -> impl Iterator<Item = &str> {
    let root = scope.config.mesh.root_namespace.as_str();
    let own = scope.node.namespace.as_str();
    [root, own].into_iter().take(1 + usize::from(root != own))
}

/// Whether a policy of one of those namespaces is for the node: by its selector, or by the Gateway of the Gateway API that
/// the node belongs to. What is attached to Services is for waypoints only.
pub(super) fn is_for(scope: &Scope, metadata: &Metadata, target: &PolicyTarget) -> bool {
    let labels = &scope.labels;
    if target.references.is_empty() {
        let mut selector = target.selector.iter();
        return selector.all(|(k, v)| labels.get(k) == Some(v));
    }
    let Some(gateway) = labels.get(GATEWAY_NAME) else {
        return false;
    };
    metadata.namespace == scope.node.namespace
        && target
            .references
            .iter()
            .any(|r| r.group == GATEWAY_API && r.kind == "Gateway" && r.name == *gateway)
}
