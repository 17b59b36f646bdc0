use super::Metadata;
use crate::yaml::{Fields, Node, Value};

/// A pod: labels, address and ports. Of its specification only this is read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pod {
    pub(crate) metadata: Metadata,
    pub(crate) ip: String,
    pub(crate) ready: bool,
    pub(crate) service_account: String,
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
        let mut service_account = String::new();
        let mut ports = Vec::new();
        if let Some(spec) = fields.get("spec") {
            let spec = spec.fields();
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
        Pod {
            metadata,
            ip,
            ready,
            service_account,
            ports,
        }
    }
}

fn named_port(node: &Node) -> Option<(String, u32)> {
    let name = node.get("name")?.as_str()?;
    match node.get("containerPort")?.value {
        Value::Int(port) => Some((name.to_owned(), u32::try_from(port).ok()?)),
        _ => None,
    }
}
