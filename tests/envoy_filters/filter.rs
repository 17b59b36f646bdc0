//! Random filters: what a connection manager says of them, and what a route does.

use mesh_testkit::random::Random;
use serde_json::{Value, json};

use crate::{config::type_url, jwt, rate_limit, rbac};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    Buffer,
    Cors,
    Csrf,
    Fault,
    HeaderMutation,
    Jwt,
    RateLimit,
    Rbac,
}

const ALL: &[Filter] = &[
    Filter::Buffer,
    Filter::Cors,
    Filter::Csrf,
    Filter::Fault,
    Filter::HeaderMutation,
    Filter::HeaderMutation,
    Filter::Jwt,
    Filter::RateLimit,
    Filter::Rbac,
];

impl Filter {
    pub(crate) fn random(random: &mut Random) -> Self {
        *random.one(ALL)
    }

    pub(crate) fn config(self, random: &mut Random) -> Value {
        match self {
            Self::Buffer => {
                let mut config = buffer(random);
                config["@type"] = type_url("filters.http.buffer.v3.Buffer");
                config
            }
            Self::Cors => json!({"@type": type_url("filters.http.cors.v3.Cors")}),
            Self::Csrf => csrf(random),
            Self::Fault => fault(random),
            Self::HeaderMutation => {
                let mut config = json!({
                    "@type": type_url("filters.http.header_mutation.v3.HeaderMutation"),
                    "mutations": mutations(random),
                });
                if random.chance(50) {
                    config["most_specific_header_mutations_wins"] = json!(true);
                }
                config
            }
            Self::Jwt => jwt::filter(random),
            Self::RateLimit => rate_limit::filter(random),
            Self::Rbac => rbac::filter(random),
        }
    }

    /// None: only the connection manager configures it.
    pub(crate) fn per_route(self, random: &mut Random) -> Option<Value> {
        Some(match self {
            Self::Buffer => {
                let config = match random.chance(30) {
                    true => json!({"disabled": true}),
                    false => json!({"buffer": buffer(random)}),
                };
                with_type(config, "filters.http.buffer.v3.BufferPerRoute")
            }
            Self::Cors => cors(random),
            Self::Csrf => csrf(random),
            Self::Fault => fault(random),
            Self::HeaderMutation => with_type(
                json!({"mutations": mutations(random)}),
                "filters.http.header_mutation.v3.HeaderMutationPerRoute",
            ),
            Self::Jwt => jwt::per_route(random),
            Self::RateLimit => rate_limit::per_route(random),
            Self::Rbac => rbac::per_route(random),
        })
    }
}

fn with_type(mut config: Value, name: &str) -> Value {
    config["@type"] = type_url(name);
    config
}

fn buffer(random: &mut Random) -> Value {
    json!({"max_request_bytes": random.one(&[1, 9, 10, 11, 1000])})
}

/// Never left to chance: all or none.
pub(crate) fn fraction(random: &mut Random, percent: usize) -> Value {
    let numerator = if random.chance(percent) { 100 } else { 0 };
    json!({"numerator": numerator, "denominator": "HUNDRED"})
}

fn runtime_fraction(random: &mut Random, percent: usize) -> Value {
    json!({"default_value": fraction(random, percent)})
}

fn origin(random: &mut Random) -> Value {
    match random.below(4) {
        0 => json!({"prefix": "http://o"}),
        1 => json!({"safe_regex": {"regex": "(https?://)?[op]\\.test(:80)?"}}),
        2 => json!({"suffix": "TEST", "ignore_case": random.chance(50)}),
        _ => json!({"exact": random.one(&["http://o.test", "*", "o.test"])}),
    }
}

pub(crate) fn some<T>(random: &mut Random, most: usize, one: impl Fn(&mut Random) -> T) -> Vec<T> {
    (0..=random.below(most)).map(|_| one(random)).collect()
}

