//! Random AuthorizationPolicies, each for one host.

use std::fmt::Write as _;

use mesh_testkit::random::Random;

use super::HOSTS;

const ADDRESSES: &[&str] = &["127.0.0.0/8", "10.0.0.0/8", "10.1.2.3", "9.9.9.9", "::1"];
const REQUEST_PRINCIPALS: &[&str] = &[
    "*",
    "issuer-0/anna",
    "https://issuer.example/1/anna",
    "*/bert",
    "issuer-0/*",
    "issuer*",
    "*anna",
];
/// Nobody has a certificate here: only what is negated matches.
const PRINCIPALS: &[&str] = &[
    "*",
    "cluster.local/ns/default/sa/a",
    "*/sa/a",
    "cluster.local/*",
];

pub(super) fn host(n: usize) -> String {
    format!("h{n}.example")
}

fn list(random: &mut Random, values: &[&str]) -> String {
    let values: Vec<_> = (0..=random.below(2))
        .map(|_| format!("\"{}\"", random.one(values)))
        .collect();
    format!("[{}]", values.join(", "))
}

fn source(random: &mut Random) -> String {
    let lists: [(&str, &str, &[&str]); 6] = [
        (
            "requestPrincipals",
            "notRequestPrincipals",
            REQUEST_PRINCIPALS,
        ),
        ("ipBlocks", "notIpBlocks", ADDRESSES),
        ("remoteIpBlocks", "notRemoteIpBlocks", ADDRESSES),
        ("principals", "notPrincipals", PRINCIPALS),
        ("namespaces", "notNamespaces", &["default", "o*"]),
        ("trustDomains", "notTrustDomains", &["cluster.local", "*"]),
    ];
    let likely = [40, 30, 30, 4, 4, 2];
    let mut parts = Vec::new();
    while parts.is_empty() {
        for ((name, not, values), likely) in lists.iter().zip(likely) {
            if random.chance(likely) {
                parts.push(format!("{name}: {}", list(random, values)));
            }
            if random.chance(8) {
                parts.push(format!("{not}: {}", list(random, values)));
            }
        }
    }
    format!("{{source: {{{}}}}}", parts.join(", "))
}

fn operation(random: &mut Random, host: &str) -> String {
    let lists: [(&str, &str, &[&str]); 3] = [
        ("methods", "notMethods", &["GET", "POST", "P*", "*T"]),
        (
            "paths",
            "notPaths",
            &[
                "/a",
                "/a*",
                "*/secret",
                "/admin*",
                "/a/{*}",
                "/a/{**}",
                "/{*}/b",
                "/b/{*}/d",
                "/{*}/{**}",
            ],
        ),
        ("ports", "notPorts", &["8080", "81"]),
    ];
    let mut text = format!("{{operation: {{hosts: [\"{host}\"]");
    for (name, not, values) in lists {
        if random.chance(40) {
            let _ = write!(text, ", {name}: {}", list(random, values));
        }
        if random.chance(15) {
            let _ = write!(text, ", {not}: {}", list(random, values));
        }
    }
    text.push_str("}}");
    text
}

fn condition(random: &mut Random) -> String {
    let keys: [(&str, &[&str]); 11] = [
        ("request.headers[x-user]", &["a", "b*", "*c", "*"]),
        ("request.headers[X-User]", &["d", "e"]),
        ("request.auth.principal", REQUEST_PRINCIPALS),
        ("request.auth.audiences", &["shop", "s*", "other"]),
        ("request.auth.presenter", &["app", "*"]),
        ("request.auth.claims[groups]", &["admin", "*er", "*"]),
        ("request.auth.claims[deep][n]", &["x", "y*"]),
        ("request.auth.claims[scope]", &["read", "write"]),
        ("source.ip", ADDRESSES),
        ("remote.ip", ADDRESSES),
        ("destination.port", &["8080", "1"]),
    ];
    let (key, values) = random.one(&keys);
    let list_name = random.one(&["values", "values", "notValues"]);
    format!("{{key: \"{key}\", {list_name}: {}}}", list(random, values))
}

fn rule(random: &mut Random, host: &str) -> String {
    let operations: Vec<_> = (0..=random.below(2))
        .map(|_| operation(random, host))
        .collect();
    let mut text = format!("{{to: [{}]", operations.join(", "));
    if random.chance(60) {
        let sources: Vec<_> = (0..=random.below(2)).map(|_| source(random)).collect();
        let _ = write!(text, ", from: [{}]", sources.join(", "));
    }
    if random.chance(40) {
        let conditions: Vec<_> = (0..=random.below(1)).map(|_| condition(random)).collect();
        let _ = write!(text, ", when: [{}]", conditions.join(", "));
    }
    text.push('}');
    text
}

/// A folder's policies.
pub(super) fn policies(random: &mut Random) -> String {
    let mut text = String::new();
    let mut policy = |random: &mut Random, name: String, action: &str, rules: &str, tried: bool| {
        let namespace = *random.one(&["default", "default", "istio-system"]);
        let selector = *random.one(&["", "  selector: {matchLabels: {app: shop}}\n"]);
        let annotations = match tried {
            true => ", annotations: {istio.io/dry-run: \"true\"}",
            false => "",
        };
        let _ = write!(
            text,
            "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
             metadata: {{name: {name}, namespace: {namespace}{annotations}}}\n\
             spec:\n{selector}  action: {action}\n  rules: [{rules}]\n"
        );
    };
    for n in 0..HOSTS {
        let host = host(n);
        let everything = format!("{{to: [{{operation: {{hosts: [\"{host}\"]}}}}]}}");
        let shape = random.below(4);
        if shape != 1 {
            let rules = rule(random, &host);
            policy(random, format!("deny-{n}"), "DENY", &rules, false);
        }
        match shape {
            0 => policy(random, format!("allow-{n}"), "ALLOW", &everything, false),
            _ => {
                let rules: Vec<_> = (0..2).map(|_| rule(random, &host)).collect();
                policy(
                    random,
                    format!("allow-{n}"),
                    "ALLOW",
                    &rules.join(", "),
                    false,
                );
            }
        }
        if shape == 3 {
            policy(random, format!("tried-{n}"), "DENY", &everything, true);
            let rules = rule(random, &host);
            policy(random, format!("audited-{n}"), "AUDIT", &rules, false);
        }
    }
    text
}
