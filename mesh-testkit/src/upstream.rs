//! A server that answers as a request's script says, and remembers what it saw.

mod health;
mod script;

pub use health::{HealthServers, Speaks};

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

use script::{Action, BrokenOff, ScriptedBody};

/// The header that names a case: requests of one case are its attempts.
pub const CASE: &str = "x-case";
/// The header with the script: one word per attempt, the last repeats. `503`: that status; `reset`: the connection is
/// closed without an answer (HTTP/2: the stream is reset); `d200`: status 200 after 200 ms; `hold`: status 200 once
/// [`Upstream::release`] is called. A word may go on with attributes, each after a semicolon: `wait=MS` before the
/// answer, `pause=MS` between head and body, `h=NAME:VALUE` a header, `t=NAME:VALUE` a trailer, `body=N` a body of so
/// many bytes, `hex=…` a body of these, `cut` an abrupt end after the body, and `rst=refused`, `cancel`, `protocol` or `internal` the HTTP/2
/// reason of whatever is broken off.
pub const SCRIPT: &str = "x-script";

/// One request as the upstream saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// Which upstream.
    pub upstream: String,
    /// Method and target as sent.
    pub line: String,
    /// Name and value, sorted by name; values in the order received.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// A running upstream; stops when dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    seen: Memory,
    release: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// Starts one that calls itself `name` in the response header `x-upstream`. HTTP/1.1 and HTTP/2.
    ///
    /// # Panics
    /// If the address cannot be bound.
    pub async fn start(name: &str, address: SocketAddr) -> Self {
        Self::start_with(name, address, false).await
    }

    /// Starts one for copies of requests: they are no attempts of their case, and their script is not read.
    ///
    /// # Panics
    /// If the address cannot be bound.
    pub async fn start_for_copies(name: &str, address: SocketAddr) -> Self {
        Self::start_with(name, address, true).await
    }

    async fn start_with(name: &str, address: SocketAddr, is_for_copies: bool) -> Self {
        let listener = TcpListener::bind(address)
            .await
            .expect("the upstream's address is free");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let seen = Arc::new(Mutex::new(HashMap::new()));
        let release = Arc::new(Notify::new());
        let own = Own {
            name: name.into(),
            seen: Arc::clone(&seen),
            release: Arc::clone(&release),
            is_for_copies,
        };
        let task = tokio::spawn(serve(listener, own));
        Self {
            address,
            seen,
            release,
            task,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers all requests that are held now.
    pub fn release(&self) {
        self.release.notify_waiters();
    }

    /// How many requests of a case have come.
    pub fn count(&self, case: &str) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(case).map_or(0, Vec::len)
    }

    /// Takes what was seen of a case, in order.
    pub fn take(&self, case: &str) -> Vec<Seen> {
        self.take_placed(case).map(|(_, seen)| seen).collect()
    }

    /// Takes what several saw of a case, in the order of all.
    pub fn take_from(several: &[Self], case: &str) -> Vec<Seen> {
        let mut all: Vec<_> = several
            .iter()
            .flat_map(|one| one.take_placed(case))
            .collect();
        all.sort_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, seen)| seen).collect()
    }

    fn take_placed(&self, case: &str) -> impl Iterator<Item = (u64, Seen)> + use<> {
        ATTEMPTS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(case);
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(case)
            .unwrap_or_default()
            .into_iter()
    }
}

/// What one upstream's connections share.
#[derive(Clone)]
struct Own {
    name: Arc<str>,
    seen: Memory,
    release: Arc<Notify>,
    is_for_copies: bool,
}

/// The place of the next request among all of all upstreams of this process.
static ORDER: AtomicU64 = AtomicU64::new(0);

/// How many requests of each case have come, to whichever upstream of this process.
static ATTEMPTS: LazyLock<Mutex<HashMap<String, usize>>> = LazyLock::new(Mutex::default);

/// Which attempt of its case a request is that comes now.
fn attempt_of(case: &str) -> usize {
    let mut attempts = ATTEMPTS.lock().unwrap_or_else(PoisonError::into_inner);
    let next = attempts.entry(case.to_owned()).or_default();
    let attempt = *next;
    *next += 1;
    attempt
}

fn remember(memory: &Memory, case: String, placed: (u64, Seen)) {
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    memory.entry(case).or_default().push(placed);
}

type Memory = Arc<Mutex<HashMap<String, Vec<(u64, Seen)>>>>;

async fn serve(listener: TcpListener, own: Own) {
    while let Ok((stream, _)) = listener.accept().await {
        let own = own.clone();
        // The test's process survives a failing setsockopt; the figures would not.
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, own.clone()));
            // A script's reset, or a proxy that goes away.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>, own: Own) -> Result<Response<ScriptedBody>, BrokenOff> {
    let Own {
        name,
        seen: memory,
        release,
        is_for_copies,
    } = own;
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|b| b.to_bytes())
        .unwrap_or_default();
    let text = |header: &str| {
        parts
            .headers
            .get(header)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let (case, script) = (text(CASE), text(SCRIPT));
    // From before the request is seen, so that no release is missed.
    let released = release.notified();
    tokio::pin!(released);
    released.as_mut().enable();
    let (attempt, script) = match is_for_copies {
        true => (0, String::new()),
        false => (attempt_of(&case), script),
    };
    let seen = Seen {
        upstream: name.to_string(),
        line: format!("{} {}", parts.method, parts.uri),
        headers: sorted(&parts.headers),
        body,
    };
    let placed = (ORDER.fetch_add(1, Ordering::Relaxed), seen);
    remember(&memory, case, placed);
    let words: Vec<&str> = script.split(',').filter(|word| !word.is_empty()).collect();
    let word = words
        .get(attempt)
        .or(words.last())
        .copied()
        .unwrap_or("200");
    let action = Action::parse(word);
    if !action.wait.is_zero() {
        tokio::time::sleep(action.wait).await;
    }
    if word == "hold" {
        released.await;
    }
    let Some(status) = action.status else {
        return Err(BrokenOff::new(action.reason));
    };
    let headers = action.headers.clone();
    let text = Bytes::from(format!("{name} {attempt}"));
    let mut response = match (&parts.method, parts.version) {
        // hyper would send it.
        (&Method::HEAD, Version::HTTP_2) => Response::new(ScriptedBody::default()),
        _ => Response::new(action.body(text)),
    };
    *response.status_mut() = status;
    response.headers_mut().extend(headers);
    if let Ok(value) = HeaderValue::from_str(&name) {
        response.headers_mut().insert("x-upstream", value);
    }
    response
        .headers_mut()
        .insert("x-up", HeaderValue::from_static("1"));
    Ok(response)
}

/// Headers as pairs, sorted by name.
pub fn sorted(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}

/// A server that nobody scripts: for tests that only need an address with something behind it.
pub async fn echo(address: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address)
        .await
        .expect("the address is free");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| async move {
                    let body = request
                        .into_body()
                        .collect()
                        .await
                        .map(|b| b.to_bytes())
                        .unwrap_or_default();
                    Ok::<_, Infallible>(Response::new(Full::new(body)))
                });
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, task)
}
