//! The servers of the Gateways that select a node, merged as istiod's `mergeGateways` does: servers that Envoy could
//! not tell apart are left out whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::listener::WILDCARD;
use super::scope::Scope;
use crate::model::{Gateway, Protocol, Server};
use crate::registry::ServiceTarget;

/// A server, and the port that it really listens on.
pub(super) struct Bound<'a> {
    pub(super) gateway: &'a Arc<Gateway>,
    pub(super) server: &'a Server,
    pub(super) port: u32,
}

impl Bound<'_> {
    pub(super) fn bind(&self) -> &str {
        match self.server.bind.as_str() {
            "" => WILDCARD,
            bind => bind,
        }
    }

    /// Name of its routes; of what is no HTTP, none. Each HTTPS server has routes of its own.
    pub(super) fn route_name(&self) -> String {
        let (server, gateway) = (self.server, &self.gateway.metadata);
        let name = match server.protocol.is_http() {
            true => format!("http.{}", self.port),
            false if server.terminates_https() => format!(
                "https.{}.{}.{}.{}",
                server.port, server.name, gateway.name, gateway.namespace
            ),
            false => return String::new(),
        };
        match server.bind.as_str() {
            "" => name,
            bind => format!("{name}.{bind}"),
        }
    }

    pub(super) fn gateway_name(&self) -> String {
        let metadata = &self.gateway.metadata;
        format!("{}/{}", metadata.namespace, metadata.name)
    }

    /// TLS that is no redirect to it.
    fn is_tls(&self) -> bool {
        self.server.tls.is_some() && !self.server.protocol.is_http()
    }
}

/// Servers that share a listener's port.
pub(super) struct Merged<'a> {
    pub(super) protocol: Protocol,
    bind: &'a str,
    port: u32,
    /// Never empty.
    pub(super) servers: Vec<Bound<'a>>,
}

#[derive(Default)]
struct Merging<'a> {
    merged: Vec<Merged<'a>>,
    ports: BTreeSet<u32>,
    /// By port, the last plaintext entry of `merged`.
    plain: BTreeMap<u32, usize>,
    /// Routes of servers with HTTPS.
    https_routes: BTreeSet<String>,
    /// Hosts of servers with TLS, by port, with the bind that has them.
    tls_hosts: BTreeMap<(u32, String), &'a str>,
}

/// All that are left, oldest Gateway first.
pub(super) fn merged_servers(scope: &Scope) -> Vec<Merged<'_>> {
    let targets = scope.targets();
    let mut merging = Merging::default();
    for gateway in gateways_of(scope, &targets) {
        for server in &gateway.servers {
            if let Some(hosts) = &gateway.services {
                // of these it listens on the ports that the Services lead to, and nowhere else
                let ports: BTreeSet<u32> = targets
                    .iter()
                    .filter(|t| t.port.port == server.port && is_for(hosts, gateway, t))
                    .map(|t| t.target_port)
                    .collect();
                for port in ports {
                    merging.add(Bound {
                        gateway,
                        server,
                        port,
                    });
                }
                continue;
            }
            // a Service in front of the gateway may map its port to another one of the pod; the first one does
            let mapped = targets.iter().find(|t| t.port.port == server.port);
            merging.add(Bound {
                gateway,
                server,
                port: mapped.map_or(server.port, |t| t.target_port),
            });
        }
    }
    merging.merged
}

/// The Gateways of a node. Where one of Kubernetes' API makes the node, Istio's own of other namespaces have no say.
pub(super) fn gateways_of<'a>(
    scope: &'a Scope,
    targets: &[ServiceTarget],
) -> impl Iterator<Item = &'a Arc<Gateway>> {
    let selects = |gateway: &&Arc<Gateway>| match &gateway.services {
        None => gateway.selects(&scope.labels),
        Some(hosts) => targets.iter().any(|target| is_for(hosts, gateway, target)),
    };
    let found: Vec<_> = scope.config.gateways.iter().filter(selects).collect();
    let managed: BTreeSet<&str> = found
        .iter()
        .filter(|gateway| gateway.is_managed)
        .map(|gateway| gateway.metadata.namespace.as_str())
        .collect();
    let namespaces: BTreeSet<String> = managed.into_iter().map(str::to_owned).collect();
    found.into_iter().filter(move |gateway| {
        gateway.services.is_some()
            || namespaces.is_empty()
            || namespaces.contains(&gateway.metadata.namespace)
    })
}

/// Whether a Gateway of Kubernetes' API means a port of a workload.
fn is_for(hosts: &[String], gateway: &Gateway, target: &ServiceTarget) -> bool {
    target.service.namespace == gateway.metadata.namespace && hosts.contains(&target.service.host)
}

impl<'a> Merging<'a> {
    fn add(&mut self, bound: Bound<'a>) {
        let (port, bind) = (bound.port, bound.server.bind.as_str());
        if bound.server.tls.is_some() && !self.claim_hosts(&bound) {
            return;
        }
        if !self.ports.insert(port) {
            match self.plain.get(&port) {
                Some(current) => {
                    let current = &mut self.merged[*current];
                    if current.bind != bind {
                        return self.join_or_add(bound);
                    }
                    if current.protocol.is_http() && bound.server.protocol.is_http() {
                        current.servers.push(bound);
                    }
                }
                None if bound.is_tls() => {
                    let routes = bound.route_name();
                    if routes.is_empty() || self.https_routes.insert(routes) {
                        self.join_or_add(bound);
                    }
                }
                None => self.add_new(bound),
            }
            return;
        }
        self.https_routes.insert(bound.route_name());
        self.add_new(bound);
    }

    /// Whether no other server of the port and bind has one of the hosts.
    fn claim_hosts(&mut self, bound: &Bound<'a>) -> bool {
        let bind = bound.server.bind.as_str();
        let keys = || {
            let hosts = bound.server.hosts.iter();
            hosts.map(|host| (bound.port, host.text()))
        };
        if keys().any(|key| self.tls_hosts.get(&key) == Some(&bind)) {
            return false;
        }
        self.tls_hosts.extend(keys().map(|key| (key, bind)));
        true
    }

    fn position(&self, bound: &Bound<'a>) -> Option<usize> {
        self.merged.iter().position(|merged| {
            merged.port == bound.port
                && merged.protocol == bound.server.protocol
                && merged.bind == bound.server.bind
        })
    }

    fn join_or_add(&mut self, bound: Bound<'a>) {
        match self.position(&bound) {
            Some(at) => self.merged[at].servers.push(bound),
            None => self.add_new(bound),
        }
    }

    fn add_new(&mut self, bound: Bound<'a>) {
        let at = self.position(&bound).unwrap_or(self.merged.len());
        if !bound.is_tls() {
            self.plain.insert(bound.port, at);
        }
        let merged = Merged {
            protocol: bound.server.protocol,
            bind: &bound.server.bind,
            port: bound.port,
            servers: vec![bound],
        };
        match self.merged.get_mut(at) {
            Some(old) => *old = merged,
            None => self.merged.push(merged),
        }
    }
}
