use std::collections::BTreeMap;

use super::{Metadata, names};
use crate::yaml::{At, Fields};

/// What stands in `endpoints` of a ServiceEntry and in `spec` of a WorkloadEntry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Workload {
    /// An IP address, a name, or `unix:///path`.
    pub(crate) address: String,
    /// By the service's port name.
    pub(crate) ports: BTreeMap<String, u32>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) network: String,
    /// `region/zone/subzone`.
    pub(crate) locality: String,
    /// 0: one.
    pub(crate) weight: u32,
    pub(crate) service_account: String,
}

/// A workload outside of Kubernetes, such as a virtual machine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WorkloadEntry {
    pub(crate) metadata: Metadata,
    pub(crate) workload: Workload,
}

/// What WorkloadEntries of a group have in common; it shapes nothing until one registers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WorkloadGroup {
    pub(crate) metadata: Metadata,
}

impl Workload {
    pub(super) fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let mut ports = BTreeMap::new();
        for (name, at) in fields
            .get("ports")
            .map(|at| at.entries())
            .unwrap_or_default()
        {
            if !names::is_label(name) {
                at.refuse(
                    format_args!("invalid port name: {name}"),
                    "write a name of letters, digits and hyphens, such as http",
                );
            }
            ports.insert(name.to_owned(), u32::from(at.port()));
        }
        let workload = Workload {
            address: fields.string("address"),
            ports,
            labels: fields
                .get("labels")
                .map(|at| names::selector(&at))
                .unwrap_or_default(),
            network: fields.string("network"),
            locality: fields.string("locality"),
            weight: fields.get("weight").map_or(0, |at| at.number(u32::MAX)),
            service_account: fields.string("serviceAccount"),
        };
        fields.finish_with(&[("port", "ports: {NAME: NUMBER}"), ("host", "address")]);
        workload
    }

    pub(super) fn check_address(&self, at: &At<'_>, allows_names: bool) {
        let address = self.address.as_str();
        if address.is_empty() {
            if self.network.is_empty() {
                at.refuse("address is required", "add address");
            }
        } else if let Some(path) = address.strip_prefix("unix://") {
            if !path.starts_with('/') && !path.starts_with('@') {
                at.refuse(
                    format_args!("{path} is not an absolute path"),
                    "write unix:///path",
                );
            }
            if !self.ports.is_empty() {
                at.refuse(
                    format_args!("unix endpoint {address} must not include ports"),
                    "remove ports",
                );
            }
        } else if address.parse::<std::net::IpAddr>().is_err() {
            if !allows_names {
                at.refuse(
                    format_args!("endpoint address {address:?} is not a valid IP address"),
                    "write an address, or resolution: DNS",
                );
            } else if names::invalid_host(address).is_some() || address.starts_with('*') {
                at.refuse(
                    format_args!(
                        "endpoint address {address:?} is not a valid FQDN or an IP address"
                    ),
                    "write a name or an address",
                );
            }
        }
    }
}

impl WorkloadEntry {
    pub(crate) fn read(spec: &At<'_>, metadata: Metadata) -> Self {
        let mut workload = Workload::read(spec);
        workload.check_address(spec, true);
        // the object's labels win
        workload.labels.extend(metadata.labels.clone());
        WorkloadEntry { metadata, workload }
    }
}

impl WorkloadGroup {
    pub(crate) fn read(spec: Fields<'_>, metadata: Metadata) -> Self {
        match spec.get("template") {
            Some(at) => {
                Workload::read(&at);
            }
            None => spec.at().refuse("template is required", "add template"),
        }
        if let Some(at) = spec.get("metadata") {
            let fields = at.fields();
            if let Some(at) = fields.get("labels") {
                names::selector(&at);
            }
            fields.string_map("annotations");
            fields.finish();
        }
        if let Some(at) = spec.get("probe") {
            read_probe(&at);
        }
        spec.finish();
        WorkloadGroup { metadata }
    }
}

fn read_probe(at: &At<'_>) {
    let fields = at.fields();
    for name in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        if let Some(at) = fields.get(name) {
            at.number(i32::MAX as u32);
        }
    }
    let mut methods = 0;
    if let Some(at) = fields.get("httpGet") {
        methods += 1;
        let get = at.fields();
        get.string("path");
        get.string("host");
        if let Some(at) = get.require("port") {
            at.port();
        }
        if let Some(at) = get.get("scheme") {
            at.word(&[("HTTP", ()), ("HTTPS", ())]);
        }
        get.list("httpHeaders", |at| {
            let header = at.fields();
            if let Some(at) = header.require("name") {
                super::headers::check_name(&at, &at.string());
            }
            header.string("value");
            header.finish();
        });
        get.finish();
    }
    for name in ["tcpSocket", "grpc"] {
        if let Some(at) = fields.get(name) {
            methods += 1;
            let socket = at.fields();
            if let Some(at) = socket.require("port") {
                at.port();
            }
            socket.ignore(&["host", "service"]);
            socket.finish();
        }
    }
    if let Some(at) = fields.get("exec") {
        methods += 1;
        let exec = at.fields();
        if exec.strings("command").is_empty() {
            at.refuse("exec.command is required", "add command");
        }
        exec.finish();
    }
    if methods != 1 {
        at.refuse(
            format_args!("has {methods} health check methods"),
            "write one of httpGet, tcpSocket, exec and grpc",
        );
    }
    fields.finish();
}
