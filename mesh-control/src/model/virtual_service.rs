use std::collections::BTreeSet;

use super::{HttpRoute, L4Route, Metadata, l4_route, names};
use crate::yaml::Fields;

/// Routes for hosts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VirtualService {
    pub(crate) metadata: Metadata,
    /// Resolved to full names; empty for a delegate.
    pub(crate) hosts: Vec<String>,
    /// Resolved: `mesh` or `namespace/name`; never empty.
    pub(crate) gateways: Vec<String>,
    pub(crate) http: Vec<HttpRoute>,
    pub(crate) tls: Vec<L4Route>,
    pub(crate) tcp: Vec<L4Route>,
    pub(crate) export_to: Vec<String>,
    /// Derived from a route of Kubernetes' Gateway API, for which some things are otherwise.
    pub(crate) is_of_gateway_api: bool,
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
        let written = spec.list("hosts", |at| read_host(&at, in_mesh));
        if let Some(at) = spec.get("hosts") {
            l4_route::check_unique(&at, &written);
        }
        let is_delegate = written.is_empty();
        if is_delegate {
            for name in ["gateways", "tls", "tcp"] {
                if let Some(at) = spec.get(name)
                    && !at.items().is_empty()
                {
                    at.refuse(
                        format_args!("delegate virtual service must have no {name} specified"),
                        "remove it, or add hosts",
                    );
                }
            }
        }
        let http = spec.list("http", |at| HttpRoute::read(at, &namespace, is_delegate));
        let tls = spec.list("tls", |at| L4Route::read(&at, &namespace, Some(&written)));
        let tcp = spec.list("tcp", |at| L4Route::read(&at, &namespace, None));
        if http.is_empty() && tls.is_empty() && tcp.is_empty() {
            spec.at().refuse(
                "http, tcp or tls must be provided in virtual service",
                "add http routes",
            );
        }
        let hosts = written
            .iter()
            .map(|host| names::resolve_host(host, &namespace))
            .collect();
        let export_to = export_to(&spec, &metadata.namespace);
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
            tls,
            tcp,
            export_to,
            is_of_gateway_api: false,
        }
    }
}

fn read_host(at: &crate::yaml::At<'_>, in_mesh: bool) -> String {
    let host = at.string();
    if let Some(wrong) = names::invalid_host(&host) {
        at.refuse(
            format_args!("{host:?} {wrong}"),
            "write the name of a service or a domain",
        );
    } else if host == "*" && in_mesh {
        at.refuse(
            "wildcard host * is not allowed for virtual services bound to the mesh gateway",
            "name a gateway, or the hosts",
        );
    }
    host
}

/// `exportTo`: `.`, `*` or namespaces; empty means everywhere.
pub(crate) fn export_to(spec: &Fields<'_>, own: &str) -> Vec<String> {
    read_export_to(spec, own, false)
}

/// `exportTo` of a service, which may also be `~`: seen by nobody.
pub(crate) fn service_export_to(spec: &Fields<'_>, own: &str) -> Vec<String> {
    read_export_to(spec, own, true)
}

fn read_export_to(spec: &Fields<'_>, own: &str, allows_none: bool) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let namespaces = spec.list("exportTo", |at| {
        let to = at.string();
        let is_known = matches!(to.as_str(), "." | "*") || (allows_none && to == "~");
        if !is_known && !names::is_label(&to) {
            at.refuse(
                format_args!("{to:?} is no namespace"),
                "write \".\", \"*\" or a namespace",
            );
        }
        let namespace = if to == "." { own } else { &to };
        if !seen.insert(namespace.to_owned()) {
            at.refuse(
                format_args!("duplicate entries in exportTo for entry {namespace}"),
                "remove one",
            );
        }
        to
    });
    let alone = namespaces
        .iter()
        .find(|to| matches!(to.as_str(), "*" | "~"));
    if namespaces.len() > 1
        && let Some(alone) = alone
        && let Some(at) = spec.get("exportTo")
    {
        let message = match alone.as_str() {
            "*" => "cannot have both public (*) and non-public exportTo values for a resource",
            _ => "cannot export service entry to no one (~) and someone",
        };
        at.refuse(message, format_args!("keep {alone:?}"));
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
