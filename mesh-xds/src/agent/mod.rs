//! The task of a subscription: moves messages and time between a [`Subscriber`] and a [`Transport`]. Secrets that others
//! have are brought by tasks of their own.

mod file;
mod secrets;
mod stream;

pub use secrets::SecretSupply;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use mesh_core::snapshot::ConfigSet;
use tokio::sync::Notify;

use self::{
    secrets::Fetchers,
    stream::{Open, SplitMix, Turn, now, wait},
};

use crate::{
    bootstrap::Bootstrap,
    subscriber::{Action, Finding, Severity, Subscriber, UpdateInfo},
    transport::{Requests, Transport},
};

/// What publishes configurations: called on the agent's task, with each complete one.
pub trait Publish: Send {
    /// Takes the next configuration.
    fn publish(&mut self, config: ConfigSet, info: UpdateInfo);
}

impl<F: FnMut(ConfigSet, UpdateInfo) + Send> Publish for F {
    fn publish(&mut self, config: ConfigSet, info: UpdateInfo) {
        self(config, info);
    }
}

/// A subscription that runs. Dropping its future closes the stream.
#[derive(Debug)]
pub struct Agent<T, P> {
    shared: Arc<Shared>,
    transport: T,
    publish: P,
    entropy: SplitMix,
    fetchers: Fetchers,
    /// What was logged already.
    logged: HashSet<String>,
}

/// Asks a running [`Agent`], from any thread.
#[derive(Clone, Debug)]
pub struct AgentHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bootstrap: Bootstrap,
    subscriber: Mutex<Subscriber>,
    changed: Notify,
}

impl Shared {
    fn subscriber(&self) -> MutexGuard<'_, Subscriber> {
        self.subscriber
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl AgentHandle {
    /// Envoy's `/config_dump`: `envoy.admin.v3.ConfigDump` as JSON. Takes the agent's lock for as long as it takes.
    pub fn config_dump(&self, include_eds: bool) -> serde_json::Value {
        crate::dump::config_dump(&self.0.bootstrap, &self.0.subscriber(), include_eds)
    }

    /// What is in the way of the next configuration, for people; None: nothing.
    pub fn waiting_for(&self) -> Option<String> {
        let (kind, name) = self.0.subscriber().waiting_for()?;
        Some(match name {
            Some(name) => format!("{kind} {name}"),
            None => kind.to_string(),
        })
    }

    /// Wants these listeners too, where the node subscribes by name (gRPC's resources).
    pub fn require_listeners(&self, names: impl IntoIterator<Item = Arc<str>>) {
        self.0.subscriber().require_listeners(now(), names);
        self.0.changed.notify_one();
    }

    /// The bootstrap.
    pub fn bootstrap(&self) -> &Bootstrap {
        &self.0.bootstrap
    }
}

impl<T: Transport, P: Publish> Agent<T, P> {
    /// A subscription for a bootstrap, over a transport. Call it inside the runtime that will run it.
    pub fn new(bootstrap: Bootstrap, transport: T, publish: P) -> Self {
        let subscriber = Mutex::new(Subscriber::new(&bootstrap, now()));
        Self {
            shared: Arc::new(Shared {
                bootstrap,
                subscriber,
                changed: Notify::new(),
            }),
            transport,
            publish,
            entropy: SplitMix::seeded(),
            fetchers: Fetchers::default(),
            logged: HashSet::new(),
        }
    }

    /// Takes the secrets of a cluster from this program, instead of asking the cluster for them.
    #[must_use]
    pub fn with_supply(mut self, supply: &SecretSupply) -> Self {
        self.fetchers.supply(supply);
        self
    }

    /// A handle to it.
    pub fn handle(&self) -> AgentHandle {
        AgentHandle(Arc::clone(&self.shared))
    }

    /// Runs until dropped.
    pub async fn run(mut self) {
        let mut open: Option<Open<T::Responses>> = None;
        loop {
            if self.act() {
                open = self.connect().await;
                continue;
            }
            let (deadline, transmit) = {
                let subscriber = self.shared.subscriber();
                (subscriber.poll_timeout(), subscriber.wants_transmit())
            };
            match wait(deadline, transmit, &self.shared.changed, open.as_mut()).await {
                Turn::Room(Some(permit)) => {
                    if let Some(request) = self.shared.subscriber().poll_transmit() {
                        permit.send(request);
                    }
                }
                Turn::Response(Some(Ok(response))) => {
                    self.shared
                        .subscriber()
                        .handle_response(now(), SystemTime::now(), &response);
                }
                Turn::Room(None) | Turn::Response(None) => {
                    open = None;
                    self.close("the control plane closed the stream");
                }
                Turn::Response(Some(Err(error))) => {
                    open = None;
                    self.close(&error.to_string());
                }
                Turn::Timeout => self.shared.subscriber().handle_timeout(now()),
                Turn::Changed => {}
            }
        }
    }

    /// Does what is due; returns whether a stream has to be opened.
    fn act(&mut self) -> bool {
        loop {
            let action = self.shared.subscriber().poll_action();
            match action {
                None => return false,
                Some(Action::Connect) => return true,
                Some(Action::Failed { retry_after }) => {
                    tracing::debug!(?retry_after, "no response from the control plane");
                }
                Some(Action::Publish(config, info)) => self.publish.publish(*config, info),
                Some(Action::Fetch(names)) => self.fetchers.fetch(names, &self.shared),
                Some(Action::Report(finding)) => self.log(&finding),
            }
        }
    }

    async fn connect(&mut self) -> Option<Open<T::Responses>> {
        let (sender, requests) = Requests::channel();
        match self.transport.open(requests).await {
            Ok(responses) => {
                tracing::info!("stream to the control plane opened");
                self.shared.subscriber().handle_open(now());
                Some(Open {
                    requests: sender,
                    responses,
                })
            }
            Err(error) => {
                self.close(&error.to_string());
                None
            }
        }
    }

    fn close(&mut self, reason: &str) {
        tracing::warn!(reason, "no stream to the control plane");
        self.shared
            .subscriber()
            .handle_close(now(), &mut self.entropy);
    }

    /// Once per text.
    fn log(&mut self, finding: &Finding) {
        let Finding {
            kind,
            name,
            message,
            ..
        } = finding;
        if !self.logged.insert(format!("{kind} {name}: {message}")) {
            return;
        }
        match finding.severity {
            Severity::Refused => tracing::error!(%kind, %name, "resource refused: {message}"),
            Severity::Absent => tracing::warn!(%kind, %name, "{message}"),
            Severity::Ignored => tracing::info!(%kind, %name, "{message}"),
        }
    }
}
