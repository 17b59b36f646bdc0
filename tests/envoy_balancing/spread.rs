//! How requests are spread where it depends on zones, subsets and panic.
//!
//! Both sides draw by chance, so that picks are counted and the counts compared as samples of one distribution.

use mesh_testkit::{
    address::OwnAddress,
    exchange::get,
    paired::{Counts, Side, unlike},
    process::Program,
    random::Random,
    upstream::Upstream,
};
use serde_json::{Value, json};

use crate::{ADMIN, LISTENER, UPSTREAM, address, bootstrap, type_url};

const CLUSTERS: u16 = 25;
const HOSTS: u16 = 12;
/// Of each side for each cluster.
const REQUESTS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn requests_are_spread_alike() {
    let seed = Random::seed();
    let cases = Random::cases(2 * usize::from(CLUSTERS) * REQUESTS);
    println!("MESH_SEED={seed} MESH_CASES={cases}");
    let rounds = cases.div_ceil(usize::from(CLUSTERS) * REQUESTS);
    let mut random = Random::new(seed);
    let own = OwnAddress::claim();
    let mut upstreams = Vec::new();
    for n in 0..HOSTS {
        let address = own.with_port(UPSTREAM + n);
        upstreams.push(Upstream::start(&format!("u{n}"), address).await);
    }
    for round in 0..rounds {
        let mut generator = Generator {
            random: &mut random,
            own: &own,
        };
        let (routes, clusters): (Vec<_>, Vec<_>) =
            (0..CLUSTERS).map(|n| generator.cluster(n)).unzip();
        let callers = generator.callers();
        let mut sides = Vec::new();
        for program in [Program::Envoy, Program::MeshProxy] {
            let bootstrap = |ip| {
                let mut all = clusters.clone();
                all.push(callers.clone());
                let mut config = bootstrap(ip, routes.clone(), all);
                config["node"] =
                    json!({"id": "n", "cluster": "n", "locality": {"region": "r", "zone": "a"}});
                config["cluster_manager"] = json!({"local_cluster_name": "callers"});
                config.to_string()
            };
            sides.push(Side::start(program, (ADMIN, LISTENER + CLUSTERS - 1), bootstrap).await);
        }
        let mut different = Vec::new();
        for n in 0..CLUSTERS {
            let theirs = count(&sides[0], n).await;
            let mine = count(&sides[1], n).await;
            if let Some(wrong) = unlike(&theirs, &mine) {
                let (route, cluster) = (&routes[usize::from(n)], &clusters[usize::from(n)]);
                different.push(format!(
                    "{wrong}\nEnvoy {theirs:?}\nmesh-proxy {mine:?}\n{route} {cluster}\n{callers}\n"
                ));
            }
        }
        assert!(
            different.is_empty(),
            "MESH_SEED={seed} round {round}: {} of {CLUSTERS} differ; the first three:\n{}",
            different.len(),
            different[..different.len().min(3)].join("\n")
        );
    }
}