fn cors(random: &mut Random) -> Value {
    let mut policy = json!({"@type": type_url("filters.http.cors.v3.CorsPolicy")});
    if random.chance(75) {
        policy["allow_origin_string_match"] = json!(some(random, 2, origin));
    }
    for (name, values) in [
        ("allow_methods", ["GET,POST", "*"]),
        ("allow_headers", ["x-a, x-b", "*"]),
        ("expose_headers", ["x-up", "*"]),
        ("max_age", ["10", "600"]),
    ] {
        if random.chance(50) {
            policy[name] = json!(random.one(&values));
        }
    }
    for name in ["allow_credentials", "forward_not_matching_preflights"] {
        if random.chance(40) {
            policy[name] = json!(random.chance(50));
        }
    }
    if random.chance(25) {
        policy["filter_enabled"] = runtime_fraction(random, 60);
    }
    policy
}

fn csrf(random: &mut Random) -> Value {
    let mut policy = json!({
        "@type": type_url("filters.http.csrf.v3.CsrfPolicy"),
        "filter_enabled": runtime_fraction(random, 75),
    });
    if random.chance(30) {
        policy["shadow_enabled"] = runtime_fraction(random, 50);
    }
    if random.chance(50) {
        policy["additional_origins"] = json!(some(random, 2, origin));
    }
    policy
}

fn fault(random: &mut Random) -> Value {
    let mut config = json!({"@type": type_url("filters.http.fault.v3.HTTPFault")});
    if random.chance(70) {
        let mut abort = json!({"percentage": fraction(random, 75)});
        match random.below(4) {
            0 => abort["grpc_status"] = json!(5),
            1 => abort["header_abort"] = json!({}),
            _ => abort["http_status"] = json!(random.one(&[200, 404, 503])),
        }
        config["abort"] = abort;
    }
    if random.chance(30) {
        config["delay"] = json!({"percentage": fraction(random, 75), "fixed_delay": "0.001s"});
    }
    if random.chance(25) {
        config["upstream_cluster"] = json!("c0");
    }
    if random.chance(25) {
        config["headers"] = json!([{"name": "x-a", "string_match": {"exact": "1"}}]);
    }
    if random.chance(10) {
        config["downstream_nodes"] = json!(["n1"]);
    }
    config
}

fn mutations(random: &mut Random) -> Value {
    let mut mutations = json!({});
    if random.chance(70) {
        mutations["request_mutations"] = json!(some(random, 3, |random| mutation(random, true)));
    }
    if random.chance(70) {
        mutations["response_mutations"] = json!(some(random, 3, |random| mutation(random, false)));
    }
    if random.chance(30) {
        mutations["query_parameter_mutations"] = json!(some(random, 2, query_mutation));
    }
    mutations
}

const APPEND: &[&str] = &[
    "APPEND_IF_EXISTS_OR_ADD",
    "ADD_IF_ABSENT",
    "OVERWRITE_IF_EXISTS_OR_ADD",
    "OVERWRITE_IF_EXISTS",
];

fn mutation(random: &mut Random, request: bool) -> Value {
    let names = ["x-a", "x-b", "x-c", "x-up", "x-new"];
    match random.below(6) {
        0 => json!({"remove": random.one(&names)}),
        1 => {
            json!({"remove_on_match": {"key_matcher": {"prefix": random.one(&["x-a", "x-u", "X-B"]), "ignore_case": random.chance(50)}}})
        }
        _ => {
            let name = *random.one(&names);
            let mut value =
                *random.one(&["1", "2", "%REQ(x-a)%", "a-%REQ(:METHOD)%", "", "%PROTOCOL%"]);
            if !request && random.chance(30) {
                value = "%RESP(x-up)%";
            }
            let mut append = json!({
                "header": {"key": name, "value": value},
                "append_action": random.one(APPEND),
            });
            if random.chance(25) {
                append["keep_empty_value"] = json!(true);
            }
            json!({"append": append})
        }
    }
}

fn query_mutation(random: &mut Random) -> Value {
    let name = *random.one(&["q", "p", "new"]);
    if random.chance(25) {
        return json!({"remove": name});
    }
    json!({"append": {
        "record": {"key": name, "value": random.one(&["1", "x/y&z=*%%", "%REQ(x-a)%", ""])},
        "action": random.one(APPEND),
    }})
}
