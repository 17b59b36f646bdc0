//! Random RBAC policies.

use mesh_testkit::random::Random;
use serde_json::{Map, Value, json};

use crate::config::{LISTENER, type_url};

pub(crate) fn filter(random: &mut Random) -> Value {
    let mut config = rbac(random);
    config["@type"] = type_url("filters.http.rbac.v3.RBAC");
    config
}

/// What the JWT filter before it wrote down.
pub(crate) fn of_tokens(random: &mut Random) -> Value {
    let (key, value) = match random.below(4) {
        0 => ("iss", json!({"string_match": {"exact": "i0"}})),
        1 => (
            "scope",
            json!({"list_match": {"one_of": {"string_match": {"exact": "write"}}}}),
        ),
        2 => ("scope", json!({"string_match": {"contains": "write"}})),
        _ => ("n", json!({"double_match": {"exact": 7}})),
    };
    let path = json!([{"key": "payload"}, {"key": key}]);
    let matcher = json!({"filter": "envoy.filters.http.jwt_authn", "path": path, "value": value});
    json!({
        "@type": type_url("filters.http.rbac.v3.RBAC"),
        "rules": {"action": random.one(&["ALLOW", "DENY"]), "policies": {"jwt": {
            "permissions": [{"any": true}],
            "principals": [{"metadata": matcher}],
        }}},
    })
}

pub(crate) fn per_route(random: &mut Random) -> Value {
    let mut config = json!({"@type": type_url("filters.http.rbac.v3.RBACPerRoute")});
    if random.chance(85) {
        config["rbac"] = rbac(random);
    }
    config
}

fn rbac(random: &mut Random) -> Value {
    let mut config = json!({});
    if random.chance(90) {
        config["rules"] = rules(random);
    }
    if random.chance(25) {
        config["shadow_rules"] = rules(random);
        config["shadow_rules_stat_prefix"] = json!("s_");
    }
    config
}

fn rules(random: &mut Random) -> Value {
    let mut policies = Map::new();
    for _ in 0..random.below(4) {
        let name = *random.one(&["a", "b", "ns[x]-policy[y]-rule[0]", "with space", "B"]);
        let policy = json!({
            "permissions": list(random, |random| permission(random, 2)),
            "principals": list(random, |random| principal(random, 2)),
        });
        policies.insert(name.to_owned(), policy);
    }
    json!({"action": random.one(&["ALLOW", "ALLOW", "DENY", "DENY", "LOG"]), "policies": policies})
}

fn list(random: &mut Random, one: impl Fn(&mut Random) -> Value) -> Vec<Value> {
    (0..=random.below(2)).map(|_| one(random)).collect()
}

fn permission(random: &mut Random, depth: usize) -> Value {
    let kinds = if depth > 0 { 13 } else { 9 };
    match random.below(kinds) {
        0 => json!({"any": true}),
        1 | 2 => json!({"header": header(random)}),
        3 => json!({"url_path": url_path(random)}),
        4 => json!({"uri_template": uri_template(random)}),
        5 => json!({"destination_ip": cidr(random)}),
        6 => {
            let port = LISTENER + u16::try_from(random.below(25)).unwrap_or(0);
            match random.chance(50) {
                true => json!({"destination_port": port}),
                false => json!({"destination_port_range": {"start": LISTENER, "end": port + 1}}),
            }
        }
        7 => json!({"metadata": metadata(random, false)}),
        8 => match random.chance(60) {
            true => json!({"sourced_metadata": sourced(random)}),
            false => json!({"requested_server_name": {"exact": random.one(&["a.test", ""])}}),
        },
        9 | 10 => json!({"not_rule": permission(random, depth - 1)}),
        11 => json!({"and_rules": {"rules": list(random, |random| permission(random, depth - 1))}}),
        _ => json!({"or_rules": {"rules": list(random, |random| permission(random, depth - 1))}}),
    }
}

