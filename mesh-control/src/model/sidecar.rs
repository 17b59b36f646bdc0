use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{ConnectionPool, Destination, Metadata, Protocol, names};
use crate::yaml::{At, Fields};

/// What a workload's proxy listens on and sees.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sidecar {
    pub(crate) metadata: Metadata,
    /// Empty: every workload of the namespace.
    pub(crate) workload_labels: BTreeMap<String, String>,
    pub(crate) ingress: Vec<IngressListener>,
    pub(crate) egress: Vec<EgressListener>,
    /// `inboundConnectionPool`.
    pub(crate) inbound_pool: Option<ConnectionPool>,
    pub(crate) outbound_policy: Option<OutboundPolicy>,
}

/// `outboundTrafficPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OutboundPolicy {
    /// `mode: REGISTRY_ONLY`, which is the default here.
    pub(crate) registry_only: bool,
    /// Where traffic goes that no service claims.
    pub(crate) egress_proxy: Option<Destination>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EgressListener {
    /// `None`: all ports of the hosts.
    pub(crate) port: Option<EgressPort>,
    pub(crate) bind: String,
    pub(crate) capture: CaptureMode,
    pub(crate) hosts: Vec<EgressHost>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EgressPort {
    /// 0: a socket of the file system.
    pub(crate) number: u32,
    pub(crate) protocol: Protocol,
}

/// `namespace/host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EgressHost {
    /// `*` for every namespace, `.` for that of the workload.
    pub(crate) namespace: String,
    pub(crate) host: String,
    /// `~namespace/host`: not this one.
    pub(crate) is_excluded: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IngressListener {
    pub(crate) port: u32,
    pub(crate) protocol: Protocol,
    pub(crate) bind: String,
    pub(crate) capture: CaptureMode,
    /// `defaultEndpoint`; `None`: where the caller wanted to go.
    pub(crate) endpoint: Option<IngressEndpoint>,
    pub(crate) pool: Option<ConnectionPool>,
}

/// Where the application listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IngressEndpoint {
    /// An address and a port; unspecified: the workload's own address.
    Socket(Option<IpAddr>, u32),
    /// `unix://…`, as written.
    Pipe(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaptureMode {
    Default,
    Iptables,
    None,
}

impl Sidecar {
    pub(crate) fn read(spec: Fields<'_>, metadata: Metadata) -> Self {
        if !spec.has_any_of(&[
            "egress",
            "ingress",
            "outboundTrafficPolicy",
            "inboundConnectionPool",
        ]) {
            spec.at().refuse(
                "sidecar: empty configuration provided",
                "add egress, ingress or outboundTrafficPolicy",
            );
        }
        let workload_labels = spec.get("workloadSelector").map(|at| {
            let fields = at.fields();
            let labels = fields.get("labels").map(|at| names::selector(&at));
            fields.finish_with(&[("matchLabels", "labels")]);
            labels.unwrap_or_default()
        });
        let sidecar = Sidecar {
            workload_labels: workload_labels.unwrap_or_default(),
            ingress: spec.list("ingress", |at| IngressListener::read(&at)),
            egress: spec.list("egress", |at| EgressListener::read(&at)),
            inbound_pool: spec
                .get("inboundConnectionPool")
                .map(|at| ConnectionPool::read(&at)),
            outbound_policy: spec
                .get("outboundTrafficPolicy")
                .map(|at| OutboundPolicy::read(&at, &metadata.namespace)),
            metadata,
        };
        sidecar.check(spec.at());
        spec.finish();
        sidecar
    }

    fn check(&self, at: &At<'_>) {
        let not_unique = "sidecar: ports on IP bound listeners must be unique";
        let mut ports = BTreeSet::new();
        if !self.ingress.iter().all(|i| ports.insert(i.port)) {
            at.refuse(not_unique, "give every ingress listener its own port");
        }
        let (mut ports, mut sockets) = (BTreeSet::new(), BTreeSet::new());
        for (i, listener) in self.egress.iter().enumerate() {
            match listener.port {
                None if i + 1 < self.egress.len() => at.refuse(
                    "sidecar: the egress listener with empty port should be the last listener in the list",
                    "move it to the end",
                ),
                Some(port) if port.number == 0 && !sockets.insert(&listener.bind) => at.refuse(
                    "sidecar: unix domain socket values for listeners must be unique",
                    "write another path",
                ),
                Some(port) if port.number > 0 && !ports.insert(port.number) => {
                    at.refuse(not_unique, "give every egress listener its own port");
                }
                _ => {}
            }
        }
    }
}

impl OutboundPolicy {
    fn read(at: &At<'_>, namespace: &str) -> Self {
        let fields = at.fields();
        let mode = fields
            .get("mode")
            .and_then(|at| at.word(&[("ALLOW_ANY", false), ("REGISTRY_ONLY", true)]));
        let policy = OutboundPolicy {
            // the enumeration's first word
            registry_only: mode.unwrap_or(true),
            egress_proxy: fields
                .get("egressProxy")
                .map(|at| Destination::read(at, namespace)),
        };
        if let Some(proxy) = &policy.egress_proxy {
            if policy.registry_only {
                at.refuse(
                    "sidecar: egress_proxy must be set only with ALLOW_ANY outbound_traffic_policy mode",
                    "write mode: ALLOW_ANY",
                );
            }
            if proxy.port.is_none() {
                at.refuse("sidecar: egress_proxy port must be non-nil", "add port");
            }
        }
        fields.finish();
        policy
    }
}

fn capture_mode(fields: &Fields<'_>) -> CaptureMode {
    let mode = fields.get("captureMode").and_then(|at| {
        at.word(&[
            ("DEFAULT", CaptureMode::Default),
            ("IPTABLES", CaptureMode::Iptables),
            ("NONE", CaptureMode::None),
        ])
    });
    mode.unwrap_or(CaptureMode::Default)
}

/// Number and protocol of a listener's port.
fn read_port(at: &At<'_>) -> (u32, Protocol) {
    let port = at.fields();
    let number = port.get("number").map_or(0, |at| at.number(65535));
    let protocol = port.get("protocol").map(|at| {
        let text = at.string();
        let protocol = Protocol::parse(&text);
        if protocol == Protocol::Unknown && !text.is_empty() {
            at.refuse(
                format_args!("unsupported protocol: {text}"),
                "use HTTP, HTTP2, GRPC, HTTPS, TLS, TCP or MONGO",
            );
        } else if protocol == Protocol::HttpProxy {
            at.refuse("HTTP_PROXY is not supported yet", "use HTTP");
        }
        protocol
    });
    let name = port.string("name");
    if !name.is_empty() && !names::is_label(&name) {
        at.refuse(
            format_args!("invalid port name: {name}"),
            "write a name of letters, digits and hyphens, such as http",
        );
    }
    if let Some(at) = port.get("targetPort")
        && at.number(65535) > 0
    {
        at.refuse("targetPort has no impact on Sidecars", "remove it");
    }
    port.finish();
    (number, protocol.unwrap_or(Protocol::Unknown))
}

fn check_bind(at: &At<'_>, bind: &str) {
    if !bind.is_empty() && bind.parse::<IpAddr>().is_err() {
        at.refuse(
            format_args!("{bind} is not a valid IP"),
            "write an address, or remove bind",
        );
    }
}

impl EgressListener {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let listener = EgressListener {
            port: fields.get("port").map(|at| {
                let (number, protocol) = read_port(&at);
                EgressPort { number, protocol }
            }),
            bind: fields.string("bind"),
            capture: capture_mode(&fields),
            hosts: fields.list("hosts", |at| EgressHost::read(&at)),
        };
        match listener.port {
            Some(port) if port.number == 0 => at.refuse(
                "listeners on sockets of the file system are not supported yet",
                "write a port",
            ),
            Some(_) => check_bind(at, &listener.bind),
            None => {}
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

impl EgressHost {
    /// Namespace and host, both needed.
    fn read(at: &At<'_>) -> Self {
        let text = at.string();
        let Some((namespace, host)) = text.split_once('/') else {
            at.refuse(
                format_args!("host {text:?} must be of form namespace/dnsName"),
                "write */name or ./name",
            );
            return EgressHost {
                namespace: "*".to_owned(),
                host: text,
                is_excluded: false,
            };
        };
        if let Some(wrong) = names::invalid_host(host) {
            at.refuse(format_args!("{host:?} {wrong}"), "write a name, or *");
        }
        let (is_excluded, namespace) = match namespace.strip_prefix('~') {
            Some("") => (true, "*"),
            Some(rest) => (true, rest),
            None => (false, namespace),
        };
        EgressHost {
            namespace: namespace.to_owned(),
            host: host.to_owned(),
            is_excluded,
        }
    }
}

impl IngressListener {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let port = fields.require("port");
        let (number, protocol) = port.as_ref().map_or((0, Protocol::Unknown), read_port);
        if number == 0
            && let Some(at) = &port
        {
            at.refuse("0 is not a port", "ports go from 1 to 65535");
        }
        if fields.get("tls").is_some() {
            at.refuse("TLS is not supported yet", "remove tls");
        }
        let listener = IngressListener {
            port: number,
            protocol,
            bind: fields.string("bind"),
            capture: capture_mode(&fields),
            endpoint: fields
                .get("defaultEndpoint")
                .and_then(|at| IngressEndpoint::read(&at)),
            pool: fields
                .get("connectionPool")
                .map(|at| ConnectionPool::read(&at)),
        };
        check_bind(at, &listener.bind);
        fields.finish();
        listener
    }
}

impl IngressEndpoint {
    fn read(at: &At<'_>) -> Option<Self> {
        let text = at.string();
        if text.is_empty() {
            return None;
        }
        if text.starts_with("unix://") {
            return Some(IngressEndpoint::Pipe(text));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((text.as_str(), ""));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse::<u16>().ok().filter(|port| *port > 0);
        if !matches!(host, "" | "127.0.0.1" | "0.0.0.0" | "::1" | "::") || port.is_none() {
            at.refuse(
                "sidecar: defaultEndpoint must be of form \
                 127.0.0.1:<port>,0.0.0.0:<port>,[::1]:port,[::]:port,unix://filepath or unset",
                "write 127.0.0.1:PORT",
            );
        }
        Some(IngressEndpoint::Socket(
            host.parse().ok(),
            u32::from(port.unwrap_or_default()),
        ))
    }
}
