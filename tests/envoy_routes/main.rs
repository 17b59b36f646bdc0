//! The same static configuration and the same requests through the real Envoy and through mesh-proxy: what the client
//! sees and what the upstream sees must be equal.
//!
//! Random route tables and requests; the seed is printed (`MESH_SEED` repeats a run, `MESH_CASES` asks for more).

mod action;
mod config;
mod reply;
mod request;

use std::{net::Ipv4Addr, time::Duration};

use mesh_testkit::{
    address::OwnAddress,
    paired::{Side, assert_none_differ},
    process::Program,
    random::Random,
    upstream::{CASE, Seen, Upstream},
};

/// Route tables in one start, and requests: many tables find more than many requests.
const TABLES: usize = 25;
const CASES_PER_START: usize = 500;
/// How long the last copies may take.
const SETTLE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn routes_headers_retries_and_local_replies_are_envoys() {
    let seed = Random::seed();
    let cases = Random::cases(1_000);
    println!("MESH_SEED={seed} MESH_CASES={cases}");
    let mut random = Random::new(seed);
    let mut different = Vec::new();
    let mut done = 0;
    let mut log = String::new();
    while done < cases {
        let of_start = CASES_PER_START.min(cases - done);
        log = start(&mut random, done, of_start, &mut different).await;
        done += of_start;
    }
    assert_none_differ(&different, cases, seed, &log);
}

/// One start of both programs. Returns what mesh-proxy logged.
async fn start(
    random: &mut Random,
    first: usize,
    cases: usize,
    different: &mut Vec<String>,
) -> String {
    let before = different.len();
    let configuration = config::Configuration::random(random, TABLES);
    let own = OwnAddress::claim();
    let mut upstreams = Vec::new();
    for n in 0..config::CLUSTERS {
        let address = own.with_port(config::UPSTREAM + n);
        upstreams.push(Upstream::start(&format!("u{n}"), address).await);
    }
    let mut mirrors = Vec::new();
    for n in 0..config::MIRRORS {
        let address = own.with_port(config::UPSTREAM + config::CLUSTERS + n);
        mirrors.push(Upstream::start_for_copies(&format!("mirror{n}"), address).await);
    }
    let bootstrap = |ip: Ipv4Addr| configuration.bootstrap(ip, own.ip());
    let last = config::LISTENER + u16::try_from(TABLES - 1).unwrap_or(0);
    let ports = (config::ADMIN, last);
    let (envoy, ours) = tokio::join!(
        Side::start(Program::Envoy, ports, bootstrap),
        Side::start(Program::MeshProxy, ports, bootstrap),
    );

    let mut copied = Vec::new();
    for n in first..first + cases {
        let case = request::Case::random(random, TABLES);
        let port = config::LISTENER + case.table;
        let (e, m) = (format!("e{n}"), format!("m{n}"));
        let mut theirs = envoy.run(port, case.request(&e), &e, &upstreams).await;
        let mut mine = ours.run(port, case.request(&m), &m, &upstreams).await;
        // How much of a body has come before nobody was there to take it is a matter of time, in Envoy too: whether the
        // connection ends with the answer, and whether a copy was begun and how much of it was sent.
        let is_race = case.has_body()
            && [&theirs, &mine].iter().all(|one| one.seen.is_empty())
            && configuration.table(case.table).contains("\"refused\"");
        if is_race {
            for one in [&mut theirs, &mut mine] {
                if let Ok(answer) = &mut one.answer {
                    answer.headers.retain(|(name, _)| name != "connection");
                }
            }
        } else {
            copied.push(((e, m), format!("case {n}: {case:?}"), case.table));
        }
        if theirs != mine {
            different.push(format!(
                "case {n}: {case:?}\n{}\nroute table: {}\nEnvoy: {theirs:?}\nmesh-proxy: {mine:?}\n",
                theirs.difference(&mine),
                configuration.table(case.table)
            ));
        }
    }
    // Copies are sent on their own: they may come after the answer.
    let all_are_here = async {
        let count = |case: &str| {
            mirrors
                .iter()
                .map(|mirror| mirror.count(case))
                .sum::<usize>()
        };
        for ((e, m), ..) in &copied {
            while count(e) != count(m) {
                tokio::task::yield_now().await;
            }
        }
    };
    // Where it runs out, the difference says so.
    let _ = tokio::time::timeout(SETTLE, all_are_here).await;
    let mut compared = 0;
    for ((e, m), case, table) in &copied {
        let (theirs, mine) = (copies(&mirrors, e), copies(&mirrors, m));
        compared += theirs.len();
        if theirs != mine {
            different.push(format!(
                "{case}\nroute table: {}\ncopies, Envoy: {theirs:#?}\nmesh-proxy: {mine:#?}\n",
                configuration.table(*table)
            ));
        }
    }
    println!("{compared} copies of requests");
    for difference in &different[before..] {
        println!("{difference}");
    }
    ours.state().await
}

/// What mirrors have seen of a case, in an order that does not depend on which came first.
fn copies(mirrors: &[Upstream], case: &str) -> Vec<Seen> {
    let mut copies: Vec<Seen> = mirrors
        .iter()
        .flat_map(|mirror| mirror.take(case))
        .collect();
    for copy in &mut copies {
        copy.headers.retain(|(name, _)| name != CASE);
    }
    copies.sort_by_key(|copy| format!("{copy:?}"));
    copies
}
