//! Which chain or cluster takes a call of the application in this process.
//!
//! What a sidecar finds out by capturing the connection to an address, the library finds by the name that was called:
//! host and port are looked up among API listeners, then among outbound listeners of the port by the domains of their
//! routes, then by address, then by port, then `virtualOutbound`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use rustc_hash::FxHashMap;

use super::{NodeIdentity, Outbound};
use crate::{
    listener::{Detected, HttpChain, Listener, Terminal},
    model::{RouteSource, TrafficDirection},
};

/// The longest name that DNS allows, with a dot at its end.
const MAX_HOST: usize = 254;

/// A destination of which nothing but the port is known: no range that anybody configures holds it.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(240, 0, 0, 1));

/// The port that `http` URIs need not say.
const HTTP: u16 = 80;

/// Outcomes by port, then by host.
#[derive(Debug, Default)]
pub(super) struct OutboundIndex {
    ports: FxHashMap<u16, Port>,
    /// All `hosts` of all `ports` once more, as URIs write them: `host:port`, and without the port where it is 80.
    authorities: FxHashMap<Box<str>, Outbound>,
    /// API listeners named without a port.
    any_port: FxHashMap<Box<str>, Outbound>,
    /// `virtualOutbound`: ports that one of its chains names, and all others.
    captured: FxHashMap<u16, Outbound>,
    rest: Option<Outbound>,
}

/// Outcomes of one port, the more specific first. Names are lower case, without a dot at the end.
#[derive(Debug, Default)]
struct Port {
    hosts: FxHashMap<Box<str>, Outbound>,
    /// Addresses of domains and of listeners.
    addresses: FxHashMap<IpAddr, Outbound>,
    /// `*.a`, by what follows the `*`; longest first.
    suffixes: Wildcards,
    /// `a.*`, by what precedes the `*`; longest first.
    prefixes: Wildcards,
    /// `0.0.0.0_PORT`.
    any: Option<Outbound>,
}

/// Names by length, longest first.
type Wildcards = Vec<(usize, FxHashMap<Box<str>, Outbound>)>;

impl OutboundIndex {
    pub(super) fn new(
        listeners: &[Arc<Listener>],
        chains: &[Arc<HttpChain>],
        node: &NodeIdentity,
    ) -> Self {
        let mut index = Self::default();
        let names = ShortNames::of(node);
        index.add_api_listeners(listeners, &names);

        let outbound: Vec<_> = listeners
            .iter()
            .filter(|l| l.config().direction != TrafficDirection::Inbound)
            .filter(|l| l.config().api_listener.is_none())
            .collect();
        let mut entries = Vec::new();
        for listener in &outbound {
            if listener.config().use_original_dst {
                index.add_capture(listener);
                continue;
            }
            let config = listener.config();
            for address in config.address.iter().chain(&config.additional_addresses) {
                if let Some((outcome, chain)) = plaintext_http(listener, *address, chains) {
                    entries.push((*address, outcome, chain));
                }
            }
        }
        // A route configuration or cluster of one service names it better than a domain among many does.
        for (address, outcome, chain) in &entries {
            let port = address.port();
            if let Some(host) = service_of(*outcome, chain.as_ref(), port) {
                names.each(&host, |name| index.port(port).add_host(name, *outcome));
            }
        }
        for (address, outcome, chain) in &entries {
            if let Some(Named::Http(chain)) = chain {
                index.add_domains(address.port(), *outcome, chain);
            }
        }
        for (address, outcome, _) in &entries {
            let port = index.port(address.port());
            if address.ip().is_unspecified() {
                port.any.get_or_insert(*outcome);
            } else {
                port.addresses.entry(address.ip()).or_insert(*outcome);
            }
        }
        index.add_authorities();
        index
    }

    /// What is known by name is then found by one look-up of the authority as it came.
    fn add_authorities(&mut self) {
        for (number, port) in &self.ports {
            for (host, outcome) in &port.hosts {
                // An authority with one of these would be read otherwise.
                if host.contains([':', '@']) {
                    continue;
                }
                let authority = format!("{host}:{number}");
                self.authorities.insert(authority.into(), *outcome);
                if *number == HTTP {
                    self.authorities.insert(host.clone(), *outcome);
                }
            }
        }
    }

    fn port(&mut self, port: u16) -> &mut Port {
        self.ports.entry(port).or_default()
    }

