//! Every other policy through the real Envoy and through mesh-proxy: which endpoints a request may get, and how often
//! each.
//!
//! Both start their turns and draw their numbers by chance, so that picks are counted: the counts of both sides must be
//! as two samples of one distribution are (chi square at six standard deviations: about one true equality in a thousand
//! million fails).

use mesh_testkit::{
    address::OwnAddress,
    paired::{Counts, unlike},
    process::Program,
    random::Random,
    upstream::Upstream,
};
use serde_json::{Value, json};

use crate::{
    Case, Side, World,
    config::{self, Configuration, Generator, type_url},
};

const CONFIGURATIONS: usize = 25;
/// Of each side for each configuration.
const REQUESTS: usize = 120;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: cargo verify"]
async fn requests_are_spread_alike() {
    let seed = Random::seed();
    let one_round = CONFIGURATIONS * REQUESTS;
    let rounds = Random::cases(one_round).div_ceil(one_round);
    println!("MESH_SEED={seed}, {rounds} times {CONFIGURATIONS} configurations");
    let mut random = Random::new(seed);
    let own = OwnAddress::claim();
    let mut upstreams = Vec::new();
    for n in 0..config::HOSTS {
        let address = own.with_port(config::UPSTREAM + n);
        upstreams.push(Upstream::start(&format!("u{n}"), address).await);
    }
    let mut upstreams = Some(upstreams);
    for round in 0..rounds {
        let mut generator = Generator {
            random: &mut random,
            upstreams: own.ip(),
        };
        let (routes, clusters): (Vec<_>, Vec<_>) =
            (0..CONFIGURATIONS).map(|_| generator.balanced()).unzip();
        let configuration = Configuration { routes, clusters };
        let world = World {
            upstreams: upstreams.take().expect("given back"),
            envoy: Side::start(Program::Envoy, &configuration).await,
            ours: Side::start(Program::MeshProxy, &configuration).await,
        };
        for listener in 0..CONFIGURATIONS {
            let mut counts = Vec::new();
            for (who, side) in [("e", &world.envoy), ("m", &world.ours)] {
                counts.push(count(&world, side, listener, &format!("{round}{who}")).await);
            }
            let wrong = unlike(&counts[0], &counts[1]);
            assert!(
                wrong.is_none(),
                "MESH_SEED={seed} round {round}: {}\nEnvoy {:?}\nmesh-proxy {:?}\n{}",
                wrong.unwrap_or_default(),
                counts[0],
                counts[1],
                configuration.text(listener)
            );
        }
        upstreams = Some(world.upstreams);
    }
}

/// How many requests each upstream gets; those that none gets count under their status.
async fn count(world: &World, side: &Side, listener: usize, who: &str) -> Counts {
    let mut counts = Counts::new();
    for n in 0..REQUESTS {
        let case = Case {
            listener,
            target: "/".into(),
            headers: Vec::new(),
        };
        let transcript = world
            .run(side, &case, &format!("{who}{listener}-{n}"))
            .await;
        let who = match transcript.upstreams.as_slice() {
            [] => format!("status {:?}", transcript.status),
            upstreams => upstreams.join(","),
        };
        *counts.entry(who).or_default() += 1;
    }
    counts
}

impl Generator<'_> {
    /// A route and a cluster with any policy that does not hash.
    fn balanced(&mut self) -> (Value, Value) {
        let mut cluster = json!({
            "connect_timeout": "5s",
            "load_assignment": self.assignment(),
            "common_lb_config": {
                "healthy_panic_threshold": {"value": *self.random.one(&[0, 30, 50, 90])},
            },
        });
        let weighted = self.random.chance(50);
        let (policy, field, message) = *self.random.one(&[
            (
                "ROUND_ROBIN",
                "round_robin_lb_config",
                "round_robin.v3.RoundRobin",
            ),
            (
                "LEAST_REQUEST",
                "least_request_lb_config",
                "least_request.v3.LeastRequest",
            ),
            ("RANDOM", "", "random.v3.Random"),
        ]);
        let mut config = json!({});
        if policy != "RANDOM" && self.random.chance(20) {
            config["slow_start_config"] = json!({"slow_start_window": "60s"});
        }
        let subset = self.random.chance(40);
        if subset || self.random.chance(50) {
            cluster["lb_policy"] = json!(policy);
            if !field.is_empty() {
                cluster[field] = config;
            }
            if weighted {
                cluster["common_lb_config"]["locality_weighted_lb_config"] = json!({});
            }
        } else {
            config["@type"] = type_url(&format!("load_balancing_policies.{message}"));
            if weighted {
                config["locality_lb_config"] = json!({"locality_weighted_lb_config": {}});
            }
            cluster["load_balancing_policy"] = json!({"policies": [
                {"typed_extension_config": {"name": "p", "typed_config": config}},
            ]});
        }
        if !subset {
            return (json!({}), cluster);
        }
        self.metadata(&mut cluster);
        cluster["lb_subset_config"] = self.subsets(weighted);
        let route = match self.criteria() {
            Some(criteria) => {
                json!({"metadata_match": {"filter_metadata": {"envoy.lb": criteria}}})
            }
            None => json!({}),
        };
        (route, cluster)
    }

    fn metadata(&mut self, cluster: &mut Value) {
        let groups = cluster["load_assignment"]["endpoints"].as_array_mut();
        for group in groups.into_iter().flatten() {
            let endpoints = group["lb_endpoints"].as_array_mut();
            for endpoint in endpoints.into_iter().flatten() {
                let lb = &mut endpoint["metadata"]["filter_metadata"]["envoy.lb"];
                if self.random.chance(90) {
                    let values = [
                        json!("1"),
                        json!("2"),
                        json!(2),
                        json!(["1", "2"]),
                        json!({"a": 1}),
                    ];
                    lb["v"] = self.random.one(&values).clone();
                }
                if self.random.chance(70) {
                    lb["stage"] = json!(*self.random.one(&["prod", "test"]));
                }
            }
        }
    }

    fn subsets(&mut self, weighted: bool) -> Value {
        let mut selectors = vec![json!({"keys": ["v"]}), json!({"keys": ["v", "stage"]})];
        if self.random.chance(50) {
            let fallback = *self
                .random
                .one(&["NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET"]);
            selectors[0]["fallback_policy"] = json!(fallback);
        }
        if self.random.chance(50) {
            selectors[1]["fallback_policy"] = json!("KEYS_SUBSET");
            selectors[1]["fallback_keys_subset"] = json!(["v"]);
        }
        let mut config = json!({
            "fallback_policy": *self.random.one(&["NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET"]),
            "default_subset": {"stage": *self.random.one(&["prod", "none"])},
            "subset_selectors": selectors,
            "list_as_any": self.random.chance(50),
            "panic_mode_any": self.random.chance(50),
        });
        if weighted && self.random.chance(60) {
            config["locality_weight_aware"] = json!(true);
            config["scale_locality_weight"] = json!(self.random.chance(50));
        }
        config
    }

    fn criteria(&mut self) -> Option<Value> {
        let values = [
            json!("1"),
            json!("2"),
            json!(2),
            json!("3"),
            json!({"a": 1}),
            json!(["1", "2"]),
        ];
        match self.random.below(6) {
            0 => None,
            1 => Some(json!({"stage": "prod"})),
            2 | 3 => Some(json!({"v": self.random.one(&values).clone()})),
            _ => Some(
                json!({"v": self.random.one(&values).clone(), "stage": *self.random.one(&["prod", "test", "x"])}),
            ),
        }
    }
}
