//! Connection managers byte for byte: the same bytes to the real Envoy and to mesh-proxy, and what client and upstream
//! see of them, whether the connection is kept included.
//!
//! The seed is printed (`MESH_SEED` repeats a run, `MESH_CASES` asks for more).

mod config;
mod known;
mod request;

use std::{sync::Arc, time::Duration};

use mesh_testkit::{
    address::OwnAddress,
    exchange::send,
    process::{Program, Proxy},
    random::Random,
    raw::{Message, RawUpstream, converse},
};
use request::Case;
use tokio::net::TcpStream;

const CONFIGURATIONS: usize = 40;
const DEFAULT_CASES: usize = 1_200;
/// Cases under way at once.
const PARALLEL: usize = 12;

/// A program and where its listeners are.
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
        // Live is not yet bound.
        for n in 0u16.. {
            if usize::from(n) == CONFIGURATIONS {
                break;
            }
            let listener = address.with_port(config::LISTENER + n);
            while TcpStream::connect(listener).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Self { proxy, address }
    }

    /// Sends a case: everything that was seen of it, one fact a line.
    async fn run(&self, case: &Case, id: &str, upstream: &RawUpstream) -> Vec<String> {
        let to = self.address.with_port(config::LISTENER + case.manager);
        let mut facts = match case.http2 {
            true => self.run_http2(case, id, to).await,
            false => {
                let probe = b"GET /direct HTTP/1.1\r\nhost: a.test\r\nx-case: probe\r\n\r\n";
                let bytes = [case.bytes(id)];
                let seen = converse(to, &bytes, &[case.method], probe).await;
                match seen {
                    Err(e) => vec![format!("no connection: {}", e.kind())],
                    Ok(seen) => {
                        let mut facts = vec![format!("then {:?}", seen.end)];
                        for (n, response) in seen.responses.iter().enumerate() {
                            facts.extend(lines(response, &format!("response {n}")));
                        }
                        facts
                    }
                }
            }
        };
        // How much has gone before the body is found to be none is a matter of time, in Envoy too.
        let seen = upstream.take(id);
        let of_upstream = if case.body_is_bad() { &[] } else { &seen[..] };
        for (n, seen) in of_upstream.iter().enumerate() {
            facts.extend(lines(seen, &format!("upstream {n}")));
        }
        let own = self.address.ip().to_string();
        for fact in &mut facts {
            *fact = fact.replace(&own, "OWN").replace(id, "ID");
        }
        facts
    }

    async fn run_http2(&self, case: &Case, id: &str, to: std::net::SocketAddr) -> Vec<String> {
        let Some(request) = case.request(id) else {
            return Vec::new();
        };
        match send(to, request).await {
            Err(e) => vec![format!("no answer: {}", e.kind())],
            Ok(answer) => {
                let mut facts = vec![
                    format!("h2 status {}", answer.status),
                    format!("h2 body {:?}", answer.body),
                ];
                facts.extend(headers(&answer.headers, "h2"));
                facts.extend(headers(&answer.trailers, "h2 trailer"));
                facts
            }
        }
    }
}

fn lines(message: &Message, who: &str) -> Vec<String> {
    let mut lines = vec![
        format!("{who}: {}", message.start),
        format!("{who} body {:?} {:?}", message.framing, message.body),
    ];
    lines.extend(headers(&message.headers, who));
    lines.extend(headers(&message.trailers, &format!("{who} trailer")));
    lines
}

/// Sorted by name. Times and random ids are only there or not.
fn headers(headers: &[(String, String)], who: &str) -> Vec<String> {
    let mut sorted = headers.to_vec();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    sorted
        .into_iter()
        .map(|(name, value)| {
            let value = match name.as_str() {
                "date" if !value.contains("1970") => "NOW".into(),
                "x-envoy-upstream-service-time" => "MS".into(),
                "x-request-id" if is_random_id(&value) => "UUID".into(),
                _ => value,
            };
            format!("{who} {name}: {value}")
        })
        .collect()
}

fn is_random_id(value: &str) -> bool {
    value.len() == 36 && !value.starts_with("11111111-")
}

/// What only one of the two says.
fn difference(theirs: &[String], mine: &[String]) -> String {
    let only = |of: &[String], other: &[String], who: &str| -> String {
        of.iter()
            .filter(|line| !other.contains(line))
            .map(|line| format!("  only {who}: {line}\n"))
            .collect()
    };
    let text = only(theirs, mine, "Envoy") + &only(mine, theirs, "mesh-proxy");
    match text.is_empty() {
        true => "  the same lines in another order\n".into(),
        false => text,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn connections_are_handled_as_by_envoy() {
    let seed = Random::seed();
    let cases = Random::cases(DEFAULT_CASES);
    println!("MESH_SEED={seed} MESH_CASES={cases}");
    let mut random = Random::new(seed);
    let configuration = Arc::new(config::Configuration::random(&mut random, CONFIGURATIONS));

    let own = OwnAddress::claim();
    let upstream =
        Arc::new(RawUpstream::start(own.with_port(config::UPSTREAM), request::ANSWERS).await);
    let envoy = Arc::new(Side::start(Program::Envoy, &configuration, &own).await);
    let ours = Arc::new(Side::start(Program::MeshProxy, &configuration, &own).await);

    let mut running = tokio::task::JoinSet::new();
    let mut different = Vec::new();
    let mut listed = 0;
    for n in 0..cases {
        let case = Case::random(&mut random, CONFIGURATIONS);
        let (envoy, ours) = (Arc::clone(&envoy), Arc::clone(&ours));
        let (upstream, configuration) = (Arc::clone(&upstream), Arc::clone(&configuration));
        running.spawn(async move {
            let theirs = envoy.run(&case, &format!("case-e{n}"), &upstream).await;
            let mine = ours.run(&case, &format!("case-m{n}"), &upstream).await;
            if theirs == mine {
                return None;
            }
            if known::is_listed(&case, &configuration.manager(case.manager)) {
                return Some(None);
            }
            Some(Some(format!(
                "case {n}: {case:?}\n{}manager: {}\n",
                difference(&theirs, &mine),
                configuration.manager(case.manager)
            )))
        });
        if running.len() >= PARALLEL
            && let Some(done) = running.join_next().await
        {
            match done.expect("a case does not panic") {
                Some(Some(text)) => different.push(text),
                Some(None) => listed += 1,
                None => {}
            }
        }
    }
    while let Some(done) = running.join_next().await {
        match done.expect("a case does not panic") {
            Some(Some(text)) => different.push(text),
            Some(None) => listed += 1,
            None => {}
        }
    }
    println!("{listed} of {cases} differ as listed in known.rs");
    // A proxy that stopped answering explains more than the differences do.
    let alive = tokio::time::timeout(Duration::from_secs(5), ours.proxy.admin("/ready")).await;
    let shown = std::env::var("MESH_SHOW").map_or(3, |n| n.parse().expect("MESH_SHOW is a number"));
    assert!(
        different.is_empty(),
        "{} of {cases} cases differ (MESH_SEED={seed}); mesh-proxy ready: {}; the first:\n{}\nlog of mesh-proxy:\n{}",
        different.len(),
        alive.is_ok_and(|r| r.is_ok()),
        different
            .iter()
            .take(shown)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n"),
        ours.proxy.log(),
    );
}
