//! Kubernetes' Gateway API (`gateway.networking.k8s.io`): the objects as they are written, with the defaults that the
//! API server fills in. What they become is in `crate::gateway_api`.

mod backend;
mod filter;
mod gateway;
mod route;
mod route_match;

use std::collections::BTreeMap;

use super::Metadata;
use crate::yaml::{At, Fields};

pub(crate) use backend::{Backend, Target};
pub(crate) use gateway::{AllowedNamespaces, ApiGateway, Listener};
pub(crate) use route::{ApiRoute, Parent, RouteKind, RouteRule};

/// The API's group.
pub(crate) const GROUP: &str = "gateway.networking.k8s.io";

/// Who implements the Gateways of a class.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GatewayClass {
    pub(crate) metadata: Metadata,
    pub(crate) controller: String,
}

impl GatewayClass {
    pub(crate) fn read(spec: Fields<'_>, metadata: Metadata) -> Self {
        let controller = spec.require("controllerName");
        let class = GatewayClass {
            metadata,
            controller: controller.map(|at| at.string()).unwrap_or_default(),
        };
        spec.ignore(&["description", "parametersRef"]);
        spec.finish();
        class
    }
}

/// Lets routes of other namespaces lead to objects of its own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReferenceGrant {
    pub(crate) metadata: Metadata,
    pub(crate) from: Vec<GrantedFrom>,
    pub(crate) to: Vec<GrantedTo>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GrantedFrom {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GrantedTo {
    pub(crate) group: String,
    pub(crate) kind: String,
    /// `None`: all of them.
    pub(crate) name: Option<String>,
}

impl ReferenceGrant {
    pub(crate) fn read(spec: Fields<'_>, metadata: Metadata) -> Self {
        let from = spec.list("from", |at| {
            let fields = at.fields();
            let from = GrantedFrom {
                group: fields.string("group"),
                kind: fields
                    .require("kind")
                    .map(|at| at.string())
                    .unwrap_or_default(),
                namespace: fields
                    .require("namespace")
                    .map(|at| at.string())
                    .unwrap_or_default(),
            };
            fields.finish();
            from
        });
        let to = spec.list("to", |at| {
            let fields = at.fields();
            let to = GrantedTo {
                group: fields.string("group"),
                kind: fields
                    .require("kind")
                    .map(|at| at.string())
                    .unwrap_or_default(),
                name: optional(&fields, "name"),
            };
            fields.finish();
            to
        });
        spec.finish();
        ReferenceGrant { metadata, from, to }
    }
}

/// A label selector of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector {
    labels: BTreeMap<String, String>,
    expressions: Vec<(String, Operator, Vec<String>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl LabelSelector {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let expressions = fields.list("matchExpressions", |at| {
            let fields = at.fields();
            let operators = [
                ("In", Operator::In),
                ("NotIn", Operator::NotIn),
                ("Exists", Operator::Exists),
                ("DoesNotExist", Operator::DoesNotExist),
            ];
            let operator = fields
                .require("operator")
                .and_then(|at| at.word(&operators));
            let expression = (
                fields.string("key"),
                operator.unwrap_or(Operator::Exists),
                fields.strings("values"),
            );
            fields.finish();
            expression
        });
        let selector = LabelSelector {
            labels: fields.string_map("matchLabels"),
            expressions,
        };
        fields.finish_with(&[("labels", "matchLabels")]);
        selector
    }

    pub(crate) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let holds = |(key, operator, values): &(String, Operator, Vec<String>)| {
            let label = labels.get(key);
            let is_in = label.is_some_and(|label| values.contains(label));
            match operator {
                Operator::In => is_in,
                Operator::NotIn => !is_in,
                Operator::Exists => label.is_some(),
                Operator::DoesNotExist => label.is_none(),
            }
        };
        self.labels.iter().all(|(k, v)| labels.get(k) == Some(v))
            && self.expressions.iter().all(holds)
    }
}

/// A string that may be left out, which is something else than an empty one.
fn optional(fields: &Fields<'_>, name: &'static str) -> Option<String> {
    fields.get(name).map(|at| at.string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_of_labels() {
        let labels = |text: &str| -> BTreeMap<String, String> {
            let pairs = text
                .split_whitespace()
                .filter_map(|pair| pair.split_once('='));
            pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
        };
        let selector = |key: &str, operator, values: &[&str]| LabelSelector {
            labels: labels("team=a"),
            expressions: vec![(
                key.to_owned(),
                operator,
                values.iter().map(|v| (*v).to_owned()).collect(),
            )],
        };
        for (selector, given, expected) in [
            (selector("x", Operator::In, &["1", "2"]), "team=a x=2", true),
            (selector("x", Operator::In, &["1"]), "team=a", false),
            (selector("x", Operator::NotIn, &["1"]), "team=a", true),
            (selector("x", Operator::Exists, &[]), "team=a x=", true),
            (selector("x", Operator::DoesNotExist, &[]), "team=a", true),
            (selector("x", Operator::DoesNotExist, &[]), "team=b", false),
        ] {
            assert_eq!(
                selector.selects(&labels(given)),
                expected,
                "{selector:?} {given}"
            );
        }
    }
}
