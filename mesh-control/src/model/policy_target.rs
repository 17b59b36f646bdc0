use std::collections::BTreeMap;

use crate::yaml::Fields;

/// Which workloads a policy is for: `selector`, or `targetRef` and `targetRefs`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PolicyTarget {
    /// Labels of workloads; empty: all of the namespace.
    pub(crate) selector: BTreeMap<String, String>,
    pub(crate) references: Vec<PolicyReference>,
}

/// An object that a policy is attached to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PolicyReference {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) name: String,
}

impl PolicyTarget {
    pub(crate) fn read(spec: &Fields<'_>) -> Self {
        let selector = spec.get("selector").map(|at| {
            let fields = at.fields();
            let labels = fields.string_map("matchLabels");
            fields.finish();
            labels
        });
        let mut references = spec.list("targetRefs", |at| PolicyReference::read(at.fields()));
        if let Some(at) = spec.get("targetRef")
            && references.is_empty()
        {
            references.push(PolicyReference::read(at.fields()));
        }
        PolicyTarget {
            selector: selector.unwrap_or_default(),
            references,
        }
    }
}

impl PolicyReference {
    pub(crate) fn read(fields: Fields<'_>) -> Self {
        let reference = PolicyReference {
            group: fields.string("group"),
            kind: fields.string("kind"),
            name: fields.string("name"),
        };
        fields.ignore(&["namespace"]);
        fields.finish();
        reference
    }
}
