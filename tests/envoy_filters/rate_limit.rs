//! Random local rate limits, and the `rate_limits` of routes that they read. Buckets fill so slowly that no run sees it.

use mesh_testkit::random::Random;
use serde_json::{Value, json};

use crate::{
    config::type_url,
    filter::{fraction, some},
};

/// Both programs must say the same of these at the end.
pub(crate) const STATISTICS: &str = "http_local_rate_limit";

pub(crate) fn filter(random: &mut Random) -> Value {
    limit(random, false)
}

pub(crate) fn per_route(random: &mut Random) -> Value {
    limit(random, true)
}

fn limit(random: &mut Random, per_route: bool) -> Value {
    let mut config = json!({
        "@type": type_url("filters.http.local_ratelimit.v3.LocalRateLimit"),
        "stat_prefix": random.one(&["p", "q.r", "s"]),
    });
    if per_route || random.chance(80) {
        config["token_bucket"] = bucket(random, 12);
    }
    for (name, percent) in [("filter_enabled", 90), ("filter_enforced", 80)] {
        if random.chance(95) {
            config[name] = json!({"default_value": fraction(random, percent)});
        }
    }
    if random.chance(25) {
        config["status"] = json!({"code": random.one(&["OK", "ServiceUnavailable", "Forbidden", "TooManyRequests"])});
    }
    for name in [
        "response_headers_to_add",
        "request_headers_to_add_when_not_enforced",
    ] {
        if random.chance(40) {
            config[name] = json!(some(random, 2, header));
        }
    }
    if random.chance(75) {
        config["descriptors"] = json!(descriptors(random));
    }
    if random.chance(35) {
        config["rate_limits"] = json!(some(random, 2, |random| {
            let mut limit = json!({"actions": some(random, 1, action)});
            if random.chance(30) {
                limit["hits_addend"] = json!({"number": random.one(&[1, 2, 3])});
                if random.chance(20) {
                    limit["hits_addend"]["is_negative_hits"] = json!(true);
                }
            }
            option(random, &mut limit);
            limit
        }));
    }
    if random.chance(25) {
        config["stage"] = json!(1);
    }
    for (name, percent) in [
        ("local_rate_limit_per_downstream_connection", 10),
        ("rate_limited_as_resource_exhausted", 40),
        ("enable_retry_after_header", 30),
    ] {
        if random.chance(percent) {
            config[name] = json!(true);
        }
    }
    if random.chance(50) {
        config["enable_x_ratelimit_headers"] = json!("DRAFT_VERSION_03");
    }
    if random.chance(50) {
        config["vh_rate_limits"] = json!(random.one(&["OVERRIDE", "INCLUDE", "IGNORE"]));
    }
    if random.chance(40) {
        config["always_consume_default_token_bucket"] = json!(random.chance(30));
    }
    if random.chance(40) {
        config["max_dynamic_descriptors"] = json!(1 + random.below(3));
    }
    config
}

/// Different rates, so that the order of buckets is not left to chance.
fn bucket(random: &mut Random, most: usize) -> Value {
    json!({
        "max_tokens": random.below(most),
        "tokens_per_fill": 1 + random.below(3),
        "fill_interval": format!("{}s", 100_000 + random.below(100_000)),
    })
}

fn header(random: &mut Random) -> Value {
    json!({
        "header": {
            "key": random.one(&["x-a", "x-limited", "retry-after", "x-up"]),
            "value": random.one(&["1", "%REQ(x-a)%", "%RESPONSE_CODE%", "%PROTOCOL%"]),
        },
        "append_action": random.one(&["APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD"]),
    })
}

