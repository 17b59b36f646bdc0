use super::Metadata;
use crate::yaml::{Fields, Node, Value};

/// A pod: labels, address and ports. Of its specification only this is read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pod {
    pub(crate) metadata: Metadata,
    pub(crate) ip: String,
    pub(crate) ready: bool,
    /// `spec.nodeName`.
    pub(crate) node: String,
    /// `spec.serviceAccountName`.
    pub(crate) service_account: String,
    /// The Deployment, StatefulSet, … that it belongs to; its own name if to none.
    pub(crate) workload: String,
    /// Named container ports: (name, port).
    pub(crate) ports: Vec<(String, u32)>,
}

impl Pod {
    pub(crate) fn read(fields: &Fields<'_>, metadata: Metadata) -> Self {
        let (mut ip, mut ready) = (String::new(), false);
        if let Some(status) = fields.get("status") {
            let status = status.fields();
            ip = status.string("podIP");
            let phase = status.string("phase");
            let is_ready = |condition: &Node| {
                condition.get("type").and_then(Node::as_str) == Some("Ready")
                    && condition.get("status").and_then(Node::as_str) == Some("True")
            };
            let conditions = status
                .get("conditions")
                .map(|at| at.items())
                .unwrap_or_default();
            ready = phase == "Running" && conditions.iter().any(|at| is_ready(at.node()));
        }
        let (mut ports, mut node) = (Vec::new(), String::new());
        let mut service_account = String::new();
        if let Some(spec) = fields.get("spec") {
            let spec = spec.fields();
            node = spec.string("nodeName");
            service_account = spec.string("serviceAccountName");
            for container in spec
                .get("containers")
                .map(|at| at.items())
                .unwrap_or_default()
            {
                let container = container.fields();
                for port in container
                    .get("ports")
                    .map(|at| at.items())
                    .unwrap_or_default()
                {
                    ports.extend(named_port(port.node()));
                }
            }
        }
        let workload = workload(fields, &metadata);
        Pod {
            metadata,
            ip,
            ready,
            node,
            service_account,
            workload,
            ports,
        }
    }
}

/// The controller's name; for a ReplicaSet that of its Deployment, which lacks the hash at the end.
fn workload(fields: &Fields<'_>, metadata: &Metadata) -> String {
    let owners = fields
        .get("metadata")
        .and_then(|m| m.fields().get("ownerReferences"));
    let owners = owners.map(|at| at.items()).unwrap_or_default();
    let controller = owners
        .iter()
        .map(|at| at.node())
        .find(|o| o.get("name").is_some());
    let Some(owner) = controller.and_then(|o| o.get("name")?.as_str()) else {
        return metadata.name.clone();
    };
    let hash = metadata
        .labels
        .get("pod-template-hash")
        .map(|hash| format!("-{hash}"));
    let deployment = hash.and_then(|hash| owner.strip_suffix(hash.as_str()));
    deployment.unwrap_or(owner).to_owned()
}

fn named_port(node: &Node) -> Option<(String, u32)> {
    let name = node.get("name")?.as_str()?;
    match node.get("containerPort")?.value {
        Value::Int(port) => Some((name.to_owned(), u32::try_from(port).ok()?)),
        _ => None,
    }
}
