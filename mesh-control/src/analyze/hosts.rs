//! Which hosts there are, for whom.

use std::collections::BTreeMap;

use super::objects::{Object, Selector, World};
use crate::validate::part::Part;

/// A Service or ServiceEntry.
pub(super) struct Known<'a> {
    pub(super) ports: Vec<i128>,
    pub(super) selector: Selector<'a>,
}

/// Hosts by whom they are visible to (a namespace, or `*`) and name.
pub(super) struct Hosts<'a>(BTreeMap<(String, String), usize>, Vec<Known<'a>>);

/// The full name of a host; those with a dot or a wildcard are full.
pub(super) fn full(host: &str, namespace: &str) -> String {
    match host.starts_with('*') || host.contains('.') {
        true => host.to_owned(),
        false => format!("{host}.{namespace}.svc.cluster.local"),
    }
}

/// The name and namespace of a service by its host.
pub(super) fn service_of(host: &str, namespace: &str) -> (String, String) {
    host.strip_suffix(".svc.cluster.local")
        .and_then(|rest| rest.rsplit_once('.'))
        .filter(|(name, namespace)| !name.is_empty() && !namespace.is_empty())
        .map(|(name, namespace)| (name.to_owned(), namespace.to_owned()))
        .unwrap_or_else(|| (host.to_owned(), namespace.to_owned()))
}

/// Namespaces that an object is exported to, or `*`.
pub(super) fn scopes(object: &Object<'_>) -> Vec<String> {
    let list = object.spec.list("exportTo");
    if list.is_empty() || list.iter().any(|e| e.as_text() == "*") {
        return vec!["*".to_owned()];
    }
    let mut scopes: Vec<String> = list
        .iter()
        .map(|entry| match entry.as_text() {
            "." => object.namespace.clone(),
            other => other.to_owned(),
        })
        .collect();
    scopes.sort();
    scopes.dedup();
    scopes
}

impl<'a> Hosts<'a> {
    pub(super) fn of(world: &World<'a>) -> Self {
        let mut hosts = Hosts(BTreeMap::new(), Vec::new());
        for entry in world.all("ServiceEntry") {
            let selector = entry.spec.get("workloadSelector");
            let index = hosts.add(Known {
                ports: entry
                    .spec
                    .list("ports")
                    .iter()
                    .map(|p| p.number("number"))
                    .collect(),
                selector: selector
                    .map(|s| Selector::of(&s, "labels"))
                    .unwrap_or_default(),
            });
            for host in entry.spec.list("hosts") {
                for scope in scopes(entry) {
                    hosts
                        .0
                        .insert((scope, full(host.as_text(), &entry.namespace)), index);
                }
            }
        }
        for service in world.all("Service") {
            let index = hosts.add(Known {
                ports: service
                    .spec
                    .list("ports")
                    .iter()
                    .map(|p| p.number("port"))
                    .collect(),
                selector: Selector::default(),
            });
            let exported = service
                .annotation("networking.istio.io/exportTo")
                .unwrap_or("*");
            for scope in exported.split(',').map(str::trim) {
                let scope = if scope == "." {
                    &service.namespace
                } else {
                    scope
                };
                let host = full(&service.name, &service.namespace);
                hosts.0.insert((scope.to_owned(), host), index);
            }
        }
        hosts
    }

    fn add(&mut self, known: Known<'a>) -> usize {
        self.1.push(known);
        self.1.len() - 1
    }

    /// What a host means to an object of a namespace that is exported as said.
    pub(super) fn find(
        &self,
        namespace: &str,
        export_to: &[Part<'_>],
        host: &str,
    ) -> Option<&Known<'a>> {
        let name = full(host, namespace);
        let at = |scope: &str| self.0.get(&(scope.to_owned(), name.clone()));
        let own = match export_to.is_empty() {
            true => at(namespace),
            false => export_to.iter().find_map(|e| match e.as_text() {
                "." => at(namespace),
                scope => at(scope),
            }),
        };
        let by_wildcard = || {
            let wanted = host.strip_prefix('*').unwrap_or(host);
            self.0.iter().find_map(|((scope, name), index)| {
                let suffix = name.strip_prefix('*')?;
                ((scope == "*" || scope == namespace) && wanted.ends_with(suffix)).then_some(index)
            })
        };
        at("*")
            .or(own)
            .or_else(by_wildcard)
            .map(|index| &self.1[*index])
    }
}
