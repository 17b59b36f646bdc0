//! `matches` of a rule, as Istio's.

use super::optional;
use crate::model::{HttpMatch, StringMatch};
use crate::yaml::{At, Fields};

pub(super) fn http(at: &At<'_>) -> HttpMatch {
    let fields = at.fields();
    let uri = match fields.get("path") {
        Some(at) => path(&at),
        None => StringMatch::Prefix("/".to_owned()),
    };
    let matched = HttpMatch {
        uri: Some(uri),
        headers: named(&fields, "headers"),
        query_params: named(&fields, "queryParams"),
        method: optional(&fields, "method").map(StringMatch::Exact),
        ..HttpMatch::default()
    };
    fields.finish_with(&[("uri", "path"), ("header", "headers")]);
    matched
}

fn path(at: &At<'_>) -> StringMatch {
    let fields = at.fields();
    let kind = fields.get("type").and_then(|at| {
        at.word(&[
            ("PathPrefix", 'p'),
            ("Exact", 'e'),
            ("RegularExpression", 'r'),
        ])
    });
    let value_at = fields.get("value");
    let value = value_at.as_ref().map_or("/".to_owned(), |at| at.string());
    fields.finish_with(&[("prefix", "type: PathPrefix"), ("exact", "type: Exact")]);
    match kind {
        Some('e') => StringMatch::Exact(value),
        Some('r') => {
            if let Some(at) = &value_at {
                crate::model::check_regex(at, &value);
            }
            StringMatch::Regex(value)
        }
        _ if value == "/" => StringMatch::Prefix(value),
        _ => {
            let trimmed = value.strip_suffix('/').unwrap_or(&value);
            StringMatch::PathPrefix(trimmed.to_owned(), trimmed.len())
        }
    }
}

/// Headers, or parameters, by name; of the same name the last one counts.
fn named(
    fields: &Fields<'_>,
    name: &'static str,
) -> std::collections::BTreeMap<String, StringMatch> {
    fields
        .list(name, |at| {
            let fields = at.fields();
            let words = [("Exact", true), ("RegularExpression", false)];
            let is_exact = fields.get("type").and_then(|at| at.word(&words));
            let value_at = fields.get("value");
            let value = value_at.as_ref().map(|at| at.string()).unwrap_or_default();
            let matched = match is_exact {
                Some(false) => {
                    if let Some(at) = &value_at {
                        crate::model::check_regex(at, &value);
                    }
                    StringMatch::Regex(value)
                }
                _ => StringMatch::Exact(value),
            };
            let entry = (fields.string("name"), matched);
            fields.finish();
            entry
        })
        .into_iter()
        .collect()
}

/// Unsets `is_valid` if istiod takes none of the rules then.
pub(super) fn grpc(at: &At<'_>, is_valid: &mut bool) -> HttpMatch {
    let fields = at.fields();
    let uri = fields.get("method").map(|at| {
        let fields = at.fields();
        let words = [("Exact", true), ("RegularExpression", false)];
        let is_exact = fields.get("type").and_then(|at| at.word(&words)) != Some(false);
        let (service, method) = (optional(&fields, "service"), optional(&fields, "method"));
        fields.finish();
        if service.is_none() && method.is_none() {
            at.without_effect(
                "gRPC match must have method or service defined: istiod drops the whole route",
                "add service or method",
            );
            *is_valid = false;
        }
        match (service, method, is_exact) {
            (Some(service), None, true) => prefix(&format!("/{service}/")),
            (Some(service), None, false) => StringMatch::Regex(format!("/{service}/.+")),
            (None, method, _) => {
                StringMatch::Regex(format!("/[^/]+/{}", method.unwrap_or_default()))
            }
            (Some(service), Some(method), true) => {
                StringMatch::Exact(format!("/{service}/{method}"))
            }
            (Some(service), Some(method), false) => {
                StringMatch::Regex(format!("/{service}/{method}"))
            }
        }
    });
    let matched = HttpMatch {
        uri,
        headers: named(&fields, "headers"),
        ..HttpMatch::default()
    };
    fields.finish();
    matched
}

/// By whole parts of the path; it is compared with others as it is written.
fn prefix(path: &str) -> StringMatch {
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    StringMatch::PathPrefix(trimmed.to_owned(), path.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Node, Report};

    #[test]
    fn a_grpc_match_of_neither_service_nor_method_takes_the_route_away() {
        for (text, valid) in [
            ("method: {}", false),
            ("method: {type: Exact}", false),
            ("method: {service: a}", true),
            ("method: {method: b}", true),
            ("headers: []", true),
        ] {
            let node = Node::parse(text, 0).unwrap();
            let mut is_valid = true;
            grpc(&Report::new("f.yaml", "").at(&node, ""), &mut is_valid);
            assert_eq!(is_valid, valid, "{text}");
        }
    }
}
