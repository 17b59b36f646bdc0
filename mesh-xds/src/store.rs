//! Per name: the last version that was accepted, and why the last one was refused.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    sync::Arc,
    time::SystemTime,
};

use prost::Message;
use prost_types::Any;

use crate::{
    Resource, ResourceKind,
    decode::{Decoded, decode_resource, unwrapped},
};

/// All resources of one control plane.
#[derive(Debug, Default)]
pub(crate) struct ResourceStore {
    entries: [BTreeMap<Arc<str>, Entry>; ResourceKind::COUNT],
    versions: [String; ResourceKind::COUNT],
}

/// What is known of one name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// In force.
    pub(crate) good: Option<Good>,
    /// Why the last one received is refused; None: it is in force.
    pub(crate) refused: Option<Refused>,
    /// What in the one in force has no effect.
    pub(crate) warnings: Vec<String>,
    /// It does not exist.
    pub(crate) absent: bool,
    /// Its place in the last response.
    pub(crate) position: usize,
}

/// A resource in force.
#[derive(Clone)]
pub(crate) struct Good {
    pub(crate) resource: Resource,
    pub(crate) raw: Any,
    pub(crate) version: String,
    pub(crate) updated: SystemTime,
}

/// A resource that was refused.
#[derive(Clone)]
pub(crate) struct Refused {
    pub(crate) error: String,
    pub(crate) raw: Any,
    pub(crate) version: String,
    pub(crate) at: SystemTime,
}

/// Without the message, which may hold a private key.
impl fmt::Debug for Good {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Good")
            .field("resource", &self.resource)
            .field("version", &self.version)
            .field("updated", &self.updated)
            .finish_non_exhaustive()
    }
}

/// Without the message, which may hold a private key.
impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("error", &self.error)
            .field("version", &self.version)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// What a response did.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// The names of all resources, valid or not.
    pub(crate) seen: Vec<Arc<str>>,
    /// Those of them that occur more than once.
    repeated: HashSet<Arc<str>>,
    /// A resource had no readable name.
    pub(crate) unnamed: bool,
    /// Names (or places) and errors of what was refused.
    pub(crate) refused: Vec<(String, String)>,
    /// The names of what is in force now and was not before this response.
    pub(crate) accepted: Vec<Arc<str>>,
    /// Whether anything in force, or the absence of anything, changed.
    pub(crate) changed: bool,
}

/// The name of any subscribed resource is field 1.
#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

