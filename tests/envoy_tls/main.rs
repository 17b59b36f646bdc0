//! TLS as Envoy does it: the same random cases through Envoy and mesh-proxy in both places, client and server.
//!
//! What the client's caller and the server's upstream see must be what they see of two Envoys.
//!
//! Half of the certificates and rules come inline, the rest as secrets of one server (SDS), which both programs ask. It
//! rotates some of them in the midst of the cases, and does not have some.
//!
//! The seed is printed (`MESH_SEED` repeats a run, `MESH_CASES` asks for more).

mod config;
mod context;
mod request;
mod rotation;

use std::net::Ipv4Addr;

use mesh_testkit::{
    address::OwnAddress,
    paired::{Side, Transcript, assert_none_differ},
    process::Program,
    random::Random,
    secrets::SecretServer,
    upstream::Upstream,
};

use config::Configuration;
use context::Certificates;

/// So many cases of one set of programs.
const CASES_PER_START: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn both_sides_of_mutual_tls_are_envoys() {
    let seed = Random::seed();
    let cases = Random::cases(1_000);
    println!("MESH_SEED={seed} MESH_CASES={cases}");
    let mut random = Random::new(seed);
    let certificates = Certificates::new();
    let mut different = Vec::new();
    let mut log = String::new();
    let mut done = 0;
    while done < cases && different.len() < 20 {
        let of_start = CASES_PER_START.min(cases - done);
        let configuration = Configuration::random(&mut random, &certificates);
        log += &run(
            &mut random,
            &certificates,
            &configuration,
            done..done + of_start,
            &mut different,
        )
        .await;
        done += of_start;
    }
    if std::env::var_os("MESH_SHOW").is_some() {
        println!("{}", different.join("\n"));
    }
    assert_none_differ(&different, done, seed, &log);
}

/// Some cases through new programs; what mesh-proxy logged.
async fn run(
    random: &mut Random,
    certificates: &Certificates,
    configuration: &Configuration,
    cases: std::ops::Range<usize>,
    different: &mut Vec<String>,
) -> String {
    let own = OwnAddress::claim();
    let upstream = Upstream::start("u", own.with_port(config::UPSTREAM)).await;
    let upstreams = [upstream];
    let mut secrets = certificates.secrets();
    let sds = SecretServer::start(own.with_port(config::SECRETS)).await;
    for (name, secret) in secrets
        .iter()
        .filter(|(_, secret)| secret["missing"].is_null())
    {
        sds.set_json(name, secret);
    }
    let server = |ip: Ipv4Addr| configuration.server(ip, own.ip());
    let ports = (config::ADMIN, config::LAST_LISTENER);
    let servers = [
        Side::start(Program::Envoy, ports, server).await,
        Side::start(Program::MeshProxy, ports, server).await,
    ];
    let [theirs, mine] = [0, 1].map(|at: usize| servers[at].address.ip());
    let client = |ip: Ipv4Addr| configuration.client(ip, [theirs, mine], own.ip());
    let ports = (config::ADMIN, config::LISTENER);
    let clients = [
        Side::start(Program::Envoy, ports, client).await,
        Side::start(Program::MeshProxy, ports, client).await,
    ];
    let who = ["Envoy", "mesh-proxy"];
    let rotations = [
        cases.start + cases.len() / 3,
        cases.start + cases.len() * 2 / 3,
    ];
    for n in cases {
        if rotations.contains(&n) {
            let rotated = certificates.rotated(random, &secrets);
            for (name, secret) in &rotated {
                sds.set_json(name, secret);
            }
            secrets.extend(rotated);
            sds.settled().await;
            assert_eq!(sds.refused(), [""; 0]);
            // What answers the server also puts in force what came, and only then looks at this.
            for side in clients.iter().chain(&servers) {
                side.proxy.admin("/ready").await.expect("it runs");
            }
        }
        let case = request::Case::random(random);
        let mut judge: Option<Transcript> = None;
        for (c, s) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let id = format!("{c}{s}x{n}-{}", own.ip());
            let request = case.request(&id, s);
            let seen = clients[c]
                .run(config::LISTENER, request, &id, &upstreams)
                .await;
            let seen = request::normal(seen);
            match &judge {
                None => judge = Some(seen),
                Some(judge) if *judge == seen => {}
                Some(judge) => different.push(format!(
                    "case {n}, {} to {}: {case:?}\n{}\nconfiguration: {}\n",
                    who[c],
                    who[s],
                    judge.difference(&seen),
                    configuration.of(case.client, case.server),
                )),
            }
        }
    }
    if different.is_empty() {
        return String::new();
    }
    format!("{}\n{}", clients[1].state().await, servers[1].state().await)
}
