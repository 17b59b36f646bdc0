//! Which transport socket a connection gets.

use std::sync::Arc;

use super::context::{Secrets, TlsContext};
use crate::{
    cluster::Endpoint,
    model::{ClusterConfig, Criteria, DownstreamTls, UpstreamTls},
};

/// The transport sockets of a cluster, with their secrets.
#[derive(Debug, Default)]
pub struct TransportSockets {
    matches: Box<[(Criteria, UpstreamSocketChoice)]>,
    default: UpstreamSocketChoice,
}

/// How connections to an endpoint are made.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum UpstreamSocketChoice {
    /// In cleartext.
    #[default]
    Plaintext,
    /// With TLS.
    Tls(Arc<TlsContext<UpstreamTls>>),
    /// Not at all: a secret has not come.
    NotReady,
}

/// How a filter chain's connections begin.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum DownstreamSocket {
    /// In cleartext.
    #[default]
    Plaintext,
    /// With a handshake.
    Tls(Arc<TlsContext<DownstreamTls>>),
    /// Not at all: a secret has not come.
    NotReady,
}

impl TransportSockets {
    pub(crate) fn of(config: &ClusterConfig, secrets: &Secrets, before: Option<&Self>) -> Self {
        let choice = |socket: Option<&Arc<UpstreamTls>>, before: Option<&UpstreamSocketChoice>| {
            let Some(socket) = socket else {
                return UpstreamSocketChoice::Plaintext;
            };
            let before = match before {
                Some(UpstreamSocketChoice::Tls(before)) => Some(before),
                _ => None,
            };
            match TlsContext::resolve(socket, secrets, before) {
                Some(context) => UpstreamSocketChoice::Tls(context),
                None => UpstreamSocketChoice::NotReady,
            }
        };
        let matches = config.transport_socket_matches.iter().enumerate();
        Self {
            matches: matches
                .map(|(at, entry)| {
                    let before = before.and_then(|b| b.matches.get(at)).map(|(_, b)| b);
                    let choice = choice(entry.socket.as_ref(), before);
                    (entry.criteria.clone(), choice)
                })
                .collect(),
            default: choice(config.transport_socket.as_ref(), before.map(|b| &b.default)),
        }
    }

    /// Whether both have the same contexts.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.matches.len() == other.matches.len()
            && self.default.is_same(&other.default)
            && self
                .matches
                .iter()
                .zip(&other.matches)
                .all(|((_, a), (_, b))| a.is_same(b))
    }

    /// Whether every connection is made in cleartext.
    #[inline]
    pub fn are_plaintext(&self) -> bool {
        self.matches.is_empty() && matches!(self.default, UpstreamSocketChoice::Plaintext)
    }

    /// The socket for an endpoint, and its place, which names it as long as the cluster's configuration is the same:
    /// the first match that the endpoint's metadata fits, else the cluster's own.
    pub fn choose(&self, endpoint: &Endpoint) -> (u16, &UpstreamSocketChoice) {
        let metadata = &endpoint.config().socket_metadata;
        let fits = |criteria: &Criteria| criteria.iter().all(|wanted| metadata.contains(wanted));
        for (at, (criteria, choice)) in (1..).zip(&self.matches) {
            if fits(criteria) {
                return (at, choice);
            }
        }
        (0, &self.default)
    }
}

impl UpstreamSocketChoice {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tls(a), Self::Tls(b)) => Arc::ptr_eq(a, b),
            (Self::Plaintext, Self::Plaintext) | (Self::NotReady, Self::NotReady) => true,
            _ => false,
        }
    }
}

impl DownstreamSocket {
    /// Whether connections begin in cleartext.
    pub fn is_plaintext(&self) -> bool {
        matches!(self, Self::Plaintext)
    }

    pub(crate) fn of(
        config: Option<&Arc<DownstreamTls>>,
        secrets: &Secrets,
        before: Option<&Self>,
    ) -> Self {
        let Some(config) = config else {
            return Self::Plaintext;
        };
        let before = match before {
            Some(Self::Tls(before)) => Some(before),
            _ => None,
        };
        match TlsContext::resolve(config, secrets, before) {
            Some(context) => Self::Tls(context),
            None => Self::NotReady,
        }
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tls(a), Self::Tls(b)) => Arc::ptr_eq(a, b),
            (Self::Plaintext, Self::Plaintext) | (Self::NotReady, Self::NotReady) => true,
            _ => false,
        }
    }
}
