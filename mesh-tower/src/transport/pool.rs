//! The connections of one endpoint, runtime, protocol and transport socket.

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use mesh_core::{
    cluster::{Breaker, Cluster, Endpoint, Permit},
    tls::UpstreamSocketChoice,
};
use tokio::runtime;

use super::{
    body::RequestEnd,
    http1::Http1Connection,
    http2::{Handed, Http2Connection},
    idle::Tick,
    waiters::Waiters,
};
use crate::dispatch::Dispatch;

/// How many shards the idle connections of an endpoint are kept in: threads rarely meet, and none waits for another.
const SHARDS: usize = 8;

/// All pools of an endpoint: a short list, one entry per runtime, protocol and transport socket.
#[derive(Debug)]
struct Pools {
    pool: Arc<Pool>,
    next: OnceLock<Box<Pools>>,
}

/// The connections of one endpoint in one runtime, over one protocol and transport socket.
pub(crate) struct Pool {
    runtime: runtime::Id,
    http2: bool,
    /// Which of the cluster's transport sockets.
    socket: u16,
    /// The server's name, where requests choose it (`auto_sni`).
    name: Option<Box<str>>,
    /// Idle HTTP/1.1 connections.
    idle: [Mutex<Vec<Idle>>; SHARDS],
    /// Open HTTP/2 connections.
    pub(super) multiplexed: ArcSwap<Vec<Http2Connection>>,
    pub(super) waiters1: Waiters<Http1Connection>,
    pub(super) waiters2: Waiters<Handed>,
    /// Connections open or being made.
    connections: AtomicU32,
    /// Connections being made.
    pub(super) connecting: AtomicUsize,
    pub(super) tick: Tick,
}

struct Idle {
    connection: Http1Connection,
    since: u32,
}

/// What connections of one pool have in common besides their endpoint and runtime: none is ever used for a request
/// that wants another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    http2: bool,
    socket: u16,
    name: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    pub(crate) fn by<B>(dispatch: &'a Dispatch<B>, http2: bool) -> Self {
        let sockets = dispatch.cluster().transport_sockets();
        if sockets.are_plaintext() {
            return Self {
                http2,
                socket: 0,
                name: None,
            };
        }
        let (socket, choice) = sockets.choose(dispatch.endpoint());
        let is_named = matches!(choice, UpstreamSocketChoice::Tls(_))
            && dispatch.cluster().config().http.auto_sni;
        let host = dispatch.request().uri().host().filter(|_| is_named);
        Self {
            http2,
            socket,
            name: host.map(|host| host.trim_matches(['[', ']'])),
        }
    }
}

impl Pool {
    /// The pool of an endpoint for the current runtime; `created` sees it once, when it is made.
    pub(crate) fn of(
        endpoint: &Endpoint,
        wanted: Wanted<'_>,
        tick: &Tick,
        created: impl FnOnce(&Arc<Pool>),
    ) -> Arc<Pool> {
        let runtime = runtime::Handle::current().id();
        let new = || {
            Arc::new(Pool {
                runtime,
                http2: wanted.http2,
                socket: wanted.socket,
                name: wanted.name.map(Into::into),
                idle: Default::default(),
                multiplexed: ArcSwap::default(),
                waiters1: Waiters::default(),
                waiters2: Waiters::default(),
                connections: AtomicU32::new(0),
                connecting: AtomicUsize::new(0),
                tick: tick.clone(),
            })
        };
        let mut made = None;
        let first = endpoint.attachment().get_or_init(|| {
            Box::new(Pools {
                pool: Arc::clone(made.insert(new())),
                next: OnceLock::new(),
            })
        });
        let mut at = first
            .downcast_ref::<Pools>()
            .expect("only the transport attaches to endpoints");
        loop {
            if at.pool.runtime == runtime && at.pool.serves(wanted) {
                if let Some(made) = made.filter(|made| Arc::ptr_eq(made, &at.pool)) {
                    created(&made);
                }
                return Arc::clone(&at.pool);
            }
            at = at.next.get_or_init(|| {
                Box::new(Pools {
                    pool: Arc::clone(made.insert(new())),
                    next: OnceLock::new(),
                })
            });
        }
    }

    fn serves(&self, wanted: Wanted<'_>) -> bool {
        self.http2 == wanted.http2
            && self.socket == wanted.socket
            && self.name.as_deref() == wanted.name
    }

