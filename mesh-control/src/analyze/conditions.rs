//! What controllers reported about objects in their status.

use super::finding::Findings;
use super::objects::{Object, World};
use crate::validate::part::Part;

pub(super) fn analyze(world: &World<'_>, findings: &mut Findings) {
    for object in &world.objects {
        let negative: &[&str] = match (object.group, object.kind) {
            ("", "Service") | ("networking.istio.io", "ServiceEntry" | "WorkloadEntry") => {
                &["istio.io/WaypointBound"]
            }
            ("security.istio.io", "AuthorizationPolicy") => {
                &["ZtunnelAccepted", "WaypointAccepted"]
            }
            ("gateway.networking.k8s.io", "Gateway" | "HTTPRoute" | "GRPCRoute") => {
                &["Accepted", "Programmed", "ResolvedRefs"]
            }
            _ => continue,
        };
        for condition in conditions(object) {
            let (kind, reason) = (condition.text("type"), condition.text("reason"));
            let is_negative = negative.contains(&kind) && condition.text("status") == "False";
            let is_partial = object.kind == "AuthorizationPolicy"
                && kind == "WaypointAccepted"
                && reason == "PartiallyInvalid";
            if is_negative || is_partial {
                let message = format!(
                    "A condition with a negative status is present: type={kind}, reason={reason}, message={}.",
                    condition.text("message")
                );
                findings.add("IST0171", object, condition.mark(), message);
            }
        }
    }
}

fn conditions<'a>(object: &Object<'a>) -> Vec<Part<'a>> {
    let Some(status) = object.root.get("status") else {
        return Vec::new();
    };
    let of_parents = status
        .list("parents")
        .into_iter()
        .flat_map(|parent| parent.list("conditions"));
    status
        .list("conditions")
        .into_iter()
        .chain(of_parents)
        .collect()
}
