//! The same case through the real Envoy and through mesh-proxy, and what only one of them says.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::net::TcpStream;

use crate::{
    address::OwnAddress,
    exchange::{Answer, send},
    process::{Program, Proxy},
    upstream::{CASE, Seen, Upstream},
};

/// How long a program that is ready may take to listen.
const READY: Duration = Duration::from_secs(10);

/// A program, and the address that is its alone.
#[derive(Debug)]
pub struct Side {
    /// The program.
    pub proxy: Proxy,
    /// Its address.
    pub address: OwnAddress,
}

impl Side {
    /// Starts a program on the bootstrap made for its address, and waits until it accepts on the last port; `admin`: the
    /// port of the bootstrap's admin listener.
    ///
    /// # Panics
    /// If it does not get ready.
    pub async fn start(
        program: Program,
        (admin, last): (u16, u16),
        bootstrap: impl FnOnce(std::net::Ipv4Addr) -> String,
    ) -> Self {
        let address = OwnAddress::claim();
        let bootstrap = bootstrap(address.ip());
        Self::start_at(program, (admin, last), address, &bootstrap).await
    }

    /// The same for an address that is known already.
    ///
    /// # Panics
    /// If it does not get ready.
    pub async fn start_at(
        program: Program,
        (admin, last): (u16, u16),
        address: OwnAddress,
        bootstrap: &str,
    ) -> Self {
        let proxy = Proxy::start(program, bootstrap, address.with_port(admin)).await;
        let accepts = async {
            while TcpStream::connect(address.with_port(last)).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(READY, accepts)
            .await
            .expect("it listens");
        Self { proxy, address }
    }

    /// Sends a request to a port, and takes what the upstreams saw of it.
    pub async fn run(
        &self,
        port: u16,
        request: Request<Full<Bytes>>,
        id: &str,
        upstreams: &[Upstream],
    ) -> Transcript {
        let head = request.method() == http::Method::HEAD;
        let answer = send(self.address.with_port(port), request).await;
        let seen = upstreams.iter().flat_map(|upstream| upstream.take(id));
        Transcript {
            answer: answer
                .map(|answer| normal_answer(answer, head))
                .map_err(|e| e.kind()),
            seen: normal_seen(seen.collect()),
        }
    }

    /// Whether the program still answers, and what it logged: a proxy that stopped explains more than differences do.
    pub async fn state(&self) -> String {
        let alive = tokio::time::timeout(READY, self.proxy.admin("/ready")).await;
        let alive = alive.is_ok_and(|ready| ready.is_ok());
        format!("ready: {alive}\n{}\n", self.proxy.log())
    }
}

/// What a client and the upstreams saw of a case.
#[derive(Debug, PartialEq)]
pub struct Transcript {
    /// The answer, or why there was none.
    pub answer: Result<Answer, io::ErrorKind>,
    /// The attempts.
    pub seen: Vec<Seen>,
}

impl Transcript {
    /// One fact a line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = match &self.answer {
            Ok(answer) => {
                let mut lines = vec![format!("status {}", answer.status), text_of(&answer.body)];
                let named = |prefix: &str, list: &[(String, String)]| -> Vec<String> {
                    list.iter()
                        .map(|(name, value)| format!("{prefix}{name}: {value}"))
                        .collect()
                };
                lines.extend(named("", &answer.headers));
                lines.extend(named("trailer ", &answer.trailers));
                lines
            }
            Err(kind) => vec![format!("no answer: {kind}")],
        };
        for (n, seen) in self.seen.iter().enumerate() {
            let (upstream, line) = (&seen.upstream, &seen.line);
            let body = text_of(&seen.body);
            lines.push(format!("attempt {n} at {upstream}: {line} {body}"));
            lines.extend(
                seen.headers
                    .iter()
                    .map(|(name, value)| format!("attempt {n} {name}: {value}")),
            );
        }
        lines
    }

    /// What only one of the two says.
    pub fn difference(&self, mine: &Self) -> String {
        difference(&self.lines(), &mine.lines())
    }
}

/// A body, as far as one line shows it.
fn text_of(body: &Bytes) -> String {
    const SHOWN: usize = 200;
    let start = &body[..body.len().min(SHOWN)];
    let start = String::from_utf8_lossy(start);
    format!("body of {} bytes {start:?}", body.len())
}

/// The lines that only one of the two has.
pub fn difference(theirs: &[String], mine: &[String]) -> String {
    let only = |of: &[String], other: &[String], who: &str| -> String {
        of.iter()
            .filter(|line| !other.contains(line))
            .map(|line| format!("  only {who}: {line}\n"))
            .collect()
    };
    only(theirs, mine, "Envoy") + &only(mine, theirs, "mesh-proxy")
}

/// Fails a run of which cases differed: with the first three whole, and what mesh-proxy logged.
///
/// # Panics
/// If one differed.
pub fn assert_none_differ(different: &[String], cases: usize, seed: u64, log: &str) {
    let first = different.iter().take(3).map(String::as_str);
    assert!(
        different.is_empty(),
        "{} of {cases} cases differ (MESH_SEED={seed}); the first three:\n{}\nlog of mesh-proxy:\n{log}",
        different.len(),
        first.collect::<Vec<_>>().join("\n"),
    );
}

/// Headers that tell the time.
const CLOCK: [&str; 4] = [
    "date",
    "x-envoy-upstream-service-time",
    "x-ratelimit-reset",
    "retry-after",
];

/// Times differ; that a header is there does not. Envoy's HTTP/1 codec announces chunks on answers to HEAD that have
/// neither length nor body; hyper's does not, and nobody may read one.
pub fn normal_answer(mut answer: Answer, head: bool) -> Answer {
    if head {
        answer
            .headers
            .retain(|(name, _)| name != "transfer-encoding");
    }
    for (name, value) in &mut answer.headers {
        if CLOCK.contains(&name.as_str()) {
            value.clear();
        }
    }
    answer
}

fn normal_seen(mut seen: Vec<Seen>) -> Vec<Seen> {
    for (attempt, one) in seen.iter_mut().enumerate() {
        for (name, value) in &mut one.headers {
            let is_case = name == CASE;
            // What is left of the timeout when an attempt is repeated depends on the clock.
            let is_rest = attempt > 0 && name == "x-envoy-expected-rq-timeout-ms";
            if is_case || is_rest {
                value.clear();
            }
        }
    }
    seen
}

/// How often each of several things came.
pub type Counts = BTreeMap<String, usize>;

/// What speaks against both being samples of one distribution: chi square at six standard deviations, so that about one
/// true equality in a thousand million is denied.
pub fn unlike(theirs: &Counts, mine: &Counts) -> Option<String> {
    // Wilson and Hilferty's approximation, at six standard deviations.
    let limit = |freedom: f64| {
        let ninth = 2.0 / (9.0 * freedom);
        freedom * (1.0 - ninth + 6.0 * ninth.sqrt()).powi(3)
    };
    let names: Vec<_> = theirs.keys().chain(mine.keys()).collect();
    let cells: Vec<(f64, f64)> = names
        .iter()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|name| {
            let of = |counts: &Counts| counts.get(*name).copied().unwrap_or_default() as f64;
            (of(theirs), of(mine))
        })
        .collect();
    let square: f64 = cells.iter().map(|(a, b)| (a - b).powi(2) / (a + b)).sum();
    let freedom = (cells.len().max(2) - 1) as f64;
    let limit = limit(freedom);
    (square > limit).then(|| format!("chi square {square:.1} > {limit:.1}"))
}
