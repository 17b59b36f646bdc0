//! One subscription to a control plane: the ADS machine, the store and the graph, joined; no I/O, no clock.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use mesh_core::{Entropy, model::SecretName, snapshot::ConfigSet};
use mesh_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};

use crate::{
    Resource, ResourceKind,
    ads::{Ads, AdsEvent, AdsOptions, Judged},
    assemble::{Fixed, Lingering, assemble},
    bootstrap::Bootstrap,
    decode::Decoded,
    graph::References,
    nack,
    secrets::Secrets,
    store::ResourceStore,
};

/// What the owner of a [`Subscriber`] has to do, in order.
#[derive(Debug)]
#[non_exhaustive]
pub enum Action {
    /// Open a stream, then call [`Subscriber::handle_open`] or [`Subscriber::handle_close`].
    Connect,
    /// A stream or an attempt ended without any response; [`Action::Connect`] follows after the wait.
    Failed {
        /// Until then.
        retry_after: Duration,
    },
    /// A complete configuration.
    Publish(Box<ConfigSet>, UpdateInfo),
    /// Get exactly these secrets, and bring each version to [`Subscriber::handle_secret`]: transport sockets name them,
    /// and they do not come with the aggregated stream.
    Fetch(BTreeSet<SecretName>),
    /// Something to tell people, once: what was refused, what is ignored, what does not exist.
    Report(Finding),
}

/// About a published configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpdateInfo {
    /// The first complete configuration.
    pub first: bool,
    /// Counts published configurations, from 1.
    pub number: u64,
}

/// Something about a resource that its author should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The resource's type.
    pub kind: ResourceKind,
    /// Its name.
    pub name: Arc<str>,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, with field paths.
    pub message: String,
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The resource was refused; its last good version stays in force.
    Refused,
    /// A part of it has no effect.
    Ignored,
    /// It is referred to, and does not exist.
    Absent,
}

/// The machine.
#[derive(Debug)]
pub struct Subscriber {
    ads: Ads,
    store: ResourceStore,
    secrets: Secrets,
    fixed: Fixed,
    lingering: Lingering,
    references: References,
    /// Listeners that callers asked for by name, where not all are wanted.
    listeners: BTreeSet<Arc<str>>,
    all_listeners: bool,
    all_clusters: bool,
    /// There is a control plane; without one nothing is waited for.
    has_target: bool,
    /// Something changed since the last publication.
    dirty: bool,
    published: u64,
    actions: VecDeque<Action>,
}

impl Subscriber {
    /// A subscriber for the control plane of a bootstrap. Without one it publishes the static resources, once.
    pub fn new(bootstrap: &Bootstrap, now: Instant) -> Self {
        let mut options = AdsOptions::default();
        let target = bootstrap.ads();
        if let Some(target) = target {
            options.back_off = target.back_off;
        }
        let fixed = bootstrap.fixed();
        let mut subscriber = Self {
            ads: Ads::new(bootstrap.node().clone(), options),
            store: ResourceStore::default(),
            secrets: Secrets::default(),
            fixed,
            lingering: Lingering::default(),
            references: References::default(),
            listeners: BTreeSet::new(),
            all_listeners: target.is_some_and(|target| target.all_listeners),
            all_clusters: target.is_some_and(|target| target.all_clusters),
            has_target: target.is_some(),
            dirty: true,
            published: 0,
            actions: VecDeque::new(),
        };
        if subscriber.all_clusters {
            subscriber.ads.subscribe_all(now, ResourceKind::Cluster);
        }
        if subscriber.all_listeners {
            subscriber.ads.subscribe_all(now, ResourceKind::Listener);
        }
        if target.is_none() {
            // nothing will ever be asked for
            while subscriber.ads.poll_event().is_some() {}
        }
        subscriber.settle(now);
        subscriber
    }

    /// Wants these listeners too, where the node subscribes by name (gRPC's resources). No effect otherwise.
    pub fn require_listeners(&mut self, now: Instant, names: impl IntoIterator<Item = Arc<str>>) {
        let before = self.listeners.len();
        self.listeners.extend(names);
        if self.listeners.len() != before {
            self.dirty = true;
            self.settle(now);
        }
    }

