use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_proto::envoy::config::core::v3::ControlPlane as Identifier;
use mesh_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};

use super::client::{Affected, Client, Refused};
use super::status::TypeStatus;
use super::stream::Conversation;
use super::subscription::{ResourceType, Subscription};
use crate::config::Config;
use crate::translate::{Node, Translator};

/// The conversation of [`DeltaResponses`](super::DeltaResponses): what is sent is the difference to what the client has.
#[derive(Debug)]
pub(super) struct DeltaSession {
    client: Client,
    types: BTreeMap<ResourceType, Incremental>,
    nonces: u64,
}

/// A type that the client subscribed to.
#[derive(Debug)]
struct Incremental {
    made: Subscription,
    /// Asked for by name.
    names: BTreeSet<String>,
    is_wildcard: bool,
    /// Versions that the client has, by name; `None`: it knows that there is no such resource.
    known: BTreeMap<String, Option<String>>,
    /// Whether there may be a difference.
    due: bool,
    /// Whether an answer is owed even if there is none.
    owed: bool,
    nonce: String,
    acked_nonce: String,
    nack: Option<String>,
}

impl Conversation for DeltaSession {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn new(config: Arc<Config>) -> Self {
        DeltaSession {
            client: Client::new(config),
            types: BTreeMap::new(),
            nonces: 0,
        }
    }

    fn node(&self) -> Option<&Node> {
        self.client.node()
    }

    fn handle_request(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), Refused> {
        let (node, translator) = self.client.of_request(request.node.as_ref())?;
        let Some(kind) = ResourceType::of_url(&request.type_url) else {
            // types that we have nothing of (secrets, extensions) stay unanswered, as from istiod
            tracing::debug!(type_url = %request.type_url, "subscription to a type that is not served");
            return Ok(());
        };
        if let Some(known) = self.types.get_mut(&kind) {
            known.acknowledge(node, request);
            if known.change_names(request) {
                known.make(translator);
            }
            return Ok(());
        }
        let mut new = Incremental::new(kind, request);
        new.make(translator);
        self.types.insert(kind, new);
        // clusters wait for endpoints, also for those that the client says to have
        if kind == ResourceType::Cluster
            && let Some(endpoints) = self.types.get_mut(&ResourceType::Endpoint)
        {
            endpoints.known.clear();
            endpoints.due = true;
        }
        Ok(())
    }

    fn handle_config(&mut self, config: Arc<Config>) {
        let Some((translator, affected)) = self.client.reconfigure(config) else {
            return;
        };
        match affected {
            Affected::EndpointsOf(hosts) => {
                if let Some(endpoints) = self.types.get_mut(&ResourceType::Endpoint) {
                    endpoints.made.update_endpoints(translator, &hosts);
                    endpoints.due = true;
                }
            }
            Affected::Routes => {
                if let Some(routes) = self.types.get_mut(&ResourceType::Route) {
                    routes.make(translator);
                }
            }
            Affected::Everything => {
                for one in self.types.values_mut() {
                    one.make(translator);
                }
            }
        }
    }

    fn poll_response(&mut self) -> Option<DeltaDiscoveryResponse> {
        for kind in ResourceType::ALL {
            let Some(one) = self.types.get_mut(&kind).filter(|one| one.due) else {
                continue;
            };
            one.due = false;
            let (resources, removed_resources) = one.difference();
            if resources.is_empty() && removed_resources.is_empty() && !one.owed {
                continue;
            }
            one.owed = false;
            self.nonces += 1;
            one.nonce = format!("{:x}", self.nonces);
            let response = DeltaDiscoveryResponse {
                system_version_info: one.made.version().to_owned(),
                type_url: kind.url(),
                nonce: one.nonce.clone(),
                resources,
                removed_resources,
                control_plane: Some(Identifier {
                    identifier: "mesh-control".to_owned(),
                }),
                ..Default::default()
            };
            if kind == ResourceType::Cluster
                && let Some(endpoints) = self.types.get_mut(&ResourceType::Endpoint)
            {
                // a changed cluster waits for its endpoints, even for unchanged ones
                let sent = response.resources.iter().map(|resource| &resource.name);
                endpoints.forget(sent);
            }
            return Some(response);
        }
        None
    }

