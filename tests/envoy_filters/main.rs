//! HTTP filters as Envoy runs them: random chains with configuration at every level, random requests, one after the
//! other through the real Envoy and through mesh-proxy.
//!
//! The seed is printed (`MESH_SEED` repeats a run, `MESH_CASES` asks for more).

mod config;
mod filter;
mod jwt;
mod rate_limit;
mod rbac;
mod request;

use std::net::Ipv4Addr;

use mesh_testkit::{
    address::OwnAddress,
    paired::{Side, assert_none_differ},
    process::Program,
    random::Random,
    upstream::Upstream,
};

use config::{Configuration, Kinds};

const CONFIGURATIONS: usize = 25;
/// So many cases of one pair of programs.
const CASES_PER_START: usize = 1_000;

async fn compare(kinds: Kinds, default: usize) {
    let seed = Random::seed();
    let cases = Random::cases(default);
    println!("MESH_SEED={seed} MESH_CASES={cases}");
    let mut random = Random::new(seed);
    let mut different = Vec::new();
    let mut log = String::new();
    let mut done = 0;
    while done < cases && different.len() < 20 {
        let of_start = CASES_PER_START.min(cases - done);
        log += &run(&mut random, kinds, done..done + of_start, &mut different).await;
        done += of_start;
    }
    assert_none_differ(&different, done, seed, &log);
}

/// Some cases through a new pair of programs; what mesh-proxy logged.
async fn run(
    random: &mut Random,
    kinds: Kinds,
    cases: std::ops::Range<usize>,
    different: &mut Vec<String>,
) -> String {
    let configuration = Configuration::random(random, kinds, CONFIGURATIONS);
    let own = OwnAddress::claim();
    let mut upstreams = Vec::new();
    for n in 0..config::CLUSTERS {
        let address = own.with_port(config::UPSTREAM + n);
        upstreams.push(Upstream::start(&format!("u{n}"), address).await);
    }
    let bootstrap = |ip: Ipv4Addr| configuration.bootstrap(ip, own.ip());
    let last = config::LISTENER + u16::try_from(CONFIGURATIONS - 1).unwrap_or(0);
    let ports = (config::ADMIN, last);
    let envoy = Side::start(Program::Envoy, ports, bootstrap).await;
    let ours = Side::start(Program::MeshProxy, ports, bootstrap).await;
    let mut statistics = Vec::new();
    for n in cases {
        let case = request::Case::random(random, kinds, CONFIGURATIONS);
        let port = config::LISTENER + case.table;
        // Upstreams count a case's attempts, and the generators run at once.
        let (e, m) = (format!("e{n}-{}", own.ip()), format!("m{n}-{}", own.ip()));
        let mut theirs = envoy.run(port, case.request(&e), &e, &upstreams).await;
        let mut mine = ours.run(port, case.request(&m), &m, &upstreams).await;
        if configuration.delays(case.table) {
            // Envoy reads a request's body while a filter holds the head, so it knows that it may keep the connection.
            for side in [&mut theirs, &mut mine] {
                if let Ok(answer) = &mut side.answer {
                    answer.headers.retain(|(name, _)| name != "connection");
                }
            }
        }
        if theirs != mine {
            different.push(format!(
                "case {n}: {case:?}\n{}\nconfiguration: {}\nEnvoy: {theirs:?}\nmesh-proxy: {mine:?}\n",
                theirs.difference(&mine),
                configuration.table(case.table)
            ));
        }
    }
    for side in [&envoy, &ours] {
        let page = side.proxy.admin("/stats").await.expect("statistics");
        let page = String::from_utf8_lossy(&page.body).into_owned();
        let of_limits = page.lines().filter(|l| l.contains(rate_limit::STATISTICS));
        statistics.push(of_limits.map(str::to_owned).collect::<Vec<_>>());
    }
    if statistics[0] != statistics[1] {
        different.push(format!("statistics: {statistics:#?}"));
    }
    if different.is_empty() {
        return String::new();
    }
    ours.state().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn chains_and_their_per_route_configuration_are_envoys() {
    compare(Kinds::All, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn rbac_is_envoys() {
    compare(Kinds::Rbac, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn local_rate_limits_are_envoys() {
    compare(Kinds::RateLimit, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn jwt_authn_is_envoys() {
    compare(Kinds::Jwt, 1_000).await;
}
