use std::collections::BTreeSet;

use super::{HttpRoute, Metadata, names};
use crate::yaml::Fields;

/// Routes for hosts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VirtualService {
    pub(crate) metadata: Metadata,
    /// Resolved to full names.
    pub(crate) hosts: Vec<String>,
    /// Resolved: `mesh` or `namespace/name`; never empty.
    pub(crate) gateways: Vec<String>,
    pub(crate) http: Vec<HttpRoute>,
    pub(crate) export_to: Vec<String>,
}

pub(crate) const MESH_GATEWAY: &str = "mesh";

/// A gateway's name as `namespace/name`; `mesh` stays.
pub(crate) fn gateway_name(name: &str, namespace: &str) -> String {
    if name == MESH_GATEWAY {
        return name.to_owned();
    }
    match name.split_once('/') {
        Some((".", name)) => format!("{namespace}/{name}"),
        Some(_) => name.to_owned(),
        // names of the first releases were host names
        None => format!("{namespace}/{}", name.split('.').next().unwrap_or(name)),
    }
}

impl VirtualService {
    pub(crate) fn read(spec: Fields<'_>, metadata: Metadata) -> Self {
        let namespace = metadata.namespace.clone();
        let mut gateways = spec.list("gateways", |at| {
            let name = at.string();
            if name.is_empty() {
                at.refuse(
                    "a gateway's name cannot be empty",
                    "write the name of a Gateway, or mesh",
                );
            }
            gateway_name(&name, &namespace)
        });
        if gateways.is_empty() {
            gateways.push(MESH_GATEWAY.to_owned());
        }
        let in_mesh = gateways.iter().any(|g| g == MESH_GATEWAY);
        let mut seen = BTreeSet::new();
        let hosts_at = spec.get("hosts");
        let hosts = hosts_at.as_ref().map(|at| at.items()).unwrap_or_default();
        let hosts: Vec<_> = hosts
            .into_iter()
            .map(|at| {
                let host = at.string();
                if let Some(wrong) = names::invalid_host(&host) {
                    at.refuse(format_args!("{host:?} {wrong}"), "write the name of a service or a domain");
                } else if host == "*" && in_mesh {
                    at.refuse(
                        "wildcard host * is not allowed for virtual services bound to the mesh gateway",
                        "name a gateway, or the hosts",
                    );
                }
                let host = names::resolve_host(&host, &namespace);
                if !seen.insert(host.clone()) {
                    at.refuse(format_args!("duplicate hosts in virtual service: {host}"), "remove one");
                }
                host
            })
            .collect();
        if hosts.is_empty() {
            spec.at().refuse(
                "has no hosts, so it is a delegate, which is not supported yet",
                "add hosts",
            );
        }
        for protocol in ["tls", "tcp"] {
            if let Some(at) = spec.get(if protocol == "tls" { "tls" } else { "tcp" }) {
                at.refuse(
                    format_args!("{protocol} routes are not supported yet"),
                    "use http routes",
                );
            }
        }
        let http = spec.list("http", |at| HttpRoute::read(at, &namespace));
        if http.is_empty() {
            spec.at().refuse(
                "http, tcp or tls must be provided in virtual service",
                "add http routes",
            );
        }
        let export_to = export_to(&spec);
        spec.finish_with(&[
            ("host", "hosts"),
            ("gateway", "gateways"),
            ("routes", "http"),
            ("route", "http[].route"),
        ]);
        VirtualService {
            metadata,
            hosts,
            gateways,
            http,
            export_to,
        }
    }
}

/// `exportTo`: `.`, `*` or namespaces; empty means everywhere.
pub(crate) fn export_to(spec: &Fields<'_>) -> Vec<String> {
    let namespaces = spec.list("exportTo", |at| {
        let to = at.string();
        if !matches!(to.as_str(), "." | "*" | "~") && !names::is_label(&to) {
            at.refuse(
                format_args!("{to:?} is no namespace"),
                "write \".\", \"*\" or a namespace",
            );
        }
        to
    });
    if namespaces.len() > 1
        && namespaces.iter().any(|to| to == "*")
        && let Some(at) = spec.get("exportTo")
    {
        at.refuse(
            "cannot have both public (*) and non-public exportTo values for a resource",
            "keep \"*\"",
        );
    }
    namespaces
}

/// Whether something of `namespace` with this `exportTo` is seen from `client`.
pub(crate) fn is_exported(export_to: &[String], namespace: &str, client: &str) -> bool {
    export_to.is_empty()
        || export_to
            .iter()
            .any(|to| to == "*" || to == client || (to == "." && namespace == client))
}