fn principal(random: &mut Random, depth: usize) -> Value {
    let kinds = if depth > 0 { 15 } else { 11 };
    match random.below(kinds) {
        0 | 1 => json!({"any": true}),
        2 => json!({"header": header(random)}),
        3 => json!({"url_path": url_path(random)}),
        4 => json!({"source_ip": cidr(random)}),
        5 => json!({"direct_remote_ip": cidr(random)}),
        6 | 7 => json!({"remote_ip": cidr(random)}),
        8 => json!({"metadata": metadata(random, false)}),
        9 => json!({"sourced_metadata": sourced(random)}),
        10 => match random.chance(50) {
            true => json!({"authenticated": {}}),
            false => json!({"authenticated": {"principal_name": {"prefix": "spiffe://"}}}),
        },
        11 | 12 => json!({"not_id": principal(random, depth - 1)}),
        13 => json!({"and_ids": {"ids": list(random, |random| principal(random, depth - 1))}}),
        _ => json!({"or_ids": {"ids": list(random, |random| principal(random, depth - 1))}}),
    }
}

fn header(random: &mut Random) -> Value {
    let name = *random.one(&[
        "x-a",
        "x-b",
        ":method",
        ":authority",
        ":path",
        ":scheme",
        "origin",
    ]);
    let mut matcher = json!({"name": name});
    match random.below(6) {
        0 => matcher["present_match"] = json!(random.chance(70)),
        1 => matcher["range_match"] = json!({"start": 1, "end": 3}),
        2 => matcher["string_match"] = json!({"safe_regex": {"regex": "[0-9]+|GET|P.*|/a.*"}}),
        3 => matcher["string_match"] = json!({"contains": "A", "ignore_case": random.chance(70)}),
        _ => {
            matcher["string_match"] =
                json!({"exact": random.one(&["1", "GET", "a.test", "1,2", "http"])})
        }
    }
    if random.chance(25) {
        matcher["invert_match"] = json!(true);
    }
    if random.chance(20) {
        matcher["treat_missing_header_as_empty"] = json!(true);
    }
    matcher
}

fn uri_template(random: &mut Random) -> Value {
    let template = *random.one(&[
        "/*",
        "/**",
        "/a/*",
        "/a/**",
        "/*/b",
        "/a",
        "/*/**",
        "/{x}/{y=**}",
    ]);
    json!({"name": "uri-template", "typed_config": {
        "@type": type_url("path.match.uri_template.v3.UriTemplateMatchConfig"),
        "path_template": template,
    }})
}

fn url_path(random: &mut Random) -> Value {
    let path = match random.below(5) {
        0 => json!({"prefix": random.one(&["/a", "/b"])}),
        1 => json!({"suffix": random.one(&["x", "2", "/"])}),
        2 => json!({"safe_regex": {"regex": "/[ab](/.*)?"}}),
        3 => json!({"exact": "/A", "ignore_case": true}),
        _ => json!({"exact": random.one(&["/a", "/b/12", "/", "/a?q=1"])}),
    };
    json!({"path": path})
}

fn cidr(random: &mut Random) -> Value {
    let (prefix, length) = *random.one(&[
        ("127.0.0.0", 8),
        ("10.0.0.0", 8),
        ("1.2.3.4", 32),
        ("172.16.0.0", 12),
        ("0.0.0.0", 0),
        ("::", 0),
        ("10.0.0.1", 31),
    ]);
    json!({"address_prefix": prefix, "prefix_len": length})
}

fn sourced(random: &mut Random) -> Value {
    let route = random.chance(75);
    json!({
        "metadata_matcher": metadata(random, route),
        "metadata_source": if route { "ROUTE" } else { "DYNAMIC" },
    })
}

fn metadata(random: &mut Random, route: bool) -> Value {
    let (filter, keys): (_, &[&str]) = match route {
        true => ("m", &["k", "list", "n", "none"]),
        false => (
            "envoy.filters.http.rbac",
            &[
                "s_shadow_engine_result",
                "enforced_engine_result",
                "s_shadow_effective_policy_id",
            ],
        ),
    };
    let value = match random.below(6) {
        0 => json!({"present_match": random.chance(75)}),
        1 => json!({"list_match": {"one_of": {"string_match": {"exact": "y"}}}}),
        2 => json!({"double_match": {"exact": 2.0}}),
        3 => json!({"or_match": {"value_matchers": [
            {"string_match": {"exact": "v"}}, {"double_match": {"range": {"start": 1.0, "end": 3.0}}},
        ]}}),
        _ => json!({"string_match": {"exact": random.one(&["v", "allowed", "denied", "a"])}}),
    };
    let mut matcher =
        json!({"filter": filter, "path": [{"key": random.one(keys)}], "value": value});
    if random.chance(25) {
        matcher["invert"] = json!(true);
    }
    matcher
}
