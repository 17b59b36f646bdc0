use std::collections::BTreeMap;
use std::sync::Arc;

use super::{HttpMatch, HttpRoute, StringMatch, VirtualService, is_exported};

/// VirtualServices with hosts, each with the routes of the delegates that it names in their place. One that is
/// missing, or not exported to the root's namespace, brings no routes.
pub(crate) fn merged(all: &[Arc<VirtualService>]) -> Vec<Arc<VirtualService>> {
    let delegates: BTreeMap<_, _> = all
        .iter()
        .filter(|vs| vs.hosts.is_empty())
        .map(|vs| {
            let metadata = &vs.metadata;
            ((metadata.namespace.as_str(), metadata.name.as_str()), vs)
        })
        .collect();
    let roots = all.iter().filter(|vs| !vs.hosts.is_empty());
    let merge = |root: &Arc<VirtualService>| {
        if root.http.iter().all(|http| http.delegate.is_none()) {
            return root.clone();
        }
        let mut merged = VirtualService::clone(root);
        merged.http = root
            .http
            .iter()
            .flat_map(|http| match &http.delegate {
                None => vec![http.clone()],
                Some((namespace, name)) => delegates
                    .get(&(namespace.as_str(), name.as_str()))
                    .filter(|d| is_exported(&d.export_to, namespace, &root.metadata.namespace))
                    .map(|d| {
                        d.http
                            .iter()
                            .filter_map(|route| merge_route(http, route))
                            .collect()
                    })
                    .unwrap_or_default(),
            })
            .collect();
        Arc::new(merged)
    };
    roots.map(merge).collect()
}

/// A delegate's route under the root's; `None` if the root never lets through what it matches.
fn merge_route(root: &HttpRoute, delegate: &HttpRoute) -> Option<HttpRoute> {
    let matches = merge_matches(&root.matches, &delegate.matches)?;
    let own = delegate.clone();
    Some(HttpRoute {
        matches,
        name: joined(&root.name, &delegate.name),
        rewrite: own.rewrite.or_else(|| root.rewrite.clone()),
        direct_response: own.direct_response.or_else(|| root.direct_response.clone()),
        timeout: own.timeout.or(root.timeout),
        retries: own.retries.or_else(|| root.retries.clone()),
        fault: own.fault.or_else(|| root.fault.clone()),
        mirror: own.mirror.or_else(|| root.mirror.clone()),
        mirror_amount: own.mirror_amount.or(root.mirror_amount),
        mirrors: match own.mirrors.as_slice() {
            [] => root.mirrors.clone(),
            _ => own.mirrors,
        },
        cors: own.cors.or_else(|| root.cors.clone()),
        headers: own.headers.or_else(|| root.headers.clone()),
        ..delegate.clone()
    })
}

fn joined(root: &str, delegate: &str) -> String {
    match (root, delegate) {
        (root, "") => root.to_owned(),
        ("", delegate) => delegate.to_owned(),
        (root, delegate) => format!("{root}-{delegate}"),
    }
}

fn merge_matches(root: &[HttpMatch], delegate: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if root.is_empty() {
        return Some(delegate.to_vec());
    }
    if delegate.is_empty() {
        return Some(root.to_vec());
    }
    let mut merged = Vec::new();
    for own in delegate {
        let before = merged.len();
        let fitting = root.iter().filter(|root| !conflicts(root, own));
        merged.extend(fitting.map(|root| merge_match(root, own)));
        if merged.len() == before {
            return None;
        }
    }
    Some(merged)
}

fn merge_match(root: &HttpMatch, delegate: &HttpMatch) -> HttpMatch {
    let own = delegate.clone();
    fn both<T: Clone>(
        root: &BTreeMap<String, T>,
        own: &BTreeMap<String, T>,
    ) -> BTreeMap<String, T> {
        let mut all = root.clone();
        all.extend(own.clone());
        all
    }
    HttpMatch {
        name: joined(&root.name, &delegate.name),
        uri: own.uri.or_else(|| root.uri.clone()),
        scheme: own.scheme.or_else(|| root.scheme.clone()),
        method: own.method.or_else(|| root.method.clone()),
        authority: own.authority.or_else(|| root.authority.clone()),
        headers: both(&root.headers, &own.headers),
        without_headers: both(&root.without_headers, &own.without_headers),
        query_params: both(&root.query_params, &own.query_params),
        port: own.port.or(root.port),
        source_labels: both(&root.source_labels, &own.source_labels),
        source_namespace: match own.source_namespace.as_str() {
            "" => root.source_namespace.clone(),
            _ => own.source_namespace,
        },
        gateways: match own.gateways.as_slice() {
            [] => root.gateways.clone(),
            _ => own.gateways,
        },
        stat_prefix: match own.stat_prefix.as_str() {
            "" => root.stat_prefix.clone(),
            _ => own.stat_prefix,
        },
        ignore_uri_case: own.ignore_uri_case,
    }
}

fn conflicts(root: &HttpMatch, delegate: &HttpMatch) -> bool {
    let strings = [
        (&root.uri, &delegate.uri),
        (&root.scheme, &delegate.scheme),
        (&root.method, &delegate.method),
        (&root.authority, &delegate.authority),
    ];
    let maps = [
        (&root.headers, &delegate.headers),
        (&root.without_headers, &delegate.without_headers),
        (&root.query_params, &delegate.query_params),
    ];
    let of_maps = maps.into_iter().any(|(root, own)| {
        own.iter()
            .any(|(k, v)| strings_conflict(root.get(k), Some(v)))
    });
    let gateways = !root.gateways.is_empty()
        && !delegate.gateways.is_empty()
        && (root.gateways.len() < delegate.gateways.len()
            || !delegate.gateways.iter().all(|g| root.gateways.contains(g)));
    strings
        .into_iter()
        .any(|(root, own)| strings_conflict(root.as_ref(), own.as_ref()))
        || of_maps
        || root.ignore_uri_case != delegate.ignore_uri_case
        || matches!((root.port, delegate.port), (Some(a), Some(b)) if a != b)
        || (!root.source_namespace.is_empty() && root.source_namespace != delegate.source_namespace)
        || delegate
            .source_labels
            .iter()
            .any(|(k, v)| root.source_labels.get(k).is_some_and(|other| other != v))
        || gateways
}

/// Whether what the delegate matches is not known to be part of what the root matches.
fn strings_conflict(root: Option<&StringMatch>, delegate: Option<&StringMatch>) -> bool {
    use StringMatch::{Exact, Prefix, Regex};
    let (Some(root), Some(delegate)) = (root, delegate) else {
        return false;
    };
    // Istio reads an empty text as none
    let is_empty = |m: &StringMatch| match m {
        Exact(text) | Prefix(text) | Regex(text) | StringMatch::PathPrefix(text, _) => {
            text.is_empty()
        }
        StringMatch::Present => true,
    };
    match (root, delegate) {
        _ if is_empty(root) => true,
        (Regex(_), own) if is_empty(own) => true,
        (Regex(_), _) | (_, Regex(_)) => true,
        (Exact(root), Exact(own)) => root != own,
        (Exact(_), _) => true,
        (Prefix(root), Prefix(own) | Exact(own)) if !own.is_empty() => {
            !own.starts_with(root.as_str())
        }
        _ => true,
    }
}
