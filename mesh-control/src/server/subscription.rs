use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use prost::{Message, Name};
use rustc_hash::FxHasher;

use crate::translate::Translator;

/// The types that are served, in the order in which they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ResourceType {
    Cluster,
    Endpoint,
    Listener,
    Route,
}

impl ResourceType {
    pub(super) const ALL: [ResourceType; 4] = [
        ResourceType::Cluster,
        ResourceType::Endpoint,
        ResourceType::Listener,
        ResourceType::Route,
    ];

    pub(super) fn url(self) -> String {
        match self {
            ResourceType::Cluster => Cluster::type_url(),
            ResourceType::Endpoint => ClusterLoadAssignment::type_url(),
            ResourceType::Listener => Listener::type_url(),
            ResourceType::Route => RouteConfiguration::type_url(),
        }
    }

    pub(super) fn of_url(url: &str) -> Option<ResourceType> {
        ResourceType::ALL.into_iter().find(|t| t.url() == url)
    }

    /// Whether subscribing without names means all resources.
    pub(super) fn has_wildcard(self) -> bool {
        matches!(self, ResourceType::Cluster | ResourceType::Listener)
    }
}

/// A resource as it was made, without the message itself, which takes many times the memory.
#[derive(Debug)]
struct Made {
    any: prost_types::Any,
    /// Content version.
    hash: u64,
}

impl Made {
    fn new<M: Message + Name>(value: Vec<u8>) -> Self {
        let mut hasher = FxHasher::default();
        value.hash(&mut hasher);
        Made {
            any: prost_types::Any {
                type_url: M::type_url(),
                value,
            },
            hash: hasher.finish(),
        }
    }

    /// Whether a message with this encoding says the same. The order within maps is arbitrary, so other bytes may.
    fn says<M: Message + PartialEq + Default>(&self, message: &M, encoded: &[u8]) -> bool {
        let own = self.any.value.as_slice();
        own == encoded
            || (own.len() == encoded.len() && M::decode(own).is_ok_and(|own| own == *message))
    }
}

/// Collects resources; what says the same as before stays as it is.
struct Collected {
    before: BTreeMap<String, Made>,
    resources: Vec<(String, Made)>,
}

impl Collected {
    fn add<M: Message + Name + PartialEq + Default>(&mut self, name: &str, message: &M) {
        let encoded = message.encode_to_vec();
        let entry = match self.before.remove_entry(name) {
            Some((name, made)) if made.says(message, &encoded) => (name, made),
            Some((name, _)) => (name, Made::new::<M>(encoded)),
            None => (name.to_owned(), Made::new::<M>(encoded)),
        };
        self.resources.push(entry);
    }
}

/// What a client asked for of one type, and what it has.
#[derive(Debug)]
pub(super) struct Subscription {
    kind: ResourceType,
    names: BTreeSet<String>,
    /// Whether all resources are asked for.
    is_wildcard: bool,
    /// Resources as last made, with their names, in the order to send.
    resources: Vec<(String, Made)>,
    /// Version of the whole: changes only with the content.
    version: String,
    pub(super) nonce: String,
    pub(super) acked_version: String,
    pub(super) nack: Option<String>,
    /// Whether a response is due.
    pub(super) due: bool,
    /// Names of all that is due; empty: everything.
    changed: BTreeSet<String>,
}

impl Subscription {
    pub(super) fn new(kind: ResourceType) -> Self {
        Subscription {
            kind,
            names: BTreeSet::new(),
            is_wildcard: kind.has_wildcard(),
            resources: Vec::new(),
            version: String::new(),
            nonce: String::new(),
            acked_version: String::new(),
            nack: None,
            due: true,
            changed: BTreeSet::new(),
        }
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Takes the names of a request; returns whether they are others than before.
    pub(super) fn set_names(&mut self, names: &[String]) -> bool {
        let names = names.iter().filter(|name| *name != "*").cloned().collect();
        let changed = self.names != names;
        self.is_wildcard = names.is_empty() && self.kind.has_wildcard();
        self.names = names;
        changed
    }

    /// Takes what an incremental client asks for by now.
    pub(super) fn subscribe(&mut self, names: &BTreeSet<String>, is_wildcard: bool) {
        self.names.clone_from(names);
        self.is_wildcard = is_wildcard;
    }

    /// Resources as last made: names, encodings and versions of their own.
    pub(super) fn resources(&self) -> impl Iterator<Item = (&str, &prost_types::Any, String)> {
        self.resources
            .iter()
            .map(|(name, made)| (name.as_str(), &made.any, format!("{:016x}", made.hash)))
    }

    /// Makes the resources anew; returns whether anything is different.
    pub(super) fn update(&mut self, translator: &Translator) -> bool {
        self.changed.clear();
        let before = std::mem::take(&mut self.resources);
        let mut collected = Collected {
            resources: Vec::with_capacity(before.len()),
            before: before.into_iter().collect(),
        };
        self.make(translator, &mut collected);
        self.resources = collected.resources;
        self.set_version()
    }

    /// Makes the endpoints of some hosts' clusters anew. Only what is different is due: a response of this type says
    /// nothing of clusters that are not in it.
    pub(super) fn update_endpoints(&mut self, translator: &Translator, hosts: &BTreeSet<String>) {
        let is_all_due = self.due && self.changed.is_empty();
        let affected = self.resources.iter_mut().filter(|(name, _)| {
            let host = name.rsplit('|').next();
            host.is_some_and(|host| hosts.contains(host))
        });
        for (name, made) in affected {
            let Some(endpoints) = translator.endpoints(name) else {
                continue;
            };
            let encoded = endpoints.encode_to_vec();
            if !made.says(&endpoints, &encoded) {
                *made = Made::new::<ClusterLoadAssignment>(encoded);
                self.changed.insert(name.clone());
            }
        }
        if is_all_due {
            self.changed.clear();
        } else {
            self.due = !self.changed.is_empty();
        }
        self.set_version();
    }

    /// Whether it is another one.
    fn set_version(&mut self) -> bool {
        let mut hasher = FxHasher::default();
        for (name, made) in &self.resources {
            name.hash(&mut hasher);
            made.hash.hash(&mut hasher);
        }
        let version = format!("{:016x}", hasher.finish());
        let changed = version != self.version;
        self.version = version;
        changed
    }

    fn make(&self, translator: &Translator, to: &mut Collected) {
        let wanted = |name: &str| self.is_wildcard || self.names.contains(name);
        match self.kind {
            ResourceType::Cluster => {
                for cluster in translator.clusters() {
                    if wanted(&cluster.name) {
                        to.add(&cluster.name, &cluster);
                    }
                }
            }
            ResourceType::Listener => {
                for listener in translator.listeners() {
                    if wanted(&listener.name) {
                        to.add(&listener.name, &listener);
                    }
                }
            }
            ResourceType::Endpoint => {
                for name in &self.names {
                    if let Some(endpoints) = translator.endpoints(name) {
                        to.add(name, &endpoints);
                    }
                }
            }
            ResourceType::Route => {
                for name in &self.names {
                    to.add(name, &translator.route(name));
                }
            }
        }
    }

    /// What is due.
    pub(super) fn take_encoded(&mut self) -> Vec<prost_types::Any> {
        let changed = std::mem::take(&mut self.changed);
        let is_due = |name: &String| changed.is_empty() || changed.contains(name);
        let due = self.resources.iter().filter(|(name, _)| is_due(name));
        due.map(|(_, made)| made.any.clone()).collect()
    }
}