    fn type_statuses(&self) -> Vec<TypeStatus> {
        let status = |(kind, one): (&ResourceType, &Incremental)| TypeStatus {
            type_url: kind.url(),
            sent_version: one.nonce.clone(),
            acked_version: one.acked_nonce.clone(),
            nack: one.nack.clone(),
        };
        self.types.iter().map(status).collect()
    }
}

impl Incremental {
    /// Of the first request of a type, which may say what the client has from an earlier stream.
    fn new(kind: ResourceType, request: &DeltaDiscoveryRequest) -> Self {
        let has = request.initial_resource_versions.iter();
        let subscribed = &request.resource_names_subscribe;
        let mut new = Incremental {
            made: Subscription::new(kind),
            names: BTreeSet::new(),
            is_wildcard: kind.has_wildcard() && subscribed.is_empty(),
            known: BTreeMap::new(),
            due: true,
            owed: true,
            nonce: String::new(),
            acked_nonce: String::new(),
            nack: None,
        };
        new.change_names(request);
        new.known = has
            .map(|(name, version)| (name.clone(), Some(version.clone())))
            .collect();
        new
    }

    fn acknowledge(&mut self, node: &Node, request: &DeltaDiscoveryRequest) {
        // an answer to what has been replaced since; the answer to the newest one is still to come
        if request.response_nonce.is_empty() || request.response_nonce != self.nonce {
            return;
        }
        match &request.error_detail {
            Some(error) => {
                tracing::warn!(
                    node = %node.id, r#type = %request.type_url, nonce = %self.nonce,
                    "client refused: {}", error.message
                );
                self.nack = Some(error.message.clone());
            }
            None => {
                self.acked_nonce.clone_from(&request.response_nonce);
                self.nack = None;
            }
        }
    }

    /// Whether anything is asked for that was not before, or anew.
    fn change_names(&mut self, request: &DeltaDiscoveryRequest) -> bool {
        for name in &request.resource_names_unsubscribe {
            match name.as_str() {
                "*" => self.is_wildcard = false,
                name => {
                    self.names.remove(name);
                    if !self.is_wildcard {
                        self.known.remove(name);
                    }
                }
            }
        }
        for name in &request.resource_names_subscribe {
            match name.as_str() {
                "*" => self.is_wildcard = true,
                name => {
                    self.names.insert(name.to_owned());
                    // who asks again has lost it
                    self.known.remove(name);
                }
            }
        }
        !request.resource_names_subscribe.is_empty()
            || !request.resource_names_unsubscribe.is_empty()
    }

    fn make(&mut self, translator: &Translator) {
        self.made.subscribe(&self.names, self.is_wildcard);
        self.made.update(translator);
        self.due = true;
    }

    /// What the client lacks, and what it has too much of; it has neither any more afterwards.
    fn difference(&mut self) -> (Vec<Resource>, Vec<String>) {
        let mut present = BTreeSet::new();
        let mut resources = Vec::new();
        for (name, any, version) in self.made.resources() {
            present.insert(name);
            if self.known.get(name).and_then(Option::as_ref) == Some(&version) {
                continue;
            }
            resources.push(Resource {
                name: name.to_owned(),
                version,
                resource: Some(any.clone()),
                ..Default::default()
            });
        }
        let gone = self.known.iter().filter(|(_, version)| version.is_some());
        let gone = gone.map(|(name, _)| name);
        let missing = self
            .names
            .iter()
            .filter(|name| !self.known.contains_key(*name));
        let removed: BTreeSet<String> = gone
            .chain(missing)
            .filter(|name| !present.contains(name.as_str()))
            .cloned()
            .collect();
        for resource in &resources {
            self.known
                .insert(resource.name.clone(), Some(resource.version.clone()));
        }
        for name in &removed {
            match self.names.contains(name) {
                true => self.known.insert(name.clone(), None),
                false => self.known.remove(name),
            };
        }
        (resources, removed.into_iter().collect())
    }

    /// What is sent again though it has not changed.
    fn forget<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        for name in names {
            if let Some(Some(_)) = self.known.remove(name) {
                self.due = true;
            }
        }
    }
}
