use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Metadata, Protocol, Workload, names, virtual_service};
use crate::yaml::{At, Fields};

/// Hosts that are no Kubernetes Service, and where they are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceEntry {
    pub(crate) metadata: Metadata,
    pub(crate) hosts: Vec<String>,
    /// IP addresses and CIDR ranges; a range of one address is written as that address.
    pub(crate) addresses: Vec<String>,
    pub(crate) ports: Vec<EntryPort>,
    /// `location: MESH_EXTERNAL`, the default.
    pub(crate) is_external: bool,
    pub(crate) resolution: EntryResolution,
    pub(crate) endpoints: Vec<Workload>,
    /// Selects pods and WorkloadEntries of the namespace; `None`: the endpoints are given.
    pub(crate) workload_labels: Option<BTreeMap<String, String>>,
    pub(crate) export_to: Vec<String>,
    /// For TLS, once it exists.
    pub(crate) subject_alt_names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryResolution {
    /// NONE: the address that the client wanted.
    Passthrough,
    Static,
    Dns,
    DnsRoundRobin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryPort {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    /// 0: the number.
    pub(crate) target: u32,
}

impl ServiceEntry {
    pub(crate) fn read(spec: Fields<'_>, metadata: Metadata) -> Self {
        let resolution = spec.get("resolution").and_then(|at| {
            let words = [
                ("NONE", Some(EntryResolution::Passthrough)),
                ("STATIC", Some(EntryResolution::Static)),
                ("DNS", Some(EntryResolution::Dns)),
                ("DNS_ROUND_ROBIN", Some(EntryResolution::DnsRoundRobin)),
                ("DYNAMIC_DNS", None),
            ];
            let found = at.word(&words)?;
            if found.is_none() {
                at.refuse("DYNAMIC_DNS is not supported yet", "use DNS or NONE");
            }
            found
        });
        let is_external = spec
            .get("location")
            .and_then(|at| at.word(&[("MESH_EXTERNAL", true), ("MESH_INTERNAL", false)]));
        let workload_labels = spec.get("workloadSelector").map(|at| {
            let fields = at.fields();
            let labels = fields.get("labels").map(|at| names::selector(&at));
            fields.finish_with(&[("matchLabels", "labels")]);
            labels.unwrap_or_default()
        });
        let entry = ServiceEntry {
            hosts: spec.list("hosts", |at| read_host(&at)),
            addresses: spec.list("addresses", |at| read_address(&at)),
            ports: spec.list("ports", |at| EntryPort::read(&at)),
            is_external: is_external.unwrap_or(true),
            resolution: resolution.unwrap_or(EntryResolution::Passthrough),
            endpoints: spec.list("endpoints", |at| Workload::read(&at)),
            workload_labels,
            export_to: virtual_service::service_export_to(&spec, &metadata.namespace),
            subject_alt_names: spec.strings("subjectAltNames"),
            metadata,
        };
        entry.check(&spec);
        spec.finish_with(&[
            ("host", "hosts"),
            ("port", "ports"),
            ("address", "addresses"),
            ("endpoint", "endpoints"),
            ("selector", "workloadSelector"),
        ]);
        entry
    }

    fn check(&self, spec: &Fields<'_>) {
        let at = spec.at();
        if self.hosts.is_empty() {
            at.refuse("service entry must have at least one host", "add hosts");
        }
        if self.workload_labels.is_some() && spec.get("endpoints").is_some() {
            at.refuse(
                "only one of WorkloadSelector or Endpoints is allowed in Service Entry",
                "keep one of them",
            );
        }
        let (mut port_names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
        for port in &self.ports {
            if !port_names.insert(port.name.as_str()) {
                at.refuse(
                    format_args!("service entry port name {:?} already defined", port.name),
                    "give every port its own name",
                );
            }
            if !numbers.insert(port.number) {
                at.refuse(
                    format_args!("service entry port {} already defined", port.number),
                    "give every port its own number",
                );
            }
        }
        let is_dns = matches!(
            self.resolution,
            EntryResolution::Dns | EntryResolution::DnsRoundRobin
        );
        if is_dns && self.addresses.iter().any(|a| a.contains('/')) {
            at.refuse(
                "CIDR addresses are allowed only for NONE/STATIC resolution types",
                "write addresses, or another resolution",
            );
        }
        let tells_hosts_apart = |p: &EntryPort| p.protocol.is_http() || p.protocol.is_tls();
        if self.resolution != EntryResolution::Passthrough
            && self.hosts.len() > 1
            && !self.ports.iter().all(tells_hosts_apart)
        {
            at.refuse(
                "multiple hosts provided with non-HTTP, non-TLS ports",
                "write a ServiceEntry per host",
            );
        }
        if is_dns && self.endpoints.is_empty() {
            for host in self.hosts.iter().filter(|host| host.starts_with('*')) {
                at.refuse(
                    format_args!(
                        "hosts must be FQDN if no endpoints are provided for resolution mode DNS, {host:?} is not"
                    ),
                    "write a full name, or endpoints",
                );
            }
        }
        if self.resolution == EntryResolution::DnsRoundRobin && self.endpoints.len() > 1 {
            at.refuse(
                "there must only be 0 or 1 endpoint for resolution mode DNS_ROUND_ROBIN",
                "use resolution: DNS",
            );
        }
        let endpoints = spec.get("endpoints").map(|at| at.items());
        for (endpoint, at) in self.endpoints.iter().zip(endpoints.unwrap_or_default()) {
            self.check_endpoint(endpoint, &at, is_dns, &port_names);
        }
    }

    fn check_endpoint(
        &self,
        endpoint: &Workload,
        at: &At<'_>,
        is_dns: bool,
        ports: &BTreeSet<&str>,
    ) {
        if self.resolution == EntryResolution::Passthrough {
            at.refuse(
                "no endpoints should be provided for resolution type none",
                "write resolution: STATIC, or remove endpoints",
            );
        }
        let address = endpoint.address.as_str();
        if is_dns {
            let is_name = names::invalid_host(address).is_none() && !address.starts_with('*');
            if !is_name {
                at.refuse(
                    format_args!(
                        "endpoint address {address:?} is not a valid FQDN or an IP address"
                    ),
                    "write a name or an address",
                );
            }
        } else if self.resolution == EntryResolution::Static {
            endpoint.check_address(at, false);
            if address.starts_with("unix://") && ports.len() != 1 {
                at.refuse(
                    "exactly 1 service port required for unix endpoints",
                    "keep one port",
                );
            }
        }
        for (name, port) in &endpoint.ports {
            if !ports.contains(name.as_str()) {
                at.refuse(
                    format_args!("endpoint port {port} is not defined by the service entry"),
                    "write the name of one of its ports",
                );
            }
        }
    }
}

impl EntryPort {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let number = fields
            .require("number")
            .map_or(0, |at| u32::from(at.port()));
        let name = fields.string("name");
        if !names::is_label(&name) {
            at.refuse(
                format_args!("invalid port name: {name}"),
                "write a name of letters, digits and hyphens, such as http",
            );
        }
        let protocol = fields.get("protocol").map(|at| {
            let text = at.string();
            let protocol = Protocol::parse(&text);
            if protocol == Protocol::Unknown && !text.is_empty() {
                at.refuse(
                    format_args!("unsupported protocol: {text}"),
                    "use HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, MONGO, MYSQL, REDIS or UDP",
                );
            }
            protocol
        });
        let target = fields.get("targetPort").map(|at| at.number(65535));
        fields.finish_with(&[("port", "number")]);
        EntryPort {
            number,
            name,
            protocol: protocol.unwrap_or(Protocol::Unknown),
            target: target.unwrap_or(0),
        }
    }
}

fn read_host(at: &At<'_>) -> String {
    let host = at.string();
    if host == "*" {
        at.refuse("invalid host *", "write a domain");
    } else if let Some(wrong) = names::invalid_host(&host) {
        at.refuse(format_args!("{host:?} {wrong}"), "write a domain");
    }
    host
}

/// An address or a range, as written.
pub(super) fn read_address_or_range(at: &At<'_>) -> String {
    read_address(at);
    at.string()
}

fn read_address(at: &At<'_>) -> String {
    let text = at.string();
    let Some((address, bits)) = text.split_once('/') else {
        if text.parse::<IpAddr>().is_err() {
            at.refuse(
                format_args!("{text:?} is not a valid IP"),
                "write an address or a range such as 10.1.0.0/16",
            );
        }
        return text;
    };
    let whole = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => 0,
    };
    match bits.parse::<u32>() {
        Ok(bits) if whole > 0 && bits == whole => return address.to_owned(),
        Ok(bits) if bits <= whole => {}
        _ => at.refuse(
            format_args!("{text:?} is not a valid CIDR block"),
            "write a range such as 10.1.0.0/16",
        ),
    }
    text
}
