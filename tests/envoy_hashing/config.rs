//! Random clusters that hash and routes that say by what, one listener each, in one bootstrap.

use std::net::Ipv4Addr;

use mesh_testkit::random::Random;
use serde_json::{Value, json};

pub(crate) const ADMIN: u16 = 9901;
pub(crate) const LISTENER: u16 = 10_000;
pub(crate) const UPSTREAM: u16 = 20_000;
pub(crate) const HOSTS: u16 = 12;

/// The listener of a cluster whose load is bounded; its requests are held.
pub(crate) const BOUNDED: usize = 0;
/// The listener whose cookies are made up.
pub(crate) const COOKIES: usize = 1;

const PRIMES: &[u32] = &[251, 1_009, 4_099, 65_537];

pub(crate) struct Configuration {
    /// What each listener's only route does, but for the cluster.
    pub(crate) routes: Vec<Value>,
    /// The cluster of each listener, but for its name.
    pub(crate) clusters: Vec<Value>,
}

impl Configuration {
    pub(crate) fn random(random: &mut Random, n: usize, upstreams: Ipv4Addr) -> Self {
        let mut generator = Generator { random, upstreams };
        let mut routes: Vec<_> = (0..n).map(|_| generator.route()).collect();
        let mut clusters: Vec<_> = (0..n).map(|_| generator.cluster()).collect();
        routes[BOUNDED] = json!({"hash_policy": [{"header": {"header_name": "x-key"}}]});
        clusters[BOUNDED] = json!({
            "lb_policy": "RING_HASH",
            "common_lb_config": {"consistent_hashing_lb_config": {"hash_balance_factor": 130}},
            "load_assignment": {"endpoints": [{"lb_endpoints": generator.endpoints(0..HOSTS, false)}]},
        });
        clusters[COOKIES] = json!({
            "lb_policy": "MAGLEV",
            "load_assignment": {"endpoints": [{"lb_endpoints": generator.endpoints(0..HOSTS, false)}]},
        });
        routes[COOKIES] = json!({"hash_policy": [{"cookie": {
            "name": "session", "ttl": "3600s", "path": "/p",
            "attributes": [{"name": "SameSite", "value": "Strict"}, {"name": "Secure"}],
        }}]});
        Self { routes, clusters }
    }

    pub(crate) fn text(&self, n: usize) -> String {
        format!("{:#} {:#}", self.routes[n], self.clusters[n])
    }

    pub(crate) fn bootstrap(&self, own: Ipv4Addr) -> String {
        let listeners: Vec<Value> = (0u16..)
            .zip(&self.routes)
            .map(|(n, route)| {
                let mut route = route.clone();
                let hops = route["xff_num_trusted_hops"].take();
                if let Some(route) = route.as_object_mut() {
                    route.remove("xff_num_trusted_hops");
                }
                route["cluster"] = json!(format!("c{n}"));
                let mut manager = json!({
                    "@type": type_url("filters.network.http_connection_manager.v3.HttpConnectionManager"),
                    "stat_prefix": "h",
                    "generate_request_id": false,
                    "route_config": {"name": "r", "virtual_hosts": [{
                        "name": "all", "domains": ["*"], "include_request_attempt_count": true,
                        "routes": [{"match": {"prefix": "/"}, "route": route}],
                    }]},
                    "http_filters": [{
                        "name": "envoy.filters.http.router",
                        "typed_config": {"@type": type_url("filters.http.router.v3.Router")},
                    }],
                });
                if !hops.is_null() {
                    manager["use_remote_address"] = json!(true);
                    manager["xff_num_trusted_hops"] = hops;
                }
                json!({
                    "name": format!("l{n}"),
                    "address": address(own, LISTENER + n),
                    "filter_chains": [{"filters": [
                        {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
                    ]}],
                })
            })
            .collect();
        let clusters: Vec<Value> = (0u16..)
            .zip(&self.clusters)
            .map(|(n, cluster)| {
                let mut cluster = cluster.clone();
                cluster["name"] = json!(format!("c{n}"));
                if cluster["type"].is_null() {
                    cluster["type"] = json!("STATIC");
                }
                cluster["load_assignment"]["cluster_name"] = json!("c");
                cluster
            })
            .collect();
        json!({
            "admin": {"address": address(own, ADMIN)},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        })
        .to_string()
    }
}

fn address(ip: Ipv4Addr, port: u16) -> Value {
    json!({"socket_address": {"address": ip.to_string(), "port_value": port}})
}

pub(crate) fn type_url(name: &str) -> Value {
    json!(format!("type.googleapis.com/envoy.extensions.{name}"))
}

pub(crate) struct Generator<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) upstreams: Ipv4Addr,
}

