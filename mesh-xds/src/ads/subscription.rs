//! What is wanted of one resource type, and what is known of each name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

/// One resource type's part of the stream.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// Everything is wanted (an empty list of names in the first request).
    pub(super) wildcard: Option<Presence>,
    /// What is wanted by name, or was sent under a wildcard.
    pub(super) names: BTreeMap<Arc<str>, Presence>,
    /// Of the last response that was accepted; outlives streams.
    pub(super) version: String,
    /// Of the last response on this stream.
    pub(super) nonce: String,
    /// A request is due.
    pub(super) due: bool,
    /// The due request refuses the last response.
    pub(super) rejection: Option<String>,
    /// A request was sent on this stream.
    pub(super) requested: bool,
    /// The names of the last request on this stream.
    sent: BTreeSet<Arc<str>>,
    /// Dropped and wanted again since the last request: the server would not notice, and never send them again.
    renewed: BTreeSet<Arc<str>>,
}

/// What is known of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Wanted, the stream is closed or closed since: no conclusion from silence.
    Wanted,
    /// Asked for; counts as absent at this time.
    Asked(Instant),
    /// It came, valid or not.
    Received,
    /// It did not come in time, or was removed.
    Absent,
}

impl Subscription {
    /// Whether anything is wanted.
    pub(super) fn is_active(&self) -> bool {
        self.wildcard.is_some() || !self.names.is_empty()
    }

    /// The names for the request that is sent now; none under a wildcard. Renewed names are left out once, and another
    /// request is due.
    pub(super) fn take_names(&mut self) -> Vec<String> {
        if self.wildcard.is_some() {
            return Vec::new();
        }
        let renewed = std::mem::take(&mut self.renewed);
        self.due = !renewed.is_empty();
        self.sent = self
            .names
            .keys()
            .filter(|name| !renewed.contains(*name))
            .cloned()
            .collect();
        self.sent.iter().map(|name| name.to_string()).collect()
    }

    /// Replaces the names; returns whether they changed. New ones start as `presence`.
    pub(super) fn replace_names(&mut self, names: &BTreeSet<Arc<str>>, presence: Presence) -> bool {
        let before = self.names.len();
        self.names.retain(|name, _| names.contains(name));
        self.renewed.retain(|name| names.contains(name));
        let mut changed = self.names.len() != before;
        for name in names {
            if !self.names.contains_key(name) {
                self.names.insert(Arc::clone(name), presence);
                if self.sent.contains(name) {
                    self.renewed.insert(Arc::clone(name));
                }
                changed = true;
            }
        }
        changed
    }

    /// A stream opened: what is still missing is asked for until `deadline`.
    pub(super) fn open(&mut self, deadline: Instant) {
        self.nonce.clear();
        self.rejection = None;
        self.requested = false;
        self.sent.clear();
        self.renewed.clear();
        self.due = self.is_active();
        for presence in self.names.values_mut().chain(&mut self.wildcard) {
            if *presence == Presence::Wanted {
                *presence = Presence::Asked(deadline);
            }
        }
    }

    /// The stream closed: silence proves nothing any more.
    pub(super) fn close(&mut self) {
        self.due = false;
        self.rejection = None;
        for presence in self.names.values_mut().chain(&mut self.wildcard) {
            if matches!(presence, Presence::Asked(_)) {
                *presence = Presence::Wanted;
            }
        }
    }

    /// The earliest time at which something counts as absent.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let asked = |presence: &Presence| match presence {
            Presence::Asked(at) => Some(*at),
            _ => None,
        };
        self.names
            .values()
            .chain(&self.wildcard)
            .filter_map(asked)
            .min()
    }
}
