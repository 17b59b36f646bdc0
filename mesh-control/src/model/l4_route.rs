use std::collections::{BTreeMap, BTreeSet};

use super::{Destination, names, virtual_service};
use crate::yaml::At;

/// One entry of `tcp` or `tls`: where connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct L4Route {
    /// Empty: every connection (only of `tcp`).
    pub(crate) matches: Vec<L4Match>,
    pub(crate) route: Vec<L4Destination>,
}

/// One entry of `match`: all of it must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct L4Match {
    /// `sniHosts`; only of `tls`.
    pub(crate) sni_hosts: Vec<String>,
    pub(crate) destination_subnets: Vec<String>,
    pub(crate) port: Option<u32>,
    pub(crate) source_labels: BTreeMap<String, String>,
    pub(crate) source_namespace: String,
    /// Resolved: `mesh` or `namespace/name`.
    pub(crate) gateways: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct L4Destination {
    pub(crate) destination: Destination,
    pub(crate) weight: u32,
}

impl L4Route {
    /// `hosts` are those of the VirtualService, as written, if the route is one of `tls`.
    pub(super) fn read(at: &At<'_>, namespace: &str, tls: Option<&[String]>) -> Self {
        let fields = at.fields();
        let route = L4Route {
            matches: fields.list("match", |at| L4Match::read(&at, namespace, tls)),
            route: fields.list("route", |at| L4Destination::read(&at, namespace)),
        };
        let kind = if tls.is_some() { "TLS" } else { "TCP" };
        if tls.is_some() && route.matches.is_empty() {
            at.refuse(
                "TLS route must have at least one match condition",
                "add match: [{sniHosts: […]}]",
            );
        }
        if route.route.is_empty() {
            at.refuse(
                format_args!("{kind} route is required"),
                "add route with a destination",
            );
        }
        if route.route.len() > 1 && route.route.iter().all(|d| d.weight == 0) {
            at.refuse(
                "total destination weight = 0",
                "give at least one destination a weight",
            );
        }
        fields.finish();
        route
    }
}

impl L4Match {
    fn read(at: &At<'_>, namespace: &str, tls: Option<&[String]>) -> Self {
        let fields = at.fields();
        let sni_hosts = match tls {
            Some(hosts) => fields.list("sniHosts", |at| read_sni(&at, hosts)),
            None => Vec::new(),
        };
        if tls.is_some() && sni_hosts.is_empty() {
            at.refuse("TLS match must have at least one SNI host", "add sniHosts");
        }
        let matched = L4Match {
            sni_hosts,
            destination_subnets: fields.list("destinationSubnets", |at| {
                super::service_entry::read_address_or_range(&at)
            }),
            port: fields
                .get("port")
                .map(|at| at.number(u16::MAX.into()))
                .filter(|port| *port > 0),
            source_labels: fields
                .get("sourceLabels")
                .map(|at| names::selector(&at))
                .unwrap_or_default(),
            source_namespace: fields.string("sourceNamespace"),
            gateways: fields.list("gateways", |at| {
                virtual_service::gateway_name(&at.string(), namespace)
            }),
        };
        if tls.is_none()
            && let Some(at) = fields.get("sourceSubnet")
        {
            super::service_entry::read_address_or_range(&at);
            at.warn(
                "was never implemented in Istio, it has no effect",
                "remove it",
            );
        }
        fields.finish_with(&[("sourceSubnet", "sourceLabels"), ("sni", "sniHosts")]);
        matched
    }
}

fn read_sni(at: &At<'_>, hosts: &[String]) -> String {
    let sni = at.string();
    if let Some(wrong) = names::invalid_host(&sni) {
        at.refuse(format_args!("{sni:?} {wrong}"), "write a domain");
    } else if !hosts.iter().any(|host| names::is_subset(&sni, host)) {
        at.refuse(
            format_args!(
                "SNI host {sni:?} is not a compatible subset of any of the virtual service hosts: [{}]",
                hosts.join(", ")
            ),
            "write one of the hosts, or add it there",
        );
    }
    sni
}

impl L4Destination {
    fn read(at: &At<'_>, namespace: &str) -> Self {
        let fields = at.fields();
        let destination = fields
            .require("destination")
            .map(|at| Destination::read(at, namespace));
        let read = L4Destination {
            destination: destination.unwrap_or_default(),
            weight: fields
                .get("weight")
                .map_or(0, |at| at.number(i32::MAX as u32)),
        };
        fields.finish_with(&[
            ("host", "destination.host"),
            ("subset", "destination.subset"),
            ("port", "destination.port"),
        ]);
        read
    }
}

/// Refuses hosts of which one covers another.
pub(super) fn check_unique(at: &At<'_>, hosts: &[String]) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for host in hosts {
        if let Some(other) = seen.iter().find(|other| names::overlaps(other, host)) {
            at.refuse(
                format_args!("duplicate hosts in virtual service: {other} & {host}"),
                "remove one",
            );
        }
        seen.insert(host);
    }
}
