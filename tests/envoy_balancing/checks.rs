//! Active health checks: every endpoint answers by a script, each proxy the same, and then no more. What both say of
//! the endpoints then must be the same: flags, statistics, and which endpoints requests get.

mod generated;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use mesh_testkit::{
    address::OwnAddress, exchange::get, paired::Side, process::Program, random::Random,
    upstream::HealthServers,
};
use serde_json::{Value, json};

use generated::Generated;

use crate::{ADMIN, LISTENER, bootstrap};

/// Ports of a cluster: endpoints, then ports where only checks go.
const PORTS: u16 = 8;
const CLUSTERS: u16 = 125;
/// Endpoints with a script are cases.
const DEFAULT_CASES: usize = 1_000;
const REQUESTS: usize = 12;
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn endpoints_are_as_healthy_as_envoy_finds_them() {
    let seed = Random::seed();
    let wanted = Random::cases(DEFAULT_CASES);
    println!("MESH_SEED={seed} MESH_CASES={wanted}");
    let mut random = Random::new(seed);
    let (mut cases, mut round) = (0, 0);
    while cases < wanted {
        let own = OwnAddress::claim();
        let clusters: Vec<_> = (0..CLUSTERS)
            .map(|n| Generated::random(&mut random, n, own.ip()))
            .collect();
        cases += clusters.iter().map(|c| c.scripts.len()).sum::<usize>();
        compare(&clusters, &own, &format!("MESH_SEED={seed} round {round}")).await;
        round += 1;
    }
    println!("{cases} scripts in {round} rounds");
}

async fn compare(clusters: &[Generated], upstreams: &OwnAddress, run: &str) {
    let mut servers = HealthServers::default();
    let addresses = [OwnAddress::claim(), OwnAddress::claim()];
    for cluster in clusters {
        for (port, speaks) in &cluster.ports {
            let words = cluster.scripts.get(port);
            let scripts = addresses
                .iter()
                .filter_map(|side| Some((side.ip().into(), words?.clone())));
            servers
                .listen(upstreams.with_port(*port), *speaks, scripts)
                .await;
        }
    }
    let [first, second] = addresses;
    let mut reports = Vec::new();
    for (program, address) in [(Program::Envoy, first), (Program::MeshProxy, second)] {
        let bootstrap = bootstrap_of(clusters, address.ip());
        let last = LISTENER + clusters.len() as u16 - 1;
        let side = Side::start_at(program, (ADMIN, last), address, &bootstrap).await;
        finish(&servers, clusters, side.address.ip().into()).await;
        reports.push(report(&side, clusters).await);
    }
    let mut different = Vec::new();
    for (n, cluster) in clusters.iter().enumerate() {
        let wrong = reports[0][n].difference(&reports[1][n], cluster);
        if !wrong.is_empty() {
            let (config, scripts) = (&cluster.config, &cluster.scripts);
            different.push(format!("cluster {n}:\n{wrong}{config}\n{scripts:?}\n"));
        }
    }
    assert!(
        different.is_empty(),
        "{run}: {} of {} clusters differ; the first four:\n{}",
        different.len(),
        clusters.len(),
        different[..different.len().min(4)].join("\n")
    );
}

