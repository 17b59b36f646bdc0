//! Active health checks: every endpoint answers by a script, each proxy the same, and then no more. What both say of
//! the endpoints then must be the same: flags, statistics, and which endpoints requests get.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use mesh_testkit::{
    address::OwnAddress,
    exchange::get,
    paired::Side,
    process::Program,
    random::Random,
    upstream::{HealthServers, Speaks},
};
use serde_json::{Value, json};

use crate::{ADMIN, LISTENER, UPSTREAM, address, bootstrap, type_url};

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
    let wanted: usize = std::env::var("MESH_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(DEFAULT_CASES);
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

/// A cluster, and how its endpoints answer.
struct Generated {
    config: Value,
    ports: Vec<(u16, Speaks)>,
    /// By the port that is asked.
    scripts: BTreeMap<u16, Vec<String>>,
    /// Answers may be late: then asking goes on, and counts differ.
    is_late: bool,
    threshold: usize,
    /// Whether enough requests get to every endpoint that gets any.
    is_round_robin: bool,
    /// Every endpoint is asked, so that any of them may be told to fail.
    tells_failures: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http1,
    Http2,
    Grpc,
    Tcp,
    Connect,
}

impl Generated {
    fn random(random: &mut Random, n: u16, upstreams: Ipv4Addr) -> Self {
        let kind = *random.one(&[
            Kind::Http1,
            Kind::Http1,
            Kind::Http1,
            Kind::Http2,
            Kind::Grpc,
            Kind::Tcp,
            Kind::Connect,
        ]);
        let is_late = random.chance(10) && kind != Kind::Connect;
        let thresholds = [1 + random.below(3), 1 + random.below(3)];
        let mut check = json!({
            "timeout": if is_late { "0.15s" } else { "300s" },
            "interval": milliseconds(1 + random.below(4)),
            "no_traffic_interval": milliseconds(1 + random.below(4)),
            "unhealthy_threshold": thresholds[0],
            "healthy_threshold": thresholds[1],
        });
        if kind == Kind::Connect {
            check["interval"] = json!("600s");
            check["no_traffic_interval"] = json!("600s");
        }
        if random.chance(30) {
            check["reuse_connection"] = json!(false);
        }
        if random.chance(20) {
            check["initial_jitter"] = json!("0.01s");
            check["interval_jitter"] = json!("0.002s");
        }
        if random.chance(20) {
            check["unhealthy_interval"] = json!("0.003s");
            check["healthy_edge_interval"] = json!("0.001s");
            check["unhealthy_edge_interval"] = json!("0.001s");
        }
        let mut words = kind.configure(random, &mut check);
        if is_late {
            words.push("200;wait=3000".into());
        }

        let mut ports = Vec::new();
        let mut scripts = BTreeMap::new();
        let mut tells_failures = true;
        let priorities = 1 + usize::from(random.chance(25));
        let mut groups = vec![Vec::new(); priorities];
        let hosts = 1 + random.below(4) as u16;
        if hosts > 1 {
            // Excluding one that fails already is in force with the next change of another: a matter of time.
            words.retain(|word| !word.contains("immediate"));
        }
        for host in 0..hosts {
            let port = UPSTREAM + n * PORTS + host;
            let mut endpoint = json!({"endpoint": {"address": address(upstreams, port)}});
            if random.chance(20) {
                endpoint["health_status"] = json!(*random.one(&[
                    "HEALTHY",
                    "DEGRADED",
                    "UNHEALTHY",
                    "DRAINING",
                    "TIMEOUT",
                ]));
            }
            let mut asked = port;
            if kind == Kind::Tcp || kind == Kind::Connect || random.chance(20) {
                asked = port + PORTS / 2;
                let speaks = match kind {
                    Kind::Tcp | Kind::Connect => Speaks::Tcp,
                    _ => Speaks::Http,
                };
                ports.push((asked, speaks));
                endpoint["endpoint"]["health_check_config"] = json!({"port_value": asked});
            }
            ports.push((port, Speaks::Http));
            if random.chance(8) {
                endpoint["endpoint"]["health_check_config"]["disable_active_health_check"] =
                    json!(true);
                tells_failures = false;
            } else if kind != Kind::Connect {
                let length = 1 + random.below(8);
                let script = (0..length).map(|_| random.one(&words).clone()).collect();
                scripts.insert(asked, script);
            }
            groups[random.below(priorities)].push(endpoint);
        }
        // Envoy knows no priority without the ones before it.
        groups.retain(|group| !group.is_empty());
        let groups: Vec<_> = groups
            .iter()
            .enumerate()
            .map(|(priority, endpoints)| json!({"lb_endpoints": endpoints, "priority": priority}))
            .collect();
        let mut config = json!({
            "name": format!("c{n}"),
            "type": "STATIC",
            "connect_timeout": "5s",
            "lb_policy": "ROUND_ROBIN",
            "health_checks": [check],
            "common_lb_config": {
                "update_merge_window": "0s",
                "healthy_panic_threshold": {"value": *random.one(&[0, 30, 50])},
            },
            "load_assignment": {"cluster_name": "c", "endpoints": groups},
        });
        if random.chance(20) {
            config["common_lb_config"]["ignore_new_hosts_until_first_hc"] = json!(true);
        }
        if kind == Kind::Grpc {
            config["typed_extension_protocol_options"] = json!({
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": type_url("upstreams.http.v3.HttpProtocolOptions"),
                    "explicit_http_config": {"http2_protocol_options": {}},
                },
            });
        }
        Self {
            config,
            ports,
            scripts,
            is_late,
            threshold: thresholds[0],
            is_round_robin: groups.len() == 1,
            tells_failures,
        }
    }
}

