//! One request on its way: everything but the caller's body and the inner service's future, which are generic.
//!
//! The steps are in [`crate::stages`], each a method in the file that is called like it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock},
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Method, Uri, Version, header::HOST, request};
use mesh_core::{
    Entropy,
    cluster::{Cluster, Endpoint, Permit},
    head::{ConnectionInfo, RequestHead},
    retry::RetryState,
    route::{FollowedRedirects, RouteIndex, RouteTable, SelectedCluster},
    snapshot::Snapshot,
};

use crate::{
    body::{Progress, Tail, Tee},
    clock::Moment,
    deadline::Timer,
    dispatch::{PoolReady, UpstreamConnection},
    entropy::ThreadEntropy,
    head_copy::HeadCopy,
    hedge::Hedging,
    limits::{Expired, Limits},
    observe::Observed,
    stages::{Application, Entered, SlowFuture, Target},
};

/// The state of one request.
pub(crate) struct Stream {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) target: Target,
    pub(crate) connection: Connection,
    /// Inbound: what stands for the cluster and the endpoint.
    pub(crate) application: Option<Arc<Application>>,
    pub(crate) seen: Observed,
    pub(crate) limits: Limits,
    pub(crate) timer: Timer,
    pub(crate) progress: Option<Arc<Progress>>,
    /// The stream's random number.
    pub(crate) random: u64,
    pub(crate) route: Option<RouteIndex>,
    pub(crate) selected: Option<SelectedCluster>,
    pub(crate) retry: Option<Retry>,
    pub(crate) pool_ready: Option<PoolReady>,
    /// The end of a filter's delay or of a back-off.
    pub(crate) until: Option<Moment>,
    pub(crate) position: Position,
    pub(crate) outside: Option<Box<Outside>>,
    pub(crate) kept: Option<Box<Kept>>,
    pub(crate) attempts: u32,
    /// Any byte of any attempt may have left.
    pub(crate) sent: bool,
    /// The request is from an internal peer.
    pub(crate) internal: bool,
    /// The request came without a body.
    pub(crate) is_empty: bool,
    /// The request has headers `x-envoy-*`, by which it may ask for other timeouts and retries.
    pub(crate) asks: bool,
    /// What the request wants to become.
    pub(crate) tunnel: Tunnel,
    /// A route is looked for.
    pub(crate) routable: bool,
    /// The response names the route's operation.
    pub(crate) answers_operation: bool,
    /// The request is mirrored.
    pub(crate) mirrored: bool,
    /// HEAD: replies say how long their body would be, and have none.
    pub(crate) is_head: bool,
    /// What the caller spoke.
    pub(crate) downstream_version: Version,
}

/// What a request wants to become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tunnel {
    /// Nothing else.
    #[default]
    No,
    /// CONNECT.
    Connect,
    /// `upgrade: websocket`.
    WebSocket,
    /// Any other upgrade.
    Upgrade,
}

/// What is looked for outside of the snapshot: only few requests need any of it, and every request carries the place.
pub(crate) enum Outside {
    /// A slow path is under way.
    Waits(SlowFuture),
    /// Resolved for a cluster without endpoints of its own.
    Address(SocketAddr),
}

/// How far the head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// Before the Downstream stage.
    Downstream,
    /// A filter holds the request for a while.
    Filter(u16),
    /// A filter holds the request until its body is here, of so many bytes at most.
    Buffer(u16, u32),
    /// The body is here, so long.
    Buffered(u16, u32),
    /// The router has decided: attempts follow.
    Attempt,
    /// A redirect is followed: a request anew.
    Redirected,
}

/// What a retry policy adds.
pub(crate) struct Retry {
    pub(crate) state: RetryState,
    pub(crate) head: HeadCopy,
    /// The breaker's, from back-off to the next decision or the end.
    pub(crate) permit: Option<Permit>,
    /// What the next attempt follows is a per-try timeout.
    pub(crate) after_timeout: bool,
    /// Endpoints tried, if the policy avoids them; None: this is the first attempt.
    // Boxed, though a vector already: nearly no request has any, and every request carries the place.
    #[allow(clippy::box_collection)]
    pub(crate) previous: Option<Box<Vec<Arc<Endpoint>>>>,
}