impl ResourceStore {
    /// Takes a response: each resource is taken or refused by itself. Unchanged ones are not decoded again.
    pub(crate) fn receive(
        &mut self,
        kind: ResourceKind,
        version: &str,
        resources: &[Any],
        at: SystemTime,
    ) -> Received {
        let mut received = Received::default();
        let unwrapped: Vec<Any> = resources.iter().map(unwrapped).collect();
        let repeated = repeated_names(&unwrapped);
        for (position, any) in unwrapped.into_iter().enumerate() {
            let entries = &mut self.entries[kind as usize];
            if let Some(name) = keep_unchanged(entries, &any, version, position, &repeated) {
                received.seen.push(name);
                continue;
            }
            let decoded = decode_resource(&any);
            self.take(
                kind,
                version,
                decoded,
                position,
                at,
                &repeated,
                &mut received,
            );
        }
        if received.refused.is_empty() {
            version.clone_into(&mut self.versions[kind as usize]);
        }
        received
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one caller; the parts of one response"
    )]
    fn take(
        &mut self,
        kind: ResourceKind,
        version: &str,
        decoded: Decoded,
        position: usize,
        at: SystemTime,
        repeated: &HashSet<String>,
        received: &mut Received,
    ) {
        let Some(name) = decoded.name else {
            received.unnamed = true;
            let error = decoded
                .resource
                .err()
                .map(|problems| problems.to_string())
                .unwrap_or_default();
            received
                .refused
                .push((format!("resources[{position}]"), error));
            return;
        };
        let resource = match decoded.resource {
            Ok(_) if repeated.contains(&*name) => Err("occurs twice in the response".to_owned()),
            Ok(resource) if resource.kind() != kind => {
                Err(format!("is not of the response's type {kind}"))
            }
            Ok(resource) => Ok(resource),
            Err(problems) => Err(problems.to_string()),
        };
        let first = !repeated.contains(&*name) || received.repeated.insert(Arc::clone(&name));
        let entry = self.entries[kind as usize]
            .entry(Arc::clone(&name))
            .or_default();
        entry.absent = false;
        entry.position = position;
        match resource {
            Ok(resource) => {
                received.changed = true;
                received.accepted.push(Arc::clone(&name));
                entry.refused = None;
                entry.warnings = decoded.warnings;
                entry.good = Some(Good {
                    resource,
                    raw: decoded.raw,
                    version: version.to_owned(),
                    updated: at,
                });
            }
            Err(error) => {
                // a name that was asked for has been answered, which may complete a configuration
                received.changed |= entry.good.is_none();
                if first {
                    received.refused.push((name.to_string(), error.clone()));
                }
                entry.refused = Some(Refused {
                    error,
                    raw: decoded.raw,
                    version: version.to_owned(),
                    at,
                });
            }
        }
        if first {
            received.seen.push(name);
        }
    }

    /// The resource does not exist (any more). Returns what was in force.
    pub(crate) fn remove(&mut self, kind: ResourceKind, name: &Arc<str>) -> Option<Resource> {
        let entry = self.entries[kind as usize]
            .entry(Arc::clone(name))
            .or_default();
        let good = entry.good.take();
        *entry = Entry {
            absent: true,
            ..Entry::default()
        };
        good.map(|good| good.resource)
    }

    /// Forgets everything of a type but the names given.
    pub(crate) fn retain(&mut self, kind: ResourceKind, names: &BTreeSet<Arc<str>>) {
        self.entries[kind as usize].retain(|name, _| names.contains(name));
    }

    /// Forgets absent names of a type, where nobody asks for them by name.
    pub(crate) fn forget_absent(&mut self, kind: ResourceKind) {
        self.entries[kind as usize].retain(|_, entry| !entry.absent);
    }

    /// All names of a type.
    pub(crate) fn entries(&self, kind: ResourceKind) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        self.entries[kind as usize].iter()
    }

    /// One name.
    pub(crate) fn entry(&self, kind: ResourceKind, name: &str) -> Option<&Entry> {
        self.entries[kind as usize].get(name)
    }

    /// What is in force of a type, by name.
    pub(crate) fn good(&self, kind: ResourceKind) -> impl Iterator<Item = &Resource> {
        self.entries[kind as usize]
            .values()
            .filter_map(|entry| Some(&entry.good.as_ref()?.resource))
    }

    /// What is in force of a type, in the order of the last response.
    pub(crate) fn good_in_order(&self, kind: ResourceKind) -> Vec<&Resource> {
        let mut entries: Vec<_> = self.entries[kind as usize]
            .values()
            .filter(|entry| entry.good.is_some())
            .collect();
        entries.sort_by_key(|entry| entry.position);
        entries
            .into_iter()
            .filter_map(|entry| Some(&entry.good.as_ref()?.resource))
            .collect()
    }

    /// The version of the last response that was accepted as a whole.
    pub(crate) fn version(&self, kind: ResourceKind) -> &str {
        &self.versions[kind as usize]
    }
}

/// Confirms the entry that holds exactly this message already, unless its name is in doubt; returns its name.
fn keep_unchanged(
    entries: &mut BTreeMap<Arc<str>, Entry>,
    any: &Any,
    version: &str,
    position: usize,
    repeated: &HashSet<String>,
) -> Option<Arc<str>> {
    let name = Named::decode(any.value.as_slice()).ok()?.name;
    let entry = entries
        .get_mut(name.as_str())
        .filter(|_| !repeated.contains(&name))?;
    let good = entry.good.as_mut().filter(|good| good.raw == *any)?;
    version.clone_into(&mut good.version);
    entry.refused = None;
    entry.position = position;
    Some(Arc::clone(good.resource.name()))
}

fn repeated_names(resources: &[Any]) -> HashSet<String> {
    let mut seen = HashSet::new();
    let names = resources
        .iter()
        .filter_map(|any| Named::decode(any.value.as_slice()).ok());
    names
        .map(|named| named.name)
        .filter(|name| !seen.insert(name.clone()))
        .collect()
}
