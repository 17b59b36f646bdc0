//! Servers whose health checks are answered by a script for each proxy that asks, and then no more.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::script::{Action, BrokenOff, ScriptedBody};

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1 and HTTP/2: a request is a check if its path begins with `/hc` or `/grpc.health`. Others are answered
    /// 200 with the port in `x-upstream`; `/fail` also with `x-envoy-immediate-health-check-fail`.
    Http,
    /// What is received at once is a check, a word of the script its answer: `hex=` what is sent, `cut` the connection
    /// is closed.
    Tcp,
}

/// A check is answered by the words of its script, one after the other: words of [`super::SCRIPT`]. What comes after the
/// last word is never answered.
#[derive(Debug, Default)]
pub struct HealthServers {
    state: Arc<Mutex<State>>,
    tasks: JoinSet<()>,
}

/// Who asks where.
type Key = (IpAddr, u16);

#[derive(Debug, Default)]
struct State {
    scripts: HashMap<Key, Vec<String>>,
    asked: HashMap<Key, usize>,
}

impl HealthServers {
    /// Listens on an address. What `scripts` says holds from the first check on; proxies are known by the address that
    /// they connect from.
    ///
    /// # Panics
    /// If the address cannot be bound.
    pub async fn listen(
        &mut self,
        address: SocketAddr,
        speaks: Speaks,
        scripts: impl IntoIterator<Item = (IpAddr, Vec<String>)>,
    ) {
        {
            let mut state = lock(&self.state);
            for (from, words) in scripts {
                state.scripts.insert((from, address.port()), words);
            }
        }
        let listener = TcpListener::bind(address)
            .await
            .expect("the server's address is free");
        let state = Arc::clone(&self.state);
        self.tasks.spawn(async move {
            // Connections end with their server.
            let mut connections = JoinSet::new();
            while let Ok((stream, peer)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let key = (peer.ip(), address.port());
                let state = Arc::clone(&state);
                match speaks {
                    Speaks::Http => connections.spawn(http(stream, key, state)),
                    Speaks::Tcp => connections.spawn(tcp(stream, key, state)),
                };
            }
        });
    }

    /// How many checks from an address have come to a port.
    pub fn asked(&self, from: IpAddr, port: u16) -> usize {
        lock(&self.state)
            .asked
            .get(&(from, port))
            .copied()
            .unwrap_or_default()
    }

    /// The ports whose script for this address has not come to its end.
    pub fn unfinished(&self, from: IpAddr) -> HashSet<u16> {
        let state = lock(&self.state);
        let mine = state.scripts.iter().filter(|((of, _), _)| *of == from);
        mine.filter(|(key, words)| state.asked.get(key).copied().unwrap_or_default() <= words.len())
            .map(|((_, port), _)| *port)
            .collect()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The word for the check that comes now; never, if there is none.
async fn word(state: &Mutex<State>, key: Key) -> String {
    let next = {
        let mut state = lock(state);
        let asked = state.asked.entry(key).or_default();
        let at = *asked;
        *asked += 1;
        state
            .scripts
            .get(&key)
            .and_then(|words| words.get(at).cloned())
    };
    match next {
        Some(word) => word,
        None => std::future::pending().await,
    }
}

async fn http(stream: TcpStream, key: Key, state: Arc<Mutex<State>>) {
    let service = service_fn(move |request| answer(request, key, Arc::clone(&state)));
    // A script's reset, or a proxy that goes away.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    key: Key,
    state: Arc<Mutex<State>>,
) -> Result<Response<ScriptedBody>, BrokenOff> {
    let path = request.uri().path().to_owned();
    let _ = request.into_body().collect().await;
    if !path.starts_with("/hc") && !path.starts_with("/grpc.health") {
        let mut response = Response::new(ScriptedBody::default());
        let headers = response.headers_mut();
        headers.insert("x-upstream", key.1.into());
        if path == "/fail" {
            let name = "x-envoy-immediate-health-check-fail";
            headers.insert(name, HeaderValue::from_static("1"));
        }
        return Ok(response);
    }
    let word = word(&state, key).await;
    let action = Action::parse(&word);
    if !action.wait.is_zero() {
        tokio::time::sleep(action.wait).await;
    }
    let Some(status) = action.status else {
        return Err(BrokenOff::new(action.reason));
    };
    let headers = action.headers.clone();
    let mut response = Response::new(action.body(Bytes::new()));
    *response.status_mut() = status;
    response.headers_mut().extend(headers);
    Ok(response)
}

async fn tcp(mut stream: TcpStream, key: Key, state: Arc<Mutex<State>>) {
    let mut buffer = [0; 1024];
    while let Ok(1..) = stream.read(&mut buffer).await {
        let word = word(&state, key).await;
        for part in word.split(';') {
            match part.split_once('=') {
                Some(("hex", hex)) => {
                    let sent = stream.write_all(&super::script::bytes(hex)).await;
                    if sent.is_err() {
                        return;
                    }
                }
                _ if part == "cut" => return,
                _ => {}
            }
        }
    }
}
