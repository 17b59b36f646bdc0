//! Access logs: random formats and filters, random requests, and the lines that the real Envoy and mesh-proxy write.
//!
//! Times are masked, and the ports of connections. The seed is printed (`MESH_SEED` repeats a run, `MESH_CASES` asks for
//! more).

mod config;
mod request;

use std::{net::Ipv4Addr, path::Path, time::Duration};

use mesh_testkit::{
    address::OwnAddress,
    paired::{Side, assert_none_differ},
    process::Program,
    random::Random,
    upstream::Upstream,
};

use config::{CONFIGURATIONS, Configuration};
use request::Case;

const CASES_PER_START: usize = 1_000;
/// How long a line may take to be written: Envoy flushes every ten seconds, or what the bootstrap's flag says.
const WRITTEN: Duration = Duration::from_secs(20);

/// The lines of each listener, one list a listener, and the last request's mark in them.
async fn lines_of(dir: &Path, last: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for n in 0..CONFIGURATIONS {
        let path = dir.join(format!("l{n}"));
        let whole = async {
            loop {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                if text.contains(last) {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let text = tokio::time::timeout(WRITTEN, whole).await;
        let text = text.unwrap_or_else(|_| std::fs::read_to_string(&path).unwrap_or_default());
        let lines = text.lines().filter(|line| !line.contains(last));
        all.push(lines.map(|line| config::masked(n, line)).collect());
    }
    all
}

async fn through(
    program: Program,
    configuration: &Configuration,
    cases: &[Case],
) -> (Vec<Vec<String>>, String) {
    let upstreams = OwnAddress::claim();
    let upstream = Upstream::start("u0", upstreams.with_port(config::UPSTREAM)).await;
    let dir = std::env::temp_dir().join(format!("mesh-access-log-{}", upstreams.ip()));
    std::fs::create_dir_all(&dir).expect("a folder");
    let bootstrap = |ip: Ipv4Addr| configuration.bootstrap(ip, upstreams.ip(), &dir);
    let last = config::LISTENER + CONFIGURATIONS - 1;
    let side = Side::start(program, (config::ADMIN, last), bootstrap).await;
    let upstreams = [upstream];
    for case in cases {
        let port = config::LISTENER + case.listener;
        side.run(port, case.request(), &case.n.to_string(), &upstreams)
            .await;
    }
    for n in 0..CONFIGURATIONS {
        let request = request::last();
        side.run(config::LISTENER + n, request, "last", &upstreams)
            .await;
    }
    let lines = lines_of(&dir, request::LAST).await;
    std::fs::remove_dir_all(&dir).expect("the folder was there");
    (lines, side.state().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn lines_are_envoys() {
    let seed = Random::seed();
    let asked = Random::cases(1_000);
    println!("MESH_SEED={seed} MESH_CASES={asked}");
    let mut random = Random::new(seed);
    let mut differences = Vec::new();
    let mut log = String::new();
    let mut done = 0;
    while done < asked && differences.is_empty() {
        let of_start = CASES_PER_START.min(asked - done);
        let configuration = Configuration::random(&mut random);
        let cases: Vec<_> = (0..of_start)
            .map(|n| Case::random(&mut random, done + n))
            .collect();
        let (theirs, mine) = tokio::join!(
            through(Program::Envoy, &configuration, &cases),
            through(Program::MeshProxy, &configuration, &cases),
        );
        log = mine.1;
        for (n, (theirs, mine)) in (0..).zip(theirs.0.iter().zip(&mine.0)) {
            let only = |of: &[String], other: &[String], who: &str| {
                let only = of.iter().filter(|line| !other.contains(line));
                only.map(|line| format!("only {who}: {line}"))
                    .collect::<Vec<_>>()
            };
            let mut differ = only(theirs, mine, "Envoy");
            differ.extend(only(mine, theirs, "mesh-proxy"));
            if !differ.is_empty() {
                differ.truncate(12);
                differences.push(format!("{}\n{}", configuration.log(n), differ.join("\n")));
            }
        }
        done += of_start;
    }
    assert_none_differ(&differences, done, seed, &log);
}
