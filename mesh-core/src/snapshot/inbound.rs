//! Which chain takes a request to the server in this process.

use std::{net::SocketAddr, sync::Arc};

use rustc_hash::FxHashMap;

use super::{ChainIndex, NodeIdentity};
use crate::{
    listener::{Detected, Listener, Terminal},
    model::TrafficDirection,
};

/// Inbound chains by the server's port.
#[derive(Debug, Default)]
pub(super) struct InboundIndex {
    ports: FxHashMap<u16, ChainIndex>,
    /// For ports that no chain names: `virtualInbound`'s pass-through.
    rest: Option<ChainIndex>,
}

impl InboundIndex {
    pub(super) fn new(listeners: &[Arc<Listener>], node: &NodeIdentity) -> Self {
        let mut index = Self::default();
        let inbound = |l: &&Arc<Listener>| l.config().direction == TrafficDirection::Inbound;
        let captures = |l: &&Arc<Listener>| l.config().use_original_dst || is_virtual(l);
        for listener in listeners.iter().filter(inbound).filter(captures) {
            let chains = &listener.config().filter_chains;
            for port in chains.iter().filter_map(|c| c.matcher.destination_port) {
                index.add(port, http_chain(listener, port));
            }
            // No port that a server could have.
            index.rest = index.rest.or(http_chain(listener, 0));
        }
        for listener in listeners.iter().filter(inbound).filter(|l| !captures(l)) {
            let config = listener.config();
            let addresses = config.address.iter().chain(&config.additional_addresses);
            for port in addresses.map(SocketAddr::port) {
                index.add(port, http_chain(listener, port));
            }
        }
        for listener in listeners {
            if let Some(port) = port_in_template(&listener.config().name, node) {
                index.add(port, http_chain(listener, port));
            }
        }
        index
    }

    fn add(&mut self, port: u16, chain: Option<ChainIndex>) {
        if let Some(chain) = chain {
            self.ports.entry(port).or_insert(chain);
        }
    }

    pub(super) fn find(&self, port: u16) -> Option<ChainIndex> {
        self.ports.get(&port).copied().or(self.rest)
    }
}

fn is_virtual(listener: &Listener) -> bool {
    &*listener.config().name == "virtualInbound"
}

/// The chain that a plaintext HTTP connection to the port takes.
fn http_chain(listener: &Listener, port: u16) -> Option<ChainIndex> {
    let local = SocketAddr::from(([127, 0, 0, 1], port));
    let mut detected = Detected::plaintext(SocketAddr::from(([127, 0, 0, 1], 0)), local);
    detected.application_protocols = &["http/1.1"];
    match listener.find_chain(&detected)?.terminal {
        Terminal::Http(chain) => Some(*chain),
        Terminal::Tcp { .. } => None,
    }
}

/// The port in a name made from `server_listener_resource_name_template`, whose `%s` stands for `IP:PORT` (gRFC A36).
fn port_in_template(name: &str, node: &NodeIdentity) -> Option<u16> {
    let (before, after) = node.server_listener_template.split_once("%s")?;
    let address = name.strip_prefix(before)?.strip_suffix(after)?;
    address.rsplit_once(':')?.1.parse().ok()
}