    /// A stream was opened.
    pub fn handle_open(&mut self, now: Instant) {
        self.ads.handle_open(now);
        self.settle(now);
    }

    /// The stream ended, or could not be opened.
    pub fn handle_close(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        self.ads.handle_close(now, entropy);
        self.settle(now);
    }

    /// A response came. `wall` is the time that dumps show. Types that are not subscribed to are ignored.
    pub fn handle_response(
        &mut self,
        now: Instant,
        wall: SystemTime,
        response: &DiscoveryResponse,
    ) {
        let Some(kind) = ResourceKind::from_type_url(&response.type_url) else {
            return;
        };
        if !self.ads.is_open() {
            return;
        }
        let received = self
            .store
            .receive(kind, &response.version_info, &response.resources, wall);
        self.report(kind, &received.accepted, &received.refused);
        let rejection = nack::text(received.refused);
        self.ads.handle_response(
            kind,
            &Judged {
                version: &response.version_info,
                nonce: &response.nonce,
                seen: &received.seen,
                unnamed: received.unnamed,
                rejection: rejection.as_deref(),
            },
        );
        self.dirty |= received.changed;
        self.settle(now);
    }

    /// A version of a secret of [`Action::Fetch`] came, good or not: a refused one leaves the one before in force.
    /// Ignored if it is not wanted any more.
    pub fn handle_secret(
        &mut self,
        now: Instant,
        wall: SystemTime,
        name: &SecretName,
        version: &str,
        decoded: Decoded,
    ) {
        let refused = decoded.resource.as_ref().err().map(ToString::to_string);
        let warnings = decoded.warnings.clone();
        self.dirty |= self.secrets.receive(name, version, decoded, wall);
        let refused = refused.map(|error| (Severity::Refused, error));
        let warnings = warnings.into_iter().map(|w| (Severity::Ignored, w));
        for (severity, message) in refused.into_iter().chain(warnings) {
            let name = Arc::clone(&name.name);
            self.found(ResourceKind::Secret, name, severity, message);
        }
        self.settle(now);
    }

    /// A secret of [`Action::Fetch`] cannot be had for now: what waits for it goes on without it.
    pub fn handle_no_secret(&mut self, now: Instant, name: &SecretName, reason: &str) {
        let text = reason.to_owned();
        let of = Arc::clone(&name.name);
        self.found(ResourceKind::Secret, of, Severity::Absent, text);
        self.dirty |= self.secrets.give_up(name);
        self.settle(now);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.ads.handle_timeout(now);
        for name in self.secrets.expire(now) {
            self.dirty = true;
            let message = "did not come in time".to_owned();
            self.found(ResourceKind::Secret, name, Severity::Absent, message);
        }
        self.settle(now);
    }

    /// The next request to send on the open stream.
    pub fn poll_transmit(&mut self) -> Option<DiscoveryRequest> {
        self.ads.poll_transmit()
    }

    /// Whether [`Self::poll_transmit`] has a request: lets an owner wait for room before taking it, so that requests
    /// coalesce under back-pressure.
    pub fn wants_transmit(&self) -> bool {
        self.ads.wants_transmit()
    }

    /// When [`Self::handle_timeout`] has to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ads
            .poll_timeout()
            .into_iter()
            .chain(self.lingering.deadline())
            .chain(self.secrets.deadline())
            .min()
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What is in the way of the first or next configuration: a type (without a name) or a resource that has not come.
    pub fn waiting_for(&self) -> Option<(ResourceKind, Option<Arc<str>>)> {
        let secret = || {
            let name = self.secrets.missing()?;
            Some((ResourceKind::Secret, Some(Arc::clone(&name.name))))
        };
        if !self.has_target {
            return secret();
        }
        let unsettled = [ResourceKind::Cluster, ResourceKind::Listener]
            .into_iter()
            .find(|kind| !self.ads.is_settled(*kind));
        match unsettled {
            Some(kind) => Some((kind, None)),
            None => self
                .references
                .missing(&self.store)
                .map(|(kind, name)| (kind, Some(Arc::clone(name))))
                .or_else(secret),
        }
    }

