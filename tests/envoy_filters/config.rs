//! Random connection managers, one listener each, in one bootstrap.

use std::net::Ipv4Addr;

use mesh_testkit::random::Random;
use serde_json::{Map, Value, json};

use crate::{filter::Filter, rate_limit, rbac};

pub(crate) const ADMIN: u16 = 9901;
pub(crate) const LISTENER: u16 = 10_000;
pub(crate) const UPSTREAM: u16 = 20_000;
pub(crate) const CLUSTERS: u16 = 3;

/// Which filters a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Any, in any order.
    All,
    /// One RBAC filter with everything that policies can say.
    Rbac,
    /// A JWT filter, and an RBAC filter that reads what it found.
    Jwt,
    /// One or two local rate limits, and routes with `rate_limits`.
    RateLimit,
}

pub(crate) struct Configuration {
    managers: Vec<Value>,
}

impl Configuration {
    pub(crate) fn random(random: &mut Random, kinds: Kinds, n: usize) -> Self {
        let managers = (0..n).map(|_| Manager::random(random, kinds)).collect();
        Self { managers }
    }

    pub(crate) fn table(&self, n: u16) -> String {
        format!("{}", self.managers[usize::from(n)])
    }

    pub(crate) fn delays(&self, n: u16) -> bool {
        self.table(n).contains("fixed_delay")
    }

    pub(crate) fn bootstrap(&self, own: Ipv4Addr, upstreams: Ipv4Addr) -> String {
        let address = |ip: Ipv4Addr, port: u16| json!({"socket_address": {"address": ip.to_string(), "port_value": port}});
        let listeners: Vec<Value> = (0u16..)
            .zip(&self.managers)
            .map(|(n, manager)| {
                let mut manager = manager.clone();
                manager["@type"] =
                    type_url("filters.network.http_connection_manager.v3.HttpConnectionManager");
                manager["stat_prefix"] = json!(format!("t{n}"));
                json!({
                    "name": format!("l{n}"),
                    "address": address(own, LISTENER + n),
                    "filter_chains": [{"filters": [
                        {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
                    ]}],
                })
            })
            .collect();
        let clusters: Vec<Value> = (0..CLUSTERS)
            .map(|n| {
                json!({
                    "name": format!("c{n}"),
                    "type": "STATIC",
                    "connect_timeout": "5s",
                    "load_assignment": {"cluster_name": format!("c{n}"), "endpoints": [{"lb_endpoints": [
                        {"endpoint": {"address": address(upstreams, UPSTREAM + n)}},
                    ]}]},
                })
            })
            .collect();
        json!({
            "node": {"id": "n", "cluster": "test"},
            "admin": {"address": address(own, ADMIN)},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        })
        .to_string()
    }
}

pub(crate) fn type_url(name: &str) -> Value {
    json!(format!("type.googleapis.com/envoy.extensions.{name}"))
}

fn without_delays(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("delay");
            fields.values_mut().for_each(without_delays);
        }
        Value::Array(values) => values.iter_mut().for_each(without_delays),
        _ => {}
    }
}

/// A connection manager under construction: its filters by name.
struct Manager<'a> {
    random: &'a mut Random,
    kinds: Kinds,
    filters: Vec<(String, Filter)>,
}

