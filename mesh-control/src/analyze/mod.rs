//! What `istioctl analyze` finds in files: its codes and levels, by the rules of Istio's `pkg/config/analysis/analyzers`.

mod annotations;
mod certificate;
mod conditions;
mod deployments;
mod destination_rules;
mod envoy_filters;
mod finding;
mod gateways;
mod hosts;
mod images;
mod injection;
mod objects;
mod policies;
mod schema;
mod selectors;
mod service_entries;
mod unreachable;
mod virtual_services;
mod webhooks;

use crate::problem::Problem;
use crate::validate::part::Part;
use crate::yaml::{Node, Report, Value, split};
use finding::Findings;
use objects::{Object, World};

pub use finding::{Finding, Level};

/// What istioctl takes for granted where it sees files only: the default gateway.
const DEFAULTS: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: istio-ingressgateway, namespace: istio-system, labels: {istio: ingressgateway}}
spec: {containers: [{name: istio-proxy}]}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec:
  ports:
  - {name: http2, port: 80, protocol: TCP, targetPort: 80}
  - {name: https, port: 443, protocol: TCP, targetPort: 443}
  - {name: tcp, port: 31400, protocol: TCP, targetPort: 31400}
  - {name: tls, port: 15443, protocol: TCP, targetPort: 15443}
  selector: {istio: ingressgateway}
";

/// What an analysis found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Analysis {
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
    /// Documents that could not be read.
    pub unreadable: Vec<Problem>,
}

/// Analyses files, given by name and text, together. `mesh` is the text of a MeshConfig; `default_namespace` is that of
/// objects that name none.
pub fn analyze(
    files: &[(String, String)],
    mesh: Option<&str>,
    default_namespace: &str,
) -> Analysis {
    let mut unreadable = Vec::new();
    let mut nodes: Vec<(&str, Node)> = Vec::new();
    let given = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    for (file, text) in given.chain([("", DEFAULTS)]) {
        for document in split(text) {
            match Node::parse(document.text, document.lines_before) {
                Ok(node) => nodes.extend(items(node).into_iter().map(|node| (file, node))),
                Err(error) => {
                    let mut problem =
                        Problem::of_file(file, format!("is no YAML: {}", error.message), "");
                    problem.line = error.mark.line;
                    unreadable.push(problem);
                }
            }
        }
    }
    let mesh = mesh
        .and_then(|text| Node::parse(text, 0).ok())
        .unwrap_or(Node {
            value: Value::Null,
            mark: crate::yaml::Mark::default(),
        });
    // only places are asked of it
    let report = Report::new("", "");
    let objects: Vec<Object<'_>> = nodes
        .iter()
        .filter_map(|(file, node)| Object::read(node, file, default_namespace, &report))
        .filter(|object| !is_system(object))
        .collect();
    let world = World {
        objects: last_ones(objects),
        mesh: Part::new(report.at(&mesh, "")),
    };
    let mut findings = Findings::default();
    for analyzer in [
        annotations::analyze,
        conditions::analyze,
        deployments::analyze,
        destination_rules::analyze,
        envoy_filters::analyze,
        gateways::analyze,
        images::analyze,
        injection::analyze,
        policies::analyze,
        selectors::analyze,
        service_entries::analyze,
        unreachable::analyze,
        virtual_services::analyze,
        webhooks::analyze,
    ] {
        analyzer(&world, &mut findings);
    }
    schema::analyze(&world, default_namespace, &mut findings);
    Analysis {
        findings: findings.into_sorted(),
        unreadable,
    }
}

/// The objects of a document: those of a `List`, or itself.
fn items(node: Node) -> Vec<Node> {
    let is_list = node.get("kind").and_then(Node::as_str) == Some("List");
    match node.get("items").map(|items| &items.value) {
        Some(Value::List(items)) if is_list => items.clone(),
        _ => vec![node],
    }
}

/// Namespaces that Istio leaves alone.
fn is_system(object: &Object<'_>) -> bool {
    let namespace = match object.kind {
        "Namespace" => &object.name,
        _ => &object.namespace,
    };
    matches!(
        namespace.as_str(),
        "kube-system" | "kube-public" | "kube-node-lease" | "local-path-storage"
    )
}

/// Of the same object twice, the later one; what is taken for granted yields to what is written.
fn last_ones(objects: Vec<Object<'_>>) -> Vec<Object<'_>> {
    let mut kept: Vec<Object<'_>> = Vec::new();
    for object in objects {
        let same = kept.iter_mut().find(|o| {
            o.group == object.group
                && o.kind == object.kind
                && o.namespace == object.namespace
                && o.name == object.name
        });
        match same {
            Some(_) if object.file.is_empty() => {}
            Some(same) => *same = object,
            None => kept.push(object),
        }
    }
    kept
}
