//! Which chain takes a request to the server in this process.

use std::{net::SocketAddr, sync::Arc};

use rustc_hash::FxHashMap;

use super::{ChainIndex, NodeIdentity};
use crate::{
    listener::{Detected, Listener, Terminal},
    model::TrafficDirection,
};

/// What becomes of a plaintext request to a port, of whose connection nothing else is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inbound {
    /// It goes through this chain.
    Chain(ChainIndex),
    /// Nothing is said about it: no listener has the port, or a chain without HTTP.
    Pass,
    /// No chain takes such connections: the port wants TLS.
    Refused,
}

impl Inbound {
    /// The chain, if there is one.
    pub fn chain(self) -> Option<ChainIndex> {
        match self {
            Self::Chain(chain) => Some(chain),
            _ => None,
        }
    }
}

/// Inbound listeners by the server's port.
#[derive(Debug, Default)]
pub(super) struct InboundIndex {
    ports: FxHashMap<u16, Entry>,
    /// For ports that no chain names: `virtualInbound`'s pass-through.
    rest: Option<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// The listener's place.
    listener: usize,
    plaintext: Inbound,
}

impl InboundIndex {
    pub(super) fn new(listeners: &[Arc<Listener>], node: &NodeIdentity) -> Self {
        let mut index = Self::default();
        let inbound = |l: &Listener| l.config().direction == TrafficDirection::Inbound;
        let captures = |l: &Listener| l.config().use_original_dst || is_virtual(l);
        let all = || listeners.iter().enumerate();
        for (at, listener) in all().filter(|(_, l)| inbound(l) && captures(l)) {
            let chains = &listener.config().filter_chains;
            for port in chains.iter().filter_map(|c| c.matcher.destination_port) {
                index.add(port, at, listener);
            }
            // No port that a server could have.
            index.rest.get_or_insert_with(|| Entry {
                listener: at,
                plaintext: plaintext(listener, 0),
            });
        }
        for (at, listener) in all().filter(|(_, l)| inbound(l) && !captures(l)) {
            let config = listener.config();
            let addresses = config.address.iter().chain(&config.additional_addresses);
            for port in addresses.map(SocketAddr::port) {
                index.add(port, at, listener);
            }
        }
        for (at, listener) in all() {
            if let Some(port) = port_in_template(&listener.config().name, node) {
                index.add(port, at, listener);
            }
        }
        index
    }

    fn add(&mut self, port: u16, at: usize, listener: &Listener) {
        self.ports.entry(port).or_insert_with(|| Entry {
            listener: at,
            plaintext: plaintext(listener, port),
        });
    }

    fn entry(&self, port: u16) -> Option<&Entry> {
        self.ports.get(&port).or(self.rest.as_ref())
    }

    pub(super) fn find(&self, port: u16) -> Inbound {
        self.entry(port)
            .map_or(Inbound::Pass, |entry| entry.plaintext)
    }

    pub(super) fn listener(&self, port: u16) -> Option<usize> {
        self.entry(port).map(|entry| entry.listener)
    }
}

fn is_virtual(listener: &Listener) -> bool {
    &*listener.config().name == "virtualInbound"
}

/// What becomes of a plaintext HTTP connection to the port.
fn plaintext(listener: &Listener, port: u16) -> Inbound {
    let local = SocketAddr::from(([127, 0, 0, 1], port));
    let mut detected = Detected::plaintext(SocketAddr::from(([127, 0, 0, 1], 0)), local);
    detected.application_protocols = &["http/1.1"];
    match listener.find_chain(&detected) {
        // The handshake of such a chain cannot have been made.
        Some(found) if !found.socket.is_plaintext() => Inbound::Refused,
        Some(found) => match found.terminal {
            Terminal::Http(chain) => Inbound::Chain(*chain),
            Terminal::Tcp { .. } => Inbound::Pass,
        },
        None => Inbound::Refused,
    }
}

/// The port in a name made from `server_listener_resource_name_template`, whose `%s` stands for `IP:PORT` (gRFC A36).
fn port_in_template(name: &str, node: &NodeIdentity) -> Option<u16> {
    let (before, after) = node.server_listener_template.split_once("%s")?;
    let address = name.strip_prefix(before)?.strip_suffix(after)?;
    address.rsplit_once(':')?.1.parse().ok()
}
