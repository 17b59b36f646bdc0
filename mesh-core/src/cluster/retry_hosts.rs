//! Which endpoints a retry passes over (`retry_host_predicate`; Envoy `source/extensions/retry/host`).

use std::sync::Arc;

use super::Endpoint;
use crate::model::{Criteria, EndpointValue, RetryPolicy};

impl RetryPolicy {
    /// Whether a retry passes over some endpoints.
    pub fn has_host_predicates(&self) -> bool {
        self.previous_hosts || self.omit_canary_hosts || !self.omit_host_metadata.is_empty()
    }

    /// Whether a retry passes over this endpoint. `previous`: those of earlier attempts.
    pub(super) fn rejects(&self, endpoint: &Endpoint, previous: &[Arc<Endpoint>]) -> bool {
        (self.previous_hosts && previous.iter().any(|tried| tried.is_same(endpoint)))
            || (self.omit_canary_hosts && endpoint.is_canary())
            || self
                .omit_host_metadata
                .iter()
                .any(|labels| has_labels(&endpoint.config().lb_metadata, labels))
    }
}

/// Whether the metadata say all of these; of a list any element counts (Envoy `Metadata::metadataLabelMatch`).
fn has_labels(metadata: &[(Arc<str>, EndpointValue)], labels: &Criteria) -> bool {
    labels.iter().all(|(key, expected)| {
        let found = metadata.iter().find(|(name, _)| name == key);
        found.is_some_and(|(_, value)| match &value.elements {
            Some(elements) => elements.contains(expected),
            None => value.whole == *expected,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MetadataValue;

    fn text(value: &str) -> MetadataValue {
        MetadataValue::new(value)
    }

    #[test]
    fn all_labels_must_be_there_and_of_a_list_one() {
        let plain = |value: &str| EndpointValue {
            whole: text(value),
            elements: None,
        };
        let list = EndpointValue {
            whole: text("[x,y,]"),
            elements: Some([text("x"), text("y")].into()),
        };
        let host = [("a".into(), plain("1")), ("b".into(), list)];
        for (labels, expected) in [
            (&[][..], true),
            (&[("a", "1")], true),
            (&[("a", "2")], false),
            (&[("b", "y")], true),
            (&[("b", "z")], false),
            (&[("b", "[x,y,]")], false),
            (&[("a", "1"), ("c", "1")], false),
        ] {
            let criteria: Criteria = labels
                .iter()
                .map(|(key, value)| ((*key).into(), text(value)))
                .collect();
            assert_eq!(has_labels(&host, &criteria), expected, "{labels:?}");
        }
        assert!(has_labels(&[], &Vec::new()));
    }
}