/// Waits until a proxy has heard all answers.
async fn finish(servers: &HealthServers, clusters: &[Generated], from: IpAddr) {
    let done = async {
        loop {
            let unfinished = servers.unfinished(from);
            let late = clusters.iter().filter(|c| c.is_late).any(|cluster| {
                let scripts = cluster.scripts.iter();
                scripts.into_iter().any(|(port, words)| {
                    servers.asked(from, *port) < words.len() + 2 + cluster.threshold
                })
            });
            if unfinished.is_empty() && !late {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let done = tokio::time::timeout(LIMIT, done).await;
    assert!(
        done.is_ok(),
        "{from} never asks {:?}",
        servers.unfinished(from)
    );
}

/// What a proxy says of a cluster, and does with it.
#[derive(Debug, Default)]
struct Report {
    /// By address.
    flags: BTreeMap<String, Value>,
    stats: BTreeMap<String, u64>,
    /// How many requests each endpoint got; those that none got count under their status.
    counts: BTreeMap<String, usize>,
    /// How many failures answers told of.
    told: usize,
}

impl Report {
    fn difference(&self, mine: &Self, cluster: &Generated) -> String {
        let mut lines = String::new();
        lines += &differing(&self.flags, &mine.flags);
        if !cluster.is_late {
            lines += &differing(&self.stats, &mine.stats);
        }
        let names = |report: &Self| report.counts.keys().cloned().collect::<BTreeSet<_>>();
        // A part of the requests goes to degraded endpoints by chance.
        let is_mixed = |name: &str| self.stats.get(name).is_some_and(|count| *count > 0);
        let is_mixed = is_mixed("membership_degraded") && is_mixed("membership_healthy");
        if cluster.is_round_robin && !is_mixed && names(self) != names(mine) {
            lines += &format!("Envoy {:?}\nmesh-proxy {:?}\n", self.counts, mine.counts);
        }
        if self.told != mine.told && cluster.tells_failures {
            lines += &format!("failures told: {}, {}\n", self.told, mine.told);
        }
        lines
    }
}

/// What is not the same under one name.
fn differing<T: PartialEq + Debug>(
    theirs: &BTreeMap<String, T>,
    mine: &BTreeMap<String, T>,
) -> String {
    let names: BTreeSet<_> = theirs.keys().chain(mine.keys()).collect();
    let differ = names
        .iter()
        .filter(|name| theirs.get(**name) != mine.get(**name));
    differ
        .map(|name| {
            format!(
                "{name}: Envoy {:?}, mesh-proxy {:?}\n",
                theirs.get(*name),
                mine.get(*name)
            )
        })
        .collect()
}

async fn report(side: &Side, clusters: &[Generated]) -> Vec<Report> {
    let mut reports: Vec<_> = (0..clusters.len()).map(|_| Report::default()).collect();
    flags(side, |n, address, health| {
        reports[n].flags.insert(address, health);
    })
    .await;
    stats(side, |n, name, value| {
        reports[n].stats.insert(name, value);
    })
    .await;
    for (n, report) in reports.iter_mut().enumerate() {
        let to = side.address.with_port(LISTENER + n as u16);
        for _ in 0..REQUESTS {
            let answer = get(to, "/").await.expect("answered");
            let name = match answer.header("x-upstream") {
                Some(port) => port.to_owned(),
                None => format!("status {}", answer.status),
            };
            *report.counts.entry(name).or_default() += 1;
        }
        get(to, "/fail").await.expect("answered");
    }
    let told = async {
        loop {
            let mut failures = vec![0; clusters.len()];
            stats(side, |n, name, value| {
                if name == "health_check.passive_failure" {
                    failures[n] = value as usize;
                }
            })
            .await;
            for (report, told) in reports.iter_mut().zip(&failures) {
                report.told = *told;
            }
            let heard = |(n, cluster): (usize, &Generated)| {
                let is_told = reports[n]
                    .counts
                    .keys()
                    .any(|name| !name.starts_with("status"));
                !is_told || failures[n] > 0 || !cluster.tells_failures
            };
            if clusters.iter().enumerate().all(heard) {
                return;
            }
        }
    };
    // What nobody tells within this time is a difference.
    let _ = tokio::time::timeout(Duration::from_secs(3), told).await;
    reports
}

async fn flags(side: &Side, mut each: impl FnMut(usize, String, Value)) {
    let page = side.proxy.admin("/clusters?format=json").await;
    let page: Value = serde_json::from_slice(&page.expect("a page").body).expect("JSON");
    for cluster in page["cluster_statuses"].as_array().expect("a list") {
        let Some(n) = number(cluster["name"].as_str().expect("a name")) else {
            continue;
        };
        for host in cluster["host_statuses"].as_array().into_iter().flatten() {
            let port = &host["address"]["socket_address"]["port_value"];
            each(n, port.to_string(), host["health_status"].clone());
        }
    }
}

async fn stats(side: &Side, mut each: impl FnMut(usize, String, u64)) {
    let page = side
        .proxy
        .admin("/stats?filter=health_check|membership")
        .await;
    let page = page.expect("a page").body;
    for line in String::from_utf8_lossy(&page).lines() {
        let line = line.strip_prefix("cluster.");
        let Some((cluster, rest)) = line.and_then(|line| line.split_once('.')) else {
            continue;
        };
        let is_meant = rest.starts_with("health_check.") || rest.starts_with("membership_");
        if let (true, Some(n), Some((name, value))) =
            (is_meant, number(cluster), rest.split_once(": "))
        {
            each(n, name.to_owned(), value.parse().expect("a number"));
        }
    }
}

fn number(cluster: &str) -> Option<usize> {
    cluster.strip_prefix('c')?.parse().ok()
}

fn bootstrap_of(clusters: &[Generated], own: Ipv4Addr) -> String {
    let routes = clusters.iter().map(|_| json!({})).collect();
    let clusters = clusters
        .iter()
        .map(|cluster| {
            let mut config = cluster.config.clone();
            // The servers know who asks by the address.
            config["upstream_bind_config"] =
                json!({"source_address": {"address": own.to_string(), "port_value": 0}});
            config
        })
        .collect();
    bootstrap(own, routes, clusters).to_string()
}