impl Manager<'_> {
    fn random(random: &mut Random, kinds: Kinds) -> Value {
        let filters = match kinds {
            Kinds::All => (0..1 + random.below(4))
                .map(|n| (format!("f{n}"), Filter::random(random)))
                .collect(),
            Kinds::Rbac => vec![("rbac".to_owned(), Filter::Rbac)],
            Kinds::RateLimit => (0..1 + random.below(2))
                .map(|n| (format!("limit{n}"), Filter::RateLimit))
                .collect(),
            Kinds::Jwt => vec![
                ("jwt".to_owned(), Filter::Jwt),
                ("rbac".to_owned(), Filter::Rbac),
            ],
        };
        let mut manager = Manager {
            random,
            kinds,
            filters,
        };
        manager.value()
    }

    /// Envoy reads on while a filter delays the head: then how much a buffer filter holds depends on the clock.
    fn value(&mut self) -> Value {
        let mut value = self.any_value();
        if self
            .filters
            .iter()
            .any(|(_, filter)| *filter == Filter::Buffer)
        {
            without_delays(&mut value);
        }
        value
    }

    fn any_value(&mut self) -> Value {
        let mut list = Vec::new();
        for (name, filter) in self.filters.clone() {
            let config = match (self.kinds, filter) {
                (Kinds::Rbac, _) => rbac::filter(self.random),
                (Kinds::Jwt, Filter::Rbac) => rbac::of_tokens(self.random),
                _ => filter.config(self.random),
            };
            let mut entry = json!({"name": name, "typed_config": config});
            if self.random.chance(15) {
                entry["disabled"] = json!(true);
            }
            list.push(entry);
        }
        list.push(json!({
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": type_url("filters.http.router.v3.Router")},
        }));
        let routes = self.routes();
        let mut manager = json!({
            "generate_request_id": false,
            "http_filters": list,
            "route_config": routes,
        });
        if self.random.chance(50) {
            manager["use_remote_address"] = json!(self.random.chance(70));
        }
        if self.random.chance(30) {
            manager["xff_num_trusted_hops"] = json!(self.random.below(3));
        }
        manager
    }

    fn routes(&mut self) -> Value {
        let mut hosts = vec![self.virtual_host("a", json!(["a.test"]))];
        if self.random.chance(75) {
            hosts.push(self.virtual_host("all", json!(["*"])));
        }
        let mut routes = json!({"name": "r", "virtual_hosts": hosts, "validate_clusters": false});
        if self.random.chance(35) {
            routes["ignore_path_parameters_in_path_matching"] = json!(true);
        }
        self.overrides(&mut routes, 25);
        routes
    }

    fn virtual_host(&mut self, name: &str, domains: Value) -> Value {
        let mut routes: Vec<Value> = ["/a", "/b", "/c"].map(|path| self.route(path)).into();
        if self.random.chance(70) {
            routes.push(self.route("/"));
        }
        let mut host = json!({"name": name, "domains": domains, "routes": routes});
        if self.limits() {
            host["rate_limits"] = rate_limit::rate_limits(self.random);
        }
        self.overrides(&mut host, 40);
        host
    }

    fn route(&mut self, path: &str) -> Value {
        let mut route = json!({"name": format!("r{path}"), "match": {"prefix": path}});
        match self.random.below(8) {
            0 => {
                route["direct_response"] =
                    json!({"status": 418, "body": {"inline_string": "direct"}})
            }
            1 => route["redirect"] = json!({"host_redirect": "to.test"}),
            2 => {
                let mut clusters = Vec::new();
                for n in 0..2 {
                    let mut cluster = json!({"name": format!("c{n}"), "weight": 50});
                    self.overrides(&mut cluster, 60);
                    clusters.push(cluster);
                }
                route["route"] =
                    json!({"weighted_clusters": {"clusters": clusters, "header_name": "x-weight"}});
            }
            3 => route["route"] = json!({"cluster": "missing"}),
            _ => route["route"] = json!({"cluster": format!("c{}", self.random.below(3))}),
        }
        if self.random.chance(20) && route.get("route").is_some() {
            route["route"]["retry_policy"] = json!({
                "retry_on": "5xx", "num_retries": 1,
                "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
            });
        }
        if route.get("route").is_some() && self.limits() {
            route["route"]["rate_limits"] = rate_limit::rate_limits(self.random);
            if self.random.chance(30) {
                route["route"]["include_vh_rate_limits"] = json!(self.random.chance(50));
            }
        }
        if self.random.chance(40) {
            route["metadata"] =
                json!({"filter_metadata": {"m": {"k": "v", "list": ["x", "y"], "n": 2}}});
        }
        self.overrides(&mut route, 60);
        route
    }

    /// Whether to give a level `rate_limits`.
    fn limits(&mut self) -> bool {
        let read = self.filters.iter().any(|(_, f)| *f == Filter::RateLimit);
        read && self.random.chance(75)
    }

    /// `typed_per_filter_config` for some of the filters.
    fn overrides(&mut self, of: &mut Value, percent: usize) {
        let mut overrides = Map::new();
        for (name, filter) in self.filters.clone() {
            if !self.random.chance(percent) {
                continue;
            }
            let config = match self.random.below(10) {
                0 | 1 => json!({
                    "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true,
                }),
                2 => {
                    let Some(config) = self.per_route(filter) else {
                        continue;
                    };
                    json!({
                        "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": config,
                    })
                }
                _ => {
                    let Some(config) = self.per_route(filter) else {
                        continue;
                    };
                    config
                }
            };
            overrides.insert(name, config);
        }
        if !overrides.is_empty() {
            of["typed_per_filter_config"] = Value::Object(overrides);
        }
    }

    fn per_route(&mut self, filter: Filter) -> Option<Value> {
        match self.kinds {
            Kinds::Rbac => Some(rbac::per_route(self.random)),
            Kinds::Jwt if filter == Filter::Rbac => None,
            Kinds::All | Kinds::Jwt | Kinds::RateLimit => filter.per_route(self.random),
        }
    }
}