impl Generator<'_> {
    /// A route whose hash is never missing: chance could not be compared.
    fn route(&mut self) -> Value {
        let mut route = json!({"hash_policy": self.policies()});
        if self.random.chance(40) {
            route["retry_policy"] = json!({
                "retry_on": "5xx", "num_retries": 2,
                "retry_host_predicate": [{
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": type_url("retry.host.previous_hosts.v3.PreviousHostsPredicate")},
                }],
                "host_selection_retry_max_attempts": 1 + self.random.below(4),
                "retry_back_off": {"base_interval": "0.001s"},
            });
        }
        if self.random.chance(30) {
            route["prefix_rewrite"] = json!("/rewritten/");
        }
        if self.random.chance(30) {
            route["xff_num_trusted_hops"] = json!(self.random.below(3));
        }
        route
    }

    fn policies(&mut self) -> Vec<Value> {
        let mut policies: Vec<_> = (0..self.random.below(4)).map(|_| self.policy()).collect();
        let always = match self.random.below(4) {
            0 => json!({"connection_properties": {"source_ip": true}}),
            1 => {
                json!({"header": {"header_name": *self.random.one(&[":path", ":authority", ":method"])}})
            }
            2 => json!({"query_parameter": {"name": "key"}}),
            _ => json!({"header": {"header_name": "x-key"}}),
        };
        policies.insert(self.random.below(policies.len() + 1), always);
        policies
    }

    fn policy(&mut self) -> Value {
        let mut policy = match self.random.below(6) {
            0 => json!({"header": {"header_name": *self.random.one(&["x-a", "X-B", "x-key"])}}),
            1 => json!({"header": {
                "header_name": *self.random.one(&["x-a", "x-key", ":path"]),
                "regex_rewrite": {"pattern": {"regex": "([0-9]+)-?"}, "substitution": "<\\1>"},
            }}),
            2 => json!({"cookie": {"name": *self.random.one(&["session", "s"])}}),
            3 => json!({"connection_properties": {"source_ip": self.random.chance(80)}}),
            4 => json!({"query_parameter": {"name": *self.random.one(&["q", "key"])}}),
            _ => json!({"filter_state": {"key": "unknown"}}),
        };
        if self.random.chance(25) {
            policy["terminal"] = json!(true);
        }
        policy
    }

    fn cluster(&mut self) -> Value {
        let weighted = self.random.chance(30);
        let balance = self.random.chance(20).then(|| 100 + self.random.below(200));
        let mut common = json!({"use_hostname_for_hashing": self.random.chance(25)});
        if let Some(balance) = balance {
            common["hash_balance_factor"] = json!(balance);
        }
        let ring = self.random.chance(50);
        let mut config = match ring {
            true => self.ring(),
            false if self.random.chance(50) => json!({"table_size": self.random.one(PRIMES)}),
            false => json!({}),
        };
        let mut cluster = json!({
            "connect_timeout": "5s",
            "common_lb_config": {"healthy_panic_threshold": {"value": *self.random.one(&[0, 30, 50, 90])}},
        });
        if self.random.chance(50) {
            let (policy, field) = match ring {
                true => ("RING_HASH", "ring_hash_lb_config"),
                false => ("MAGLEV", "maglev_lb_config"),
            };
            cluster["lb_policy"] = json!(policy);
            cluster[field] = config;
            if self.random.chance(70) {
                // Envoy allows it for this type only.
                if common["use_hostname_for_hashing"] == true {
                    cluster["type"] = json!("STRICT_DNS");
                }
                cluster["common_lb_config"]["consistent_hashing_lb_config"] = common;
            }
            if weighted {
                cluster["common_lb_config"]["locality_weighted_lb_config"] = json!({});
            }
        } else {
            if self.random.chance(30) {
                common["hash_policy"] = json!(self.policies());
            }
            if self.random.chance(70) {
                config["consistent_hashing_lb_config"] = common;
            } else if ring {
                config["use_hostname_for_hashing"] = common["use_hostname_for_hashing"].take();
            }
            if weighted {
                config["locality_weighted_lb_config"] = json!({});
            }
            config["@type"] = type_url(match ring {
                true => "load_balancing_policies.ring_hash.v3.RingHash",
                false => "load_balancing_policies.maglev.v3.Maglev",
            });
            cluster["load_balancing_policy"] = json!({"policies": [
                {"typed_extension_config": {"name": "p", "typed_config": config}},
            ]});
        }
        cluster["load_assignment"] = self.assignment();
        cluster
    }

    fn ring(&mut self) -> Value {
        let mut config = json!({"hash_function": *self.random.one(&["XX_HASH", "MURMUR_HASH_2"])});
        if self.random.chance(50) {
            let minimum = 1 + self.random.below(3_000);
            config["minimum_ring_size"] = json!(minimum);
            if self.random.chance(50) {
                config["maximum_ring_size"] = json!(minimum + self.random.below(500));
            }
        }
        config
    }

    /// All hosts in one locality, or in several and in two priorities.
    pub(crate) fn assignment(&mut self) -> Value {
        let health = self.random.chance(40);
        if self.random.chance(50) {
            return json!({"endpoints": [{"lb_endpoints": self.endpoints(0..HOSTS, health)}]});
        }
        let mut groups = Vec::new();
        let mut from = 0;
        while from < HOSTS {
            let to = HOSTS.min(from + 2 + self.random.below(4) as u16);
            let mut group = json!({
                "locality": {"region": "r", "zone": *self.random.one(&["a", "b", "c", "d"]), "sub_zone": format!("{from}")},
                "lb_endpoints": self.endpoints(from..to, health),
                "load_balancing_weight": 1 + self.random.below(9),
            });
            if from > 0 && self.random.chance(30) {
                group["priority"] = json!(1);
            }
            groups.push(group);
            from = to;
        }
        let mut assignment = json!({"endpoints": groups});
        if self.random.chance(30) {
            assignment["policy"] = json!({"overprovisioning_factor": 100 + self.random.below(100)});
        }
        assignment
    }

    fn endpoints(&mut self, hosts: std::ops::Range<u16>, health: bool) -> Vec<Value> {
        let weights = self.random.chance(60);
        let keys = self.random.chance(20);
        hosts
            .map(|host| {
                let mut endpoint = json!({"endpoint": {
                    "address": address(self.upstreams, UPSTREAM + host),
                    "hostname": format!("host-{host}.test"),
                }});
                if weights {
                    endpoint["load_balancing_weight"] = json!(1 + self.random.below(20));
                }
                if keys && self.random.chance(70) {
                    endpoint["metadata"] =
                        json!({"filter_metadata": {"envoy.lb": {"hash_key": format!("key{host}")}}});
                }
                if health && self.random.chance(40) {
                    endpoint["health_status"] =
                        json!(*self.random.one(&["UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED"]));
                }
                endpoint
            })
            .collect()
    }
}