/// How many requests each upstream gets; those that none gets count under their status.
async fn count(side: &Side, n: u16) -> Counts {
    let to = side.address.with_port(LISTENER + n);
    let mut counts = Counts::new();
    for _ in 0..REQUESTS {
        let answer = get(to, "/").await.expect("answered");
        let name = match answer.header("x-upstream") {
            Some(name) => name.to_owned(),
            None => format!("status {}", answer.status),
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

struct Generator<'a> {
    random: &'a mut Random,
    own: &'a OwnAddress,
}

impl Generator<'_> {
    /// The cluster that both proxies take themselves for endpoints of.
    fn callers(&mut self) -> Value {
        let groups: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .filter_map(|zone| {
                let count = self.random.below(5);
                let endpoints: Vec<_> = (0..count).map(|_| self.endpoint(UPSTREAM, 10)).collect();
                (count > 0).then(|| self.group(zone, 0, endpoints))
            })
            .collect();
        json!({
            "name": "callers", "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": {"cluster_name": "callers", "endpoints": groups},
        })
    }

    fn group(&self, zone: &str, priority: u32, endpoints: Vec<Value>) -> Value {
        json!({
            "locality": {"region": "r", "zone": zone}, "priority": priority,
            "lb_endpoints": endpoints, "load_balancing_weight": 1,
        })
    }

    fn endpoint(&mut self, port: u16, unhealthy: usize) -> Value {
        let mut endpoint = json!({"endpoint": {"address": address(self.own.ip(), port)}});
        if self.random.chance(unhealthy) {
            endpoint["health_status"] =
                json!(*self.random.one(&["UNHEALTHY", "DRAINING", "DEGRADED"]));
        }
        endpoint
    }

    /// A route, and a cluster of any policy that picks by itself.
    fn cluster(&mut self, n: u16) -> (Value, Value) {
        let unhealthy = *self.random.one(&[0, 10, 50]);
        let mut groups: Vec<Value> = Vec::new();
        let mut from = 0;
        let zones = ["a", "b", "c", "d"];
        let mut zone = self.random.below(2);
        while from < HOSTS && zone < zones.len() {
            let to = HOSTS.min(from + 1 + self.random.below(5) as u16);
            let endpoints = (from..to)
                .map(|host| self.endpoint(UPSTREAM + host, unhealthy))
                .collect();
            let priority = u32::from(from > 0 && self.random.chance(15));
            groups.push(self.group(zones[zone], priority, endpoints));
            (from, zone) = (to, zone + 1);
        }
        let zone_aware = json!({
            "min_cluster_size": 1 + self.random.below(7),
            "routing_enabled": {"value": *self.random.one(&[100, 100, 50, 0])},
            "fail_traffic_on_panic": self.random.chance(30),
        });
        let mut cluster = json!({
            "name": format!("c{n}"), "type": "STATIC", "connect_timeout": "5s",
            "common_lb_config": {"healthy_panic_threshold": {"value": *self.random.one(&[0, 30, 50, 90])}},
            "load_assignment": {"cluster_name": "c", "endpoints": groups},
        });
        let (legacy, message) = *self.random.one(&[
            ("ROUND_ROBIN", "round_robin.v3.RoundRobin"),
            ("LEAST_REQUEST", "least_request.v3.LeastRequest"),
            ("RANDOM", "random.v3.Random"),
        ]);
        if self.random.chance(40) {
            cluster["lb_policy"] = json!(legacy);
            if self.random.chance(70) {
                cluster["common_lb_config"]["zone_aware_lb_config"] = zone_aware;
            }
            return (json!({}), cluster);
        }
        let mut config = json!({"@type": type_url(&format!("load_balancing_policies.{message}"))});
        if self.random.chance(70) {
            let mut zone_aware = zone_aware;
            if self.random.chance(15) {
                zone_aware["force_locality_direct_routing"] = json!(true);
            }
            config["locality_lb_config"] = json!({"zone_aware_lb_config": zone_aware});
        }
        if legacy == "LEAST_REQUEST" && self.random.chance(50) {
            config["selection_method"] = json!("FULL_SCAN");
        }
        let mut route = json!({});
        if self.random.chance(60) {
            self.metadata(&mut cluster);
            config = self.subset(&config);
            if let Some(criteria) = self.criteria() {
                route["metadata_match"] = json!({"filter_metadata": {"envoy.lb": criteria}});
            }
        }
        cluster["load_balancing_policy"] = json!({"policies": [{"typed_extension_config": {"name": "p", "typed_config": config}}]});
        (route, cluster)
    }

    fn metadata(&mut self, cluster: &mut Value) {
        let groups = cluster["load_assignment"]["endpoints"].as_array_mut();
        for group in groups.into_iter().flatten() {
            let endpoints = group["lb_endpoints"].as_array_mut();
            for endpoint in endpoints.into_iter().flatten() {
                let lb = &mut endpoint["metadata"]["filter_metadata"]["envoy.lb"];
                lb["v"] = self
                    .random
                    .one(&[json!("1"), json!("2"), json!(["1", "2"])])
                    .clone();
                if self.random.chance(70) {
                    lb["stage"] = json!(*self.random.one(&["prod", "test"]));
                }
            }
        }
    }

    fn subset(&mut self, inner: &Value) -> Value {
        let mut selectors = vec![json!({"keys": ["v"]}), json!({"keys": ["stage", "v"]})];
        for selector in &mut selectors {
            if self.random.chance(20) {
                selector["single_host_per_subset"] = json!(true);
            }
            if self.random.chance(30) {
                selector["fallback_policy"] =
                    json!(
                        *self
                            .random
                            .one(&["NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET"])
                    );
            }
        }
        let mut config = json!({
            "@type": type_url("load_balancing_policies.subset.v3.Subset"),
            "fallback_policy": *self.random.one(&["NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET"]),
            "default_subset": {"stage": *self.random.one(&["prod", "none"])},
            "subset_selectors": selectors,
            "list_as_any": self.random.chance(50),
            "panic_mode_any": self.random.chance(50),
            "allow_redundant_keys": self.random.chance(50),
            "subset_lb_policy": {"policies": [{"typed_extension_config": {"name": "i", "typed_config": inner}}]},
        });
        if self.random.chance(50) {
            config["metadata_fallback_policy"] = json!("FALLBACK_LIST");
        }
        config
    }

    fn criteria(&mut self) -> Option<Value> {
        let mut criteria = match self.random.below(5) {
            0 => return None,
            1 => json!({"stage": "prod"}),
            2 => json!({"v": *self.random.one(&["1", "2", "3"])}),
            3 => json!({"v": "2", "other": "x"}),
            _ => {
                json!({"v": *self.random.one(&["1", "3"]), "stage": *self.random.one(&["prod", "x"])})
            }
        };
        if self.random.chance(40) {
            criteria["fallback_list"] = self
                .random
                .one(&[
                    json!([{"v": "4"}, {"v": "2"}]),
                    json!([{"stage": "test"}, {}]),
                    json!([{"stage": "none", "v": "9"}]),
                    json!([]),
                    json!("x"),
                ])
                .clone();
        }
        Some(criteria)
    }
}
