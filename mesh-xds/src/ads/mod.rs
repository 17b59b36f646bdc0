//! The aggregated discovery stream, state of the world, as a machine without I/O and without a clock.
//!
//! The owner opens streams, moves messages and time, and judges responses; the machine knows versions, nonces,
//! subscriptions, time-outs and back-off. Sources: Envoy's `xds_protocol.rst`, gRFC A57 (stream failures, absence
//! after 15 s), gRFC A88.
//!
//! ```text
//! poll_event() = Connect → dial → handle_open / handle_close
//! poll_transmit() → message out     handle_response ← message in     handle_timeout ← poll_timeout()
//! ```

mod backoff;
mod subscription;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod random_operations;

pub use backoff::BackOff;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use mesh_core::Entropy;
use mesh_proto::{
    envoy::{config::core::v3::Node, service::discovery::v3::DiscoveryRequest},
    google::rpc::Status,
};

use self::subscription::{Presence, Subscription};
use crate::ResourceKind;

/// `google.rpc.Code.INVALID_ARGUMENT`, the code of every NACK.
const INVALID_ARGUMENT: i32 = 3;

/// How the machine behaves.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AdsOptions {
    /// Waits between attempts to open a stream.
    pub back_off: BackOff,
    /// After this time on an open stream, a resource that did not come counts as absent; default 15 s (gRFC A57).
    pub absent_after: Duration,
}

impl Default for AdsOptions {
    fn default() -> Self {
        Self {
            back_off: BackOff::default(),
            absent_after: Duration::from_secs(15),
        }
    }
}

/// What the owner has to do or to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdsEvent {
    /// Open a stream now, then call [`Ads::handle_open`] or [`Ads::handle_close`].
    Connect,
    /// A stream or an attempt ended without any response; the next one starts after the wait.
    Failed {
        /// Until the next attempt.
        retry_after: Duration,
    },
    /// A resource does not exist: it did not come in time, or a full response left it out. Without a name: nothing
    /// of the whole type came in time.
    Absent {
        /// Its type.
        kind: ResourceKind,
        /// Its name.
        name: Option<Arc<str>>,
    },
}

/// A response and the owner's judgement of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judged<'a> {
    /// `version_info`.
    pub version: &'a str,
    /// `nonce`.
    pub nonce: &'a str,
    /// The names of all resources in it, valid or not.
    pub seen: &'a [Arc<str>],
    /// A resource had no readable name: what is missing may be that one, so nothing is proved absent.
    pub unnamed: bool,
    /// Why the response is refused; None: accepted.
    pub rejection: Option<&'a str>,
}

/// The machine.
#[derive(Debug)]
pub struct Ads {
    node: Node,
    options: AdsOptions,
    connection: Connection,
    /// Attempts since the last response.
    attempt: u32,
    subscriptions: [Subscription; ResourceKind::COUNT],
    events: VecDeque<AdsEvent>,
}

#[derive(Debug, PartialEq, Eq)]
enum Connection {
    /// The next attempt starts then.
    Waiting(Instant),
    /// [`AdsEvent::Connect`] was given.
    Connecting,
    Open {
        since: Instant,
        node_sent: bool,
        had_response: bool,
    },
}

impl Ads {
    /// A machine that wants to connect at once and subscribes to nothing.
    pub fn new(node: Node, options: AdsOptions) -> Self {
        Self {
            node,
            options,
            connection: Connection::Connecting,
            attempt: 0,
            subscriptions: Default::default(),
            events: VecDeque::from([AdsEvent::Connect]),
        }
    }

    /// Wants all resources of a type (LDS and CDS).
    pub fn subscribe_all(&mut self, now: Instant, kind: ResourceKind) {
        let presence = self.initial_presence(now);
        let open = self.is_open();
        let subscription = self.subscription(kind);
        if subscription.wildcard.is_none() {
            subscription.wildcard = Some(presence);
            subscription.due = open;
        }
    }

    /// Wants exactly these names of a type from now on; what is not among them any more is unsubscribed and
    /// forgotten. No effect on a type that is wanted as a whole.
    pub fn subscribe(&mut self, now: Instant, kind: ResourceKind, names: &BTreeSet<Arc<str>>) {
        let presence = self.initial_presence(now);
        let open = self.is_open();
        let subscription = self.subscription(kind);
        if subscription.wildcard.is_none() && subscription.replace_names(names, presence) {
            subscription.due = open;
        }
    }

    /// A stream was opened.
    pub fn handle_open(&mut self, now: Instant) {
        let deadline = now + self.options.absent_after;
        self.connection = Connection::Open {
            since: now,
            node_sent: false,
            had_response: false,
        };
        for subscription in &mut self.subscriptions {
            subscription.open(deadline);
        }
    }

    /// The stream ended, or could not be opened. After a response the next attempt follows at once, unless the stream
    /// was so short that this would spin; otherwise after a back-off.
    pub fn handle_close(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        let (had_response, lived) = match self.connection {
            Connection::Open {
                since,
                had_response,
                ..
            } => (had_response, now.saturating_duration_since(since)),
            Connection::Connecting => (false, Duration::ZERO),
            Connection::Waiting(_) => return,
        };
        for subscription in &mut self.subscriptions {
            subscription.close();
        }
        let wait = if had_response && lived >= self.options.back_off.base {
            Duration::ZERO
        } else {
            let wait = self.options.back_off.wait(self.attempt, entropy);
            self.attempt = self.attempt.saturating_add(1);
            wait
        };
        if !had_response {
            self.events
                .push_back(AdsEvent::Failed { retry_after: wait });
        }
        self.connection = Connection::Waiting(now + wait);
    }