    fn add_api_listeners(&mut self, listeners: &[Arc<Listener>], names: &ShortNames) {
        for listener in listeners {
            let Some(chain) = listener.api() else {
                continue;
            };
            let outcome = Outbound::Http(chain);
            let name = listener.config().name.to_ascii_lowercase();
            let with_port = name
                .rsplit_once(':')
                .and_then(|(host, port)| Some((host, port.parse().ok()?)));
            match with_port {
                Some((host, port)) => {
                    names.each(host, |name| self.port(port).add_host(name, outcome));
                }
                None => names.each(&name, |name| {
                    self.any_port.entry(name.into()).or_insert(outcome);
                }),
            }
        }
    }

    fn add_domains(&mut self, port: u16, outcome: Outbound, chain: &HttpChain) {
        let Some(table) = chain.routes() else {
            return;
        };
        let domains = table
            .config()
            .virtual_hosts
            .iter()
            .flat_map(|host| &host.domains);
        for domain in domains {
            let domain = domain.to_ascii_lowercase();
            let host = match split_port(&domain) {
                (host, Some(of)) if of == port => host,
                (_, Some(_)) => continue,
                (host, None) => host,
            };
            if host != "*" {
                self.port(port).add_host(host, outcome);
            }
        }
    }

    /// `virtualOutbound` and its like, to which all connections come first.
    fn add_capture(&mut self, listener: &Listener) {
        let outcome = |port| match listener.find_chain(&plaintext(NOWHERE, port)) {
            Some(found) => outcome_of(found.terminal),
            None => Outbound::None,
        };
        if self.rest.is_some() {
            return;
        }
        self.rest = Some(outcome(0));
        let chains = &listener.config().filter_chains;
        for port in chains.iter().filter_map(|c| c.matcher.destination_port) {
            self.captured.insert(port, outcome(port));
        }
    }

    /// What [`Self::find`] would say of an `http` URI's authority, if its host is known by that very name.
    pub(super) fn find_authority(&self, authority: &str) -> Option<Outbound> {
        self.authorities.get(authority).copied()
    }

    pub(super) fn find(&self, host: &str, port: u16) -> Outbound {
        // Names are kept in lower case: what is found as it is has no capitals.
        if let Some(outcome) = self.ports.get(&port).and_then(|port| port.hosts.get(host)) {
            return *outcome;
        }
        self.find_unusual(host, port)
    }

    #[inline(never)]
    fn find_unusual(&self, host: &str, port: u16) -> Outbound {
        let mut lower = [0; MAX_HOST];
        self.named(lower_case(host, &mut lower), port)
            .or_else(|| self.captured.get(&port).copied())
            .or(self.rest)
            .unwrap_or(Outbound::None)
    }

    /// `host`: lower case; None: it is no name.
    fn named(&self, host: Option<&str>, port: u16) -> Option<Outbound> {
        let of_port = self.ports.get(&port);
        host.and_then(|host| {
            let of_host = of_port.and_then(|port| port.hosts.get(host));
            let of_host = of_host.or_else(|| self.any_port.get(host)).copied();
            of_host.or_else(|| of_port?.wildcard_or_address(host))
        })
        .or_else(|| of_port?.any)
    }
}

impl Port {
    /// `host`: lower case; may be a wildcard or an address.
    fn add_host(&mut self, host: &str, outcome: Outbound) {
        let host = host.strip_suffix('.').unwrap_or(host);
        if let Some(suffix) = host.strip_prefix('*') {
            add_wildcard(&mut self.suffixes, suffix, outcome);
        } else if let Some(prefix) = host.strip_suffix('*') {
            add_wildcard(&mut self.prefixes, prefix, outcome);
        } else if let Some(address) = address(host) {
            self.addresses.entry(address).or_insert(outcome);
        } else if !host.is_empty() {
            self.hosts.entry(host.into()).or_insert(outcome);
        }
    }

    fn wildcard_or_address(&self, host: &str) -> Option<Outbound> {
        if let Some(address) = address(host) {
            return self.addresses.get(&address).copied();
        }
        let suffix = |length| host.get(host.len() - length..);
        let prefix = |length| host.get(..length);
        find_wildcard(&self.suffixes, host.len(), suffix)
            .or_else(|| find_wildcard(&self.prefixes, host.len(), prefix))
    }
}

fn add_wildcard(wildcards: &mut Wildcards, name: &str, outcome: Outbound) {
    let length = name.len();
    let place = wildcards.partition_point(|(l, _)| *l > length);
    if wildcards.get(place).is_none_or(|(l, _)| *l != length) {
        wildcards.insert(place, (length, FxHashMap::default()));
    }
    if let Some((_, names)) = wildcards.get_mut(place) {
        names.entry(name.into()).or_insert(outcome);
    }
}

