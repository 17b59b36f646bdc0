//! What a server passes on to the calls that its handler makes: deadline, trace, request id, priority.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, request};

use crate::clock::Moment;

/// The caller's own deadline, as a request extension: it starts at `call` and covers everything, every attempt and the
/// response's body included. The earlier of it and the configuration's timeouts wins; what has expired is never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// At this instant.
    pub fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// This long from now; beyond what a clock can hold: in a hundred years.
    pub fn after(wait: Duration) -> Self {
        let now = Moment::now().instant();
        let far = Duration::from_secs(100 * 365 * 24 * 3600);
        Self(now.checked_add(wait).unwrap_or(now + far))
    }

    /// When.
    pub fn instant(self) -> Instant {
        self.0
    }
}

/// What one request brings along for the calls made because of it. Cloning is one reference count.
///
/// The server layer sets it around the application's future; calls through the mesh in the same task read it. A spawned
/// task does not inherit it: carry it with [`Context::current`] and [`Context::scope`].
#[derive(Clone, Debug, Default)]
pub struct Context(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    deadline: Option<Moment>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

tokio::task_local! {
    static CURRENT: Context;
}

/// The headers that are passed on where the call has none of its own: Istio's list for B3 and W3C tracing, and
/// `priority` (RFC 9218).
const PROPAGATED: [HeaderName; 12] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
    HeaderName::from_static("b3"),
    HeaderName::from_static("x-b3-traceid"),
    HeaderName::from_static("x-b3-spanid"),
    HeaderName::from_static("x-b3-parentspanid"),
    HeaderName::from_static("x-b3-sampled"),
    HeaderName::from_static("x-b3-flags"),
    HeaderName::from_static("x-ot-span-context"),
    HeaderName::from_static("priority"),
];

impl Context {
    /// The context of the current task; empty outside of a server's handler.
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_default()
    }

    /// Reads what a request brings along. Its deadline is its extension or, for gRPC, `grpc-timeout`.
    pub(crate) fn of(parts: &request::Parts, now: Moment) -> Self {
        let headers: Vec<_> = parts
            .headers
            .iter()
            .filter(|(name, _)| PROPAGATED.contains(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let deadline = deadline_of(parts, now);
        if headers.is_empty() && deadline.is_none() {
            return Self(None);
        }
        Self(Some(Arc::new(Inner { deadline, headers })))
    }

    /// Runs a future in this context: what it calls through the mesh carries it.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Runs a function in this context.
    pub(crate) fn sync_scope<T>(&self, f: impl FnOnce() -> T) -> T {
        match &self.0 {
            None => f(),
            Some(_) => CURRENT.sync_scope(self.clone(), f),
        }
    }

    /// The deadline, if there is one.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.as_ref()?.deadline.map(Moment::instant)
    }
}

/// Gives a request of the current task what the task's context says; returns the caller's deadline.
pub(crate) fn propagate(parts: &mut request::Parts, isolated: bool) -> Option<Moment> {
    let own = own_deadline(parts);
    if isolated {
        return own;
    }
    let inherited = CURRENT
        .try_with(|context| {
            let inner = context.0.as_deref()?;
            fill(&mut parts.headers, &inner.headers);
            inner.deadline
        })
        .ok()
        .flatten();
    earlier(own, inherited)
}

pub(crate) fn earlier(a: Option<Moment>, b: Option<Moment>) -> Option<Moment> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn fill(headers: &mut HeaderMap, inherited: &[(HeaderName, HeaderValue)]) {
    let mut added = None;
    for (name, value) in inherited {
        // Lines of one header follow each other.
        if added == Some(name) || !headers.contains_key(name) {
            headers.append(name.clone(), value.clone());
            added = Some(name);
        }
    }
}

fn own_deadline(parts: &request::Parts) -> Option<Moment> {
    parts.extensions.get::<Deadline>().map(|d| Moment::at(d.0))
}

fn deadline_of(parts: &request::Parts, now: Moment) -> Option<Moment> {
    let timeout = mesh_core::grpc::is_grpc_content_type(&parts.headers)
        .then(|| parts.headers.get("grpc-timeout"))
        .flatten()
        .and_then(|value| mesh_core::timeout::parse_grpc_timeout(value.as_bytes()));
    earlier(own_deadline(parts), timeout.map(|t| now.after(t)))
}