    /// A response of a type came and was judged. Ignored without an open stream, or if the type was never asked for on
    /// it.
    pub fn handle_response(&mut self, kind: ResourceKind, judged: &Judged<'_>) {
        let Connection::Open { had_response, .. } = &mut self.connection else {
            return;
        };
        let subscription = &mut self.subscriptions[kind as usize];
        if !subscription.requested {
            return;
        }
        *had_response = true;
        self.attempt = 0;
        subscription.nonce = judged.nonce.to_owned();
        subscription.due = true;
        subscription.rejection = judged.rejection.map(str::to_owned);
        if judged.rejection.is_none() {
            subscription.version = judged.version.to_owned();
        }
        if let Some(presence) = &mut subscription.wildcard {
            *presence = Presence::Received;
        }
        for name in judged.seen {
            if subscription.wildcard.is_some() || subscription.names.contains_key(name) {
                subscription
                    .names
                    .insert(Arc::clone(name), Presence::Received);
            }
        }
        if kind.full_state() && !judged.unnamed {
            Self::remove_unseen(kind, subscription, judged.seen, &mut self.events);
        }
    }

    fn remove_unseen(
        kind: ResourceKind,
        subscription: &mut Subscription,
        seen: &[Arc<str>],
        events: &mut VecDeque<AdsEvent>,
    ) {
        let seen: BTreeSet<&Arc<str>> = seen.iter().collect();
        for (name, presence) in &mut subscription.names {
            // A name that was only just asked for may be missing because the response is older than the request.
            if *presence == Presence::Received && !seen.contains(name) {
                *presence = Presence::Absent;
                events.push_back(AdsEvent::Absent {
                    kind,
                    name: Some(Arc::clone(name)),
                });
            }
        }
        if subscription.wildcard.is_some() {
            subscription
                .names
                .retain(|_, presence| *presence == Presence::Received);
        }
    }

    /// Time passed: starts an attempt that is due, and declares absent what did not come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Connection::Waiting(at) = self.connection
            && at <= now
        {
            self.connection = Connection::Connecting;
            self.events.push_back(AdsEvent::Connect);
        }
        for kind in ResourceKind::ALL {
            let subscription = &mut self.subscriptions[kind as usize];
            let expired =
                |presence: &Presence| matches!(presence, Presence::Asked(at) if *at <= now);
            if let Some(presence) = subscription.wildcard.as_mut().filter(|p| expired(p)) {
                *presence = Presence::Absent;
                self.events.push_back(AdsEvent::Absent { kind, name: None });
            }
            for (name, presence) in &mut subscription.names {
                if expired(presence) {
                    *presence = Presence::Absent;
                    self.events.push_back(AdsEvent::Absent {
                        kind,
                        name: Some(Arc::clone(name)),
                    });
                }
            }
        }
    }

    /// The next message to send on the open stream: at most one per type until something happens.
    pub fn poll_transmit(&mut self) -> Option<DiscoveryRequest> {
        let Connection::Open { node_sent, .. } = &mut self.connection else {
            return None;
        };
        let kind = ResourceKind::ALL
            .into_iter()
            .find(|kind| self.subscriptions[*kind as usize].due)?;
        let subscription = &mut self.subscriptions[kind as usize];
        subscription.due = false;
        subscription.requested = true;
        let node = (!*node_sent).then(|| self.node.clone());
        *node_sent = true;
        Some(DiscoveryRequest {
            version_info: subscription.version.clone(),
            node,
            resource_names: subscription.take_names(),
            type_url: kind.type_url().to_owned(),
            response_nonce: subscription.nonce.clone(),
            error_detail: subscription.rejection.take().map(|message| Status {
                code: INVALID_ARGUMENT,
                message,
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    /// Whether [`Ads::poll_transmit`] has a message.
    pub fn wants_transmit(&self) -> bool {
        self.is_open()
            && self
                .subscriptions
                .iter()
                .any(|subscription| subscription.due)
    }

    /// When [`Ads::handle_timeout`] has to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let retry = match self.connection {
            Connection::Waiting(at) => Some(at),
            Connection::Connecting | Connection::Open { .. } => None,
        };
        self.subscriptions
            .iter()
            .filter_map(Subscription::deadline)
            .chain(retry)
            .min()
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<AdsEvent> {
        self.events.pop_front()
    }

    /// Whether a stream is open.
    pub fn is_open(&self) -> bool {
        matches!(self.connection, Connection::Open { .. })
    }

    /// The version that was accepted last; empty: none.
    pub fn version(&self, kind: ResourceKind) -> &str {
        &self.subscriptions[kind as usize].version
    }

    /// Whether the type as a whole has been answered, or counts as absent.
    pub fn is_settled(&self, kind: ResourceKind) -> bool {
        let settled = |p: &Presence| matches!(p, Presence::Received | Presence::Absent);
        let subscription = &self.subscriptions[kind as usize];
        match &subscription.wildcard {
            Some(presence) => settled(presence),
            None => subscription.names.values().all(settled),
        }
    }

    fn subscription(&mut self, kind: ResourceKind) -> &mut Subscription {
        &mut self.subscriptions[kind as usize]
    }

    fn initial_presence(&self, now: Instant) -> Presence {
        if self.is_open() {
            Presence::Asked(now + self.options.absent_after)
        } else {
            Presence::Wanted
        }
    }
}