/// The part that the `*` stands for is never empty.
fn find_wildcard<'h>(
    wildcards: &Wildcards,
    host_length: usize,
    part: impl Fn(usize) -> Option<&'h str>,
) -> Option<Outbound> {
    wildcards
        .iter()
        .filter(|(length, _)| *length < host_length)
        .find_map(|(length, names)| names.get(part(*length)?).copied())
}

/// The host in lower case and without a dot at its end; None: it is longer than any name.
fn lower_case<'b>(host: &'b str, buffer: &'b mut [u8; MAX_HOST]) -> Option<&'b str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.len() <= MAX_HOST && !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(host);
    }
    let buffer = buffer.get_mut(..host.len())?;
    buffer.copy_from_slice(host.as_bytes());
    buffer.make_ascii_lowercase();
    std::str::from_utf8(buffer).ok()
}

/// An address, in brackets or not. Cheap for names: few begin like one.
fn address(host: &str) -> Option<IpAddr> {
    let first = *host.as_bytes().first()?;
    if !first.is_ascii_digit() && first != b'[' && !host.contains(':') {
        return None;
    }
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// A domain and its port, if it has one; the colons of `[::1]` and `::1` are their own.
fn split_port(domain: &str) -> (&str, Option<u16>) {
    match domain.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (domain, None),
        },
        _ => (domain, None),
    }
}

/// What names the service of an entry.
enum Named {
    Http(Arc<HttpChain>),
    Tcp(Arc<str>),
}

/// What a plaintext HTTP connection to the address comes to.
fn plaintext_http(
    listener: &Listener,
    address: SocketAddr,
    chains: &[Arc<HttpChain>],
) -> Option<(Outbound, Option<Named>)> {
    let ip = match address.ip() {
        ip if ip.is_unspecified() => NOWHERE,
        ip => ip,
    };
    let terminal = listener
        .find_chain(&plaintext(ip, address.port()))?
        .terminal;
    let named = match terminal {
        Terminal::Http(at) => chains.get(at.0 as usize).cloned().map(Named::Http),
        Terminal::Tcp { config, .. } => Some(Named::Tcp(Arc::clone(&config.cluster))),
    };
    Some((outcome_of(terminal), named))
}

fn plaintext(ip: IpAddr, port: u16) -> Detected<'static> {
    let source = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut detected = Detected::plaintext(source, SocketAddr::new(ip, port));
    detected.application_protocols = &["http/1.1"];
    detected
}

fn outcome_of(terminal: &Terminal) -> Outbound {
    match terminal {
        Terminal::Http(chain) => Outbound::Http(*chain),
        Terminal::Tcp { clusters, .. } => clusters
            .first()
            .copied()
            .map_or(Outbound::None, Outbound::Tcp),
    }
}

/// The one service that an entry is for: from a route configuration named `fqdn:port` (a service whose protocol is
/// sniffed), or a TCP proxy's cluster `outbound|port|subset|fqdn`.
fn service_of(outcome: Outbound, named: Option<&Named>, port: u16) -> Option<String> {
    match (outcome, named?) {
        (Outbound::Http(_), Named::Http(chain)) => {
            let RouteSource::Rds(name) = &chain.manager().routes else {
                return None;
            };
            let (host, of) = name.rsplit_once(':')?;
            let one = of.parse() == Ok(port) && address(host).is_none();
            one.then(|| host.to_ascii_lowercase())
        }
        (Outbound::Tcp(_), Named::Tcp(cluster)) => {
            let mut parts = cluster.split('|');
            let outbound = parts.next()? == "outbound" && parts.next()?.parse() == Ok(port);
            let host = parts.nth(1)?;
            outbound.then(|| host.to_ascii_lowercase())
        }
        _ => None,
    }
}

/// The shorter names that resolve to a name: what a pod's DNS search path does, the other way round.
struct ShortNames(Vec<String>);

impl ShortNames {
    /// For `default.svc.cluster.local`: that, `svc.cluster.local` and `cluster.local`.
    fn of(node: &NodeIdentity) -> Self {
        let mut suffixes = Vec::new();
        let mut rest = node.dns_domain.trim_end_matches('.').to_ascii_lowercase();
        while rest.contains('.') && suffixes.len() < 3 {
            suffixes.push(format!(".{rest}"));
            rest = match rest.split_once('.') {
                Some((_, rest)) => rest.to_owned(),
                None => break,
            };
        }
        Self(suffixes)
    }

    /// The name itself and its shorter forms.
    fn each(&self, name: &str, mut add: impl FnMut(&str)) {
        add(name);
        for suffix in &self.0 {
            if let Some(short) = name.strip_suffix(suffix.as_str())
                && !short.is_empty()
            {
                add(short);
            }
        }
    }
}