fn milliseconds(n: usize) -> Value {
    json!(format!("0.{n:03}s"))
}

impl Kind {
    /// The checker, and the words that its endpoints may answer.
    fn configure(self, random: &mut Random, check: &mut Value) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Http1 | Self::Http2 => &[
                "200",
                "200",
                "200;h=x-envoy-degraded:1",
                "200;h=x-envoy-upstream-healthchecked-cluster:cluster-1",
                "200;hex=6f6b20796573",
                "204",
                "429",
                "503",
                "503;h=x-envoy-immediate-health-check-fail:1",
                "reset",
                "200;h=connection:close",
                "503;h=x-envoy-degraded:1",
            ],
            Self::Grpc => &[
                "200;h=content-type:application/grpc;hex=00000000020801;t=grpc-status:0",
                "200;h=content-type:application/grpc;hex=00000000020801;t=grpc-status:0",
                "200;h=content-type:application/grpc;hex=00000000020802;t=grpc-status:0",
                "200;h=content-type:application/grpc;hex=0000000000;t=grpc-status:0",
                "200;h=content-type:application/grpc;hex=00000000020801;t=grpc-status:13",
                "200;h=content-type:application/grpc;h=grpc-status:12",
                "200;h=content-type:text/plain;hex=00000000020801;t=grpc-status:0",
                "503",
                "reset",
            ],
            Self::Tcp => &[
                "hex=6f6b",
                "hex=6f6b",
                "hex=78786f6b7878",
                "cut",
                "hex=78;cut",
            ],
            Self::Connect => &[],
        };
        // The connection's word cannot be said over HTTP/2.
        let mut words: Vec<_> = words
            .iter()
            .filter(|word| self != Self::Http2 || !word.contains("connection"))
            .map(|word| (*word).to_owned())
            .collect();
        match self {
            Self::Http1 | Self::Http2 => {
                let mut http = json!({"path": "/hc"});
                if self == Self::Http2 {
                    http["codec_client_type"] = json!("HTTP2");
                }
                if random.chance(40) {
                    http["expected_statuses"] =
                        json!([{"start": 200, "end": *random.one(&[201, 205, 300])}]);
                }
                if random.chance(40) {
                    http["retriable_statuses"] =
                        json!([{"start": 429, "end": *random.one(&[430, 504])}]);
                }
                if random.chance(20) {
                    http["receive"] = json!([{"text": "6f6b"}, {"text": "796573"}]);
                }
                if random.chance(20) {
                    http["service_name_matcher"] = json!({"prefix": "cluster"});
                }
                if random.chance(20) {
                    http["method"] = json!(*random.one(&["GET", "HEAD", "OPTIONS", "POST"]));
                    if http["method"] == "HEAD" {
                        words.retain(|word| !word.contains("hex"));
                    }
                }
                if random.chance(20) {
                    http["request_headers_to_add"] =
                        json!([{"header": {"key": "x-check", "value": "yes"}}]);
                    http["host"] = json!("host.test");
                }
                check["http_health_check"] = http;
            }
            Self::Grpc => {
                check["grpc_health_check"] = match random.chance(50) {
                    true => json!({}),
                    false => json!({"service_name": "a.b", "authority": "host.test"}),
                };
            }
            Self::Tcp => {
                check["tcp_health_check"] =
                    json!({"send": {"text": "70696e67"}, "receive": [{"text": "6f6b"}]});
            }
            Self::Connect => check["tcp_health_check"] = json!({}),
        }
        words
    }
}
