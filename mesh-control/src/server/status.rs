use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a connected client has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStatus {
    /// Its node id.
    pub node: String,
    /// The types that it subscribed to.
    pub types: Vec<TypeStatus>,
}

/// What a client has of one resource type.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TypeStatus {
    /// The type's URL.
    pub type_url: String,
    /// Version last made for it.
    pub sent_version: String,
    /// Version that it last accepted; empty if none.
    pub acked_version: String,
    /// Why it refused the last version, if it did.
    pub nack: Option<String>,
}

impl TypeStatus {
    /// Whether the client uses what was last made for it.
    pub fn is_synced(&self) -> bool {
        self.nack.is_none() && self.sent_version == self.acked_version
    }
}

/// The connected clients.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<BTreeMap<u64, ClientStatus>>);

impl Clients {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, ClientStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, id: u64, status: ClientStatus) {
        self.lock().insert(id, status);
    }

    pub(super) fn remove(&self, id: u64) {
        self.lock().remove(&id);
    }

    pub(crate) fn all(&self) -> Vec<ClientStatus> {
        self.lock().values().cloned().collect()
    }
}