/// What response stages read of a request that has left; only made where configuration asks for it.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) head: Option<(Method, Uri, HeaderMap)>,
    pub(crate) request_id: Option<HeaderValue>,
    /// What hash policies made up: `set-cookie`.
    pub(crate) cookies: Vec<HeaderValue>,
    /// The client, where it is not the connection's peer.
    pub(crate) remote: Option<IpAddr>,
    /// `x-envoy-upstream-alt-stat-name`.
    pub(crate) alternative_stats: Option<HeaderValue>,
    /// The attempt that ended is one of several.
    pub(crate) hedging: Option<Hedging>,
    /// The connection that took the last attempt.
    pub(crate) connected: Option<UpstreamConnection>,
    /// Where the request's body is copied to.
    pub(crate) tee: Option<Box<Tee>>,
    /// The route follows redirects: the head as it went upstream.
    pub(crate) sent_head: Option<HeadCopy>,
    /// The route that a redirect led to which was not followed: Envoy names that one from then on.
    pub(crate) led_to: Option<LedTo>,
    /// What the request has followed so far.
    pub(crate) followed: FollowedRedirects,
    /// The head of the request that a redirect asks for, and whether it has no body.
    pub(crate) next: Option<(request::Parts, bool)>,
}

/// Where a redirect led to.
#[derive(Clone, Debug)]
pub(crate) struct LedTo {
    pub(crate) route_name: Arc<str>,
    /// None: to no cluster that is there.
    pub(crate) cluster: Option<Arc<Cluster>>,
}

/// The downstream connection.
#[derive(Clone, Debug)]
pub(crate) enum Connection {
    /// A call from inside the process.
    InProcess,
    /// A real one.
    Accepted(Arc<ConnectionInfo>),
}

impl Connection {
    pub(crate) fn info(&self) -> &ConnectionInfo {
        static IN_PROCESS: LazyLock<ConnectionInfo> = LazyLock::new(|| {
            let mut info = ConnectionInfo::default();
            info.in_process = true;
            info
        });
        match self {
            Self::InProcess => &IN_PROCESS,
            Self::Accepted(info) => info,
        }
    }
}

impl Stream {
    /// A request that has come. `caller`: the caller's own deadline.
    // Inlined, so that it is made in its place in the future.
    #[inline]
    pub(crate) fn new(
        entered: Entered,
        caller: Option<Moment>,
        parts: &request::Parts,
        is_empty: bool,
    ) -> Self {
        let downstream_version = parts.version;
        Self {
            snapshot: entered.snapshot,
            target: entered.target,
            connection: entered.connection,
            application: entered.application,
            seen: Observed::new(),
            limits: Limits::new(caller),
            timer: Default::default(),
            progress: None,
            random: ThreadEntropy.next_u64(),
            route: None,
            selected: None,
            retry: None,
            pool_ready: None,
            until: None,
            position: Position::Downstream,
            outside: entered.slow.map(|slow| Box::new(Outside::Waits(slow))),
            kept: None,
            attempts: 0,
            sent: false,
            internal: true,
            is_empty,
            asks: false,
            tunnel: Tunnel::No,
            routable: true,
            answers_operation: false,
            mirrored: false,
            is_head: parts.method == Method::HEAD,
            downstream_version,
        }
    }

    /// The compiled route table.
    pub(crate) fn table(&self) -> Option<&RouteTable> {
        self.seen.chain.as_ref()?.routes().map(|r| &**r)
    }

    /// How much of the request's body is kept for retries: the route's limit, else the virtual host's, else Envoy's
    /// default for a connection's buffer (1 MiB).
    pub(crate) fn replay_cap(&self) -> usize {
        const DEFAULT: u64 = 1024 * 1024;
        let limit = self.route.and_then(|at| {
            let table = self.table()?;
            let of_route = table.route(at)?.config().request_body_buffer_limit;
            of_route.or(table.virtual_host(at)?.request_body_buffer_limit)
        });
        usize::try_from(limit.unwrap_or(DEFAULT)).unwrap_or(usize::MAX)
    }

    /// Whether `x-envoy-*` headers are left out.
    pub(crate) fn suppresses_envoy_headers(&self) -> bool {
        self.seen
            .chain
            .as_ref()
            .is_none_or(|c| c.manager().suppress_envoy_headers)
    }

