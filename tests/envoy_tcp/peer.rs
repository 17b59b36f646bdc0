//! Clients and upstreams that count bytes.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use mesh_testkit::random::Random;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
};

use crate::config::{self, Configuration, Leads};

/// How long a step may take.
const LIMIT: Duration = Duration::from_secs(5);

/// What an upstream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Sends everything back, and a last word after the client's end.
    Echoes,
    /// Speaks first, then sends everything back.
    Greets,
    /// Answers once and hangs up.
    HangsUp,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Echoes, Kind::Greets, Kind::HangsUp];

/// An upstream that remembers what it was sent.
pub(crate) struct Upstream {
    kind: Kind,
    received: Arc<Received>,
}

#[derive(Default)]
struct Received {
    open: AtomicUsize,
    closed: Notify,
    bytes: Mutex<Vec<Vec<u8>>>,
}

impl Upstream {
    pub(crate) async fn start(kind: Kind, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let received = Arc::new(Received::default());
        let shared = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.open.fetch_add(1, SeqCst);
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let bytes = kind.serve(stream).await;
                    let mut all = shared.bytes.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(bytes);
                    drop(all);
                    shared.open.fetch_sub(1, SeqCst);
                    shared.closed.notify_waiters();
                });
            }
        });
        Self { kind, received }
    }

    /// Waits until no connection is open.
    pub(crate) async fn settle(&self) {
        let quiet = async {
            loop {
                let closed = self.received.closed.notified();
                if self.received.open.load(SeqCst) == 0 {
                    return;
                }
                closed.await;
            }
        };
        let _ = tokio::time::timeout(LIMIT, quiet).await;
    }

    /// What was received since, one line a connection that sent something.
    pub(crate) fn take(&self) -> Vec<String> {
        let mut bytes = self
            .received
            .bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let all = std::mem::take(&mut *bytes);
        all.iter()
            .map(|bytes| format!("{:?} got {:?}", self.kind, String::from_utf8_lossy(bytes)))
            .collect()
    }
}

impl Kind {
    async fn serve(self, mut stream: TcpStream) -> Vec<u8> {
        let mut received = Vec::new();
        let mut chunk = [0; 4096];
        if self == Self::Greets && stream.write_all(b"hello ").await.is_err() {
            return received;
        }
        loop {
            let Ok(read) = stream.read(&mut chunk).await else {
                return received;
            };
            if read == 0 {
                let _ = stream.write_all(b" bye").await;
                return received;
            }
            received.extend(&chunk[..read]);
            let answer = match self {
                Self::HangsUp => &b"no"[..],
                _ => &chunk[..read],
            };
            if stream.write_all(answer).await.is_err() || self == Self::HangsUp {
                return received;
            }
        }
    }
}

/// A client that waited in vain.
pub(crate) const SILENCE: &str = "nothing more came";

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) listener: u16,
    source: Ipv4Addr,
    sent: String,
    /// Waits for the upstream's first words.
    waits: bool,
    /// Says that it has ended.
    ends: bool,
}

impl Case {
    pub(crate) fn random(random: &mut Random, configuration: &Configuration, n: usize) -> Self {
        let listener =
            u16::try_from(random.below(usize::from(config::CONFIGURATIONS))).unwrap_or(0);
        let leads = configuration.leads(listener);
        let sent = match (leads, random.below(6)) {
            (Leads::Http, _) => {
                format!("GET /{n} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            }
            (_, 0) => String::new(),
            // Who hangs up before it has read everything may take its last words with it.
            (leads, 1) if leads != Leads::To(Kind::HangsUp) => {
                format!("{n} {}", "x".repeat(random.below(4_000)))
            }
            _ => format!("case {n}"),
        };
        Self {
            listener,
            source: Ipv4Addr::new(127, 0, 0, 1 + u8::try_from(random.below(20)).unwrap_or(0)),
            waits: leads == Leads::To(Kind::Greets),
            // What nobody ends would never end.
            ends: leads == Leads::To(Kind::Echoes)
                || leads == Leads::To(Kind::Greets)
                || sent.is_empty(),
            sent,
        }
    }

    /// What the client saw.
    pub(crate) async fn run(self, proxy: Ipv4Addr) -> String {
        let to = SocketAddr::from((proxy, config::LISTENER + self.listener));
        match tokio::time::timeout(LIMIT, self.converse(to)).await {
            Ok(seen) => seen,
            Err(_) => SILENCE.to_owned(),
        }
    }

    async fn converse(&self, to: SocketAddr) -> String {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind((IpAddr::V4(self.source), 0).into())
            .expect("an address");
        let mut stream = match socket.connect(to).await {
            Ok(stream) => stream,
            Err(e) => return format!("no connection: {}", e.kind()),
        };
        let mut seen = Vec::new();
        if self.waits {
            let mut first = [0; 6];
            match stream.read_exact(&mut first).await {
                Ok(_) => seen.extend(first),
                Err(_) => return "closed before a word".to_owned(),
            }
        }
        let (mut read, mut write) = stream.split();
        let sending = async {
            let sent = write.write_all(self.sent.as_bytes()).await;
            if sent.is_ok() && self.ends {
                let _ = write.shutdown().await;
            }
        };
        let receiving = async {
            let mut chunk = [0; 4096];
            while let Ok(n) = read.read(&mut chunk).await {
                if n == 0 {
                    break;
                }
                seen.extend(&chunk[..n]);
            }
        };
        tokio::join!(sending, receiving);
        let text = String::from_utf8_lossy(&seen);
        text.lines()
            .filter(|line| !line.starts_with("date: "))
            .collect::<Vec<_>>()
            .join("\n")
    }
}
