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

/// A resource as it was made; equal ones keep their encoding, since the order of protobuf maps is arbitrary.
#[derive(Clone, Debug, PartialEq)]
enum Resource {
    Cluster(Box<Cluster>),
    Endpoint(Box<ClusterLoadAssignment>),
    Listener(Box<Listener>),
    Route(Box<RouteConfiguration>),
}

impl Resource {
    fn name(&self) -> &str {
        match self {
            Resource::Cluster(r) => &r.name,
            Resource::Endpoint(r) => &r.cluster_name,
            Resource::Listener(r) => &r.name,
            Resource::Route(r) => &r.name,
        }
    }

    fn encode(&self) -> prost_types::Any {
        fn any<M: Message + Name>(message: &M) -> prost_types::Any {
            prost_types::Any {
                type_url: M::type_url(),
                value: message.encode_to_vec(),
            }
        }
        match self {
            Resource::Cluster(r) => any(&**r),
            Resource::Endpoint(r) => any(&**r),
            Resource::Listener(r) => any(&**r),
            Resource::Route(r) => any(&**r),
        }
    }
}

/// What a client asked for of one type, and what it has.
#[derive(Debug)]
pub(super) struct Subscription {
    kind: ResourceType,
    names: BTreeSet<String>,
    /// Whether all resources are asked for.
    is_wildcard: bool,
    /// Resources as last made, by name, in the order to send; each with its encoding and content version.
    resources: Vec<(Resource, prost_types::Any, u64)>,
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
            .map(|(resource, any, hash)| (resource.name(), any, format!("{hash:016x}")))
    }

    /// Makes the resources anew; returns whether anything is different.
    pub(super) fn update(&mut self, translator: &Translator) -> bool {
        self.changed.clear();
        let made = self.make(translator);
        let mut before: BTreeMap<String, (Resource, prost_types::Any, u64)> = self
            .resources
            .drain(..)
            .map(|entry| (entry.0.name().to_owned(), entry))
            .collect();
        for resource in made {
            let entry = match before.remove(resource.name()) {
                Some(same) if same.0 == resource => same,
                _ => encoded(resource),
            };
            self.resources.push(entry);
        }
        self.set_version()
    }

    /// Makes the endpoints of some hosts' clusters anew. Only what is different is due: a response of this type says
    /// nothing of clusters that are not in it.
    pub(super) fn update_endpoints(&mut self, translator: &Translator, hosts: &BTreeSet<String>) {
        let is_all_due = self.due && self.changed.is_empty();
        let affected = self.resources.iter_mut().filter(|(resource, ..)| {
            let host = resource.name().rsplit('|').next();
            host.is_some_and(|host| hosts.contains(host))
        });
        for entry in affected {
            let name = entry.0.name().to_owned();
            let Some(made) = translator.endpoints(&name) else {
                continue;
            };
            let made = Resource::Endpoint(Box::new(made));
            if made != entry.0 {
                *entry = encoded(made);
                self.changed.insert(name);
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
        for (resource, _, hash) in &self.resources {
            resource.name().hash(&mut hasher);
            hash.hash(&mut hasher);
        }
        let version = format!("{:016x}", hasher.finish());
        let changed = version != self.version;
        self.version = version;
        changed
    }

    fn make(&self, translator: &Translator) -> Vec<Resource> {
        let wanted = |name: &str| self.is_wildcard || self.names.contains(name);
        match self.kind {
            ResourceType::Cluster => {
                let all = translator
                    .clusters()
                    .into_iter()
                    .filter(|r| wanted(&r.name));
                all.map(|r| Resource::Cluster(Box::new(r))).collect()
            }
            ResourceType::Listener => {
                let all = translator
                    .listeners()
                    .into_iter()
                    .filter(|r| wanted(&r.name));
                all.map(|r| Resource::Listener(Box::new(r))).collect()
            }
            ResourceType::Endpoint => {
                let all = self
                    .names
                    .iter()
                    .filter_map(|name| translator.endpoints(name));
                all.map(|r| Resource::Endpoint(Box::new(r))).collect()
            }
            ResourceType::Route => {
                let all = self.names.iter().map(|name| translator.route(name));
                all.map(|r| Resource::Route(Box::new(r))).collect()
            }
        }
    }

    /// What is due.
    pub(super) fn take_encoded(&mut self) -> Vec<prost_types::Any> {
        let changed = std::mem::take(&mut self.changed);
        let is_due = |resource: &Resource| changed.is_empty() || changed.contains(resource.name());
        let due = self.resources.iter().filter(|(r, ..)| is_due(r));
        due.map(|(_, any, _)| any.clone()).collect()
    }
}

fn encoded(resource: Resource) -> (Resource, prost_types::Any, u64) {
    let any = resource.encode();
    let mut hasher = FxHasher::default();
    any.value.hash(&mut hasher);
    (resource, any, hasher.finish())
}