    /// The client that the Downstream stage found, where it is not the connection's peer.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.kept.as_ref()?.remote
    }

    /// Checks all limits; otherwise the task will be woken at the first of them, or when the back-off or delay is over.
    pub(crate) fn poll_expired(&mut self, now: Moment, cx: &Context<'_>) -> Poll<Expired> {
        if self.limits.is_unlimited() {
            if let Some(until) = self.until {
                self.timer.arm(until, cx.waker());
            }
            return Poll::Pending;
        }
        self.limits.update(self.progress.as_deref());
        if self.limits.complete.is_none()
            && let Some(progress) = &self.progress
        {
            progress.register(cx.waker());
            // It may have ended in between.
            self.limits.update(Some(progress));
        }
        let earliest = self.limits.earliest(false);
        if let Some((at, which)) = earliest
            && at <= now
        {
            return Poll::Ready(which);
        }
        match (earliest.map(|(at, _)| at), self.until) {
            (Some(a), Some(b)) => self.timer.arm(a.min(b), cx.waker()),
            (Some(at), None) | (None, Some(at)) => self.timer.arm(at, cx.waker()),
            (None, None) => {}
        }
        Poll::Pending
    }

    /// Whether the back-off or delay is over.
    pub(crate) fn wait_is_over(&mut self, now: Moment) -> bool {
        match self.until {
            Some(until) if until > now => false,
            _ => {
                self.until = None;
                true
            }
        }
    }

    /// What lives on after the response's head.
    pub(crate) fn tail(&mut self) -> Tail {
        Tail {
            seen: std::mem::replace(&mut self.seen, Observed::over()),
            limits: std::mem::replace(&mut self.limits, Limits::new(None)),
            progress: self.progress.take(),
            timer: std::mem::take(&mut self.timer),
        }
    }

    /// Keeps the head, as it goes on, for the access log.
    #[cold]
    pub(crate) fn log_head(&mut self, parts: &request::Parts) {
        let client = self.client();
        let route = self.route.and_then(|at| self.table()?.route(at));
        let route_name = route.map(|route| Arc::clone(&route.config().name));
        let attempts = self.attempts;
        let cluster = self
            .selected
            .and_then(|selected| self.snapshot.cluster(selected.cluster).cloned());
        if let Some(log) = &mut self.seen.log {
            log.cluster = cluster;
            let head = (
                parts.method.clone(),
                parts.uri.clone(),
                parts.headers.clone(),
            );
            log.head = Some(head);
            log.client = client;
            log.attempts = attempts;
            if let Some(name) = route_name {
                log.route_name = name;
            }
        }
    }

    /// Keeps the answer's head for the access log.
    #[cold]
    pub(crate) fn log_answer(
        &mut self,
        headers: &HeaderMap,
        details: std::borrow::Cow<'static, str>,
        now: Moment,
    ) {
        self.keep_connection();
        let (attempts, complete) = (self.attempts, self.limits.complete);
        if let Some(log) = &mut self.seen.log {
            log.response = headers.clone();
            log.details = details;
            log.attempts = attempts;
            log.complete = complete;
            log.answered = Some(now);
            if let Some(led_to) = self.kept.as_ref().and_then(|kept| kept.led_to.clone()) {
                log.route_name = Arc::clone(&led_to.route_name);
                log.led_to = Some(led_to);
            }
            log.request = self.progress.clone();
        }
    }

    /// The request's head for formats of response headers.
    pub(crate) fn kept_head(&self) -> RequestHead<'_> {
        static EMPTY: LazyLock<request::Parts> =
            LazyLock::new(|| http::Request::new(()).into_parts().0);
        match self.kept.as_ref().and_then(|k| k.head.as_ref()) {
            None => RequestHead::of(&EMPTY),
            Some((method, uri, headers)) => RequestHead {
                method,
                scheme: uri.scheme_str().unwrap_or("http"),
                // A host that no URI can hold was rewritten into the header.
                authority: match headers.get(HOST).and_then(|host| host.to_str().ok()) {
                    Some(host) => host,
                    None => uri.authority().map_or("", |a| a.as_str()),
                },
                path: uri.path_and_query().map_or("", |p| p.as_str()),
                headers,
            },
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.seen.log.is_some() {
            self.keep_connection();
        }
        if let Some(progress) = self.progress.take() {
            progress.recycle();
        }
    }
}
