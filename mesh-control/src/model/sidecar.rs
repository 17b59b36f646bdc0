use std::collections::BTreeMap;

use super::{Metadata, Protocol, ServerHost, names};
use crate::yaml::{At, Fields};

/// What a workload's proxy listens on and sees.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sidecar {
    pub(crate) metadata: Metadata,
    /// Empty: every workload of the namespace.
    pub(crate) workload_labels: BTreeMap<String, String>,
    pub(crate) egress: Vec<EgressListener>,
    /// `outboundTrafficPolicy.mode`, if given.
    pub(crate) registry_only: Option<bool>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EgressListener {
    /// `None`: all ports of the hosts.
    pub(crate) port: Option<u32>,
    pub(crate) protocol: Protocol,
    pub(crate) bind: String,
    pub(crate) capture: CaptureMode,
    pub(crate) hosts: Vec<ServerHost>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaptureMode {
    /// DEFAULT or IPTABLES.
    Capture,
    None,
}

impl Sidecar {
    pub(crate) fn read(spec: Fields<'_>, metadata: Metadata) -> Self {
        spec.unsupported(
            &["ingress", "inboundConnectionPool"],
            "remove it, inbound ports come from the services",
        );
        let workload_labels = spec.get("workloadSelector").map(|at| {
            let fields = at.fields();
            let labels = fields.string_map("labels");
            fields.finish_with(&[("matchLabels", "labels")]);
            labels
        });
        let registry_only = spec.get("outboundTrafficPolicy").and_then(|at| {
            let fields = at.fields();
            fields.unsupported(&["egressProxy"], "remove it");
            let mode = fields
                .get("mode")
                .and_then(|at| at.word(&[("ALLOW_ANY", false), ("REGISTRY_ONLY", true)]));
            fields.finish();
            mode
        });
        let namespace = metadata.namespace.clone();
        let sidecar = Sidecar {
            workload_labels: workload_labels.unwrap_or_default(),
            egress: spec.list("egress", |at| EgressListener::read(&at, &namespace)),
            registry_only,
            metadata,
        };
        spec.finish();
        sidecar
    }
}

impl EgressListener {
    fn read(at: &At<'_>, namespace: &str) -> Self {
        let fields = at.fields();
        let mut listener = EgressListener {
            port: None,
            protocol: Protocol::Unknown,
            bind: fields.string("bind"),
            capture: fields
                .get("captureMode")
                .and_then(|at| {
                    at.word(&[
                        ("DEFAULT", CaptureMode::Capture),
                        ("IPTABLES", CaptureMode::Capture),
                        ("NONE", CaptureMode::None),
                    ])
                })
                .unwrap_or(CaptureMode::Capture),
            hosts: fields.list("hosts", |at| read_host(&at, namespace)),
        };
        if let Some(at) = fields.get("port") {
            let port = at.fields();
            listener.port = port.require("number").map(|at| u32::from(at.port()));
            if let Some(at) = port.get("protocol") {
                listener.protocol = Protocol::parse(&at.string());
                if !listener.protocol.is_http() {
                    at.refuse(
                        format_args!("protocol {} is not supported yet", at.string()),
                        "use HTTP, HTTP2 or GRPC",
                    );
                }
            }
            port.ignore(&["name", "targetPort"]);
            port.finish();
        }
        if listener.capture == CaptureMode::None && listener.port.is_none() {
            at.refuse(
                "sidecar: egress listener with captureMode NONE must have a port",
                "add port",
            );
        }
        if listener.hosts.is_empty() {
            at.refuse(
                "sidecar: egress listener must contain at least one host",
                "add hosts, such as [\"./*\"]",
            );
        }
        fields.finish();
        listener
    }
}

/// `namespace/host`, both needed.
fn read_host(at: &At<'_>, own: &str) -> ServerHost {
    let text = at.string();
    let Some((namespace, host)) = text.split_once('/') else {
        at.refuse(
            format_args!("host {text:?} must be of form namespace/dnsName"),
            "write */name or ./name",
        );
        return ServerHost {
            namespace: "*".to_owned(),
            host: text,
        };
    };
    if let Some(wrong) = names::invalid_host(host) {
        at.refuse(format_args!("{host:?} {wrong}"), "write a name, or *");
    }
    let namespace = if namespace == "." { own } else { namespace };
    ServerHost {
        namespace: namespace.to_owned(),
        host: host.to_owned(),
    }
}
