use std::collections::{BTreeMap, BTreeSet};

use super::{Metadata, Protocol, ServerTls, names};
use crate::yaml::{At, Fields};

/// What a gateway workload listens on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gateway {
    pub(crate) metadata: Metadata,
    pub(crate) selector: BTreeMap<String, String>,
    /// Full names of the Services whose pods it is for, instead of a selector: of one that was derived from
    /// Kubernetes' Gateway API.
    pub(crate) services: Option<Vec<String>>,
    /// Of those whether Istio makes the workload, too.
    pub(crate) is_managed: bool,
    pub(crate) servers: Vec<Server>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    pub(crate) port: u32,
    pub(crate) protocol: Protocol,
    /// Of the port.
    pub(crate) name: String,
    /// Of the server itself; may be empty.
    pub(crate) title: String,
    pub(crate) bind: String,
    pub(crate) hosts: Vec<ServerHost>,
    pub(crate) tls: Option<ServerTls>,
}

/// `[namespace/]host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerHost {
    /// `*` for every namespace.
    pub(crate) namespace: String,
    pub(crate) host: String,
}

impl Gateway {
    pub(crate) fn read(spec: Fields<'_>, metadata: Metadata) -> Self {
        let servers = spec.list("servers", |at| Server::read(&at, &metadata.namespace));
        if servers.is_empty() {
            spec.at()
                .refuse("gateway must have at least one server", "add servers");
        }
        let mut names = BTreeSet::new();
        for server in &servers {
            if !server.name.is_empty() && !names.insert(server.name.as_str()) {
                spec.at().refuse(
                    format_args!(
                        "port names in servers must be unique: duplicate name {}",
                        server.name
                    ),
                    "give every port its own name",
                );
            }
        }
        let gateway = Gateway {
            selector: spec.string_map("selector"),
            services: None,
            is_managed: false,
            servers,
            metadata,
        };
        spec.finish_with(&[
            ("server", "servers"),
            ("hosts", "servers[].hosts"),
            ("port", "servers[].port"),
        ]);
        gateway
    }
}

impl Gateway {
    /// Whether it is for workloads with these labels; one that names Services is for their pods instead.
    pub(crate) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.services.is_none()
            && self
                .selector
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl Server {
    fn read(at: &At<'_>, namespace: &str) -> Self {
        let fields = at.fields();
        let mut server = Server {
            port: 0,
            protocol: Protocol::Http,
            name: String::new(),
            title: fields.string("name"),
            bind: fields.string("bind"),
            hosts: fields.list("hosts", |at| ServerHost::read(&at, namespace)),
            tls: fields.get("tls").map(|at| ServerTls::read(&at)),
        };
        if let Some(at) = fields.require("port") {
            let port = at.fields();
            server.port = port.require("number").map_or(0, |at| u32::from(at.port()));
            server.name = port.string("name");
            if server.name.is_empty() {
                at.refuse("port name must be set", "give the port a name such as http");
            }
            if let Some(at) = port.require("protocol") {
                server.protocol = Protocol::parse(&at.string());
                if matches!(server.protocol, Protocol::Unknown | Protocol::HttpProxy) {
                    at.refuse(
                        format_args!(
                            "invalid protocol {:?}, supported protocols are HTTP, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, TCP",
                            at.string()
                        ),
                        "use HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, MONGO, MYSQL or REDIS",
                    );
                }
            }
            port.ignore(&["targetPort"]);
            port.finish();
        }
        if !server.bind.is_empty() && server.bind.parse::<std::net::IpAddr>().is_err() {
            at.refuse(
                format_args!("{} is not a valid IP", server.bind),
                "write an address, or remove bind",
            );
        }
        if server.hosts.is_empty() {
            at.refuse(
                "server config must contain at least one host",
                "add hosts, such as [\"*\"]",
            );
        }
        match (&server.tls, server.protocol) {
            (None, protocol) if protocol.is_tls() => at.refuse(
                "server must have TLS settings for HTTPS/TLS protocols",
                "add tls: {mode: PASSTHROUGH}",
            ),
            (Some(_), protocol) if !protocol.is_tls() && !protocol.is_http() => at.refuse(
                "server cannot have TLS settings for non HTTPS/TLS ports",
                "use protocol TLS, or remove tls",
            ),
            _ => {}
        }
        fields.ignore(&["defaultEndpoint"]);
        fields.finish_with(&[("host", "hosts"), ("number", "port.number")]);
        server
    }
}

impl Server {
    pub(crate) fn redirects(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.https_redirect)
    }

    /// TLS that ends here.
    pub(crate) fn terminated(&self) -> Option<&ServerTls> {
        self.tls.as_ref().filter(|tls| tls.terminates())
    }

    /// HTTPS that ends here.
    pub(crate) fn terminates_https(&self) -> bool {
        self.protocol == Protocol::Https && self.terminated().is_some()
    }
}

impl ServerHost {
    /// The host as it was written, `./` resolved.
    pub(crate) fn text(&self) -> String {
        match self.namespace.as_str() {
            "*" => self.host.clone(),
            namespace => format!("{namespace}/{}", self.host),
        }
    }

    fn read(at: &At<'_>, own: &str) -> Self {
        let text = at.string();
        let (namespace, host) = match text.split_once('/') {
            Some((".", host)) => (own, host),
            Some((namespace, host)) => (namespace, host),
            None => ("*", text.as_str()),
        };
        if namespace == "~" {
            at.refuse(
                "invalid namespace value \"~\" in gateway",
                "write a namespace, . or *",
            );
        }
        if let Some(wrong) = names::invalid_host(host) {
            at.refuse(format_args!("{host:?} {wrong}"), "write a domain, or *");
        } else if host != "*" && !host.contains('.') {
            at.refuse(
                "short names (non FQDN) are not allowed",
                "write a full domain",
            );
        }
        ServerHost {
            namespace: namespace.to_owned(),
            host: host.to_owned(),
        }
    }
}