    /// The server's name, where requests choose it.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// An idle HTTP/1.1 connection that is still open. Never waits for a lock.
    pub(crate) fn checkout(&self) -> Option<Http1Connection> {
        let home = shard();
        for i in 0..SHARDS {
            let Ok(mut idle) = self.idle[(home + i) % SHARDS].try_lock() else {
                continue;
            };
            while let Some(Idle { connection, .. }) = idle.pop() {
                if !connection.is_closed() {
                    return Some(connection);
                }
            }
        }
        None
    }

    /// Takes a connection back, for the next that waits or for later.
    pub(crate) fn give_back(&self, mut connection: Http1Connection) {
        while !connection.is_closed() {
            let Some(unwanted) = self.waiters1.give(connection) else {
                return;
            };
            self.put(unwanted);
            // Somebody may have begun to wait after the look above and before it was put there.
            if self.waiters1.len() == 0 {
                return;
            }
            let Some(back) = self.checkout() else {
                return;
            };
            connection = back;
        }
    }

    /// Keeps an idle connection. Closes it if all shards are busy: eight threads at once.
    fn put(&self, connection: Http1Connection) {
        let home = shard();
        for i in 0..SHARDS {
            if let Ok(mut idle) = self.idle[(home + i) % SHARDS].try_lock() {
                let since = self.tick.now();
                return idle.push(Idle { connection, since });
            }
        }
    }

    /// Closes connections that have been idle since before `before`.
    pub(crate) fn close_idle(&self, before: u32) {
        for shard in &self.idle {
            if let Ok(mut idle) = shard.try_lock() {
                idle.retain(|i| i.since >= before && !i.connection.is_closed());
            }
        }
        self.retain(|connection| !connection.is_closed() && !connection.is_idle_since(before));
    }

    /// Keeps only these HTTP/2 connections for new streams; the others end with their last stream.
    pub(super) fn retain(&self, keep: impl Fn(&Http2Connection) -> bool) {
        if self.multiplexed.load().iter().all(&keep) {
            return;
        }
        self.multiplexed
            .rcu(|open| open.iter().filter(|c| keep(c)).cloned().collect::<Vec<_>>());
    }

    /// Whether the pool has no connection at all: then one is made whatever the breaker says.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.load(Ordering::Relaxed) == 0
    }

    /// The permit of one more connection: the breaker's, or one regardless of it where there is no connection at all.
    pub(super) fn connection_permit(
        &self,
        cluster: &Cluster,
        breaker: &Arc<Breaker>,
    ) -> Option<Permit> {
        breaker.connection().or_else(|| {
            cluster.stats().upstream_cx_overflow.inc();
            self.is_empty().then(|| breaker.connection_regardless())
        })
    }

    /// Counts a connection until the guard is dropped.
    pub(crate) fn count(self: &Arc<Self>, permit: Permit) -> ConnectionGuard {
        self.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionGuard {
            pool: Arc::clone(self),
            _permit: permit,
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("http2", &self.http2)
            .field("connections", &self.connections.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// Held by a connection's task: the pool's count and the breaker's permit.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    pool: Arc<Pool>,
    _permit: Permit,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.pool.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place in the queue. Left before its turn, the request counts as cancelled.
pub(super) struct Waits<'a>(Option<&'a Cluster>);

impl<'a> Waits<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        Self(Some(cluster))
    }

    /// It was its turn.
    pub(super) fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(cluster) = self.0 {
            cluster.stats().upstream_rq_cancelled.inc();
        }
    }
}

/// A request's hold on its connection and on the breaker's request, to the end of the response's body.
pub(crate) struct Lease {
    pub(super) hold: Hold,
    pub(super) request_end: RequestEnd,
    pub(super) permit: Permit,
}

/// What a request holds of its connection.
pub(crate) enum Hold {
    /// The connection itself, to go back to its pool.
    Http1 {
        connection: Http1Connection,
        pool: Arc<Pool>,
    },
    /// One stream.
    Http2 { stream: super::http2::Stream },
}

impl Lease {
    /// The response is complete: the connection can serve the next request, if this one was sent whole. The request
    /// itself is counted for as long as the permit is kept.
    pub(super) fn finish(self) -> Permit {
        if self.request_end.is_reached() {
            match self.hold {
                Hold::Http1 { connection, pool } => pool.give_back(connection),
                Hold::Http2 { mut stream } => stream.end(),
            }
        }
        self.permit
    }

    /// The peer ended it early.
    pub(super) fn fail(mut self) {
        if let Hold::Http2 { stream } = &mut self.hold {
            stream.end();
        }
    }
}

/// The calling thread's shard.
fn shard() -> usize {
    use std::cell::Cell;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static SHARD: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS));
    SHARD.with(Cell::get)
}