/// No two that differ only in what they leave open: which of them wins is Envoy's hash map's to say.
fn descriptors(random: &mut Random) -> Vec<Value> {
    let candidates: &[&[(&str, &[&str])]] = &[
        &[("generic_key", &["g", "h"])],
        &[("a", &["1", "2", ""])],
        &[("b", &["1", "none", ""])],
        &[("header_match", &["matched"])],
        &[("query_match", &["matched"])],
        &[("query_param", &["1", ""])],
        &[("remote_address", &["10.0.0.1", ""])],
        &[("masked_remote_address", &["127.0.0.0/8", "10.0.0.0/8", ""])],
        &[("destination_cluster", &["c0", "c1", "missing"])],
        &[("source_cluster", &["", "test"])],
        &[("m", &["v", "fallback"])],
        &[("generic_key", &["g"]), ("a", &["1", ""])],
        &[("a", &["1", ""]), ("b", &["1", ""])],
        &[("b", &["1"]), ("query_param", &["1", "%41", "A"])],
    ];
    let mut descriptors = Vec::new();
    for candidate in candidates {
        if !random.chance(45) {
            continue;
        }
        let entries: Vec<Value> = candidate
            .iter()
            .map(|(key, values)| match *random.one(values) {
                "" => json!({"key": key}),
                value => json!({"key": key, "value": value}),
            })
            .collect();
        let mut descriptor = json!({"entries": entries, "token_bucket": bucket(random, 6)});
        if random.chance(10) {
            descriptor["shadow_mode"] = json!(true);
        }
        descriptors.push(descriptor);
    }
    descriptors
}

/// `rate_limits` of a route or virtual host.
pub(crate) fn rate_limits(random: &mut Random) -> Value {
    json!(some(random, 2, |random| {
        let mut limit = json!({"actions": some(random, 1, action)});
        if random.chance(30) {
            limit["stage"] = json!(1);
        }
        if random.chance(10) {
            limit["disable_key"] = json!("k");
        }
        option(random, &mut limit);
        limit
    }))
}

fn option(random: &mut Random, limit: &mut Value) {
    if random.chance(20) {
        limit["x_ratelimit_option"] = json!(random.one(&["OFF", "DRAFT_VERSION_03"]));
    }
}

fn action(random: &mut Random) -> Value {
    let skip = random.chance(40);
    match random.below(12) {
        0 => {
            json!({"generic_key": {"descriptor_value": random.one(&["g", "h", "%REQ(x-a)%"])}})
        }
        1 => json!({"generic_key": {"descriptor_value": "1", "descriptor_key": "b"}}),
        2 | 3 => {
            json!({"request_headers": {"header_name": "x-a", "descriptor_key": "a", "skip_if_absent": skip}})
        }
        4 => {
            json!({"request_headers": {"header_name": random.one(&["x-b", ":method", ":authority", "host"]), "descriptor_key": "b", "skip_if_absent": skip}})
        }
        5 => {
            let mut action = json!({"headers": [{"name": "x-a", "string_match": {"exact": "1"}}], "descriptor_value": "matched"});
            if random.chance(50) {
                action["expect_match"] = json!(random.chance(50));
            }
            json!({"header_value_match": action})
        }
        6 => {
            let mut action = json!({
                "query_parameters": [{"name": random.one(&["q", "p"]), "string_match": {"exact": random.one(&["1", "A"])}}],
                "descriptor_value": "matched",
            });
            if random.chance(50) {
                action["expect_match"] = json!(random.chance(50));
            }
            json!({"query_parameter_value_match": action})
        }
        7 => {
            json!({"query_parameters": {"query_parameter_name": random.one(&["q", "p", "z"]), "descriptor_key": "query_param", "skip_if_absent": skip}})
        }
        8 => match random.chance(50) {
            true => json!({"remote_address": {}}),
            false => {
                json!({"masked_remote_address": {"v4_prefix_mask_len": random.one(&[8, 32, 16])}})
            }
        },
        9 => match random.chance(75) {
            true => json!({"destination_cluster": {}}),
            false => json!({"source_cluster": {}}),
        },
        _ => {
            let mut action = json!({
                "descriptor_key": "m", "source": "ROUTE_ENTRY",
                "metadata_key": {"key": "m", "path": [{"key": random.one(&["k", "none", "n"])}]},
            });
            if random.chance(40) {
                action["default_value"] = json!("fallback");
            }
            action["skip_if_absent"] = json!(skip);
            json!({"metadata": action})
        }
    }
}
