//! The one task of a subscription: moves messages and time between a [`Subscriber`] and a [`Transport`].

use std::{
    collections::HashSet,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
};

use futures_core::Stream;
use mesh_core::{Entropy, snapshot::ConfigSet};
use mesh_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use tokio::sync::{Notify, mpsc};

use crate::{
    bootstrap::Bootstrap,
    subscriber::{Action, Finding, Severity, Subscriber, UpdateInfo},
    transport::{Requests, Transport, TransportError},
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

/// An open stream.
struct Open<R> {
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: R,
}

/// What the task waited for.
enum Turn {
    Room(Option<mpsc::OwnedPermit<DiscoveryRequest>>),
    Response(Option<Result<DiscoveryResponse, TransportError>>),
    Timeout,
    Changed,
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
            logged: HashSet::new(),
        }
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
            match wait(&self.shared, open.as_mut()).await {
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

/// Waits for room to send, a response, the next deadline, or a wish from a handle.
async fn wait<R>(shared: &Shared, open: Option<&mut Open<R>>) -> Turn
where
    R: Stream<Item = Result<DiscoveryResponse, TransportError>> + Unpin,
{
    let (deadline, transmit) = {
        let subscriber = shared.subscriber();
        (subscriber.poll_timeout(), subscriber.wants_transmit())
    };
    let (sender, responses) = match open {
        Some(open) => (Some(&open.requests), Some(&mut open.responses)),
        None => (None, None),
    };
    let room = async {
        match sender.filter(|_| transmit) {
            Some(sender) => sender.clone().reserve_owned().await.ok(),
            None => std::future::pending().await,
        }
    };
    let response = async {
        match responses {
            Some(responses) => next(responses).await,
            None => std::future::pending().await,
        }
    };
    let timeout = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    let (room, response, timeout) = (pin!(room), pin!(response), pin!(timeout));
    tokio::select! {
        // Responses first: a server that waits for us to read is read before it is written to.
        biased;
        response = response => Turn::Response(response),
        permit = room => Turn::Room(permit),
        () = timeout => Turn::Timeout,
        () = shared.changed.notified() => Turn::Changed,
    }
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

/// tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// SplitMix64: enough for jitter.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn seeded() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self(RandomState::new().hash_one(std::process::id()))
    }
}

impl Entropy for SplitMix {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