    /// The machine's version of a type: that of the last response accepted as a whole.
    pub fn version(&self, kind: ResourceKind) -> &str {
        self.store.version(kind)
    }

    pub(crate) fn store(&self) -> &ResourceStore {
        &self.store
    }

    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Brings everything in line after any change: removals, subscriptions, and a publication if it is complete.
    fn settle(&mut self, now: Instant) {
        self.take_events(now);
        self.subscribe(now);
        self.dirty |= self.lingering.expire(now, &self.references.clusters);
        if self.dirty && self.waiting_for().is_none() {
            self.dirty = false;
            self.published += 1;
            let config = assemble(&self.fixed, &self.store, &self.secrets, &self.lingering);
            let info = UpdateInfo {
                first: self.published == 1,
                number: self.published,
            };
            self.actions
                .push_back(Action::Publish(Box::new(config), info));
        }
    }

    fn take_events(&mut self, now: Instant) {
        while let Some(event) = self.ads.poll_event() {
            match event {
                AdsEvent::Connect => self.actions.push_back(Action::Connect),
                AdsEvent::Failed { retry_after } => {
                    self.actions.push_back(Action::Failed { retry_after })
                }
                AdsEvent::Absent {
                    kind,
                    name: Some(name),
                } => self.remove(now, kind, &name),
                AdsEvent::Absent { kind, name: None } => {
                    self.dirty = true;
                    self.found(
                        kind,
                        "*".into(),
                        Severity::Absent,
                        "nothing came in time".to_owned(),
                    );
                }
            }
        }
    }

    fn remove(&mut self, now: Instant, kind: ResourceKind, name: &Arc<str>) {
        self.dirty = true;
        match self.store.remove(kind, name) {
            Some(Resource::Cluster(cluster)) => self.lingering.add(now, cluster, &self.store),
            Some(_) => {}
            None => self.found(
                kind,
                Arc::clone(name),
                Severity::Absent,
                "does not exist".to_owned(),
            ),
        }
        if self.by_name(kind) {
            return;
        }
        self.store.forget_absent(kind);
    }

    fn by_name(&self, kind: ResourceKind) -> bool {
        match kind {
            ResourceKind::Cluster => !self.all_clusters,
            ResourceKind::Listener => !self.all_listeners,
            ResourceKind::Endpoints | ResourceKind::Route | ResourceKind::Secret => true,
        }
    }

    /// Subscribes to what is referred to, until nothing new is found, and forgets what no longer is.
    fn subscribe(&mut self, now: Instant) {
        while self.dirty {
            let references =
                References::of(&self.store, &self.fixed.listeners, &self.fixed.clusters);
            let by_name = [
                (ResourceKind::Endpoints, &references.endpoints),
                (ResourceKind::Route, &references.routes),
                (ResourceKind::Cluster, &references.clusters),
                (ResourceKind::Listener, &self.listeners),
                (ResourceKind::Secret, &references.secrets),
            ];
            for (kind, names) in by_name {
                if self.by_name(kind) {
                    self.ads.subscribe(now, kind, names);
                    self.store.retain(kind, names);
                }
            }
            let first = self.published == 0;
            if self.secrets.want(now, &references.foreign_secrets, first) {
                let names = self.secrets.names();
                self.actions.push_back(Action::Fetch(names));
            }
            let stable = references == self.references;
            self.references = references;
            if stable {
                return;
            }
        }
    }

    fn report(&mut self, kind: ResourceKind, accepted: &[Arc<str>], refused: &[(String, String)]) {
        for (name, error) in refused {
            self.found(kind, name.as_str().into(), Severity::Refused, error.clone());
        }
        for name in accepted {
            let warnings = self
                .store
                .entry(kind, name)
                .map(|entry| entry.warnings.clone());
            for warning in warnings.into_iter().flatten() {
                self.found(kind, Arc::clone(name), Severity::Ignored, warning);
            }
        }
    }

    fn found(&mut self, kind: ResourceKind, name: Arc<str>, severity: Severity, message: String) {
        self.actions.push_back(Action::Report(Finding {
            kind,
            name,
            severity,
            message,
        }));
    }
}

#[cfg(test)]
mod random_orders;
#[cfg(test)]
mod tests;
