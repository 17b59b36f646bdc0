use super::{GROUP, LabelSelector, RouteKind, optional};
use crate::model::Metadata;
use crate::yaml::{At, Fields};

/// A Gateway of Kubernetes' API.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiGateway {
    pub(crate) metadata: Metadata,
    pub(crate) class: String,
    /// (type, value) of the addresses.
    pub(crate) addresses: Vec<(Option<String>, String)>,
    pub(crate) listeners: Vec<Listener>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listener {
    pub(crate) name: String,
    /// `None`: every host.
    pub(crate) hostname: Option<String>,
    pub(crate) port: u32,
    pub(crate) protocol: ListenerProtocol,
    /// `tls: {mode: Passthrough}`; a listener for TLS without `tls` is none.
    pub(crate) passes_tls: bool,
    pub(crate) namespaces: AllowedNamespaces,
    /// (group, kind); empty: those of the protocol.
    pub(crate) kinds: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerProtocol {
    Http,
    Https,
    Tls,
    Tcp,
}

impl ListenerProtocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            ListenerProtocol::Http => "HTTP",
            ListenerProtocol::Https => "HTTPS",
            ListenerProtocol::Tls => "TLS",
            ListenerProtocol::Tcp => "TCP",
        }
    }
}

/// `allowedRoutes.namespaces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AllowedNamespaces {
    Same,
    All,
    Selector(LabelSelector),
}

impl ApiGateway {
    pub(crate) fn read(spec: Fields<'_>, metadata: Metadata) -> Self {
        let addresses = spec.list("addresses", |at| {
            let fields = at.fields();
            let address = (optional(&fields, "type"), fields.string("value"));
            fields.finish();
            address
        });
        let class = spec.require("gatewayClassName");
        let listeners = match spec.require("listeners") {
            Some(at) => at.items().iter().filter_map(Listener::read).collect(),
            None => Vec::new(),
        };
        let gateway = ApiGateway {
            metadata,
            class: class.map(|at| at.string()).unwrap_or_default(),
            addresses,
            listeners,
        };
        spec.ignore(&["infrastructure", "allowedListeners"]);
        spec.unsupported(
            &["tls"],
            "remove it: there is no TLS termination at gateways yet",
        );
        spec.finish_with(&[("class", "gatewayClassName"), ("servers", "listeners")]);
        gateway
    }

    /// Istio makes the workload itself unless the address is the name of one that is there.
    pub(crate) fn is_managed(&self) -> bool {
        match self.addresses.as_slice() {
            [] => true,
            [(kind, _)] => kind.as_deref().is_none_or(|kind| kind == "IPAddress"),
            _ => false,
        }
    }
}

impl Listener {
    /// `None`: of a protocol that no gateway of Istio speaks, which was said.
    fn read(at: &At<'_>) -> Option<Self> {
        let fields = at.fields();
        let name = fields.require("name");
        let port = fields.require("port");
        let protocol = fields.require("protocol").and_then(|at| {
            at.word(&[
                ("HTTP", ListenerProtocol::Http),
                ("HTTPS", ListenerProtocol::Https),
                ("TLS", ListenerProtocol::Tls),
                ("TCP", ListenerProtocol::Tcp),
            ])
        });
        let mut namespaces = AllowedNamespaces::Same;
        let mut kinds = Vec::new();
        if let Some(at) = fields.get("allowedRoutes") {
            let fields = at.fields();
            if let Some(at) = fields.get("namespaces") {
                namespaces = AllowedNamespaces::read(&at);
            }
            kinds = fields.list("kinds", |at| {
                let fields = at.fields();
                let group = optional(&fields, "group").unwrap_or_else(|| GROUP.to_owned());
                let kind = (group, fields.string("kind"));
                fields.finish();
                kind
            });
            fields.finish();
        }
        let tls = fields.get("tls");
        let passes_tls = tls.as_ref().is_some_and(reads_passthrough);
        let hostname = optional(&fields, "hostname");
        fields.finish_with(&[("host", "hostname"), ("hostnames", "hostname")]);
        let protocol = protocol?;
        let is_tls = matches!(protocol, ListenerProtocol::Https | ListenerProtocol::Tls);
        if is_tls && tls.is_none() {
            at.warn(
                "has no tls, so nothing listens",
                "add tls: {mode: Passthrough}",
            );
        }
        Some(Listener {
            name: name.map(|at| at.string()).unwrap_or_default(),
            hostname,
            port: port.map_or(0, |at| u32::from(at.port())),
            protocol,
            passes_tls,
            namespaces,
            kinds,
        })
    }

    /// Whether it comes to a server.
    pub(crate) fn listens(&self) -> bool {
        match self.protocol {
            ListenerProtocol::Http | ListenerProtocol::Tcp => true,
            ListenerProtocol::Https | ListenerProtocol::Tls => self.passes_tls,
        }
    }

    /// The routes that it takes.
    pub(crate) fn takes(&self, kind: RouteKind) -> bool {
        let of_protocol = match self.protocol {
            ListenerProtocol::Http | ListenerProtocol::Https => {
                matches!(kind, RouteKind::Http | RouteKind::Grpc)
            }
            ListenerProtocol::Tcp => kind == RouteKind::Tcp,
            ListenerProtocol::Tls => kind == RouteKind::Tls,
        };
        let is_listed = |(group, name): &(String, String)| group == GROUP && name == kind.name();
        of_protocol && (self.kinds.is_empty() || self.kinds.iter().any(is_listed))
    }

    /// Whether both can stand beside each other: by port, or by host.
    pub(crate) fn is_distinct_from(&self, other: &Listener) -> bool {
        fn host(listener: &Listener) -> &str {
            match listener.hostname.as_deref() {
                None | Some("") => "*",
                Some(host) => host,
            }
        }
        let is_tcp = |listener: &Listener| listener.protocol == ListenerProtocol::Tcp;
        self.port != other.port || (!is_tcp(self) && !is_tcp(other) && host(self) != host(other))
    }
}

fn reads_passthrough(at: &At<'_>) -> bool {
    let fields = at.fields();
    let modes = [("Terminate", false), ("Passthrough", true)];
    let mode = fields.get("mode").and_then(|at| at.word(&modes));
    if mode != Some(true) {
        at.refuse(
            "TLS termination is not supported yet",
            "use mode Passthrough, or protocol HTTP without tls",
        );
    }
    fields.ignore(&["certificateRefs", "options"]);
    fields.finish();
    mode == Some(true)
}

impl AllowedNamespaces {
    fn read(at: &At<'_>) -> Self {
        let fields = at.fields();
        let selector = fields.get("selector").map(|at| LabelSelector::read(&at));
        let words = [("Same", 0), ("All", 1), ("Selector", 2)];
        let from = fields.get("from").and_then(|at| at.word(&words));
        fields.finish();
        match (from, selector) {
            (None | Some(0), _) => AllowedNamespaces::Same,
            // without a selector istiod lets all in
            (Some(2), Some(selector)) => AllowedNamespaces::Selector(selector),
            _ => AllowedNamespaces::All,
        }
    }
}
