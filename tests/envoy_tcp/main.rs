//! TCP proxies and RBAC of connections: the same bytes through the real Envoy and through mesh-proxy, what clients and
//! upstreams see of them, and what is counted.
//!
//! The seed is printed (`MESH_SEED` repeats a run, `MESH_CASES` asks for more).

mod config;
mod peer;

use std::net::Ipv4Addr;

use mesh_testkit::{address::OwnAddress, paired::Side, process::Program, random::Random};

use config::{CONFIGURATIONS, Configuration};
use peer::{Case, Upstream};

const CASES_PER_START: usize = 1_000;
/// Cases under way at once, of as many listeners.
const PARALLEL: usize = 8;

async fn through(
    program: Program,
    configuration: &Configuration,
    cases: &[Case],
) -> (Vec<String>, Vec<String>) {
    let upstreams = OwnAddress::claim();
    let mut started = Vec::new();
    for (n, kind) in (0..).zip(peer::KINDS) {
        started.push(Upstream::start(kind, upstreams.with_port(config::UPSTREAM + n)).await);
    }
    let bootstrap = |ip: Ipv4Addr| configuration.bootstrap(ip, upstreams.ip());
    let last = config::LISTENER + CONFIGURATIONS - 1;
    let side = Side::start(program, (config::ADMIN, last), bootstrap).await;
    // That it listens was found out by a connection.
    for upstream in &started {
        upstream.settle().await;
        upstream.take();
    }
    let mut seen = Vec::new();
    for group in cases.chunks(PARALLEL) {
        let answers = group
            .iter()
            .map(|case| tokio::spawn(case.clone().run(side.address.ip())));
        for (case, answer) in group.iter().zip(answers.collect::<Vec<_>>()) {
            let answer = answer.await.expect("a case");
            if answer == peer::SILENCE {
                println!(
                    "{program:?}: nothing more came: {case:?} {}",
                    configuration.listener(case.listener)
                );
            }
            seen.push(answer);
        }
    }
    let mut counted = Vec::new();
    for upstream in &started {
        upstream.settle().await;
        counted.extend(upstream.take());
    }
    let page = side.proxy.admin("/stats").await.expect("statistics");
    let page = String::from_utf8_lossy(&page.body).into_owned();
    counted.extend(
        page.lines()
            .filter(|l| config::is_compared(l))
            .map(str::to_owned),
    );
    counted.sort();
    (seen, counted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn tcp_is_envoys() {
    let seed = Random::seed();
    let asked = Random::cases(1_000);
    println!("MESH_SEED={seed} MESH_CASES={asked}");
    let mut random = Random::new(seed);
    let mut differences = Vec::new();
    let mut done = 0;
    while done < asked && differences.is_empty() {
        let of_start = CASES_PER_START.min(asked - done);
        let configuration = Configuration::random(&mut random);
        let cases: Vec<_> = (0..of_start)
            .map(|n| Case::random(&mut random, &configuration, done + n))
            .collect();
        let theirs = through(Program::Envoy, &configuration, &cases).await;
        let mine = through(Program::MeshProxy, &configuration, &cases).await;
        for (case, (e, m)) in cases.iter().zip(theirs.0.iter().zip(&mine.0)) {
            if e != m {
                differences.push(format!(
                    "{case:?}\n  Envoy: {e}\n  mesh-proxy: {m}\n  {}",
                    configuration.listener(case.listener)
                ));
            }
        }
        let only = |of: &[String], other: &[String], who: &str| {
            let only = of.iter().filter(|line| !other.contains(line));
            only.map(|line| format!("only {who}: {line}"))
                .collect::<Vec<_>>()
        };
        differences.extend(only(&theirs.1, &mine.1, "Envoy"));
        differences.extend(only(&mine.1, &theirs.1, "mesh-proxy"));
        done += of_start;
    }
    assert!(
        differences.is_empty(),
        "{} differences in {done} cases (MESH_SEED={seed}); the first:\n{}",
        differences.len(),
        differences
            .iter()
            .take(12)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n"),
    );
}
