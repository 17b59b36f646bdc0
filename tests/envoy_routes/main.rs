//! The same static configuration and the same requests through the real Envoy and through mesh-proxy: what the client
//! sees and what the upstream sees must be equal.
//!
//! Random route tables and requests; the seed is printed (`MESH_SEED` repeats a run, `MESH_CASES` asks for more).

mod action;
mod config;
mod request;

use std::time::Duration;

use mesh_testkit::{
    address::OwnAddress,
    exchange::{Answer, send},
    process::{Program, Proxy},
    random::Random,
    upstream::{Seen, Upstream},
};

const CONFIGURATIONS: usize = 25;
const DEFAULT_CASES: usize = 1_000;

/// A program and where its listener is.
struct Side {
    proxy: Proxy,
    address: OwnAddress,
}

impl Side {
    async fn start(
        program: Program,
        configuration: &config::Configuration,
        upstreams: &OwnAddress,
    ) -> Self {
        let address = OwnAddress::claim();
        let admin = address.with_port(config::ADMIN);
        let bootstrap = configuration.bootstrap(address.ip(), upstreams.ip());
        let proxy = Proxy::start(program, &bootstrap, admin).await;
        Self { proxy, address }
    }

    /// Sends a case, and takes what the upstreams saw of it.
    async fn run(&self, case: &request::Case, id: String, upstreams: &[Upstream]) -> Transcript {
        let answer = send(
            self.address.with_port(config::LISTENER + case.table),
            case.request(&id),
        )
        .await;
        let seen = upstreams
            .iter()
            .flat_map(|upstream| upstream.take(&id))
            .collect();
        Transcript {
            answer: answer
                .map(|answer| normal_answer(answer, case.method))
                .map_err(|e| e.kind()),
            seen: normal_seen(seen),
        }
    }
}

#[derive(Debug, PartialEq)]
struct Transcript {
    answer: Result<Answer, std::io::ErrorKind>,
    seen: Vec<Seen>,
}

impl Transcript {
    /// One fact a line.
    fn lines(&self) -> Vec<String> {
        let mut lines = match &self.answer {
            Ok(answer) => {
                let mut lines = vec![
                    format!("status {}", answer.status),
                    format!("body {:?}", answer.body),
                ];
                lines.extend(
                    answer
                        .headers
                        .iter()
                        .map(|(name, value)| format!("{name}: {value}")),
                );
                lines.extend(
                    answer
                        .trailers
                        .iter()
                        .map(|(name, value)| format!("trailer {name}: {value}")),
                );
                lines
            }
            Err(kind) => vec![format!("no answer: {kind}")],
        };
        for (n, seen) in self.seen.iter().enumerate() {
            lines.push(format!(
                "attempt {n} at {}: {} {:?}",
                seen.upstream, seen.line, seen.body
            ));
            lines.extend(
                seen.headers
                    .iter()
                    .map(|(name, value)| format!("attempt {n} {name}: {value}")),
            );
        }
        lines
    }
}

/// What only one of the two says.
fn difference(theirs: &Transcript, mine: &Transcript) -> String {
    let (theirs, mine) = (theirs.lines(), mine.lines());
    let only = |of: &[String], other: &[String], who: &str| -> String {
        of.iter()
            .filter(|line| !other.contains(line))
            .map(|line| format!("  only {who}: {line}\n"))
            .collect()
    };
    only(&theirs, &mine, "Envoy") + &only(&mine, &theirs, "mesh-proxy")
}

/// Times differ; that a header is there does not. Envoy's HTTP/1 codec announces chunks on answers to HEAD that have
/// neither length nor body; hyper's does not, and nobody may read one.
fn normal_answer(mut answer: Answer, method: &str) -> Answer {
    if method == "HEAD" {
        answer
            .headers
            .retain(|(name, _)| name != "transfer-encoding");
    }
    for (name, value) in &mut answer.headers {
        if ["date", "x-envoy-upstream-service-time"].contains(&name.as_str()) {
            value.clear();
        }
    }
    answer
}

fn normal_seen(mut seen: Vec<Seen>) -> Vec<Seen> {
    for (attempt, one) in seen.iter_mut().enumerate() {
        for (name, value) in &mut one.headers {
            let is_case = name == mesh_testkit::upstream::CASE;
            // What is left of the timeout when an attempt is repeated depends on the clock.
            let is_rest = attempt > 0 && name == "x-envoy-expected-rq-timeout-ms";
            if is_case || is_rest {
                value.clear();
            }
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn routes_headers_retries_and_local_replies_are_envoys() {
    let seed = Random::seed();
    let cases: usize = std::env::var("MESH_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(DEFAULT_CASES);
    println!("MESH_SEED={seed} MESH_CASES={cases}");
    let mut random = Random::new(seed);
    let configuration = config::Configuration::random(&mut random, CONFIGURATIONS);

    let own = OwnAddress::claim();
    let mut upstreams = Vec::new();
    for n in 0..config::CLUSTERS {
        upstreams
            .push(Upstream::start(&format!("u{n}"), own.with_port(config::UPSTREAM + n)).await);
    }
    let envoy = Side::start(Program::Envoy, &configuration, &own).await;
    let ours = Side::start(Program::MeshProxy, &configuration, &own).await;

    let mut different = Vec::new();
    let mut summary = String::new();
    for n in 0..cases {
        let case = request::Case::random(&mut random, CONFIGURATIONS);
        let theirs = envoy.run(&case, format!("e{n}"), &upstreams).await;
        let mine = ours.run(&case, format!("m{n}"), &upstreams).await;
        if theirs != mine {
            summary += &format!(
                "case {n}, table {}:\n{}",
                case.table,
                difference(&theirs, &mine)
            );
            different.push(format!(
                "case {n}: {case:?}\n{}\nroute table: {}\nEnvoy: {theirs:?}\nmesh-proxy: {mine:?}\n",
                difference(&theirs, &mine),
                configuration.table(case.table)
            ));
        }
    }
    // A proxy that stopped answering explains more than the differences do.
    let alive = tokio::time::timeout(Duration::from_secs(5), ours.proxy.admin("/ready")).await;
    assert!(
        different.is_empty(),
        "{} of {cases} cases differ (MESH_SEED={seed}); mesh-proxy ready: {}; all:\n{summary}the first three:\n{}\nlog of mesh-proxy:\n{}",
        different.len(),
        alive.is_ok_and(|r| r.is_ok()),
        different
            .iter()
            .take(3)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n"),
        ours.proxy.log(),
    );
}
